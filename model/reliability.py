"""How often a network is right where it says how sure it is."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15


class Reliability:
    """Pixels in 15 bins of confidence: how many, how sure, how often right; streams, and does not grow."""

    def __init__(self) -> None:
        self.pixels: NDArray[np.int64] = np.zeros(BINS, np.int64)
        self._sure: NDArray[np.float64] = np.zeros(BINS, np.float64)
        self._right: NDArray[np.int64] = np.zeros(BINS, np.int64)

    def add(self, confidence: NDArray[Any], right: NDArray[np.bool_]) -> None:
        """Count pixels of the same shape: probability of the predicted class, 0 to 1, and whether it is the true one."""
        sure = np.asarray(confidence, np.float64).ravel()
        bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
        self.pixels += np.bincount(bins, minlength=BINS)
        self._sure += np.bincount(bins, sure, BINS)
        self._right += np.bincount(bins, right.ravel(), BINS).astype(np.int64)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """(15,) mean of each bin; NaN where it is empty."""
        return self._shares(self._sure)

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """(15,) share of each bin's pixels that are right; NaN where it is empty."""
        return self._shares(self._right)

    def error(self) -> float:
        """Expected calibration error: the mean distance of the two, weighed by pixels; NaN before anything was counted."""
        total = int(self.pixels.sum())
        return float(np.abs(self._sure - self._right).sum() / total) if total else float("nan")

    def as_dict(self) -> dict[str, float | int]:
        total = max(int(self.pixels.sum()), 1)
        return {
            "expected_calibration_error": self.error(),
            "mean_confidence": float(self._sure.sum() / total),
            "accuracy": float(self._right.sum() / total),
            "pixels": int(self.pixels.sum()),
        }

    def _shares(self, of: NDArray[Any]) -> NDArray[np.float64]:
        return np.divide(of, self.pixels, out=np.full(BINS, np.nan), where=self.pixels > 0)


def reliability_picture(found: Mapping[str, Reliability]) -> bytes:
    """PNG: share of right pixels over confidence, a line for each; on the diagonal confidence means what it says."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    left.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
    for name, counted in found.items():
        left.plot(
            counted.confidence, counted.accuracy, marker="o", markersize=3, label=f"{name}: {counted.error():.1%}"
        )
        right.step((np.arange(BINS) + 0.5) / BINS, counted.pixels / max(counted.pixels.sum(), 1), where="mid")
    left.set(
        xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1), title="expected calibration error"
    )
    left.legend()
    right.set(xlabel="confidence", ylabel="share of pixels", xlim=(0, 1), yscale="log", title="how sure it is")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    pyplot.close(figure)
    return buffer.getvalue()
