"""How far reduced precision may part from float32, of the same network on the same frames: the gate of FP16, BF16 and any other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..decode.decoder import upsampled

REDUCED = 1e-2  # largest difference of logits, as a share of their range; also what two classes may lie apart in a tie
# The same of INT8 files, between engines. Steps that fall the other way move single logits (0.06 at most, measured) whose mean
# hardly moves (0.003); how near such a file is to float32 was counted in labels when it was made.
QUANTISED = 0.2
_LEAST = 1e-12  # of a range, so that constant logits divide


def share(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest difference of two logits, as a share of the expected ones' range; NaN where one is."""
    return float(np.abs(found.astype(np.float32) - expected.astype(np.float32)).max()) / _range(expected)


def clear(
    logits: NDArray[Any], size: tuple[int, int], tolerance: float, align_corners: bool = False
) -> NDArray[np.bool_]:
    """(C, h, w) → (H, W): where the two best classes lie further apart than the tolerance, a share of the logits' range."""
    best = np.full(size, -np.inf, np.float32)
    second = best.copy()
    for plane in logits.astype(np.float32):  # upsampled as the decode does, or its labels would not be these
        full = upsampled(plane, size, align_corners)
        second = np.maximum(second, np.minimum(best, full))
        best = np.maximum(best, full)
    return np.asarray(best - second > tolerance * _range(logits))


def _range(logits: NDArray[Any]) -> float:
    return max(float(logits.max()) - float(logits.min()), _LEAST)
