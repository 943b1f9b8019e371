"""Where frames come from: an image, a folder of images, a video, a network stream, a camera or a pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from .images import ImageSource, decoded, read_image
from .named import Named
from .opencv import for_opencv
from .uri import IMAGES, parsed
from .video import VideoSource

PATIENCE = 5.0  # seconds that a camera or an address may take for a frame


class Source:
    """Opens what `place` names, in any form that `runtime/media/uri.py` lists. A context manager over `Named` frames.

        with Source("rtsp://camera.local/stream", reconnect=math.inf) as source:
            for named in source:
                result = segmenter(named.frame)

    Frames are read on the thread that iterates; `close` may come from another, and ends the iteration.

    Args:
        patience: seconds that a camera or URL may take for a frame; three times as many for opening and the first one.
        reconnect: seconds for which a live source that was lost is tried again, with growing pauses; `math.inf` for ever,
            None not at all. It must open once: a wrong address is told at once.

    Attributes:
        frames: how many will come, as the container announces it, which can be wrong; None where nobody knows.
        rate: frames per second of a video, as announced; None for images.
        folder: whether `place` is several images.
        video: whether frames follow each other in time.
        live: whether frames come when they happen, so that a slow reader loses or delays them.
        shown: the place without passwords.
        about: size, format and way in, in words; "" for images.

    Raises:
        SourceError: nothing there, or nothing that can be read. While iterating: a source that breaks off or stalls.
        UsageError: an option in `place` that is unknown or impossible.
    """

    def __init__(self, place: str, *, patience: float = PATIENCE, reconnect: float | None = None) -> None:
        found = parsed(place)
        self.shown = found.shown
        self._source: ImageSource | VideoSource
        if found.kind == "images":
            self._source = ImageSource(found)
        else:
            self._source = VideoSource(found, patience, reconnect)
        self.frames, self.rate, self.folder = self._source.frames, self._source.rate, self._source.folder
        self.video = isinstance(self._source, VideoSource)
        self.live = self._source.live
        self.about = self._source.about

    @property
    def gaps(self) -> int:
        """How often a live source was lost and came back."""
        return self._source.gaps

    @property
    def lost(self) -> float:
        """Seconds that those gaps lasted in all."""
        return self._source.lost

    def __iter__(self) -> Iterator[Named]:
        return iter(self._source)

    def close(self) -> None:
        """Release the file or camera; twice is harmless."""
        self._source.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.close()


__all__ = ["IMAGES", "PATIENCE", "Named", "Source", "decoded", "for_opencv", "read_image"]
