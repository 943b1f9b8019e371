"""Where frames come from: an image, a folder of images, a video file, a network stream or a camera."""

from __future__ import annotations

import logging
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ..artifacts.files import there, whole
from ..errors import ArtifactError, FrameError, SourceError, UsageError
from ..frame import Frame, checked
from .watch import Watched

log = logging.getLogger(__name__)
T = TypeVar("T")

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
PATIENCE = 5.0  # seconds that a camera or an address may take for a frame
_CAMERA_DIGITS = 5
_IMAGE_BYTES = 1 << 30  # of an image file
_FIRST = 3  # times as many for opening it, and for its first frame
_GONE = 2.0  # seconds that it may answer at once that it has none
_WHOLE = 0.95  # share of a video's announced frames below which it counts as damaged; the announcement is an estimate


@dataclass(frozen=True)
class Named:
    """A frame and what to call its result."""

    name: str
    frame: Frame  # uint8 (H, W, 3) BGR


class ImageSource:
    """One image, or the images of a folder in natural order. Unreadable ones are passed over and listed at the end."""

    rate: float | None = None

    def __init__(self, path: Path) -> None:
        self.folder = path.is_dir()
        if self.folder:
            self._paths = sorted(
                (
                    p
                    for p in path.iterdir()
                    if p.suffix.lower() in IMAGES and p.is_file() and not p.name.startswith(".")
                ),
                key=_natural,
            )
            if not self._paths:
                raise SourceError(f"{path} holds no images; expected files ending in {', '.join(IMAGES)}")
        else:
            self._paths = [path]
        self._stems = Counter(path.stem for path in self._paths)
        self.frames: int | None = len(self._paths)

    def __iter__(self) -> Iterator[Named]:
        unreadable = []
        for path in self._paths:
            try:
                frame = checked(read_image(path))
            except (SourceError, FrameError) as error:
                if not self.folder:
                    raise
                unreadable.append(str(error) if str(path) in str(error) else f"{path}: {error}")
                continue
            yield Named(self._name(path), frame)
        if unreadable:
            more = f" and {len(unreadable) - 3} more" if len(unreadable) > 3 else ""
            raise SourceError(
                f"{len(unreadable)} of {len(self._paths)} images were passed over: {'; '.join(unreadable[:3])}{more}"
            )

    def _name(self, path: Path) -> str:
        """The stem; with the ending where another image of the folder has the same, so that no result is overwritten."""
        return path.stem if self._stems[path.stem] == 1 else path.name.replace(".", "_")

    def close(self) -> None: ...


class VideoSource:
    """A video file, a network stream (a URL) or a camera (its number or device)."""

    folder = False

    def __init__(self, place: str, patience: float) -> None:
        self._place, self._patience = place, patience
        camera, remote = place.isdecimal() or place.startswith("/dev/"), "://" in place
        self._what = f"camera {place}" if camera else f"the stream {place}" if remote else place
        self._watched = Watched("fastscnn-source") if camera or remote else None
        self._capture: cv2.VideoCapture | None = None
        try:
            self._capture = self._within(patience * _FIRST, "did not open", lambda: _opened(place, remote, patience))
            if not self._capture.isOpened():
                raise SourceError(_unopened(place, camera, remote))
        except SourceError:
            self.close()
            raise
        announced = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.live = camera or (remote and announced <= 0)
        self.frames: int | None = announced if announced > 0 and not self.live else None
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate: float | None = rate if 0 < rate < 1000 else None

    def __iter__(self) -> Iterator[Named]:
        assert self._capture is not None
        index, last, size = 0, time.monotonic(), None
        while True:
            within = self._patience * (1 if index else _FIRST)
            read, frame = self._within(within, f"gave no frame after {index} of them", self._capture.read)
            if read and frame is not None:
                if size not in (None, frame.shape[:2]):
                    log.warning(
                        "%s changed its frames from %s to %s after %d", self._what, size, frame.shape[:2], index
                    )
                size = frame.shape[:2]
                yield Named(f"{index:06d}", np.asarray(frame, np.uint8))
                index, last = index + 1, time.monotonic()
            elif not self.live or time.monotonic() - last > _GONE:
                break
            else:
                time.sleep(0.02)  # a missing device fails at once, again and again
        if self.live:
            raise SourceError(f"{self._what} stopped giving frames after {index}. Check its cable, power and network")
        if index == 0:
            raise SourceError(
                f"{self._place} holds no frame that can be decoded; it is damaged or in an unknown format"
            )
        if self.frames and index < self.frames * _WHOLE:
            raise SourceError(
                f"{self._place} ends after {index} of {self.frames} frames; it is truncated or damaged. Copy it again"
            )

    def _within(self, seconds: float, what: str, function: Callable[[], T]) -> T:
        """Files answer; whatever hangs on a cable may not."""
        if self._watched is None:
            return function()
        try:
            return self._watched.call(function, seconds)
        except TimeoutError:
            raise SourceError(
                f"{self._what} {what}, for {seconds:g} s. Check its cable, power and network, or have more patience (--patience)"
            ) from None

    def close(self) -> None:
        if self._watched is None:
            self._release()
        else:  # by its own thread, because one that stalls is still in use there
            self._watched.close(self._release, _GONE)

    def _release(self) -> None:
        if self._capture is not None:
            self._capture.release()


