"""Does something grow? Samples of a process over time, and a verdict that noise does not sway."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

_WARM_UP = 0.25  # share of the samples in which caches fill and libraries load
_MOST = 400  # samples that are compared pair by pair


@dataclass(frozen=True)
class Sample:
    """What a process held at one moment."""

    seconds: float  # since the beginning
    memory: int  # bytes of RSS
    files: int  # open file descriptors
    threads: int

    @classmethod
    def now(cls, seconds: float) -> Sample:
        """Of this process, as Linux tells, once the allocator has given back what is free."""
        _trim()
        process = Path("/proc/self")
        resident = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        files, threads = (sum(1 for _ in (process / kind).iterdir()) for kind in ("fd", "task"))
        return cls(seconds, resident, files, threads)


def _trim() -> None:
    """glibc keeps what is freed in up to eight pools a core, which fill for hours; what is lost cannot be given back."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@dataclass(frozen=True)
class Verdict:
    """How one figure developed after the warm-up."""

    FEWEST: ClassVar[int] = 12  # samples; fewer tell nothing

    what: str
    unit: str
    level: float  # median
    slope: float  # per hour
    grown: float  # by the slope, over the time that was looked at
    allowed: float

    @property
    def flat(self) -> bool:
        return self.grown <= self.allowed

    def __str__(self) -> str:
        return (
            f"{self.what} {'flat' if self.flat else 'GREW'}: {self.level:,.1f} {self.unit}, {self.slope:+,.2f} an hour, "
            f"{self.grown:+,.2f} in the time observed ({self.allowed:g} allowed)"
        )


def verdicts(samples: Sequence[Sample]) -> tuple[Verdict, ...]:
    """One verdict a figure: memory in MB, file descriptors, threads. Needs at least `Verdict.FEWEST` samples."""
    kept = samples[int(len(samples) * _WARM_UP) :]
    kept = kept[:: -(-len(kept) // _MOST)]
    hours = [sample.seconds / 3600 for sample in kept]
    return (
        _verdict("memory", "MB", hours, [sample.memory / 1e6 for sample in kept], 4.0),
        _verdict("file descriptors", "open", hours, [sample.files for sample in kept], 0.5),
        _verdict("threads", "alive", hours, [sample.threads for sample in kept], 0.5),
    )


def _verdict(what: str, unit: str, hours: Sequence[float], values: Sequence[float], allowed: float) -> Verdict:
    slope = theil_sen(hours, values)
    return Verdict(what, unit, float(np.median(values)), slope, slope * (hours[-1] - hours[0]), allowed)


def theil_sen(x: Sequence[float], y: Sequence[float]) -> float:
    """The median slope over all pairs: an allocator's steps and a few outliers, up to 29% of the samples, do not move it."""
    first, second = np.triu_indices(len(x), 1)
    across, up = np.array(x), np.array(y, np.float64)
    return float(np.median((up[second] - up[first]) / (across[second] - across[first])))
