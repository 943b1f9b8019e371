"""What must hold of the data before a training begins, and what should."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import SourceError
from ..data_check import only_black_and_white, read_all
from ..datasets import Dataset
from ..variant import MINIMUM_SIDE
from .recipe import Recipe

log = logging.getLogger(__name__)

_PADDING = 0.5  # share of a step's pixels from which it is worth a word


def expect_trainable(
    recipe: Recipe, train: Dataset, counts: NDArray[np.int64], validation: Dataset
) -> tuple[int, int] | None:
    """Warn or refuse; gives the size of the validation images, (height, width), where all have the same.

    Args:
        counts: (256,) pixels of each train id in all training labels.

    Raises:
        SourceError: validation files that cannot be read; no labelled pixel in either split; labels of 0 and 255 alone.
    """
    seen = read_all(validation)
    if seen.broken:
        more = f" and {len(seen.broken) - 1} more problems" if len(seen.broken) > 1 else ""
        raise SourceError(f"{seen.broken[0]}{more}. Mend the validation data first; fastscnn-data lists everything")
    names = train.classes.classes
    for split, pixels, dataset in (("train", counts, train), ("val", seen.pixels, validation)):
        if problem := only_black_and_white(dataset, pixels):
            raise SourceError(f"{split}: {problem}")
        if not pixels[: len(names)].any():
            raise SourceError(
                f"{split} has no labelled pixel: all {len(dataset)} label files are ignored throughout; expected classes in "
                "them. fastscnn-data shows what they hold"
            )
    if absent := [name for name, count in zip(names, counts.tolist(), strict=False) if not count]:
        log.warning(
            "no pixel of %s in train: %s will never be predicted",
            ", ".join(absent),
            "it" if len(absent) == 1 else "they",
        )
    _warn_of_padding(recipe, seen.sizes)
    sizes = [as_size(text) for text in seen.sizes]
    return sizes[0] if len(sizes) == 1 and min(sizes[0]) >= MINIMUM_SIDE else None


def as_size(text: str) -> tuple[int, int]:
    """`240x320` → (240, 320)."""
    height, _, width = text.partition("x")
    return int(height), int(width)


def padding(recipe: Recipe, size: tuple[int, int]) -> float:
    """Share of a crop that an image of (height, width) leaves empty, averaged over the recipe's random resize."""
    height, width = recipe.resolution or size
    factors = np.geomspace(*recipe.scales, 33)
    down, across = (
        np.minimum(1, side * factors / crop) for side, crop in zip((height, width), recipe.crop, strict=True)
    )
    return float(1 - (down * across).mean())


def _warn_of_padding(recipe: Recipe, sizes: Mapping[str, int]) -> None:
    usual = Counter(sizes).most_common(1)[0][0]
    if (empty := padding(recipe, as_size(usual))) > _PADDING:
        shown = f"{recipe.resolution[0]}x{recipe.resolution[1]}" if recipe.resolution else usual
        log.warning(
            "the crop is %dx%d and most pictures are %s: %.0f%% of each step is padding. Take crop=%s, or fastscnn-data recipe, "
            "which fits one to the data", *recipe.crop, usual, 100 * empty, shown,
        )  # fmt: skip
