"""Video encoders: H.264 with time stamps through PyAV (the `video` extra), else what OpenCV has, at a constant rate."""

from __future__ import annotations

import logging
import math
from fractions import Fraction
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import cv2

from .. import install
from ..errors import OutputError
from ..frame import Frame
from .opencv import for_opencv

log = logging.getLogger(__name__)

VIDEOS = {".mp4": "mp4v", ".mov": "mp4v", ".m4v": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}  # as OpenCV writes them
H264 = (".mp4", ".mov", ".m4v", ".mkv")
_TICKS = 90_000  # a second
_CLOSEST = 0.001  # seconds between two frames: a burst from a network
_FRAGMENT = 0.5  # seconds that a killed recording loses at most
_PYAV = 16  # with FFmpeg 8, whose fragments become an ordinary file at the end
_BT709 = 1  # in FFmpeg's tables of primaries, transfers and matrices
_told: set[str] = set()


class Encoder(Protocol):
    """Takes frames of one size, uint8 (H, W, 3) BGR with even sides."""

    def write(self, image: Frame, seconds: float, lasts: float) -> None:
        """A frame that is shown from `seconds` after the first on, for `lasts` seconds."""

    def close(self) -> None: ...


def variable(path: Path) -> bool:
    """Whether a video of that name can carry time stamps here."""
    return path.suffix.lower() in H264 and _pyav()


def survives(path: Path) -> bool:
    """Whether a recording of that name is playable up to where its writer was killed."""
    return variable(path) or path.suffix.lower() == ".mkv"


def open_encoder(path: Path, place: Path, size: tuple[int, int], rate: float, *, recording: bool) -> Encoder:
    """An encoder for a video that will be called `path` and is written at `place`.

    Args:
        size: (height, width), even.
        rate: frames per second; of a variable one, about.
        recording: what is lost cannot be made again: whatever was written stays playable if the process is killed.

    Raises:
        OutputError: no encoder takes frames of this size.
    """
    if variable(path):
        return PyAVEncoder(path, place, size, rate, recording)
    if path.suffix.lower() in H264:
        _once(f"videos are written as MPEG-4, which browsers do not play; H.264 comes with {install.command('video')}")
        if recording and not survives(path):
            _once(f"{path}: a recording that is killed is lost without the extra; one that ends in .mkv is not")
    return OpenCVEncoder(path, place, size, rate)


def _pyav() -> bool:
    """Whether PyAV is there, and no older than what this file was written for: distributions have 8 to 12."""
    try:
        return find_spec("av") is not None and int(metadata.version("av").partition(".")[0]) >= _PYAV
    except (metadata.PackageNotFoundError, ValueError):
        return False


