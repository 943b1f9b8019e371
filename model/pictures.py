"""Pictures of an evaluation: the confusion matrix, and an image beside its truth and its prediction."""

from __future__ import annotations

import io

import cv2
import numpy as np
from numpy.typing import NDArray

from ..runtime.artifacts.artifact import IGNORE
from ..runtime.frame import Frame
from .classes import ClassSet
from .metrics import Confusion


def confusion_picture(confusion: Confusion, classes: ClassSet) -> bytes:
    """PNG of the matrix, each row as shares of the class's true pixels."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    rows = confusion.counts.sum(axis=1, keepdims=True)
    shares = confusion.counts / np.maximum(rows, 1)
    count = len(classes)
    side = 3 + 0.45 * count
    figure, axes = pyplot.subplots(figsize=(side, side), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(count), classes.classes, rotation=90)
    axes.set_yticks(range(count), classes.classes)
    axes.set(
        xlabel="predicted",
        ylabel="truth",
        title=f"mean IoU {confusion.mean_iou():.1%}; cells: share of the row's pixels, %",
    )
    for y, x in zip(*np.nonzero(shares >= 0.005), strict=True):
        colour = "white" if shares[y, x] > 0.5 else "black"
        axes.text(x, y, f"{100 * shares[y, x]:.0f}", ha="center", va="center", color=colour, fontsize=7)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    pyplot.close(figure)
    return buffer.getvalue()


def comparison(image: Frame, truth: NDArray[np.uint8], predicted: NDArray[np.uint8], classes: ClassSet) -> bytes:
    """PNG of the image, the truth and the prediction laid over it, and the wrong pixels in red."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(classes)] = np.array(classes.palette, np.uint8)[:, ::-1]
    laid = [cv2.addWeighted(table[labels], 0.6, image, 0.4, 0) for labels in (truth, predicted)]
    wrong = (image // 3).astype(np.uint8)
    wrong[(truth != predicted) & (truth != IGNORE)] = (40, 40, 230)
    board = np.vstack([np.hstack([image, laid[0]]), np.hstack([laid[1], wrong])])
    return bytes(cv2.imencode(".png", board)[1].tobytes())
