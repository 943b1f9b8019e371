"""Where results go: an image file, a folder of images, or a video file. What was finished stays, whatever happens next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import cv2

from ..artifacts.files import unwritable, write_atomically
from ..errors import OutputError, UsageError
from ..frame import Frame
from . import indexed
from .encoders import VIDEOS
from .sink import Sink
from .uri import IMAGES
from .video_sink import VideoSink

Palette = Sequence[tuple[int, int, int]]


def open_sink(
    output: Path,
    *,
    many: bool,
    rate: float | None,
    lossless: bool,
    fps: float | None = None,
    recording: bool = False,
    palette: Palette | None = None,
) -> Sink:
    """The sink that `output`'s name asks for.

    Args:
        many: whether more than one result will come.
        rate: frames per second that the source announces.
        lossless: whether the pixels are numbers that no codec may change.
        fps: a constant rate of a video; None keeps the frames' own times.
        recording: whether the source is live, so that what is lost cannot be made again.
        palette: colours of labels that are written as indexed PNG.

    Raises:
        UsageError: the name does not fit what will be written.
        OutputError: the place cannot be written.
    """
    suffix = output.suffix.lower()
    if str(output) == "-" or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", str(output)):
        raise UsageError(
            f"{output} is no place for results; expected a folder, an image or a video. "
            "Other programs get frames from the library: see docs/cameras.md"
        )
    if output.is_dir() or not suffix[1:].isalnum() or suffix[1:].isdecimal():  # results_1.0 is a folder, too
        return FolderSink(output, ".png" if lossless else ".jpg", palette)
    if suffix in VIDEOS:
        if lossless:
            raise UsageError(
                f"{output} is a video, whose compression would change label numbers; expected a folder for PNG files"
            )
        return VideoSink(output, rate, fps=fps, recording=recording)
    if suffix in IMAGES:
        if many:
            raise UsageError(
                f"{output} is one image, but several frames will come; expected a folder or a video ({', '.join(VIDEOS)}), or --frames 1"
            )
        if lossless and (suffix in (".jpg", ".jpeg", ".webp") or (palette and suffix != ".png")):
            raise UsageError(
                f"{output} would be compressed with loss, which changes label numbers; expected a .png file"
                if suffix in (".jpg", ".jpeg", ".webp")
                else f"{output} takes no palette; expected a .png file"
            )
        return FileSink(output, palette)
    raise UsageError(
        f"{output} ends in {suffix}; expected a folder, an image ({', '.join(IMAGES)}) or a video ({', '.join(VIDEOS)})"
    )


class FileSink(Sink):
    """One image file."""

    def __init__(self, path: Path, palette: Palette | None = None) -> None:
        self._path, self._palette = path, palette

    def write(self, name: str, image: Frame, stamp: float | None = None) -> None:
        write_atomically(self._path, _encoded(self._path.suffix, image, self._palette))
        self.written += 1


class FolderSink(Sink):
    """One image a frame, each complete or absent. The folder is made where it is missing."""

    def __init__(self, folder: Path, suffix: str, palette: Palette | None = None) -> None:
        self._folder, self._suffix, self._palette = folder, suffix, palette
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from error

    def write(self, name: str, image: Frame, stamp: float | None = None) -> None:
        write_atomically(self._folder / f"{name}{self._suffix}", _encoded(self._suffix, image, self._palette))
        self.written += 1


def _encoded(suffix: str, image: Frame, palette: Palette | None) -> bytes:
    if palette is not None:
        return indexed.png(image, palette)
    done, data = cv2.imencode(suffix, image)
    if not done:
        raise OutputError(f"OpenCV cannot encode a {suffix} image of shape {image.shape}")
    return data.tobytes()


__all__ = ["VIDEOS", "FileSink", "FolderSink", "Sink", "VideoSink", "open_sink"]
