"""What the node tells about itself on `/diagnostics`, once a second."""

from __future__ import annotations

import math
import time
from collections import deque

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from ..latency import Latency

_WINDOW = 5.0  # seconds that the rate looks back on
_AGES = 1000


class Record:
    """Counts what passes. The thread that segments writes, the one that tells reads."""

    def __init__(self, deadline_ms: float | None) -> None:
        self.latency = Latency(deadline_ms)  # from an image's arrival to its last message
        self.refused = 0
        self.failure = ""  # of the last frame; empty after one that went well
        self._started = time.monotonic()
        self._done: deque[float] = deque(maxlen=4096)
        self._ages: deque[float] = deque(maxlen=_AGES)

    def count(self, milliseconds: float, age_ms: float) -> None:
        """A frame is out. `age_ms`: since its stamp, by the node's clock."""
        self.latency.count(milliseconds)
        self._done.append(time.monotonic())
        self._ages.append(age_ms)
        self.failure = ""

    @property
    def rate(self) -> float:
        """Frames a second, of the last seconds."""
        now = time.monotonic()
        return sum(now - at < _WINDOW for at in list(self._done)) / max(min(_WINDOW, now - self._started), 0.5)

    @property
    def age(self) -> float:
        """Median age of recent frames in milliseconds, NaN before the first."""
        ages = list(self._ages)
        return float(np.median(ages)) if ages else math.nan


def message(name: str, device: str, level: bytes, sentence: str, values: dict[str, object]) -> DiagnosticArray:
    """One status; the caller stamps it."""
    pairs = [KeyValue(key=key, value=f"{v:.2f}" if isinstance(v, float) else str(v)) for key, v in values.items()]
    return DiagnosticArray(
        status=[DiagnosticStatus(level=level, name=name, message=sentence, hardware_id=device, values=pairs)]
    )
