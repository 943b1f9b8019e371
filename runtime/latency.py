"""How long frames take, and how many took too long: what a robot watches while it drives."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque

import numpy as np

from .errors import UsageError

log = logging.getLogger(__name__)

_WINDOW = 1000  # frames that percentiles look back on
_QUIET = 10.0  # seconds between two warnings


class Latency:
    """Milliseconds from a frame's arrival until its result is handed over, of the last 1000 frames. Threads may share it.

    A frame arrives when it is passed in, or when `stream` has it from its source, so a stream's latency includes the wait
    behind the frames before it, and that for a caller who does not ask. Times are taken from a monotonic clock: setting the system's clock changes nothing.

    Attributes:
        deadline_ms: milliseconds that a frame may take; None where there is no deadline.
        frames: counted since the Segmenter was opened.
        misses: of them, those that took longer than the deadline. The first is told to `logging`, the others at most
            every ten seconds.

    Raises:
        UsageError: a deadline that is not a number above zero.
    """

    def __init__(self, deadline_ms: float | None = None) -> None:
        if deadline_ms is not None and not 0 < deadline_ms < math.inf:
            raise UsageError(f"a deadline of {deadline_ms} ms; expected milliseconds above 0, or None for no deadline")
        self.deadline_ms = deadline_ms
        self.frames = 0
        self.misses = 0
        self._recent: deque[float] = deque(maxlen=_WINDOW)
        self._lock = threading.Lock()
        self._told = -math.inf

    @property
    def p99(self) -> float:
        """The time that 99 of 100 frames stay below; NaN before the first frame."""
        return self.percentile(99)

    def percentile(self, percent: float) -> float:
        """Milliseconds that `percent` of the recent frames stay below; NaN before the first frame."""
        with self._lock:
            recent = list(self._recent)
        return float(np.percentile(recent, percent)) if recent else math.nan

    def count(self, milliseconds: float) -> None:
        """Add a frame."""
        with self._lock:
            self.frames += 1
            self._recent.append(milliseconds)
            if self.deadline_ms is None or milliseconds <= self.deadline_ms:
                return
            self.misses += 1
            now = time.monotonic()
            tell = now - self._told >= _QUIET
            if tell:
                self._told = now
            misses, frames = self.misses, self.frames
        if tell:
            log.warning(
                "a frame took %.1f ms; the deadline is %g ms (%d of %d frames missed it)",
                milliseconds,
                self.deadline_ms,
                misses,
                frames,
            )
