"""Python, this package with its extras, and the packages and engines that the runtime imports."""

from __future__ import annotations

import importlib.util
import platform
import struct
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from ...version import __version__
from .finding import FAILURE, OK, WARNING, Finding
from .look import UnansweredError, ask

_NEEDED = {"numpy": "NumPy", "cv2": "OpenCV"}
_ENGINES = {
    "onnxruntime": ("ONNX Runtime", "pip install 'fastscnn[cpu]'"),
    "openvino": ("OpenVINO", "pip install 'fastscnn[openvino]'"),
    "tensorrt": ("TensorRT", "on a Jetson apt install python3-libnvinfer, elsewhere pip install 'fastscnn[trt]'"),
    "tensorrt_rtx": ("TensorRT for RTX", "pip install 'fastscnn[rtx]'"),
    "pycuda.driver": ("pycuda", "pip install 'fastscnn[trt]', on a machine with CUDA's driver"),
}
_TENSORRT = ((8, 5), (12,))  # versions of TensorRT from, and below
_SAME_MODULE = (
    ("onnxruntime", "onnxruntime-gpu"),
    ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
)


def python() -> Iterator[Finding]:
    bits = struct.calcsize("P") * 8
    found = f"{platform.python_version()}, {bits} bits, {sys.executable}"
    if sys.version_info < (3, 10) or bits < 64:
        yield Finding("software", "Python", FAILURE, found, "Install Python 3.10 or newer for 64 bits")
    else:
        yield Finding("software", "Python", OK, found)


def package() -> Iterator[Finding]:
    """This package, what it requires, and which extras are complete."""
    try:
        required = metadata.requires("fastscnn") or []
    except metadata.PackageNotFoundError:
        yield Finding("software", "fastscnn", OK, f"{__version__}, in a folder, not installed")
        return
    try:
        from packaging.requirements import Requirement
    except ImportError:
        yield Finding(
            "software", "fastscnn", OK, f"{__version__}; its extras were not looked at, as packaging is missing"
        )
        return
    lacking: dict[str, list[str]] = {}
    for requirement in map(Requirement, required):
        for extra in _extras(requirement):
            lacking.setdefault(extra, [])
            if why := _lack(requirement):
                lacking[extra].append(why)
    basic = lacking.pop("", [])
    if basic:
        remedy = "Install it again: pip install fastscnn"
        yield Finding("software", "fastscnn", FAILURE, f"{__version__} lacks {', '.join(basic)}", remedy)
    else:
        yield Finding("software", "fastscnn", OK, __version__)
    complete = ", ".join(name for name, why in lacking.items() if not why) or "none"
    partly = "; ".join(f"{name} lacks {', '.join(why)}" for name, why in lacking.items() if why)
    yield Finding("software", "extras", OK, f"complete: {complete}{' (' * bool(partly)}{partly}{')' * bool(partly)}")


def _extras(requirement: Any) -> list[str]:
    """Extras that it belongs to; [""] where it is always required, [] where it is not for this machine."""
    marker = requirement.marker
    if marker is None or marker.evaluate({"extra": ""}):
        return [""]
    names = metadata.metadata("fastscnn").get_all("Provides-Extra") or []
    return [name for name in names if name != "dev" and marker.evaluate({"extra": name})]


def _lack(requirement: Any) -> str:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return str(requirement.name)
    sound = requirement.specifier.contains(version, prereleases=True)
    return "" if sound else f"{requirement.name} {requirement.specifier} ({version} is installed)"


def needed() -> Iterator[Finding]:
    """NumPy and OpenCV, without which nothing runs."""
    for module, name in _NEEDED.items():
        try:
            yield Finding("software", name, OK, _told(module))
        except UnansweredError as error:
            remedy = (
                f"Install it again: pip install --force-reinstall {'numpy' if module == 'numpy' else 'opencv-python'}"
            )
            if "libGL" in str(error):
                remedy = "Install libgl1 (apt), or replace opencv-python by opencv-python-headless"
            yield Finding("software", name, FAILURE, f"cannot be imported: {error}", remedy)


def conflicts() -> Iterator[Finding]:
    """Packages that overwrite each other's files."""
    for names in _SAME_MODULE:
        found = [name for name in names if _installed(name)]
        if len(found) > 1:
            yield Finding(
                "software",
                "packages",
                WARNING,
                f"{' and '.join(found)} overwrite each other's files",
                f"Keep one: pip uninstall {' '.join(found)}, then install that one again",
            )


def engines() -> Iterator[Finding]:
    """The inference engines, of which one is enough."""
    usable = set()
    for module, (name, install) in _ENGINES.items():
        if not _present(module):
            yield Finding("engines", name, OK, f"not installed ({install})")
            continue
        try:
            told = _told(module)
        except UnansweredError as error:
            yield Finding(
                "engines", name, WARNING, f"installed, but cannot be imported: {error}", f"Install: {install}"
            )
            continue
        usable.add(module)
        if module == "tensorrt" and not _TENSORRT[0] <= _numbers(told) < _TENSORRT[1]:
            remedy = "Install a version from 8.5 to 11"
            yield Finding("engines", name, WARNING, f"{told}, which this project was not made for", remedy)
        else:
            yield Finding("engines", name, OK, told)
    yield from _verdict(usable)


def _verdict(usable: set[str]) -> Iterator[Finding]:
    try:
        gpu = ask("gpus")["gpus"][0]
    except UnansweredError:
        gpu = None
    tensorrt = bool(usable & {"tensorrt", "tensorrt_rtx"})
    if not usable & {"onnxruntime", "openvino"} and not (tensorrt and "pycuda.driver" in usable and gpu):
        remedy = "Install one: pip install 'fastscnn[cpu]' runs everywhere"
        yield Finding("engines", "one that runs", FAILURE, "none: no model can run here", remedy)
    elif gpu and tensorrt and "pycuda.driver" not in usable:
        remedy = "Install it: pip install 'fastscnn[trt]'"
        yield Finding(
            "engines", "GPU", WARNING, "TensorRT is there, but pycuda, which moves frames to it, is not", remedy
        )
    elif gpu and not tensorrt:
        remedy = "Install pycuda and TensorRT: see the table of extras in the README"
        yield Finding("engines", "GPU", WARNING, f"{gpu['name']} has no TensorRT, and stays idle", remedy)


def _told(module: str) -> str:
    told = ask("module", name=module)
    return " ".join(filter(None, (told["version"], told["extra"]))) or "present"


def _present(module: str) -> bool:
    try:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def _installed(distribution: str) -> bool:
    try:
        return bool(metadata.version(distribution))
    except metadata.PackageNotFoundError:
        return False


def _numbers(version: str) -> tuple[int, ...]:
    numbers = []
    for part in version.split(" ")[0].split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)
