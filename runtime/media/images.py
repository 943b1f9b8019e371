"""Images: one, those of a folder, or those that a pattern names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..artifacts.files import whole
from ..errors import ArtifactError, FrameError, SourceError
from ..frame import Frame, checked
from .containers import breaks_off
from .named import Named
from .turning import turned
from .uri import IMAGES, Place, pattern_of_images

_IMAGE_BYTES = 1 << 30  # of an image file


class ImageSource:
    """One image, or several in natural order. Of several, unreadable ones are passed over and listed at the end.

    Args:
        place: of an image, a folder, or a pattern such as `run/*.jpg` or `img_%04d.png`.
    """

    rate: float | None = None
    live = False
    about = ""
    gaps, lost = 0, 0.0

    def __init__(self, place: Place) -> None:
        self._place, path = place, Path(place.target)
        matching = [] if path.exists() else pattern_of_images(place.target)
        self.folder = path.is_dir() or bool(matching)
        if self.folder:
            self._paths = sorted(
                (p for p in matching or path.iterdir() if _is_image(p) and not p.name.startswith(".")), key=_natural
            )
            if not self._paths:
                raise SourceError(f"{place.shown} holds no images; expected files ending in {', '.join(IMAGES)}")
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
            yield Named(self._name(path), turned(frame, self._place))
        if unreadable:
            more = f" and {len(unreadable) - 3} more" if len(unreadable) > 3 else ""
            raise SourceError(
                f"{len(unreadable)} of {len(self._paths)} images were passed over: {'; '.join(unreadable[:3])}{more}"
            )

    def _name(self, path: Path) -> str:
        """The stem; with the ending where another image has the same, so that no result is overwritten."""
        if self._stems[path.stem] == 1:
            return path.stem
        alike = [other for other in self._paths if other.name == path.name]  # of several folders, by a pattern
        name = path.name.replace(".", "_")
        return name if len(alike) == 1 else f"{path.parent.name}_{name}"

    def close(self) -> None: ...


def read_image(path: Path) -> Frame:
    """Decode an image file to uint8 (H, W, 3) BGR, turned as its EXIF says.

    Raises:
        SourceError: missing, unreadable, cut, or not an image; or one of more than 8 bits, whose range nothing tells.
    """
    pixels = decoded(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if pixels.dtype != np.uint8:
        raise SourceError(
            f"{path} holds {pixels.dtype} from {pixels.min()} to {pixels.max()}; expected 8 bits, 0 to 255. Scale all such images "
            "alike, for training and on the robot, by a range that you choose: "
            "((image - low) / (high - low) * 255).clip(0, 255).astype(numpy.uint8)"
        )
    return np.asarray(pixels, np.uint8)


def decoded(path: Path, mode: int) -> NDArray[Any]:
    """An image file's pixels as `cv2.imdecode` gives them in this mode; errors as in `read_image`."""
    try:
        data = whole(path, _IMAGE_BYTES, "an image")
    except ArtifactError as error:
        raise SourceError(str(error)) from error.__cause__
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), mode) if data and not breaks_off(data) else None
    except cv2.error:
        pixels = None
    if pixels is None:
        raise SourceError(f"{path} is not an image that OpenCV can read, or is damaged")
    return np.asarray(pixels)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGES and path.is_file()


def _natural(path: Path) -> list[tuple[int, str]]:
    """frame2 before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
