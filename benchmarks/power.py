"""Clocks, power mode and energy of the device that is measured: a desktop's NVML, a Jetson's tools and sensors."""

from __future__ import annotations

import contextlib
import ctypes
import math
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_HWMON = Path("/sys/class/hwmon")
_SENSORS = ("ina3221", "ina238")
_WHOLE_BOARD = ("VDD_IN", "VIN", "SYS_VIN_HV", "POM_5V_IN")  # rails that hold all others, by generation
# By another rail that is measured: AGX Orin's VIN_SYS_5V0, which holds no more than the I/O.
_FED = ("VDDQ_VDD2_1V8AO",)
_PERIOD = 0.05  # seconds between two readings of a board's sensor
_QUERY = "clocks.sm,clocks.mem,clocks.max.sm,power.draw,power.limit,temperature.gpu,pstate,persistence_mode"
_TOOLS = {
    "nvidia-smi": ("nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader"),
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
        if name == "nvidia-smi":
            words = (*words, f"--id={_bus_id() or 0}")
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
            self.source = f"sensors of the board, {', '.join(name for name, _, _ in self._rails)}, read every {_PERIOD * 1e3:.0f} ms"

    @contextlib.contextmanager
    def spent(self) -> Iterator[list[float]]:
        """The list holds the joules after the block, or nothing where a reading failed."""
        result: list[float] = []
        if self._counter:
            before = self._counter()
            yield result
            joules = (self._counter() - before) / 1e3
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
            joules = sums[0]
        else:
            yield result
            return
        if math.isfinite(joules):
            result.append(joules)

    def _sample(self, ended: threading.Event, sums: list[float]) -> None:
        before = time.perf_counter()
        while True:
            over = ended.wait(_PERIOD)
            now = time.perf_counter()
            try:
                sums[0] += self.watts() * (now - before)
            except (OSError, ValueError):
                sums[0] = math.nan  # a sum with a gap would be too small
            before = now
            if over:
                return

    def watts(self) -> float:
        return sum(float(v.read_text()) * float(a.read_text()) * 1e-6 for _, v, a in self._rails)


def rails(hwmon: Path) -> list[tuple[str, Path, Path]]:
    """Name, millivolts and milliamperes of the rail that feeds the whole board, or of all that no other feeds."""
    found: list[tuple[str, Path, Path]] = []
    for device in sorted(hwmon.glob("hwmon*")):
        with contextlib.suppress(OSError):
            if not (device / "name").read_text().startswith(_SENSORS):
                continue
            for label in sorted(device.glob("in*_label")):
                number = label.name[2 : -len("_label")]
                volts, amperes = device / f"in{number}_input", device / f"curr{number}_input"
                if volts.exists() and amperes.exists():
                    found.append((label.read_text().strip(), volts, amperes))
    whole = [rail for rail in found if rail[0] in _WHOLE_BOARD]
    return whole[:1] or [rail for rail in found if rail[0] not in _FED]


def _bus_id() -> str | None:
    """Of CUDA's first device, which need not be NVML's first; None where nothing tells."""
    try:
        import pycuda.driver as cuda
    except ImportError:
        return None
    driver: Any = cuda
    try:
        driver.init()
        return str(driver.Device(0).pci_bus_id())
    except driver.Error:
        return None


def _nvml_counter() -> Callable[[], float] | None:
    """Millijoules since the driver was loaded, of CUDA's first device; Volta and later, no Jetson."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        device, energy = ctypes.c_void_p(), ctypes.c_ulonglong()
        if library.nvmlInit_v2():
            return None
        bus = _bus_id()
        if bus is None:
            code = library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device))
        else:
            code = library.nvmlDeviceGetHandleByPciBusId_v2(bus.encode(), ctypes.byref(device))
        if code:
            return None

        def read() -> float:
            code = library.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(energy))
            return float("nan") if code else float(energy.value)

        return None if read() != read() else read
    except (OSError, AttributeError):
        return None
