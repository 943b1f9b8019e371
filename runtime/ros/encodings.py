"""The pictures that cameras send by ROS, as uint8 (H, W, 3) BGR: names of `sensor_msgs/image_encodings`.

What robot code may pass as a frame, too, is read by `pixels`; what only ROS has stands here.
"""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import FrameError
from ..frame import Frame
from ..pixels import ALIASES, FORMATS, PixelFormat, pixel_format


class ImageLike(Protocol):
    """`sensor_msgs/Image`, of whichever library; `data` is uint8 in one dimension, rows of `step` bytes."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def encoding(self) -> str: ...
    @property
    def is_bigendian(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def data(self) -> NDArray[np.uint8]: ...


_DEEP = {
    one.name: one
    for one in (
        PixelFormat("bgr16", 3, None, "uint16"),
        PixelFormat("rgb16", 3, cv2.COLOR_RGB2BGR, "uint16"),
        PixelFormat("bgra16", 4, cv2.COLOR_BGRA2BGR, "uint16"),
        PixelFormat("rgba16", 4, cv2.COLOR_RGBA2BGR, "uint16"),
    )
}
_DEEP |= {"16UC3": _DEEP["bgr16"], "16UC4": _DEEP["bgra16"]}
_FULL = "nv24"  # colours at full size, behind the brightness; OpenCV has no code for it
# BT.601, limited range: rows B, G, R; columns Y, U, V, constant.
_BT601 = np.array([[1.164, 2.018, 0.0], [1.164, -0.391, -0.813], [1.164, 0.0, 1.596]], np.float64)
_BT601 = np.hstack([_BT601, -_BT601 @ np.array([[16.0], [128.0], [128.0]])])

ENCODINGS = (
    *(name for name in FORMATS if name != "i420"),
    *(name.replace("uc", "UC") for name in ALIASES if "uc" in name or name.startswith("yuv422")),
    *_DEEP,
    _FULL,
)


def to_bgr(image: ImageLike) -> Frame:
    """The picture as uint8 (H, W, 3) BGR; of bgr8 a view, which is contiguous where `step` has no padding.

    Raises:
        FrameError: an encoding that is no camera's, or fewer bytes than it needs; says which.
    """
    if image.encoding not in ENCODINGS:
        raise FrameError(f"encoding {image.encoding!r:.40} is unknown here; expected one of {', '.join(ENCODINGS)}")
    form = _DEEP.get(image.encoding) or pixel_format("mono8" if image.encoding == _FULL else image.encoding)
    height, width, step = image.height, image.width, image.step or None
    pixels = form.view(image.data, height, width, step, big_endian=bool(image.is_bigendian))
    if form.mosaic and (height % 2 or width % 2):
        raise FrameError(f"an image of {image.encoding} height={height} width={width}; expected even sides")
    return _nv24(image, pixels) if image.encoding == _FULL else form.to_bgr(pixels)


def from_compressed(data: NDArray[np.uint8]) -> Frame:
    """A JPEG or PNG file's picture as uint8 (H, W, 3) BGR, as it was taken: a camera's pixels are not turned by EXIF.

    Raises:
        FrameError: no picture that OpenCV can decode.
    """
    try:
        frame = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if data.size else None
    except cv2.error:  # claims more pixels than OpenCV takes
        frame = None
    if frame is None:
        raise FrameError(f"a compressed image of {data.size:,} bytes that cannot be decoded; expected JPEG or PNG")
    return np.asarray(frame, np.uint8)


def _nv24(image: ImageLike, brightness: NDArray[np.uint8]) -> Frame:
    """Rows of colours are twice as long as those of brightness, and so is their step."""
    height, width, step = image.height, image.width, image.step or image.width
    if image.data.size < 3 * height * step:
        raise FrameError(f"an image of nv24 with {image.data.size:,} bytes; expected {3 * height * step:,}")
    colours = np.lib.stride_tricks.as_strided(
        image.data[height * step :], (height, width, 2), (2 * step, 2, 1), writeable=False
    )
    return np.asarray(cv2.transform(np.dstack([brightness, colours]), _BT601), np.uint8)
