"""Frames of a video file, a pipe, a camera or an address, one after the other, back again after a loss."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import cv2

from ..errors import SourceError
from ..frame import Frame
from .containers import frames_told
from .live import Connection, Reconnector
from .named import Named
from .truncation import missing
from .turning import turned
from .uri import Place
from .watch import ClosedError

log = logging.getLogger(__name__)

_WHOLE = 0.95  # share of the frames that a fragmented file lists, below which OpenCV has not read it
_MOST = 0.5  # share of the announced frames below which an address's clip is worth a word


class VideoSource:
    """See `Source`. Its frames are read on the thread that iterates; `close` may come from any."""

    folder = False

    def __init__(self, place: Place, patience: float, reconnect: float | None) -> None:
        self._place = place
        self._closed = False
        self._connection = Connection(place, patience)
        self.live, self.rate, self.about = self._connection.live, self._connection.rate, self._connection.about
        self.frames: int | None = self._connection.announced
        self._again = (
            Reconnector(place, patience, reconnect, lambda: self._closed)
            if reconnect is not None and self.live
            else None
        )

    @property
    def gaps(self) -> int:
        return self._again.gaps if self._again else 0

    @property
    def lost(self) -> float:
        return self._again.lost if self._again else 0.0

    def __iter__(self) -> Iterator[Named]:
        index, size = 0, None
        for frame, stamp in self._shots():
            if size not in (None, frame.shape[:2]):
                log.warning("%s changed its frames from %s to %s after %d", self._what, size, frame.shape[:2], index)
            size = frame.shape[:2]
            yield Named(f"{index:06d}", frame, stamp)
            index += 1
        if self._closed:
            return
        if index == 0:
            raise SourceError(f"{self._what} holds no frame that can be decoded; it is damaged or in an unknown format")
        self._look_at_the_end(index)

    def _shots(self) -> Iterator[tuple[Frame, float]]:
        index = 0
        try:
            while True:
                try:
                    shot = self._connection.next(index)
                    if shot is None and self.live:
                        raise SourceError(f"{self._what} ended after {index} frames")
                except SourceError as error:
                    if self._again is None:
                        raise
                    self._connection.close()
                    self._connection, shot = self._again.again(error)
                if shot is None:
                    return
                index += 1
                yield turned(shot[0], self._place), shot[1]
        except ClosedError:
            return
        finally:
            if self._closed:  # a new connection may have come while another thread closed the old one
                self._connection.close()

    @property
    def _what(self) -> str:
        return self._connection.what

    def _look_at_the_end(self, index: int) -> None:
        """The decoder's end is believed: what a container announces is an estimate, of longer sound for one.

        Raises:
            SourceError: the file is shorter than its own structure says.
        """
        if self._place.kind == "file" and (lacking := missing(Path(self._place.target))):
            raise SourceError(
                f"{self._place.shown} ends after {index}{f' of {self.frames}' if self.frames else ''} frames; it is truncated: {lacking}. Copy it again"
            )
        listed = frames_told(Path(self._place.target)) if self._place.kind == "file" else 0
        if index < listed * _WHOLE:
            raise SourceError(
                f"{self._place.shown} ends after {index} of {listed} frames, which its fragments list: OpenCV {cv2.__version__} does not "
                "read them all. Rewrite it in one part (ffmpeg -i IN -c copy OUT.mp4), or upgrade opencv-python"
            )
        if self._place.kind == "network" and self.frames and index < self.frames * _MOST:
            log.warning(
                "%s ended after %d of the %d frames that it announces; the connection may have broken",
                self._what, index, self.frames,
            )  # fmt: skip

    def close(self) -> None:
        self._closed = True
        self._connection.close()
