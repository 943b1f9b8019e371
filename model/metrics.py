"""Segmentation scores from one confusion matrix, counted in whole numbers while frames stream by."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..runtime.artifacts.artifact import IGNORE
from .classes import ClassSet

# Cityscapes' seven categories by train id (cityscapesScripts' labels.py).
CITYSCAPES_CATEGORIES: Mapping[str, Sequence[int]] = {
    "flat": (0, 1),
    "construction": (2, 3, 4),
    "object": (5, 6, 7),
    "nature": (8, 9),
    "sky": (10,),
    "human": (11, 12),
    "vehicle": (13, 14, 15, 16, 17, 18),
}


class Confusion:
    """How often class i (row, the truth) was called class j (column); pixels to ignore are not counted.

    Holds C × C int64 and nothing of the frames, so it neither grows nor overflows.
    """

    def __init__(self, classes: int) -> None:
        self.counts: NDArray[np.int64] = np.zeros((classes, classes), np.int64)

    def add(self, truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Count one frame's (H, W) train ids; gives the frame's own matrix.

        Raises:
            ValueError: shapes that differ, or ids that are neither a class nor, in the truth, 255.
        """
        classes = len(self.counts)
        if truth.shape != predicted.shape:
            raise ValueError(f"the truth has shape {truth.shape}, the prediction {predicted.shape}; expected the same")
        counted = truth != IGNORE
        pairs = truth[counted].astype(np.int64) * 256 + predicted[counted]
        table = np.bincount(pairs, minlength=65536).reshape(256, 256)
        if table[classes:].any() or table[:, classes:].any():
            raise ValueError(
                f"ids outside the {classes} classes; expected 0 to {classes - 1}, or {IGNORE} in the truth"
            )
        frame = table[:classes, :classes]
        self.counts += frame
        return frame

    def class_iou(self) -> NDArray[np.float64]:
        """(C,) intersection over union, NaN for classes that neither occur nor are predicted."""
        return _iou(self.counts)

    def mean_iou(self) -> float:
        """Over the classes that occur in the truth or the prediction; NaN before anything was counted."""
        return _mean(self.class_iou())

    def pixel_accuracy(self) -> float:
        total = int(self.counts.sum())
        return int(np.trace(self.counts)) / total if total else float("nan")

    def category_iou(self, categories: Mapping[str, Sequence[int]]) -> dict[str, float]:
        """IoU of groups of classes: a confusion within a group is no error."""
        groups = [list(members) for members in categories.values()]
        merged = np.array([[self.counts[np.ix_(a, b)].sum() for b in groups] for a in groups])
        return dict(zip(categories, _iou(merged).tolist(), strict=True))

    def as_csv(self, classes: ClassSet) -> str:
        """Rows are the truth, columns the prediction, cells pixels."""
        import csv

        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["truth \\ predicted", *classes.classes])
        for name, row in zip(classes.classes, self.counts.tolist(), strict=True):
            writer.writerow([name, *row])
        return text.getvalue()


def mean_iou(counts: NDArray[np.int64]) -> float:
    """Mean IoU of one matrix, such as a single frame's."""
    return _mean(_iou(counts))


def _iou(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    hit = np.diag(counts).astype(np.float64)
    union = counts.sum(axis=0) + counts.sum(axis=1) - np.diag(counts)
    return np.divide(hit, union, out=np.full(len(counts), np.nan), where=union > 0)


def _mean(values: NDArray[np.float64]) -> float:
    return float(np.nanmean(values)) if np.any(~np.isnan(values)) else float("nan")
