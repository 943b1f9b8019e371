"""What every way of reading a video or a camera offers, and which way is taken for what.

OpenCV's FFmpeg reads files, pipes and addresses, its V4L2 the USB cameras; GStreamer, through PyGObject, reads CSI cameras, RTP and
pipelines. PyAV's FFmpeg was measured beside OpenCV's on ten kinds of files (benchmarks/results/durations.md): time stamps
equal to a microsecond, as many frames, and of five truncated files it notices one, so it is no second way in: reading works
in the smallest install. What OpenCV cannot do is write time stamps, H.264 and fragments; for that PyAV is taken, see `encoders.py`.
"""

from __future__ import annotations

from typing import Protocol

from ..frame import Frame
from .uri import Place


class Reader(Protocol):
    """An opened video or camera. Not for two threads at once.

    Attributes:
        live: whether frames come when they happen, and are lost if nobody takes them.
        announced: how many frames the container claims, an estimate; None where it claims nothing.
        rate: frames per second that it claims, or None.
        about: what was opened, for the doctor: size, format.
    """

    live: bool
    announced: int | None
    rate: float | None
    about: str

    def read(self) -> tuple[Frame, float] | None:
        """A frame, uint8 (H, W, 3) BGR, and its stamp in seconds as in `Named`; None where there is none (any more)."""

    def close(self) -> None: ...


def open_reader(place: Place, patience: float) -> Reader:
    """Open it; may hang, where a device or an address does.

    Args:
        patience: seconds after which FFmpeg and GStreamer give up a frame themselves, so that no thread of theirs stays.

    Raises:
        SourceError: it cannot be opened.
    """
    if place.kind in ("csi", "rtp", "pipeline"):
        from .gstreamer import GStreamerReader  # PyGObject is not everywhere

        return GStreamerReader(place, patience)
    from .opencv import OpenCVReader

    return OpenCVReader(place, patience)
