"""NVIDIA: GPU, driver and CUDA; and on a Jetson its board, release and power mode."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from . import look
from .finding import FAILURE, OK, WARNING, Finding
from .look import UnansweredError, ask

_JETPACK = {32: "4", 34: "5", 35: "5", 36: "6", 38: "7"}  # L4T's major version → JetPack's
_OLDEST_L4T = 35  # JetPack 5
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
    return bool(_release())


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


def jetson() -> Iterator[Finding]:
    board, release = look.text("proc/device-tree/model"), _release()
    if not release:
        if "jetson" in board.lower():
            remedy = "In a container, mount /etc/nv_tegra_release; on the board, install JetPack"
            yield Finding(
                "GPU", "Jetson", WARNING, f"{board}, but /etc/nv_tegra_release does not tell its release", remedy
            )
        return
    package = look.output("dpkg-query", "-W", "-f=${Version}", "nvidia-jetpack").partition("+")[0]
    major = int(release.partition(".")[0])
    jetpack = package or _JETPACK.get(major, "of an unknown version")
    found = f"{board or 'an unknown board'}, L4T {release}, JetPack {jetpack}"
    if major < _OLDEST_L4T:
        yield Finding("GPU", "Jetson", FAILURE, found, "Expected JetPack 5 or newer: flash the board with one")
    else:
        yield Finding("GPU", "Jetson", OK, found)
    yield from _power()


def _power() -> Iterator[Finding]:
    mode = re.search(r"NV Power Mode:\s*(\S+)", look.output("nvpmodel", "-q"))
    if mode is None:
        remedy = "Look with: sudo nvpmodel -q"
        yield Finding("GPU", "power mode", WARNING, "nvpmodel does not tell it", remedy)
    elif mode[1].startswith("MAXN"):
        yield Finding("GPU", "power mode", OK, mode[1])
    else:
        remedy = "Where the battery allows: sudo nvpmodel -m 0 (the fastest), and sudo jetson_clocks"
        yield Finding("GPU", "power mode", WARNING, f"{mode[1]}, which limits clocks", remedy)
    for device in look.matching("sys/class/devfreq/*"):
        if not re.search(r"gpu|gv11b|ga10b|gp10b", device.name):
            continue
        folder = str(Path("sys/class/devfreq") / device.name)
        now, top = look.number(f"{folder}/cur_freq"), look.number(f"{folder}/max_freq")
        if now and top:
            yield Finding("GPU", "GPU clock", OK, f"{now / 1e6:.0f} of {top / 1e6:.0f} MHz now")


def _release() -> str:
    """L4T's version, such as "36.4.3"; "" where this is no Jetson."""
    match = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", look.text("etc/nv_tegra_release"))
    return f"{match[1]}.{match[2]}" if match else ""
