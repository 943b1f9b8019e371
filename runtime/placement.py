"""Where a frame, or the part of it that counts, lies at the model's resolution; and the way back, to the pixel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import FrameError, UsageError
from .frame import Frame, fitted, restored
from .pixels import BGR8, PixelFormat, pixel_format

Roi = tuple[slice, slice]  # rows and columns of the frame
Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Placement:
    """Of one frame.

    Attributes:
        size: (height, width) of the frame.
        rows, columns: of the frame, that are segmented.
        full: (height, width) of the model's resolution.
        down, across: rows and columns of it that they fill; what is left is border.
    """

    size: Size
    rows: slice
    columns: slice
    full: Size
    down: slice
    across: slice

    @classmethod
    def of(cls, size: Size, full: Size, roi: Roi | None = None, letterbox: bool = False) -> Placement:
        """
        Raises:
            FrameError: a region of interest that is no part of this frame.
        """
        if roi is None:
            return _whole(size, full, letterbox)
        rows, columns = map(_within, roi, size)
        return cls._laid(size, rows, columns, full, letterbox)

    @classmethod
    def _laid(cls, size: Size, rows: slice, columns: slice, full: Size, letterbox: bool) -> Placement:
        filled = full
        if letterbox:
            height, width = rows.stop - rows.start, columns.stop - columns.start
            scale = min(full[0] / height, full[1] / width)
            filled = max(round(height * scale), 1), max(round(width * scale), 1)
        down, across = (
            slice((most - inside) // 2, (most - inside) // 2 + inside)
            for most, inside in zip(full, filled, strict=True)
        )
        return cls(size, rows, columns, full, down, across)

    @property
    def bordered(self) -> bool:
        """Whether it fills only a part of the model's resolution."""
        return (_length(self.down), _length(self.across)) != self.full

    @property
    def cropped(self) -> bool:
        """Whether only a part of the frame is segmented."""
        return (_length(self.rows), _length(self.columns)) != self.size

    def part(self, frame: NDArray[Any]) -> NDArray[Any]:
        """What is segmented of a frame whose pixels stand for themselves; or all of one of which all is."""
        return frame[self.rows, self.columns] if self.cropped else frame

    def bordering(self, part: Frame, colour: tuple[float, float, float]) -> Frame:
        """The part of the frame that is segmented, at the model's resolution between borders of this BGR colour."""
        out = np.empty((*self.full, 3), np.uint8)
        out[:] = np.rint(colour)
        out[self.down, self.across] = fitted(part, _length(self.down), _length(self.across))
        return out

    def restored(self, values: NDArray[Any], outside: int) -> NDArray[Any]:
        """(…, H, W) of the model's resolution → (…, height, width) of the frame, by nearest neighbour; `outside` where it is
        not segmented."""
        if values.ndim == 3 and (self.bordered or self.cropped or values.shape[1:] != self.size):
            return np.stack([self.restored(plane, outside) for plane in values])
        if values.ndim == 3:
            return values
        if self.bordered:
            values = np.ascontiguousarray(values[self.down, self.across])
        part = restored(values, _length(self.rows), _length(self.columns))
        if not self.cropped:
            return part
        whole = np.full(self.size, outside, values.dtype)
        whole[self.rows, self.columns] = part
        return whole

    def nearest(
        self, rows: slice, columns: slice
    ) -> tuple[tuple[NDArray[np.intp], slice], tuple[NDArray[np.intp], slice]]:
        """Where pixels of the frame lie at the model's resolution, as `restored` has it, and what they span; down and across.

        Raises:
            UsageError: pixels that are not segmented.
        """
        for name, wanted, there in (("rows", rows, self.rows), ("columns", columns, self.columns)):
            if wanted.start < there.start or wanted.stop > there.stop:
                raise UsageError(
                    f"{name} {wanted.start} to {wanted.stop} reach beyond the region of interest; "
                    f"expected some of {there.start} to {there.stop}"
                )
        return (
            _nearest(slice(rows.start - self.rows.start, rows.stop - self.rows.start), _length(self.rows), self.down),
            _nearest(
                slice(columns.start - self.columns.start, columns.stop - self.columns.start),
                _length(self.columns),
                self.across,
            ),
        )

    def smooth(self, grid: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(h, w) samples of the model's resolution → the frame's size, bilinear between them; 0 where it is not segmented."""
        whole = np.asarray(cv2.resize(grid, self.full[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
        part = fitted(np.ascontiguousarray(whole[self.down, self.across]), _length(self.rows), _length(self.columns))
        out = np.zeros(self.size, np.uint8)
        out[self.rows, self.columns] = part
        return out


@lru_cache(64)  # a camera's frames are all alike
def _whole(size: Size, full: Size, letterbox: bool) -> Placement:
    return Placement._laid(size, slice(0, size[0]), slice(0, size[1]), full, letterbox)


@dataclass(frozen=True)
class Framing:
    """How frames are to be read: see `Segmenter`."""

    pixel_format: PixelFormat = BGR8
    roi: Roi | None = None
    letterbox: bool = False

    @classmethod
    def of(cls, format: str | PixelFormat, roi: Any, letterbox: bool) -> Framing:
        """
        Raises:
            UsageError: an unknown format, or a region that is no pair of slices.
        """
        if roi is not None:
            roi = tuple(roi) if isinstance(roi, (tuple, list)) else roi
            if not isinstance(roi, tuple) or len(roi) != 2 or not all(isinstance(part, slice) for part in roi):
                raise UsageError(
                    f"roi {roi!r} is no part of a frame; expected slices of rows and columns, such as np.s_[400:1000, :]"
                )
            if any(part.step not in (None, 1) for part in roi):
                raise UsageError(f"roi {roi!r} steps over pixels; expected slices without a step")
        return cls(pixel_format(format), roi, bool(letterbox))

    def changed(self, format: str | PixelFormat | None, roi: Any, letterbox: bool | None) -> Framing:
        """With what is not None in place of its own."""
        if format is None and roi is None and letterbox is None:
            return self
        return Framing.of(
            self.pixel_format if format is None else format,
            self.roi if roi is None else roi,
            self.letterbox if letterbox is None else letterbox,
        )


BGR = Framing()


def _within(part: slice, size: int) -> slice:
    start, stop = part.start or 0, size if part.stop is None else part.stop
    start, stop = (place + size if place < 0 else place for place in (start, stop))
    if not 0 <= start < stop <= size:
        raise FrameError(
            f"the region of interest takes {part.start} to {part.stop} of {size} pixels; expected a part of the frame"
        )
    return slice(start, stop)


def _length(part: slice) -> int:
    return int(part.stop - part.start)


def _nearest(part: slice, size: int, inside: slice) -> tuple[NDArray[np.intp], slice]:
    places = restored(np.arange(inside.start, inside.stop, dtype=np.float32)[:, None], size, 1)[part, 0].astype(np.intp)
    return places, slice(int(places[0]), int(places[-1]) + 1)