class PyAVEncoder:
    """H.264 with the frames' own time stamps. A recording is an MP4 in fragments, which closing makes an ordinary one."""

    def __init__(self, path: Path, place: Path, size: tuple[int, int], rate: float, recording: bool) -> None:
        import av

        self._av, self._path = av, path
        self._lasts = 1
        self._waiting: Any = None  # a packet whose duration is known when the next comes
        options = {"movflags": "faststart"}
        if recording:
            options = {
                "movflags": "hybrid_fragmented",
                "frag_duration": str(int(_FRAGMENT * 1e6)),
                "flush_packets": "1",
            }
            if path.suffix.lower() == ".mkv":
                options = {"cluster_time_limit": str(int(_FRAGMENT * 1e3)), "flush_packets": "1"}
        elif path.suffix.lower() == ".mkv":
            options = {}
        try:
            self._container = av.open(str(place), "w", options=options)
            self._stream = self._container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001))
            stream, context = self._stream, self._stream.codec_context
            stream.height, stream.width = size
            stream.pix_fmt = "yuv420p"
            stream.time_base = context.time_base = Fraction(1, _TICKS)
            context.color_primaries = context.color_trc = context.colorspace = _BT709
            context.options = {"preset": "superfast" if recording else "veryfast", "crf": "20", "bf": "0"}
            if recording:
                context.options |= {"tune": "zerolatency", "g": "60"}
            self._container.start_encoding()
        except (av.FFmpegError, ValueError, OverflowError) as error:
            raise OutputError(
                f"{path} cannot be written: FFmpeg has no encoder for height={size[0]} width={size[1]} in H.264 "
                f"({getattr(error, 'strerror', None) or error}). Try a name that ends in .avi, or a folder"
            ) from error

    def write(self, image: Frame, seconds: float, lasts: float) -> None:
        frame = self._av.VideoFrame.from_ndarray(image, "bgr24").reformat(format="yuv420p", dst_colorspace="itu709")
        frame.pts, frame.time_base = round(seconds * _TICKS), Fraction(1, _TICKS)
        self._lasts = max(1, round(lasts * _TICKS))
        self._mux(self._stream.encode(frame))

    def _mux(self, packets: list[Any]) -> None:
        try:
            for packet in packets:
                if self._waiting is not None:
                    self._waiting.duration = packet.pts - self._waiting.pts
                    self._container.mux(self._waiting)
                self._waiting = packet
        except self._av.FFmpegError as error:
            raise OutputError(f"{self._path} cannot be written ({error}). Free some space and run again") from error

    def close(self) -> None:
        try:
            self._mux(self._stream.encode(None))
            if self._waiting is not None:
                self._waiting.duration = self._lasts
                self._container.mux(self._waiting)
        except self._av.FFmpegError as error:
            raise OutputError(f"{self._path} could not be completed ({error}). Free some space and run again") from error  # fmt: skip
        finally:
            self._waiting = None
            self._container.close()


class OpenCVEncoder:
    """A constant rate; OpenCV's writer knows no time stamps, and does not say when a write fails."""

    def __init__(self, path: Path, place: Path, size: tuple[int, int], rate: float) -> None:
        code = cv2.VideoWriter.fourcc(*VIDEOS[path.suffix.lower()])
        self._writer = cv2.VideoWriter(for_opencv(place), code, rate, size[::-1])
        if not self._writer.isOpened():
            raise OutputError(
                f"{path} cannot be written: OpenCV has no encoder for height={size[0]} width={size[1]} "
                "in it. Try a name that ends in .avi, or a folder"
            )

    def write(self, image: Frame, seconds: float, lasts: float) -> None:
        self._writer.write(image)

    def close(self) -> None:
        self._writer.release()


class Pace:
    """Which frames are written, when, and how often each.

    Args:
        rate: of a constant-rate video, whose slots are filled with the frame that was newest; None keeps the stamps.
        usual: frames per second that a frame without a stamp, and the last one, are taken to have.
    """

    _LONGEST = 600.0  # seconds that are filled; a longer jump is a clock that was set, not a scene

    def __init__(self, rate: float | None, usual: float) -> None:
        self._rate, self._usual = rate, usual
        self._first: float | None = None
        self._last = -math.inf
        self._slot = -1
        self._count = 0
        self.step = 1 / (rate or usual)

    def times(self, stamp: float | None) -> list[float]:
        """Seconds after the first frame at which to write something: the frame before, and at the last of them this one."""
        if stamp is None:
            stamp = 0.0 if self._first is None else self._last + 1 / self._usual
        if self._first is None:
            self._first = stamp
        stamp = max(stamp, self._last + _CLOSEST)
        if self._rate is None:
            self._count += 1
            if self._count > 1:  # the mean so far, which is all that is known of how long the last one lasts
                self.step = min((stamp - self._first) / (self._count - 1), 1.0)
            self._last = stamp
            return [stamp - self._first]
        if stamp - max(self._last, self._first) > self._LONGEST:
            log.warning("a jump of %.0f s between two frames is left out", stamp - self._last)
            self._first += stamp - self._last - 1 / self._usual
        self._last = stamp
        slot = max(round((stamp - self._first) * self._rate), 0)
        before, self._slot = self._slot, max(slot, self._slot)
        return [number / self._rate for number in range(before + 1, slot + 1)]


def _once(message: str) -> None:
    if message not in _told:
        _told.add(message)
        log.info("%s", message)
