"""A Jetson: its board, release, Python and power mode."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from . import look
from .finding import FAILURE, OK, WARNING, Finding

_JETPACK = {32: "4", 34: "5", 35: "5", 36: "6", 38: "7", 39: "7.2"}  # L4T's major version → JetPack's
_OLDEST, _OLD_PYTHON = 35, 35  # JetPack 5, whose Python is 3.8
_CLOCKS = "sudo jetson_clocks"


def jetson() -> Iterator[Finding]:
    board, version = look.text("proc/device-tree/model"), release()
    if not version:
        if "jetson" in board.lower():
            remedy = "In a container, mount /etc/nv_tegra_release; on the board, install JetPack"
            yield Finding(
                "GPU", "Jetson", WARNING, f"{board}, but /etc/nv_tegra_release does not tell its release", remedy
            )
        return
    package = look.output("dpkg-query", "-W", "-f=${Version}", "nvidia-jetpack").partition("+")[0]
    major = int(version.partition(".")[0])
    jetpack = package or _JETPACK.get(major, "of an unknown version")
    found = f"{board or 'an unknown board'}, L4T {version}, JetPack {jetpack}"
    if major < _OLDEST:
        yield Finding("GPU", "Jetson", FAILURE, found, "Expected JetPack 5 or newer: flash the board with one")
    elif major == _OLD_PYTHON:
        remedy = "Flash JetPack 6 or newer; until then models run on the CPU"
        found += ": its TensorRT is for Python 3.8, and this project needs 3.10 or newer"
        yield Finding("GPU", "Jetson", WARNING, found, remedy)
    else:
        yield Finding("GPU", "Jetson", OK, found)
    yield from power()


def power() -> Iterator[Finding]:
    """The mode, and which of those in /etc/nvpmodel.conf is the fastest: mode 0 is not on every board."""
    mode = re.search(r"NV Power Mode:\s*(\S+)", look.output("nvpmodel", "-q"))
    if mode is None:
        remedy = "Look with: sudo nvpmodel -q"
        yield Finding("GPU", "power mode", WARNING, "nvpmodel does not tell it", remedy)
    else:
        modes = dict(re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>", look.text("etc/nvpmodel.conf")))
        yield _mode(mode[1], {name: int(number) for number, name in modes.items()})
    for device in look.matching("sys/class/devfreq/*"):
        if not re.search(r"gpu|gv11b|ga10b|gp10b", device.name):
            continue
        folder = str(Path("sys/class/devfreq") / device.name)
        now, top = look.number(f"{folder}/cur_freq"), look.number(f"{folder}/max_freq")
        if now and top:
            yield Finding("GPU", "GPU clock", OK, f"{now / 1e6:.0f} of {top / 1e6:.0f} MHz now")


def _mode(now: str, modes: dict[str, int]) -> Finding:
    fastest = max(modes, key=_speed, default="")
    if now == fastest or (not modes and now.startswith("MAXN")):
        return Finding("GPU", "power mode", OK, now)
    if not modes:
        remedy = f"Where the battery allows, take the fastest mode of /etc/nvpmodel.conf, and {_CLOCKS}"
        return Finding("GPU", "power mode", WARNING, f"{now}, which limits clocks", remedy)
    others = ", ".join(f"{number} {name}" for name, number in sorted(modes.items(), key=lambda pair: pair[1]))
    remedy = f"Where the battery allows: sudo nvpmodel -m {modes[fastest]} ({fastest}), and {_CLOCKS}"
    return Finding("GPU", "power mode", WARNING, f"{now}, which limits clocks; this board has {others}", remedy)


def _speed(name: str) -> tuple[bool, bool, int]:
    """By which modes are ordered: without limits first, of those the newer ones; else by watts."""
    watts = re.search(r"(\d+)W", name)
    return name.startswith("MAXN"), "SUPER" in name, int(watts[1]) if watts else 0


def release() -> str:
    """L4T's version, such as "36.4.3"; "" where this is no Jetson."""
    match = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", look.text("etc/nv_tegra_release"))
    return f"{match[1]}.{match[2]}" if match else ""
