"""How time is taken: burn-in, then measured frames, pipelines interleaved frame by frame, in one process.

The paper (section 4) runs 100 frames of burn-in and reports the mean of the next 100, one CPU thread feeding the device.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..runtime.frame import Frame

_PAUSE = 0.02  # seconds between turns, so that neither runs into what the other leaves behind in caches and threads

Pipeline = Callable[[Frame], dict[str, float]]  # gives milliseconds of its inner stages, if it knows any


@dataclass(frozen=True)
class Summary:
    """Latencies of one stage, milliseconds."""

    mean: float
    min: float
    median: float
    p90: float
    p95: float
    p99: float
    jitter: float  # p99 - p50
    frames_per_second: float  # 1000 / mean, as the paper counts

    @classmethod
    def of(cls, milliseconds: NDArray[np.float64]) -> Summary:
        p50, p90, p95, p99 = np.percentile(milliseconds, [50, 90, 95, 99])
        mean = float(milliseconds.mean())
        return cls(
            mean=mean,
            min=float(milliseconds.min()),
            median=float(p50),
            p90=float(p90),
            p95=float(p95),
            p99=float(p99),
            jitter=float(p99 - p50),
            frames_per_second=1e3 / mean,
        )

    def as_dict(self) -> dict[str, float]:
        return {key: round(value, 4) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Measurement:
    """Every latency of every stage of one pipeline, milliseconds; `total` is the wall time around the whole call."""

    stages: dict[str, NDArray[np.float64]]

    def summary(self, stage: str = "total") -> Summary:
        return Summary.of(self.stages[stage])


def measure(
    pipelines: Mapping[str, Pipeline],
    frames: list[Frame],
    *,
    burn_in: int = 100,
    count: int = 100,
    batch: int = 1,
    rests: Mapping[str, float] | None = None,
    advance: Callable[[int], object] = lambda n: None,
) -> dict[str, Measurement]:
    """Time each pipeline on `count` frames after `burn_in` unmeasured ones, taking turns on every frame.

    The order is drawn anew with each frame, from a seed: what stands before one leaves its mark on it.

    Args:
        frames: repeated in order for as long as needed.
        batch: frames that one call of a pipeline segments; the wall time is divided by it.
        rests: seconds without anybody, after those whose threads stay busy when they have answered.
        advance: told after every turn, for a progress display.
    """
    records: dict[str, dict[str, list[float]]] = {name: {} for name in pipelines}
    order, draw = list(pipelines), random.Random(0)
    for index, frame in zip(range(burn_in + count), cycle(frames), strict=False):
        draw.shuffle(order)
        for name in order:
            pipeline = pipelines[name]
            if len(pipelines) > 1:
                time.sleep(_PAUSE)
            started = time.perf_counter()
            stages = pipeline(frame)
            total = (time.perf_counter() - started) * 1e3 / batch
            if index >= burn_in:
                for stage, milliseconds in {**stages, "total": total}.items():
                    records[name].setdefault(stage, []).append(milliseconds)
            if rests and name in rests:
                time.sleep(rests[name])
        advance(1)
    return {name: Measurement({s: np.array(v) for s, v in stages.items()}) for name, stages in records.items()}


def resident_bytes() -> int | None:
    """Memory of this process that is in RAM now; None where the system does not tell."""
    for line in _lines(Path("/proc/self/status")):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return None


def _lines(path: Path) -> Iterator[str]:
    try:
        yield from path.read_text().splitlines()
    except OSError:
        return
