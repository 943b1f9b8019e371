"""One measurement of `growth`, in a process of its own, whose peak memory is then this measurement's alone."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ...runtime import Segmenter

_LEAST, _MOST, _SECONDS = 5, 40, 3.0  # calls measured: at least, at most, and for how long


def main(arguments: Sequence[str] | None = None) -> int:
    """MODEL FRAMES DEVICE THREADS IN_FLIGHT → JSON on stdout: milliseconds a frame, and peak memory of the process."""
    model, frames, device, threads, in_flight = sys.argv[1:] if arguments is None else arguments
    shown = list(np.load(frames))
    with Segmenter(model, device, threads=int(threads)) as segmenter:
        batch = (shown * segmenter.artifact.batch)[: segmenter.artifact.batch]
        report = {"device": segmenter.device, "milliseconds": _time(segmenter, batch, int(in_flight))}
    print(json.dumps({**report, "peak_mb": peak_bytes() / 1e6}))
    return 0


def _time(segmenter: Segmenter, batch: list[np.ndarray], in_flight: int) -> float:
    """Median wall time of a frame; with several in flight, of as many calls as are in flight, divided by their number."""
    times: list[float] = []
    with ThreadPoolExecutor(in_flight) as pool:
        for turn in range(2 + _MOST):
            started = time.perf_counter()
            list(pool.map(segmenter.batch, [batch] * (2 * in_flight)))
            if turn >= 2:
                times.append((time.perf_counter() - started) * 1e3 / (2 * in_flight * len(batch)))
            if len(times) >= _LEAST and sum(times) * 2 * in_flight * len(batch) > _SECONDS * 1e3:
                break
    return float(np.median(times))


def peak_bytes() -> int:
    """The most memory that this process ever had in RAM."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status tells no VmHWM; this measurement needs Linux")


if __name__ == "__main__":
    raise SystemExit(main())
