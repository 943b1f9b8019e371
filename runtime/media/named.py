"""A frame as a source gives it."""

from __future__ import annotations

from dataclasses import dataclass

from ..frame import Frame


@dataclass(frozen=True)
class Named:
    """A frame, what to call its result, and when it was.

    Attributes:
        name: of the result's file, without an ending.
        frame: uint8 (H, W, 3) BGR.
        stamp: seconds. Of a video, since its first frame; of a live source, when it was captured where the driver tells
            and else when it arrived, by `time.monotonic()`; None for an image.
    """

    name: str
    frame: Frame
    stamp: float | None = None

    @property
    def tag(self) -> str:
        """The name, under which a stream's results return it."""
        return self.name
