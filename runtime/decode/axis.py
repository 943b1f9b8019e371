"""Where result positions lie between low-resolution samples, and values between them: bilinear interpolation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Taps = tuple[NDArray[np.intp], NDArray[np.intp], Floats]  # sample before, sample after, weight of the latter


@dataclass(frozen=True)
class Axis:
    """How one axis of the result falls into cells between low-resolution samples, clamped at the ends.

    Cell c lies between samples c-1 and c; each has `slots` result positions, of which some may be unused.
    """

    near: NDArray[np.intp]  # (cells,) sample before
    far: NDArray[np.intp]  # (cells,) sample after
    slots: int
    weights: Floats  # of the far sample: (cells, slots), or (1, slots) where all cells are alike
    cell: NDArray[np.intp]  # (size,) of each result position
    weight: Floats  # (size,) of the far sample at each result position
    place: NDArray[np.intp] | slice  # of each result position on the canvas of all slots

    @classmethod
    def between(cls, samples: int, size: int, align_corners: bool) -> Axis:
        pixel = np.arange(size, dtype=np.float64)
        # Where corners align, it multiplies before it divides, so that whole positions come out whole.
        aligned = pixel * (samples - 1) / max(size - 1, 1)
        source = aligned if align_corners else (pixel + 0.5) * (samples / size) - 0.5
        cell = np.floor(source).astype(np.intp) + 1
        weight = (source - np.floor(source)).astype(np.float32)
        counts = np.bincount(cell, minlength=samples + 1)
        slots = int(counts.max())
        slot = np.arange(size) - np.searchsorted(cell, cell)
        slot[cell == 0] += slots - counts[0]  # the first cell is cut at its start, as the last is at its end
        place = cell * slots + slot
        weights = np.full((samples + 1, slots), np.nan, np.float32)
        weights[cell, slot] = weight
        pattern = np.nanmax(weights, axis=0, initial=0)[None]
        alike = bool(np.all(np.isnan(weights) | (weights == pattern)))
        steady = bool(np.all(np.diff(place) == 1))
        edges = np.arange(samples + 1)
        return cls(
            near=np.maximum(edges - 1, 0),
            far=np.minimum(edges, samples - 1),
            slots=slots,
            weights=pattern if alike else np.nan_to_num(weights),
            cell=cell,
            weight=weight,
            place=slice(int(place[0]), int(place[0]) + size) if steady else place,
        )

    def places(self, first: int, last: int) -> tuple[slice, NDArray[np.intp] | slice]:
        """The result positions in cells `first` to `last`, and where these lie on those cells' part of the canvas."""
        here = slice(*np.searchsorted(self.cell, [first, last]).tolist())
        begin = first * self.slots
        if isinstance(self.place, slice):
            return here, slice(self.place.start + here.start - begin, self.place.start + here.stop - begin)
        return here, self.place[here] - begin

    def taps(self, part: slice) -> Taps:
        """Sample before, sample after and weight of the latter, at each result position of a part."""
        cell = self.cell[part]
        return self.near[cell], self.far[cell], self.weight[part]


def interpolated(values: Floats, y: Taps, x: Taps) -> Floats:
    """(..., h, w) → (..., rows, columns) between the samples that `Axis.taps` names."""
    (top, bottom, down), (left, right, along) = y, x
    wide = values[..., left] + (values[..., right] - values[..., left]) * along
    upper = wide[..., top, :]
    return np.asarray(upper + (wide[..., bottom, :] - upper) * down[:, None], np.float32)
