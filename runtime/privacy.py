"""Engines tell their makers that they are used. Started from here they do not: nothing leaves the machine."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

_SWITCHES = {
    # ONNX Runtime from 1.29 on looks up a host, and writes a device's id under the user's cache.
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_OPENVINO = "openvino_telemetry"  # sends an event when openvino is imported, which has a stub where this is not there


def withhold() -> None:
    """Before any of them is imported: they read the environment as they load. What the user has set stands."""
    for switch, off in _SWITCHES.items():
        os.environ.setdefault(switch, off)


def engine(name: str) -> ModuleType:
    """Import an engine, without its telemetry.

    Raises:
        ImportError: not there; and whatever else a broken package raises.
    """
    hidden = _OPENVINO not in sys.modules
    if hidden:
        sys.modules[_OPENVINO] = None  # type: ignore[assignment]  # for `import` that is a package that is not there
    try:
        return importlib.import_module(name)
    finally:
        if hidden:
            del sys.modules[_OPENVINO]
