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
from .. import install
from ..artifacts.tensorrt_binding import COMPILED as _COMPILED
from ..artifacts.tensorrt_binding import lacking_tools
from . import look
from .finding import FAILURE, OK, WARNING, Finding
from .look import UnansweredError, ask
from .opencv import system_folder

_ENGINES = {
    "onnxruntime": ("ONNX Runtime", "cpu", "{}"),
    "openvino": ("OpenVINO", "openvino", "{}"),
    "tensorrt": ("TensorRT", "trt", "on a Jetson apt install python3-libnvinfer, elsewhere {}"),
    "tensorrt_rtx": ("TensorRT for RTX", "rtx", "{}"),
    "pycuda.driver": ("pycuda", "trt", "{}, on a machine with CUDA's driver"),
}
_TENSORRT = ((8, 5), (12,))  # versions of TensorRT from, and below


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
        remedy = f"Install it again: {install.again()}"
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
    if requirement.name == "opencv-python":  # any cv2 serves: the system's, and the one without windows; see `opencv`
        return ""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return str(requirement.name)
    sound = requirement.specifier.contains(version, prereleases=True)
    return "" if sound else f"{requirement.name} {requirement.specifier} ({version} is installed)"


def numpy() -> Iterator[Finding]:
    """Without which nothing runs."""
    try:
        yield Finding("software", "NumPy", OK, _told("numpy"))
    except UnansweredError as error:
        remedy = "Install it again: pip install --force-reinstall numpy"
        yield Finding("software", "NumPy", FAILURE, f"cannot be imported: {error}", remedy)


def decode() -> Iterator[Finding]:
    """What turns logits into labels on the CPU: compiled, or in NumPy, which takes longer."""
    try:
        told = ask("decode")
    except UnansweredError as error:
        remedy = f"Install NumPy and OpenCV, then this package again: {install.again()}"
        yield Finding("software", "decode", WARNING, f"cannot be looked at: {error}", remedy)
        return
    if told["sound"]:
        yield Finding("software", "decode", OK, told["found"])
    else:
        remedy = f"Results are the same, but take longer. Install a C compiler (apt install gcc libc6-dev), then: {install.again()}"
        yield Finding("software", "decode", WARNING, told["found"], remedy)


def engines() -> Iterator[Finding]:
    """The inference engines, of which one is enough."""
    usable: set[str] = set()
    broken: set[str] = set()
    for module, (name, extra, words) in _ENGINES.items():
        if not _present(module):
            yield _absent(module, name, words.format(install.command(extra)))
            continue
        try:
            told, once = _told_in_two_tries(module)
        except UnansweredError as error:
            broken.add(module)
            package = module.partition(".")[0].replace("_", "-")
            remedy = f"Remove it, or install another version of it: pip uninstall {package}"
            if module == "pycuda.driver":
                remedy = f"Look whether nvidia-smi answers: {_COMPILED}"
            yield Finding("engines", name, WARNING, f"installed, but cannot be imported: {error}", remedy)
            continue
        usable.add(module)
        if module == "tensorrt" and not _TENSORRT[0] <= look.numbers(told) < _TENSORRT[1]:
            remedy = "Install a version from 8.5 to 11"
            yield Finding("engines", name, WARNING, f"{told}, which this project was not made for", remedy)
        elif once:
            remedy = "Look at memory and at limits of processes (ulimit -a); if it comes again, install another version"
            yield Finding("engines", name, WARNING, f"{told}, at the second try; at the first, {once}", remedy)
        else:
            yield Finding("engines", name, OK, told)
    yield from _verdict(usable, broken)


def _absent(module: str, name: str, how: str) -> Finding:
    hidden = system_folder(module) if module == "tensorrt" else None
    if hidden is None:
        missing = f"; {tools}" if module == "pycuda.driver" and (tools := lacking_tools()) else ""
        return Finding("engines", name, OK, f"not installed ({how}{missing})")
    found = f"installed for the system, in {hidden.parent}, where this environment does not look"
    remedy = "Make the environment with python3 -m venv --system-site-packages, by the system's own Python"
    return Finding("engines", name, WARNING, found, remedy)


def _verdict(usable: set[str], broken: set[str]) -> Iterator[Finding]:
    try:
        gpu = ask("gpus")["gpus"][0]
    except UnansweredError:
        gpu = None
    tensorrt = bool(usable & {"tensorrt", "tensorrt_rtx"})
    if not usable & {"onnxruntime", "openvino"} and not (tensorrt and "pycuda.driver" in usable and gpu):
        anew = f"Install one: {install.command('cpu')} runs everywhere"
        remedy = "Mend one of those above" if "onnxruntime" in broken else anew
        yield Finding("engines", "one that runs", FAILURE, "none: no model can run here", remedy)
    elif gpu and tensorrt and not {"pycuda.driver"} & (usable | broken):
        remedy = f"Install it: {install.command('trt')}"
        yield Finding(
            "engines", "GPU", WARNING, "TensorRT is there, but pycuda, which moves frames to it, is not", remedy
        )
    elif gpu and not tensorrt and not {"tensorrt", "tensorrt_rtx"} & broken:
        remedy = "Install pycuda and TensorRT: see the table of extras in the README"
        yield Finding("engines", "GPU", WARNING, f"{gpu['name']} has no TensorRT, and stays idle", remedy)


def _told_in_two_tries(module: str) -> tuple[str, str]:
    """What an engine tells, and why not at once: a machine that is short of memory or threads ends a process, not the next."""
    try:
        return _told(module), ""
    except UnansweredError as error:
        if not error.died:
            raise
        return _told(module), str(error)


def _told(module: str) -> str:
    told = ask("module", name=module)
    return " ".join(filter(None, (told["version"], told["extra"]))) or "present"


def _present(module: str) -> bool:
    try:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False
