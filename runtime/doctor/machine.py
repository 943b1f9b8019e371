"""Processor, memory, disk and cameras."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from .. import limits
from ..artifacts.default_model import cache
from ..errors import FastSCNNError
from . import look
from .finding import FAILURE, OK, WARNING, Finding

_WORTH_TELLING = (
    "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16",  # x86
    "asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve",  # ARM
)  # fmt: skip
_MEMORY = 1 << 30  # bytes that a model of 1024x2048 and its export want
_DISK = 1 << 30  # bytes that an export with its temporary file, and a short video, want


def processor() -> Iterator[Finding]:
    facts = dict(_pairs(look.text("proc/cpuinfo")))
    name = facts.get("model name") or look.text("proc/device-tree/model") or platform.processor() or platform.machine()
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    told = [f"{_cores()} of {os.cpu_count()} cores usable", *(flag for flag in _WORTH_TELLING if flag in flags)]
    found = f"{name}, {', '.join(told)}"
    if platform.machine() in ("x86_64", "AMD64") and flags and "avx2" not in flags:
        remedy = "Expect a fraction of the speed; in a virtual machine, pass the host's processor through"
        yield Finding("machine", "processor", WARNING, f"{found}; no AVX2", remedy)
    else:
        yield Finding("machine", "processor", OK, found)
    share = limits.cores(look.ROOT)
    if share is not None:
        found = f"its control group (a container, a systemd unit) may use {share:g} cores"
        yield Finding("machine", "quota", OK, found)


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def clocks() -> Iterator[Finding]:
    folder = "sys/devices/system/cpu/cpu0/cpufreq/"
    governor, driver = look.text(f"{folder}scaling_governor"), look.text(f"{folder}scaling_driver")
    now, top = look.number(f"{folder}scaling_cur_freq"), look.number(f"{folder}cpuinfo_max_freq")
    if not governor:
        return
    speed = f", {now / 1e6:.2f} of {top / 1e6:.2f} GHz now" if now and top else ""
    found = f"governor {governor}{speed}"
    if governor == "powersave" and "pstate" not in driver:  # there, powersave follows the load
        remedy = "sudo cpupower frequency-set -g performance; on a Jetson sudo jetson_clocks"
        yield Finding("machine", "clocks", WARNING, found, remedy)
    else:
        yield Finding("machine", "clocks", OK, found)


def temperature() -> Iterator[Finding]:
    zones = (look.number(str(path.relative_to(look.ROOT))) for path in look.matching("sys/class/thermal/*/temp"))
    degrees = [milli / 1000 for milli in zones if milli is not None and 0 < milli < 200_000]
    if degrees and max(degrees) >= 85:
        remedy = "Look at fan, heat sink and air; it will slow down, or does already"
        yield Finding("machine", "temperature", WARNING, f"{max(degrees):.0f} °C at the hottest place", remedy)
    elif degrees:
        yield Finding("machine", "temperature", OK, f"{max(degrees):.0f} °C at the hottest place")


def memory() -> Iterator[Finding]:
    facts = {name: value.split() for name, value in _pairs(look.text("proc/meminfo"))}

    def size(name: str) -> int | None:
        words = facts.get(name) or [""]
        return int(words[0]) * 1024 if words[0].isdecimal() else None

    total, free, swap = size("MemTotal"), size("MemAvailable"), size("SwapTotal")
    if total is None or free is None:
        yield Finding("machine", "memory", OK, "this system does not tell")
        return
    limit = limits.memory(look.ROOT)
    limited = f", {_gigabytes(limit)} for its control group" if limit is not None and limit < total else ""
    found = f"{_gigabytes(free)} free of {_gigabytes(total)}{limited}, swap {_gigabytes(swap or 0)}"
    if min(free, free if limit is None else limit) < _MEMORY:
        remedy = "End what needs much of it, add swap, or use a lower resolution"
        yield Finding("machine", "memory", WARNING, found, remedy)
    else:
        yield Finding("machine", "memory", OK, found)


def disk() -> Iterator[Finding]:
    """The folder where the user stands, and the cache, where a model goes that is exported unasked."""
    yield _space("here", Path.cwd())
    try:
        folder = cache()
    except FastSCNNError as error:
        yield Finding("machine", "cache", WARNING, str(error), "Set XDG_CACHE_HOME to a folder, or always give a model")
        return
    there = folder
    while not there.exists():
        there = there.parent
    if there.is_dir() and os.access(there, os.W_OK):
        yield _space("cache", there, folder)
    else:
        remedy = "Set XDG_CACHE_HOME to a folder that can be written, or always give a model"
        yield Finding("machine", "cache", WARNING, f"{folder} cannot be written", remedy)


def _space(name: str, folder: Path, shown: Path | None = None) -> Finding:
    free = shutil.disk_usage(folder).free
    found = f"{_gigabytes(free)} free in {shown or folder}"
    if free < _DISK:
        return Finding("machine", f"disk, {name}", WARNING, found, f"Free some space: expected {_gigabytes(_DISK)}")
    return Finding("machine", f"disk, {name}", OK, found)


def cameras() -> Iterator[Finding]:
    """Devices of video4linux that give frames; a camera's second device gives only descriptions of them."""
    devices = [path for path in look.matching("dev/video*") if look.number(_about(path, "index")) in (0, None)]
    if not devices:
        yield Finding("cameras", "devices", OK, "none; files, folders and streams work")
    for device in devices:
        name = look.text(_about(device, "name")) or "a camera"
        if os.access(device, os.R_OK | os.W_OK):
            yield Finding("cameras", device.name, OK, name)
        else:
            remedy = "sudo usermod -aG video $USER, then log in again; in a container pass --device"
            yield Finding("cameras", device.name, FAILURE, f"{name}, which this user may not open", remedy)


def _about(device: Path, what: str) -> str:
    return f"sys/class/video4linux/{device.name}/{what}"


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """`name : value` lines; of several of a name the last comes last."""
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            yield name.strip(), value.strip()


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