def _opened(place: str, remote: bool, patience: float) -> cv2.VideoCapture:
    if place.isdecimal():
        return cv2.VideoCapture(int(place))
    name = for_opencv(place)
    if remote and cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG):
        # A little later than we give up, FFmpeg does, too, so that its thread ends.
        late = int((patience + _GONE / 2) * 1000)
        limits = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            late * _FIRST,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            late * _FIRST,
        ]  # one for all frames
        return cv2.VideoCapture(name, cv2.CAP_FFMPEG, limits)
    return cv2.VideoCapture(name)


def _unopened(place: str, camera: bool, remote: bool) -> str:
    if camera:
        return f"camera {place} cannot be opened; expected one that is connected and free. Look at /dev/video*"
    if remote:
        return f"{place} cannot be opened; expected a stream that is reachable. Check the address and the network"
    return f"{place} is not an image or a video that OpenCV can read, or is damaged. Check it with a player"


def for_opencv(path: str | Path) -> str:
    """The name of a file as OpenCV takes it: text that is the file's bytes in UTF-8, whatever the locale.

    Raises:
        UsageError: a name whose bytes are not UTF-8.
    """
    try:
        return os.fsencode(path).decode()
    except UnicodeDecodeError:
        raise UsageError(
            f"{str(path)!a} has a name that is not UTF-8, which OpenCV cannot open; expected one that is. Rename it"
        ) from None


class Source:
    """Opens what `place` names: a file or folder, a URL, or a camera's number. A context manager over `Named` frames.

    Args:
        patience: seconds that a camera or URL may take for a frame; three times as many for opening and the first one.

    Attributes:
        frames: how many will come, None where nobody knows.
        rate: frames per second of a video, None for images.
        folder: whether `place` is a folder of images.
        video: whether frames follow each other in time.

    Raises:
        SourceError: nothing there, or nothing that can be read. While iterating: a source that breaks off or stalls.
    """

    def __init__(self, place: str, *, patience: float = PATIENCE) -> None:
        path = Path(place)
        if (place.isdecimal() and len(place) <= _CAMERA_DIGITS) or "://" in place:
            self._source: ImageSource | VideoSource = VideoSource(place, patience)
        elif not there(path):
            raise SourceError(
                f"{place} does not exist; expected an image, a folder, a video, a URL or a camera's number"
            )
        elif path.is_dir() or path.suffix.lower() in IMAGES:
            self._source = ImageSource(path)
        else:
            self._source = VideoSource(place, patience)
        self.frames, self.rate, self.folder = self._source.frames, self._source.rate, self._source.folder
        self.video = isinstance(self._source, VideoSource)

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


def read_image(path: Path) -> Frame:
    """Decode an image file to uint8 (H, W, 3) BGR, turned as its EXIF says.

    Raises:
        SourceError: missing, unreadable, or not an image.
    """
    return np.asarray(decoded(path, cv2.IMREAD_COLOR), np.uint8)


def decoded(path: Path, mode: int) -> NDArray[Any]:
    """An image file's pixels as `cv2.imdecode` gives them in this mode; errors as in `read_image`."""
    try:
        data = np.frombuffer(whole(path, _IMAGE_BYTES, "an image"), np.uint8)
    except ArtifactError as error:
        raise SourceError(str(error)) from error.__cause__
    try:
        pixels = cv2.imdecode(data, mode) if data.size else None
    except cv2.error:
        pixels = None
    if pixels is None:
        raise SourceError(f"{path} is not an image that OpenCV can read, or is damaged")
    return np.asarray(pixels)


def _natural(path: Path) -> list[tuple[int, str]]:
    """frame2 before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
