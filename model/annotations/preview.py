"""A picture of a few labelled examples, to see that a data set is what one thinks."""

from __future__ import annotations

import io
from collections.abc import Sequence

import cv2
import numpy as np

from ...runtime.artifacts.artifact import IGNORE
from ...runtime.frame import Frame
from ..classes import ClassSet
from ..labelled.masks import Labels

MOST = 6  # examples
_SIDE = 480  # pixels of the longer side of each


def board(examples: Sequence[tuple[str, Frame, Labels]], classes: ClassSet, shares: Sequence[float]) -> bytes:
    """PNG: each picture beside its labels laid over it, under a legend with the share of each class; ignored is hatched grey."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    table = np.full((256, 3), 128, np.uint8)
    table[: len(classes)] = np.array(classes.palette, np.uint8)
    rows = -(-len(examples) // 2)
    figure, axes = pyplot.subplots(rows, 4, figsize=(14, 0.6 + 2.7 * rows), layout="constrained", squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for place, (name, image, labels) in enumerate(examples):
        scale = min(1.0, _SIDE / max(labels.shape))
        size = max(1, round(labels.shape[1] * scale)), max(1, round(labels.shape[0] * scale))
        shown = cv2.resize(image, size, interpolation=cv2.INTER_AREA)[..., ::-1]
        small = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
        laid = (0.4 * shown + 0.6 * table[small]).astype(np.uint8)
        rising = np.add.outer(np.arange(size[1]), np.arange(size[0])) % 8 < 2
        laid[(small == IGNORE) & rising] = 255
        left, right = axes[place // 2, 2 * (place % 2)], axes[place // 2, 2 * (place % 2) + 1]
        left.imshow(shown)
        left.set_title(name[-40:].replace("$", r"\$"), fontsize=8, loc="left")
        right.imshow(laid)
    patches = [
        Patch(
            facecolor=(colour[0] / 255, colour[1] / 255, colour[2] / 255),
            edgecolor="black",
            label=f"{name} {share:.1%}".replace("$", r"\$"),
        )
        for name, colour, share in zip(classes.classes, classes.palette, shares, strict=False)
    ]
    patches += (
        [Patch(facecolor="grey", edgecolor="white", hatch="//", label=f"ignored {shares[-1]:.1%}")]
        if shares[-1]
        else []
    )
    figure.legend(
        handles=patches[:24], loc="outside upper center", ncols=min(8, len(patches)), fontsize=9, frameon=False
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    pyplot.close(figure)
    return buffer.getvalue()
