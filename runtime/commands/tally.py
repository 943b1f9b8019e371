"""What a run counts: frames, times, classes, and how old the results of a live source are."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from ..media.named import Named
from ..media.sources import Source
from ..result import Result
from ..segmenter import Segmenter

_RECENT = 1000  # frames whose age is remembered


class Tally:
    """Counts frames, times and pixels of each class for the report.

    Attributes:
        frames: counted so far.
        read: of the source, with those that were dropped.
        dropped: frames that were not segmented because a newer one had come.
    """

    def __init__(self, segmenter: Segmenter, source: Source) -> None:
        self._segmenter, self._source = segmenter, source
        self._started = time.perf_counter()
        self.frames = self.read = self.dropped = 0
        self._stages = dict.fromkeys(("prepare", "forward", "decode", "total"), 0.0)
        self._pixels = np.zeros(256, np.int64)
        self._ages: deque[float] = deque(maxlen=_RECENT)

    def count(self, named: Named, result: Result) -> None:
        """Called when everything about the frame is done."""
        self.frames += 1
        if self._source.live and named.stamp is not None:
            self._ages.append((time.monotonic() - named.stamp) * 1e3)
        for stage in self._stages:
            self._stages[stage] += getattr(result.timings, stage)
        self._pixels += np.bincount(result.labels.ravel(), minlength=256)

    @property
    def rate(self) -> float:
        return self.frames / (time.perf_counter() - self._started)

    def ages(self) -> dict[str, float]:
        """Milliseconds from a frame's stamp to the end of its work, of recent frames; empty where the source is not live."""
        if not self._ages:
            return {}
        median, p95, most = np.percentile(self._ages, [50, 95, 100])
        return {"median": round(float(median), 1), "p95": round(float(p95), 1), "max": round(float(most), 1)}

    def sentence(self) -> str:
        words = [f"{self.frames} frame{'s' * (self.frames > 1)}, {self.rate:.1f} frames/s"]
        if self.dropped:
            words.append(f"{self.dropped} of {self.read} dropped for newer ones")
        if ages := self.ages():
            words.append(f"age when done: median {ages['median']:.0f} ms, p95 {ages['p95']:.0f} ms")
        if self._source.gaps:
            words.append(f"{self._source.gaps} gap{'s' * (self._source.gaps > 1)}, {self._source.lost:.1f} s lost")
        return "; ".join(words)

    def facts(self, result: Result, model: Path) -> dict[str, Any]:
        """What the view shows beside a result."""
        return {
            "source": self._source.shown,
            "model": model.name,
            "device": self._segmenter.device,
            "frames": self.frames,
            "read": self.read,
            "dropped": self.dropped,
            "gaps": self._source.gaps,
            "milliseconds": result.timings.total,
            "p99": self._segmenter.latency.p99,
            "age": self.ages().get("median"),
        }

    def report(self, output: str) -> dict[str, object]:
        artifact = self._segmenter.artifact
        total = max(int(self._pixels.sum()), 1)
        return {
            "input": self._source.shown,
            "output": output,
            "frames": self.frames,
            "read": self.read,
            "dropped": self.dropped,
            "gaps": self._source.gaps,
            "seconds_lost": round(self._source.lost, 3),
            "frames_per_second": round(self.rate, 2),
            "age_milliseconds": self.ages(),
            "mean_milliseconds": {stage: round(t / max(self.frames, 1), 3) for stage, t in self._stages.items()},
            "class_share": {name: int(self._pixels[i]) / total for i, name in enumerate(artifact.classes)},
            "model": {"head": artifact.head, "resolution": artifact.resolution, "trained": artifact.trained},
            "device": self._segmenter.device,
        }
