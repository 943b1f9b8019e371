"""What `fastscnn-segment` writes of a result."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..frame import Frame
from ..result import Result

LOSSLESS = ("labels", "indexed")  # styles whose pixels are numbers


def rendered(result: Result, frame: Frame, style: str, opacity: float) -> NDArray[np.uint8]:
    if style in LOSSLESS:
        return result.labels
    return result.colour() if style == "colour" else result.overlay(frame, opacity)
