"""Does an engine fit this machine? Asked before TensorRT is, whose own answer is a `None`."""

from __future__ import annotations

import platform

from ..errors import DeviceError
from .engine_file import EngineDescription
from .gpu import gpus
from .tensorrt_binding import NAMES, find, version_numbers


def system() -> str:
    """What of the operating system an engine depends on, such as "Linux aarch64"."""
    return f"{platform.system()} {platform.machine()}"


def misfits(description: EngineDescription) -> list[str]:
    """Each reason why the engine cannot run here, as a sentence; empty where it can."""
    reasons = []
    if description.system != system():
        reasons.append(f"it was built on {description.system} and this is {system()}; engines do not cross systems")
    try:
        installed = find(description.flavour).version
    except DeviceError as error:
        reasons.append(str(error))
    else:
        if not _same_version(description, installed):
            reasons.append(
                f"it was built with {NAMES[description.flavour]} {description.version} and {installed} is installed; "
                f"{_VERSION_RULE[description.flavour, description.version_compatible]}"
            )
    try:
        gpu = gpus()[0]
    except DeviceError as error:
        reasons.append(f"it runs on a GPU ({', '.join(description.targets)}) and this machine has none: {error}")
        return reasons
    if gpu.target not in description.targets:
        reasons.append(f"it was built for {', '.join(description.targets)} and this GPU, {gpu.name}, is {gpu.target}")
    elif description.device and description.device != gpu.name:
        reasons.append(f"it was built on {description.device} and this GPU is {gpu.name}; engines fit one model of GPU")
    if description.memory is not None and description.size + description.memory > gpu.memory:
        reasons.append(
            f"it needs about {(description.size + description.memory) / 1e6:,.0f} MB and {gpu.name} has {gpu.memory / 1e6:,.0f} MB"
        )
    return reasons


_VERSION_RULE = {
    ("tensorrt", False): "engines fit one version. Build with --version-compatible for later ones",
    ("tensorrt", True): "a version-compatible engine runs on the same major version, from its own minor version up",
    ("rtx", False): "plans fit one release",
    ("rtx", True): "plans fit one release",
}


def _same_version(description: EngineDescription, installed: str) -> bool:
    built, here = version_numbers(description.version), version_numbers(installed)
    if description.flavour == "tensorrt" and description.version_compatible:
        return here[0] == built[0] and here >= built
    return here == built
