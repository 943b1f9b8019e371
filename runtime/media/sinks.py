"""Where results go: an image file, a folder of images, or a video file. What was finished stays, whatever happens next."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..artifacts.files import Partial, unwritable, write_atomically
from ..errors import OutputError, UsageError
from ..frame import Frame, fitted
from .sources import IMAGES, for_opencv

if TYPE_CHECKING:
    from typing_extensions import Self

VIDEOS = {".mp4": "mp4v", ".mov": "mp4v", ".m4v": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}
_RESERVE = 1 << 20  # bytes that a video's index and the encoder's buffers may still need
_DEFAULT_RATE = 25.0


class Sink:
    """Takes named results one by one; closing completes what there is."""

    written = 0

    def write(self, name: str, image: Frame) -> None:
        raise NotImplementedError

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_sink(output: Path, *, many: bool, rate: float | None, lossless: bool) -> Sink:
    """The sink that `output`'s name asks for.

    Args:
        many: whether more than one result will come.
        rate: frames per second of a video.
        lossless: whether the pixels are numbers that no codec may change.

    Raises:
        UsageError: the name does not fit what will be written.
        OutputError: the place cannot be written.
    """
    suffix = output.suffix.lower()
    if output.is_dir() or not suffix[1:].isalnum() or suffix[1:].isdecimal():  # results_1.0 is a folder, too
        return FolderSink(output, ".png" if lossless else ".jpg")
    if suffix in VIDEOS:
        if lossless:
            raise UsageError(
                f"{output} is a video, whose compression would change label numbers; expected a folder for PNG files"
            )
        return VideoSink(output, rate or _DEFAULT_RATE)
    if suffix in IMAGES:
        if many:
            raise UsageError(
                f"{output} is one image, but several frames will come; expected a folder or a video ({', '.join(VIDEOS)})"
            )
        if lossless and suffix in (".jpg", ".jpeg", ".webp"):
            raise UsageError(
                f"{output} would be compressed with loss, which changes label numbers; expected a .png file"
            )
        return FileSink(output)
    raise UsageError(
        f"{output} ends in {suffix}; expected a folder, an image ({', '.join(IMAGES)}) or a video ({', '.join(VIDEOS)})"
    )


class FileSink(Sink):
    """One image file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, name: str, image: Frame) -> None:
        write_atomically(self._path, _encoded(self._path.suffix, image))
        self.written += 1


class FolderSink(Sink):
    """One image a frame, each complete or absent. The folder is made where it is missing."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self._folder, self._suffix = folder, suffix
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from error

    def write(self, name: str, image: Frame) -> None:
        write_atomically(self._folder / f"{name}{self._suffix}", _encoded(self._suffix, image))
        self.written += 1


class VideoSink(Sink):
    """A video file, written under another name and renamed when complete, so that nobody meets half of one.

    OpenCV does not say when a write fails. So the free space is watched, the video is ended while its index still fits,
    and the finished file is opened once more before it takes its name.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self._path, self._rate = path, rate
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        try:
            self._part = Partial(path)
        except OSError as error:
            raise unwritable(path, error) from error

    def write(self, name: str, image: Frame) -> None:
        if self._writer is None:
            self._size = image.shape[0] + image.shape[0] % 2, image.shape[1] + image.shape[1] % 2
            fourcc = cv2.VideoWriter.fourcc(*VIDEOS[self._path.suffix.lower()])
            self._writer = cv2.VideoWriter(for_opencv(self._part.place), fourcc, self._rate, self._size[::-1])
            if not self._writer.isOpened():
                self._writer = None
                raise OutputError(
                    f"{self._path} cannot be written: OpenCV has no encoder for height={image.shape[0]} width={image.shape[1]} "
                    "in it. Try a name that ends in .avi, or a folder"
                )
        if shutil.disk_usage(self._path.parent).free < _RESERVE + image.nbytes:
            raise OutputError(
                f"{self._path}: the disk is full after {self.written} frames, which the file holds. Free some space and run again"
            )
        self._writer.write(self._even(image))
        self.written += 1

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
        writer, self._writer = self._writer, None
        try:
            if writer is None:
                return
            writer.release()
            if not _plays(self._part.place):
                raise OutputError(
                    f"{self._path} could not be completed; is the disk full? Free some space and run again"
                )
            self._part.finish()
        except OSError as error:
            raise unwritable(self._path, error) from error
        finally:
            self._part.close()


def _plays(path: Path) -> bool:
    capture = cv2.VideoCapture(for_opencv(path))
    try:
        return bool(capture.read()[0])
    finally:
        capture.release()


def _encoded(suffix: str, image: Frame) -> bytes:
    done, data = cv2.imencode(suffix, image)
    if not done:
        raise OutputError(f"OpenCV cannot encode a {suffix} image of shape {image.shape}")
    return data.tobytes()
