"""What a number was measured on: processor, cores, clock policy, versions."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from ..runtime.backends.cores import usable_cores
from ..runtime.decode.decoder import described
from ..version import __version__

_PACKAGES = ("numpy", "opencv-python", "onnxruntime", "onnxruntime-gpu", "openvino", "torch")


def machine() -> dict[str, object]:
    """Facts for a report; those that this system does not tell are left out."""
    facts: dict[str, object] = {
        "processor": _processor(),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "fastscnn": __version__,
        "decode": described(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
    }
    governor = _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if governor:
        facts["governor"] = governor
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    if load is not None:
        facts["load_before"] = round(load, 2)
    return facts


def sentence(facts: dict[str, object]) -> str:
    """The facts in one line."""
    packages = facts["packages"]
    assert isinstance(packages, dict)
    return (
        f"{facts['processor']}, {facts['cores']} cores, Python {facts['python']}, "
        + ", ".join(f"{name} {version}" for name, version in packages.items())
        + f", fastscnn {facts['fastscnn']}"
        + (f", decode {facts['decode']}" if "decode" in facts else "")  # not in older reports
    )


def _processor() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    device = _read("/proc/device-tree/model").rstrip("\0")  # Jetsons name the board here
    return device or platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
