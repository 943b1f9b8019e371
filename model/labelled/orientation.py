"""Pictures that are stored turned (EXIF), and labels that were drawn on them as stored or as shown."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import SourceError
from ...runtime.frame import Frame
from ...runtime.media.sources import decoded, read_image
from .masks import pillow

T = TypeVar("T", bound=np.generic)

UPRIGHT = 1
_TAG = 0x0112
_HEADER = 1 << 16  # bytes in which it is announced
_WORDS = {
    2: "mirrored", 3: "turned by 180°", 4: "upside down and mirrored", 5: "mirrored and turned by 90°",
    6: "turned by 90°", 7: "mirrored and turned by 90°", 8: "turned by 270°",
}  # fmt: skip


def read_turned(path: Path) -> tuple[Frame, int]:
    """A picture as it is shown, uint8 (H, W, 3) BGR, and by which EXIF orientation it was turned for that, 1 to 8.

    Raises:
        SourceError: as `read_image` does.
    """
    shown = read_image(path)
    orientation = stored_orientation(path)
    if orientation != UPRIGHT and path.suffix.lower() not in (".tif", ".tiff"):  # those OpenCV always turns
        stored = decoded(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if np.array_equal(stored, shown):  # a symmetric picture, or a format that this OpenCV does not turn
            orientation = UPRIGHT
    return shown, orientation


def stored_orientation(path: Path) -> int:
    """What the header says; 1 where it says nothing."""
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER)
    except OSError:  # the reader of the pixels says what is wrong
        return UPRIGHT
    if not _may_tell(start):
        return UPRIGHT
    Image = pillow()  # noqa: N806
    try:
        with Image.open(path) as opened:
            found = opened.getexif().get(_TAG, UPRIGHT)
    except Exception:  # not for Pillow, though OpenCV has read it
        return UPRIGHT
    return int(found) if found in _WORDS else UPRIGHT


def _may_tell(start: bytes) -> bool:
    """Whether a file that begins like this can have an orientation: most have none, and are not opened twice."""
    if start.startswith(b"\xff\xd8"):
        return b"Exif\0" in start
    if start.startswith(b"\x89PNG"):
        return b"eXIf" in start
    if start.startswith(b"RIFF"):
        return start[12:16] == b"VP8X" and bool(start[20] & 8)
    return start.startswith((b"II*\0", b"MM\0*"))


def turned(labels: NDArray[T], orientation: int) -> NDArray[T]:
    """Labels drawn on the picture as stored → on the picture as shown."""
    if orientation >= 5:
        labels = labels.T
    if orientation in (3, 4, 7, 8):
        labels = labels[::-1]
    if orientation in (2, 3, 6, 7):
        labels = labels[:, ::-1]
    return np.ascontiguousarray(labels)


def as_shown(
    image: Path, label: Path, labels: NDArray[T], size: tuple[int, int], orientation: int, drawn: str | None
) -> NDArray[T]:
    """`labels` as they lie on the picture as shown, whose size is (height, width) = `size`.

    Args:
        drawn: "stored" or "shown" where the data set says what its labels were drawn on; None lets their size tell.

    Raises:
        SourceError: the size does not tell.
    """
    if orientation == UPRIGHT or drawn == "shown":
        return labels
    upright = turned(labels, orientation)
    if drawn == "stored" or np.array_equal(upright, labels):
        return upright
    if orientation >= 5 and size[0] != size[1]:
        return upright if upright.shape == size else labels
    raise SourceError(
        f"{image} is stored {_WORDS[orientation]} (EXIF orientation {orientation}), and nothing tells whether {label} was drawn "
        "on it as stored or as shown; expected an upright picture. Save it upright, or write `exif: stored` or "
        "`exif: shown` into classes.yaml"
    )
