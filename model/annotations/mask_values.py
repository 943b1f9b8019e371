"""What a set of mask files holds: which numbers or which colours, and how much of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import UsageError
from ..labelled.masks import Mask, codes, read_mask

_MOST_VALUES = 254  # of ids or colours; a photograph has thousands


@dataclass(frozen=True)
class Values:
    """What all masks hold together: pixels by number, or by colour (0xRRGGBB)."""

    coloured: bool
    counts: dict[int, int]

    def shares(self, names: Mapping[int, str]) -> dict[str, float]:
        total = max(1, sum(self.counts.values()))
        found: dict[str, float] = {}
        for number, name in names.items():
            found[name] = found.get(name, 0.0) + self.counts.get(number, 0) / total
        return found


def values_of(masks: Sequence[Path], by_colour: bool = False) -> Values:
    """Read all masks. They hold colours where one of them does: a black file is grey, and may be one of a coloured set.

    Args:
        by_colour: palettes count as their colours.

    Raises:
        UsageError: more than 254 ids or colours, as in photographs; or some files of each kind.
    """
    counts: dict[int, int] = {}
    coloured = grey = None
    with ThreadPoolExecutor(4) as pool:
        for path, (mask, found, pixels) in zip(
            masks, pool.map(partial(_look, by_colour=by_colour), masks), strict=True
        ):
            if not mask.coloured and not (by_colour and mask.palette):
                grey = path
            elif by_colour or not mask.equal:
                coloured = path
            for value, number in zip(found.tolist(), pixels.tolist(), strict=True):
                counts[value] = counts.get(value, 0) + number
            if len(counts) > _MOST_VALUES + 2:
                raise UsageError(
                    f"{path} and those before it hold more than {_MOST_VALUES} ids or colours; expected label files: a number "
                    "or a colour for each class, without smoothed edges"
                )
    if coloured is not None and grey is not None:
        raise UsageError(f"{coloured} holds colours and {grey} ids; expected one kind in all")
    if coloured is None and grey is None:  # three channels that say the same
        counts = {value & 255: number for value, number in counts.items()}
    return Values(
        coloured is not None, dict(sorted(counts.items(), key=lambda item: -item[1] if coloured else item[0]))
    )


def _look(path: Path, by_colour: bool) -> tuple[Mask, NDArray[np.int64], NDArray[np.int64]]:
    """The mask without its pixels, its values and how often each occurs."""
    mask = read_mask(path)
    values = codes_of(mask) if mask.coloured or (by_colour and mask.palette) else mask.values
    if mask.transparent is not None:
        values = values[~mask.transparent]
    found, counts = np.unique(values.astype(np.int64), return_counts=True)
    light = Mask(mask.values[:0], mask.kind, mask.palette)
    light.__dict__["equal"] = mask.equal
    return light, found, counts


def codes_of(mask: Mask) -> NDArray[np.uint32]:
    """(H, W): 0xRRGGBB, of a palette's entries, too."""
    rgb = mask.values if mask.coloured else np.array(mask.palette, np.uint8).reshape(-1, 3)[mask.values]
    return codes(rgb)
