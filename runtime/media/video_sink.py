"""A video of results, with the times that their frames had."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np

from ..artifacts.files import Partial, unwritable
from ..errors import OutputError
from ..frame import Frame, fitted
from .encoders import Encoder, Pace, open_encoder, survives, variable
from .opencv import for_opencv
from .sink import Sink

_RESERVE = 1 << 20  # bytes that a video's index and the encoder's buffers may still need
_USUAL = 25.0  # frames per second where nobody knows
_FASTEST = 120.0  # above it, what a container announces is its clock's rate


class VideoSink(Sink):
    """A video file, written under another name and renamed when complete, so that nobody meets half of one.

    A recording, of a camera for one, cannot be made again. It has its own name from the start and is playable at any time,
    so that a killed one keeps what it had (see `encoders.open_encoder` for what that takes).

    OpenCV does not say when a write fails. So the free space is watched, the video is ended while its index still fits,
    and the finished file is opened once more before it takes its name.

    Args:
        rate: frames per second as the source announces it, for frames without a stamp, and for encoders without time stamps.
        fps: a constant rate to write at, whatever the source's; None keeps the stamps where the encoder can.
        recording: see above.

    Raises:
        OutputError: the place cannot be written.
    """

    def __init__(
        self, path: Path, rate: float | None = None, *, fps: float | None = None, recording: bool = False
    ) -> None:
        self._path, self._recording = path, recording
        self._rate = rate if rate and rate <= _FASTEST else _USUAL
        self._pace = Pace(fps if variable(path) else fps or self._rate, self._rate)
        self._at = fps or self._rate
        self._encoder: Encoder | None = None
        self._size = (0, 0)
        self._image: Frame | None = None  # the last one, which fills a gap
        try:
            direct = recording and survives(path)
            if direct:
                with path.open("ab"):
                    pass
            self._part = None if direct else Partial(path)
        except OSError as error:
            raise unwritable(path, error) from error

    def write(self, name: str, image: Frame, stamp: float | None = None) -> None:
        if self._encoder is None:
            self._size = image.shape[0] + image.shape[0] % 2, image.shape[1] + image.shape[1] % 2
            self._encoder = open_encoder(self._path, self._place, self._size, self._at, recording=self._recording)
        if shutil.disk_usage(self._path.parent).free < _RESERVE + image.nbytes:
            raise OutputError(
                f"{self._path}: the disk is full after {self.written} frames, which the file holds. Free some space and run again"
            )
        before, self._image = self._image, self._even(image)
        times = self._pace.times(stamp)
        for seconds in times[:-1]:
            self._encoder.write(self._image if before is None else before, seconds, self._pace.step)
        if times:
            self._encoder.write(self._image, times[-1], self._pace.step)
        self.written += 1

    @property
    def _place(self) -> Path:
        return self._path if self._part is None else self._part.place

    def _even(self, image: Frame) -> Frame:
        """Codecs cut odd sides, so the last row or column is repeated; a frame of another size is fitted, not dropped."""
        height, width = self._size
        if (image.shape[0] + image.shape[0] % 2, image.shape[1] + image.shape[1] % 2) != self._size:
            return fitted(image, height, width)
        if image.shape[:2] == self._size:
            return image
        below, right = height - image.shape[0], width - image.shape[1]
        return np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)

    def close(self) -> None:
        encoder, self._encoder = self._encoder, None
        try:
            if encoder is None:
                return
            encoder.close()
            if not _plays(self._place):
                raise OutputError(
                    f"{self._path} could not be completed; is the disk full? Free some space and run again"
                )
            if self._part is not None:
                self._part.finish()
        except OSError as error:
            raise unwritable(self._path, error) from error
        finally:
            if self._part is not None:
                self._part.close()
            elif self.written == 0 and self._path.is_file() and self._path.stat().st_size == 0:
                self._path.unlink()


def _plays(path: Path) -> bool:
    capture = cv2.VideoCapture(for_opencv(path))
    try:
        return bool(capture.read()[0])
    finally:
        capture.release()
