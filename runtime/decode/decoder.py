"""Low-resolution logits → full-resolution labels or probabilities, exactly and without upsampling every class.

Bilinear interpolation is a convex combination of a cell's four corners. A class that wins at all four wins everywhere
between them, so such a cell is a constant fill; only cells whose corners disagree (5 to 10% of a street) are interpolated,
and only for the classes that can win there. Probabilities need every class everywhere, but subtracting each
low-resolution pixel's maximum first leaves the soft-max unchanged and keeps exponents below zero, so one exponential and
no second pass over the map suffices.

A compiled decode does the work where there is one (`native/`), else NumPy does (`in_numpy.py`), with the same results.
"""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..artifacts.artifact import Artifact
from ..errors import UsageError
from . import native
from .axis import Axis, Floats, interpolated
from .crew import Crew
from .in_numpy import UNKNOWN, InNumPy, Labels, argmax
from .memory import Recycler


class _Steps(Protocol):
    """What a decode must offer, for logits that are float32 (C, h, w), contiguous, of the geometry that it was made for."""

    def labels(self, logits: Floats, unknown_below: float, result: Labels, crew: Crew) -> None: ...

    def probabilities(self, logits: Floats, result: Floats, crew: Crew) -> None: ...

    def certainty(self, logits: Floats) -> Floats: ...


class Decoder:
    """Decode logits of one geometry. Threads may share it; after `close` it still works, on the caller's thread alone.

    Args:
        logits_size: (h, w) of the logits.
        size: (H, W) of the result; any ratio.
        threads: that share the work.
        align_corners: the first and last sample lie on the first and last pixel, as PyTorch's option of that name has it;
            otherwise pixels have half-pixel centres, as in this project's own exports.
        probability: "softmax" over the classes, or "sigmoid" of each class by itself.
    """

    def __init__(
        self,
        logits_size: tuple[int, int],
        size: tuple[int, int],
        threads: int = 1,
        *,
        align_corners: bool = False,
        probability: str = "softmax",
    ) -> None:
        self.logits_size, self.size, self.align_corners = logits_size, size, align_corners
        self.probability = probability
        self._crew = Crew(threads)
        self._labels = Recycler(size, np.uint8)
        self._probabilities: dict[int, Recycler] = {}  # by the number of classes
        self._y, self._x = (Axis.between(low, full, align_corners) for low, full in zip(logits_size, size, strict=True))
        library, _ = native.found()
        self._steps: _Steps = (
            native.Native(library, self._y, self._x, probability)
            if library
            else InNumPy(self._y, self._x, align_corners, probability)
        )

    @classmethod
    def of(cls, artifact: Artifact, threads: int = 1) -> Decoder:
        """For the logits of a model, as its description tells."""
        return cls(
            (artifact.logits_height, artifact.logits_width),
            (artifact.height, artifact.width),
            threads,
            align_corners=artifact.align_corners,
            probability=artifact.probability,
        )

    def labels(self, logits: NDArray[Any], unknown_below: float = 0.0) -> Labels:
        """(C, h, w) float16 or float32 → (H, W) uint8 arg-max of the bilinear upsampling; the lower class wins a tie.

        Where the winner's probability is below `unknown_below`, 255. Logits are finite: next to one that is not, labels are
        any, and probabilities may be NaN.
        """
        logits = self._expected(logits)
        result: Labels = self._labels.array()
        self._steps.labels(logits, unknown_below, result, self._crew)
        return result

    def probabilities(self, logits: NDArray[Any]) -> Floats:
        """(C, h, w) float16 or float32 → (C, H, W) float32 soft-max, or each class's sigmoid, of the bilinear upsampling."""
        logits = self._expected(logits)
        classes = len(logits)
        if classes not in self._probabilities:
            self._probabilities[classes] = Recycler((classes, *self.size))
        result: Floats = self._probabilities[classes].array()
        self._steps.probabilities(logits, result, self._crew)
        return result

    def certainty(self, logits: NDArray[Any]) -> Floats:
        """(C, h, w) → (h, w) float32: the probability of each sample's best class, without upsampling."""
        return self._steps.certainty(self._expected(logits))

    def confidence(self, logits: NDArray[Any]) -> NDArray[np.uint8]:
        """(C, h, w) → (h, w) uint8: `certainty` from 0 to 255."""
        return np.asarray(cv2.convertScaleAbs(self.certainty(logits), alpha=255), np.uint8)

    def region(self, logits: NDArray[Any], rows: slice, columns: slice) -> Floats:
        """(C, h, w) → (C, rows, columns) float32: what `probabilities` gives there, at the cost of that part alone."""
        top, bottom, down = self._y.taps(rows)
        left, right, along = self._x.taps(columns)
        low = logits[:, top[0] : bottom[-1] + 1, left[0] : right[-1] + 1].astype(np.float32)
        top, bottom, left, right = top - top[0], bottom - top[0], left - left[0], right - left[0]
        if self.probability == "softmax":
            low -= low.max(axis=0)  # as in `probabilities`
        full = interpolated(low, (top, bottom, down), (left, right, along))
        if self.probability == "sigmoid":
            return np.reciprocal(1 + cv2.exp(-full.reshape(len(full), -1)).reshape(full.shape))
        full -= full.max(axis=0)
        np.exp(full, out=full)
        full /= full.sum(axis=0)
        return full

    def _expected(self, logits: NDArray[Any]) -> Floats:
        if logits.shape[1:] != self.logits_size or not 1 <= len(logits) <= UNKNOWN:
            raise UsageError(
                f"logits of shape {logits.shape}; expected (classes, {self.logits_size[0]}, {self.logits_size[1]}), "
                f"1 to {UNKNOWN} classes"
            )
        return np.ascontiguousarray(logits, np.float32)

    def close(self) -> None:
        """End the threads and keep no memory. Nothing may be decoding meanwhile."""
        self._labels.clear()
        for recycler in self._probabilities.values():
            recycler.clear()
        self._crew.close()


def upsampled(plane: Floats, size: tuple[int, int], align_corners: bool) -> Floats:
    """(h, w) → (H, W) float32: bilinear, as the decode has it."""
    y, x = (
        Axis.between(low, full, align_corners).taps(slice(None)) for low, full in zip(plane.shape, size, strict=True)
    )
    return interpolated(plane, y, x)


def described() -> str:
    """What decodes here, in words that a report can print."""
    library, why = native.found()
    return f"compiled, {library.name}" if library else f"NumPy, as {why}"


__all__ = ["UNKNOWN", "Decoder", "Labels", "argmax", "described", "upsampled"]
