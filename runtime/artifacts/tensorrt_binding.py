"""Find TensorRT: its two flavours, which of them is installed, and in which version."""

from __future__ import annotations

import importlib
import re
import shutil
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import install
from ..errors import DeviceError, UsageError

MODULES = {"tensorrt": "tensorrt", "rtx": "tensorrt_rtx"}  # flavour → Python module; the first that imports is taken
FLAVOURS = tuple(MODULES)
NAMES = {"tensorrt": "TensorRT", "rtx": "TensorRT for RTX"}
_EXTRA = {"tensorrt": "trt", "rtx": "rtx"}
_INSTALL = {
    "tensorrt": "on a Jetson it comes with JetPack (apt install python3-libnvinfer; a venv needs --system-site-packages), elsewhere: {}",
    "rtx": "{}",
}

COMPILED = "pip compiles pycuda, which takes a C++ compiler, Python's headers (apt: build-essential python3-dev) and CUDA's nvcc on PATH"


def lacking_tools() -> str:
    """What this machine lacks for installing pycuda, as the end of a sentence; "" where nothing is missing."""
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    compilers = [name for name in ("c++", "g++", "clang++") if shutil.which(name)]
    missing = [
        name
        for name, there in (
            ("a C++ compiler", compilers),
            ("Python's headers", headers.exists()),
            ("nvcc", shutil.which("nvcc")),
        )
        if not there
    ]
    return f"{COMPILED}; here {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing" if missing else ""


@dataclass(frozen=True)
class Binding:
    """An installed TensorRT."""

    flavour: str  # one of FLAVOURS
    version: str  # as the module tells it, such as "10.3.0"
    module: Any

    @property
    def name(self) -> str:
        return f"{NAMES[self.flavour]} {self.version}"


def find(flavour: str | None = None) -> Binding:
    """Import the flavour asked for, or the first that is installed.

    Raises:
        UsageError: an unknown flavour.
        DeviceError: none is installed, or its libraries do not load.
    """
    if flavour is not None and flavour not in FLAVOURS:
        raise UsageError(f"flavour {flavour!r} is unknown; expected one of {', '.join(FLAVOURS)}")
    failures: dict[str, str] = {}
    for candidate in FLAVOURS if flavour is None else (flavour,):
        try:
            module = importlib.import_module(MODULES[candidate])
            return Binding(candidate, str(module.__version__), module)
        except (ImportError, OSError, AttributeError) as error:  # also what a broken install of shared libraries raises
            failures[candidate] = str(error)
    missing = "; ".join(f"{NAMES[name]} cannot be imported ({reason})" for name, reason in failures.items())
    remedies = "; ".join(f"{NAMES[name]}: {_INSTALL[name].format(install.command(_EXTRA[name]))}" for name in failures)
    raise DeviceError(f"{missing}. Install {remedies}")


def version_numbers(version: str) -> tuple[int, ...]:
    """`"10.13.3.9"` → (10, 13, 3, 9); what follows the numbers is left out.

    Raises:
        DeviceError: a version that does not begin with two numbers.
    """
    match = re.match(r"\d+(\.\d+)+", version)
    if not match:
        raise DeviceError(
            f"TensorRT calls itself version {version!r}; expected numbers such as 10.3.0. Install it again"
        )
    return tuple(map(int, match[0].split(".")))
