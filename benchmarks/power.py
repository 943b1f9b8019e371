"""Clocks, power mode and energy of the device that is measured: a desktop's NVML, a Jetson's tools and INA3221."""

from __future__ import annotations

import contextlib
import ctypes
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_HWMON = Path("/sys/class/hwmon")
_WHOLE_BOARD = ("VDD_IN", "SYS_VIN_HV", "POM_5V_IN", "VIN_SYS_5V0")  # rails that hold all others, by generation
_PERIOD = 0.05  # seconds between two readings of a board's sensor
_QUERY = "clocks.sm,clocks.mem,clocks.max.sm,power.draw,power.limit,temperature.gpu,pstate,persistence_mode"
_TOOLS = {
    "nvidia-smi": ("nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader", "--id=0"),
    "nvpmodel": ("nvpmodel", "-q"),
    "jetson_clocks": ("jetson_clocks", "--show"),
}


def state() -> dict[str, str]:
    """What each of the tools that are here says now; `nvidia-smi` by the names of its query."""
    found: dict[str, str] = {}
    for name, words in _TOOLS.items():
        program = shutil.which(words[0])
        if program is None:
            continue
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run([program, *words[1:]], capture_output=True, text=True, timeout=10)
            if done.returncode == 0:
                found[name] = done.stdout.strip()
    if "nvidia-smi" in found:
        values = found["nvidia-smi"].split(", ")
        found["nvidia-smi"] = ", ".join(f"{k} {v}" for k, v in zip(_QUERY.split(","), values, strict=False))
    return found


class Energy:
    """Joules that went into the device between two moments; None where nothing tells.

    Attributes:
        source: where the numbers come from.
    """

    def __init__(self, hwmon: Path = _HWMON) -> None:
        self._counter = _nvml_counter()
        self._rails = [] if self._counter else rails(hwmon)
        self.source = "NVML's counter, the GPU alone" if self._counter else ""
        if self._rails:
            self.source = f"INA3221, {', '.join(name for name, _, _ in self._rails)}, read every {_PERIOD * 1e3:.0f} ms"

    @contextlib.contextmanager
    def spent(self) -> Iterator[list[float]]:
        """The list holds the joules after the block, or nothing."""
        result: list[float] = []
        if self._counter:
            before = self._counter()
            yield result
            result.append((self._counter() - before) / 1e3)
        elif self._rails:
            ended = threading.Event()
            sums = [0.0]
            sampler = threading.Thread(target=self._sample, args=(ended, sums), daemon=True)
            sampler.start()
            try:
                yield result
            finally:
                ended.set()
                sampler.join()
            result.append(sums[0])
        else:
            yield result

    def _sample(self, ended: threading.Event, sums: list[float]) -> None:
        before = time.perf_counter()
        while True:
            over = ended.wait(_PERIOD)
            now = time.perf_counter()
            sums[0] += self.watts() * (now - before)
            before = now
            if over:
                return

    def watts(self) -> float:
        return sum(float(v.read_text()) * float(a.read_text()) * 1e-6 for _, v, a in self._rails)


def rails(hwmon: Path) -> list[tuple[str, Path, Path]]:
    """Name, millivolts and milliamperes of the rail that feeds the whole board, or of all where none is known to."""
    found: list[tuple[str, Path, Path]] = []
    for device in sorted(hwmon.glob("hwmon*")):
        with contextlib.suppress(OSError):
            if "ina3221" not in (device / "name").read_text():
                continue
            for label in sorted(device.glob("in*_label")):
                number = label.name[2 : -len("_label")]
                volts, amperes = device / f"in{number}_input", device / f"curr{number}_input"
                if volts.exists() and amperes.exists():
                    found.append((label.read_text().strip(), volts, amperes))
    whole = [rail for rail in found if rail[0] in _WHOLE_BOARD]
    return whole[:1] or found


def _nvml_counter() -> Callable[[], float] | None:
    """Millijoules since the driver was loaded, of the first device; Volta and later, no Jetson."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        device, energy = ctypes.c_void_p(), ctypes.c_ulonglong()
        if library.nvmlInit_v2() or library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)):
            return None

        def read() -> float:
            code = library.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(energy))
            return float("nan") if code else float(energy.value)

        return None if read() != read() else read
    except (OSError, AttributeError):
        return None
