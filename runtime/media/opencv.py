"""Files, pipes, addresses and USB cameras, through OpenCV."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from ..errors import SourceError, UsageError
from ..frame import Frame
from .containers import frames_told
from .uri import CLIPS, Place

log = logging.getLogger(__name__)

OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_FIRST = 3  # times as long for opening it
_MARGIN = 1.0  # seconds that FFmpeg gives up later than we do
_STALE = 10.0  # seconds; a driver whose stamps are older counts by another clock
_environment = threading.Lock()


class OpenCVReader:
    """See `Reader`."""

    def __init__(self, place: Place, patience: float) -> None:
        self._camera, self._place = place.kind == "camera", place
        self._capture = _camera(place) if self._camera else _ffmpeg(place, patience)
        if not self._capture.isOpened():
            raise SourceError(_unopened(place))
        announced = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if place.kind == "file" and announced > 0:
            announced = max(announced, frames_told(Path(place.target)))
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.live = self._camera or (place.kind == "network" and announced <= 0)
        self.rate = rate if 0 < rate < 1000 else None  # 1000 is the clock of a variable-rate MKV or WebM
        self.announced = announced if announced > 0 and self.rate and not self.live else None
        self._step = 1 / (self.rate or 25)
        self._shift = 0.0
        self._last: float | None = None
        if self._camera:
            _set_up(self._capture, place)
        self.about = self._told()

    def read(self) -> tuple[Frame, float] | None:
        read, frame = self._capture.read()
        now = time.monotonic()
        if not read or frame is None:
            return None
        return np.asarray(frame, np.uint8), self._live_stamp(now) if self.live else self._media_stamp()

    def close(self) -> None:
        self._capture.release()

    def _live_stamp(self, now: float) -> float:
        """When V4L2's driver filled the buffer, by the same clock as ours; the others tell nothing that could be compared."""
        if self._camera:
            captured = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
            if 0 <= now - captured < _STALE:
                return captured
        return now

    def _media_stamp(self) -> float:
        """The frame's presentation time. Where there is none, or it jumps back, it goes on by a frame's duration."""
        raw = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
        stamp = raw + self._shift
        if self._last is not None and stamp <= self._last:
            stamp = self._last + self._step
            self._shift = stamp - raw
        self._last = stamp
        return stamp

    def _told(self) -> str:
        width, height = (int(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        code = _letters(self._capture)
        return (
            f"height={height} width={width}{f' {code}' * bool(code)}, through OpenCV's {self._capture.getBackendName()}"
        )


def _ffmpeg(place: Place, patience: float) -> cv2.VideoCapture:
    name = for_opencv(place.target)
    if not cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG):
        return cv2.VideoCapture(name)
    limits = []
    if place.kind == "network":
        # A little later than we give up, FFmpeg does, too, so that its thread ends. One limit for all frames.
        late = int((patience * _FIRST + _MARGIN) * 1000)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, late, cv2.CAP_PROP_READ_TIMEOUT_MSEC, late]
    hurry = _hurry(place)
    if hurry:  # each further decoding thread holds back one frame
        limits += [cv2.CAP_PROP_N_THREADS, 1]
    with _told_to_ffmpeg(hurry):
        return cv2.VideoCapture(name, cv2.CAP_FFMPEG, limits)


def _hurry(place: Place) -> str:
    """FFmpeg's options for a stream that is watched live; "" for what is none."""
    if place.kind != "network" or place.target.partition("?")[0].lower().endswith(CLIPS):
        return ""
    scheme = place.target.partition("://")[0].lower()
    words = ["flags;low_delay"]  # not nobuffer: it is no fresher, and throws away the first key frame
    if scheme in ("rtsp", "rtsps"):
        words.append(f"rtsp_transport;{place.options.get('transport', 'tcp')}")
    if latency := place.number("latency"):
        words.append(f"max_delay;{latency * 1000}")
    return "|".join(words)


@contextmanager
def _told_to_ffmpeg(options: str) -> Iterator[None]:
    """OpenCV takes such options from the environment only. What a user has set there is left alone."""
    with _environment:
        if not options or OPTIONS in os.environ:
            yield
            return
        os.environ[OPTIONS] = options
        try:
            yield
        finally:
            del os.environ[OPTIONS]


def _camera(place: Place) -> cv2.VideoCapture:
    target = int(place.target) if place.target.isdecimal() else place.target
    return cv2.VideoCapture(target, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)


def _set_up(capture: cv2.VideoCapture, place: Place) -> None:
    """Ask for a format, a size and a rate, in this order, and say what the camera made of it.

    MJPG unless told otherwise: over USB 2, 1080p comes as YUYV at five frames a second.
    """
    code = {"mjpg": "MJPG", "yuyv": "YUYV"}[place.options.get("format", "mjpg")]
    capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*code))
    wanted = {
        "width": (cv2.CAP_PROP_FRAME_WIDTH, place.number("width")),
        "height": (cv2.CAP_PROP_FRAME_HEIGHT, place.number("height")),
        "fps": (cv2.CAP_PROP_FPS, place.number("fps")),
    }
    for number, value in wanted.values():
        if value is not None:
            capture.set(number, value)
    given = {name: capture.get(number) for name, (number, _) in wanted.items()}
    parted = [f"{n}={given[n]:g}" for n, (_, value) in wanted.items() if value is not None and given[n] != value]
    if "format" in place.options and _letters(capture) != code:
        parted.append(f"format={_letters(capture) or 'unknown'}")
    if parted:
        log.warning("camera %s gives %s instead of what was asked for", place.shown, " ".join(parted))


def _letters(capture: cv2.VideoCapture) -> str:
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    letters = bytes(code >> shift & 255 for shift in (0, 8, 16, 24)) if code > 0 else b""
    return letters.decode() if letters.isalnum() and letters.isascii() else ""


def _unopened(place: Place) -> str:
    if place.kind == "camera":
        return f"camera {place.shown} cannot be opened; expected one that is connected and free. Look at /dev/video*"
    if place.kind == "network":
        return f"{place.shown} cannot be opened; expected a stream that is reachable. Check the address and the network"
    if place.kind == "pipe":
        return f"{place.shown} holds no video that can be read; expected one that FFmpeg knows, such as fragmented MP4, MKV or MPEG-TS"
    return f"{place.shown} is not an image or a video that OpenCV can read, or is damaged. Check it with a player"


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
