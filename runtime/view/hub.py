"""The newest result, for any number of viewers. Whoever segments hands over a reference and goes on."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..frame import Frame
from ..result import Result

_WIDEST = 960  # pixels of what is sent; a still is whole
_QUALITY = 80  # of JPEG
_PERIOD = 1 / 15  # seconds between two pictures that are encoded
_RATED = 50  # results that frames/s looks back on
IGNORE = 255


@dataclass(frozen=True)
class Shown:
    """A result and what the page says beside it."""

    number: int
    frame: Frame
    result: Result
    facts: dict[str, Any]
    at: float  # time.monotonic()


class Hub:
    """Keeps the newest result; pictures are encoded when a viewer asks, once for all of them, and never faster than 15 a second."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._encoding = threading.Lock()
        self._newest: Shown | None = None
        self._encoded: tuple[int, bytes, bytes, bytes] | None = None
        self._encoded_at = -math.inf
        self._times: deque[float] = deque(maxlen=_RATED)
        self.closed = False

    def show(self, frame: Frame, result: Result, facts: dict[str, Any]) -> None:
        """Replace the newest; costs the caller microseconds, whoever watches."""
        now = time.monotonic()
        self._times.append(now)
        with self._changed:
            number = 1 if self._newest is None else self._newest.number + 1
            self._newest = Shown(number, frame, result, facts, now)
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def newest(self) -> Shown | None:
        return self._newest

    def pictures(self, after: int, patience: float) -> tuple[int, bytes, bytes, bytes] | None:
        """Number, facts (JSON), frame (JPEG) and labels (grey PNG) of a result newer than `after`; None if none comes in time."""
        deadline = time.monotonic() + patience
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self.closed or (self._newest is not None and self._newest.number > after),
                    max(0.0, deadline - time.monotonic()),
                )
                if self.closed or self._newest is None or self._newest.number <= after:
                    return None
            with self._encoding:
                shown = self._newest
                made = self._encoded
                if made is None or made[0] < shown.number:
                    early = self._encoded_at + _PERIOD - time.monotonic()
                    if early <= 0:
                        made = self._encoded = (shown.number, *self._encode(shown))
                        self._encoded_at = time.monotonic()
                if made is not None and made[0] > after:
                    return made
            time.sleep(_PERIOD / 4)

    def _encode(self, shown: Shown) -> tuple[bytes, bytes, bytes]:
        height, width = shown.frame.shape[:2]
        scale = min(1.0, _WIDEST / width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        labels = shown.result.labels
        shares = np.bincount(labels.ravel(), minlength=256) / labels.size
        facts = {
            **shown.facts,
            "number": shown.number,
            "size": [height, width],
            "shares": [round(float(s), 4) for s in shares[: len(shown.result.artifact.classes)]],
            "unlabelled": round(float(shares[IGNORE]), 4),
            "frames_per_second": self._rate(),
        }
        picture = cv2.resize(shown.frame, size, interpolation=cv2.INTER_AREA) if scale < 1 else shown.frame
        small = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST) if scale < 1 else labels
        jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
        png = cv2.imencode(".png", small, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
        return json.dumps(facts).encode(), jpeg.tobytes(), png.tobytes()

    def _rate(self) -> float:
        times = list(self._times)
        spent = times[-1] - times[0] if len(times) > 1 else 0.0
        return round((len(times) - 1) / spent, 1) if spent > 0 else 0.0


def still(shown: Shown, opacity: float, hidden: Collection[int]) -> bytes:
    """What the page shows, in the frame's own size, as PNG."""
    return bytes(cv2.imencode(".png", blended(shown.frame, shown.result, opacity, hidden))[1].tobytes())


def blended(frame: Frame, result: Result, opacity: float, hidden: Collection[int]) -> NDArray[np.uint8]:
    """The overlay without some classes; unlabelled pixels show the frame: uint8 (H, W, 3) BGR."""
    left_out = np.zeros(256, np.uint8)
    left_out[[IGNORE, *hidden]] = 255
    overlay = result.overlay(frame, opacity)
    mask = cv2.LUT(result.labels, left_out)
    cv2.copyTo(frame, mask, overlay)
    return overlay
