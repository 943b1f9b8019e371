"""NVIDIA: GPU, driver and CUDA."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from . import look
from .finding import FAILURE, OK, WARNING, Finding
from .jetson import release
from .look import UnansweredError, ask

_SMI = "driver_version,clocks.sm,clocks.max.sm,temperature.gpu,power.limit,power.max_limit"


def gpu() -> Iterator[Finding]:
    try:
        told = ask("gpus")
    except UnansweredError as error:
        if _has_card():
            remedy = "Install NVIDIA's driver, restart after an update; in a container start it with --gpus all"
            yield Finding("GPU", "driver", FAILURE, f"there is an NVIDIA GPU, but {error}", remedy)
        else:
            yield Finding("GPU", "GPU", OK, "none from NVIDIA; models run on the CPU")
        return
    for index, one in enumerate(told["gpus"]):
        found = f"{one['name']}, {one['target']}, {one['memory'] / 1e9:.1f} GB"
        yield Finding("GPU", f"GPU {index}", OK, found)
    yield Finding("GPU", "driver", OK, f"runs CUDA up to {told['cuda']}")


def _has_card() -> bool:
    """A display controller of NVIDIA's on the PCI bus, or a Jetson."""
    for device in look.matching("sys/bus/pci/devices/*"):
        folder = str(device.relative_to(look.ROOT))
        if look.text(f"{folder}/vendor") == "0x10de" and look.text(f"{folder}/class").startswith("0x03"):
            return True
    return bool(release())


def cuda() -> Iterator[Finding]:
    """The toolkit, which only who compiles kernels needs."""
    try:
        version = str(json.loads(look.text("usr/local/cuda/version.json"))["cuda"]["version"])
    except (ValueError, KeyError, TypeError):
        match = re.search(r"release (\d+\.\d+)", look.output("nvcc", "--version"))
        version = match[1] if match else ""
    yield Finding("GPU", "CUDA toolkit", OK, version or "not installed; engines that are built need none")


def state() -> Iterator[Finding]:
    """Clocks, heat and power of a GPU that `nvidia-smi` knows."""
    lines = look.output("nvidia-smi", f"--query-gpu={_SMI}", "--format=csv,noheader,nounits").splitlines()
    for index, line in enumerate(lines):
        values = [value.strip() for value in line.split(",")]
        if len(values) != len(_SMI.split(",")):
            continue
        driver, now, top, heat, limit, most = (value if value[:1].isdecimal() else "?" for value in values)
        found = f"driver {driver}, {now} of {top} MHz, {heat} °C, {limit} of {most} W allowed"
        if heat.isdecimal() and int(heat) >= 85:
            yield Finding(
                "GPU", f"state {index}", WARNING, found, "Look at its fan and the air around it; it slows down"
            )
        else:
            yield Finding("GPU", f"state {index}", OK, found)
