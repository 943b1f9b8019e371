"""Pixel formats of cameras, by the names that ROS and V4L2 give them, and how each becomes BGR.

Colour differences (YUV) are read as BT.601 in limited range, as OpenCV and most cameras have it.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import FrameError, UsageError

_TO_BYTES = 255 / 65535  # 16 bits at full range


@dataclass(frozen=True)
class PixelFormat:
    """How the bytes of a frame mean colours.

    Attributes:
        name: such as "bgr8".
        dtype: "uint8", or "uint16" of either byte order.
        channels: elements of a pixel that lie beside each other.
        planar: colour differences follow below the brightness, at half its height: (H * 3/2, W).
        even: (of rows, of columns) that a frame's height and width must be multiples of.
        code: OpenCV's, from 8 bits to BGR; None where it is BGR.
    """

    name: str
    channels: int
    code: int | None
    dtype: str = "uint8"
    planar: bool = False
    even: tuple[int, int] = (1, 1)
    mosaic: bool = False

    @property
    def pixelwise(self) -> bool:
        """Whether each pixel stands for itself, so that a part of the frame converts as the whole does."""
        return self.even == (1, 1) and not self.mosaic

    @property
    def layout(self) -> str:
        """What an array of it looks like, in words."""
        shape = "(H * 3/2, W)" if self.planar else "(H, W)" if self.channels == 1 else f"(H, W, {self.channels})"
        even = {(1, 1): "", (1, 2): ", W even", (2, 2): ", H and W even"}[self.even]
        return f"{self.dtype} {shape}{even}"

    def size(self, frame: NDArray[Any]) -> tuple[int, int]:
        """(height, width) in pixels of an array in this format.

        Raises:
            FrameError: an array of another type or shape.
        """
        shape = frame.shape[:2] if frame.ndim == 3 and frame.shape[2] == self.channels == 1 else frame.shape
        fits = len(shape) == (2 if self.channels == 1 else 3) and (self.channels == 1 or shape[2] == self.channels)
        height = shape[0] * 2 // 3 if fits and self.planar else shape[0] if shape else 0
        if (
            not fits
            or frame.dtype.newbyteorder("=") != self.dtype
            or (self.planar and shape[0] % 3)
            or height % self.even[0]
            or shape[1] % self.even[1]
        ):
            raise FrameError(
                f"the frame holds {frame.dtype}, shape {frame.shape}; pixel_format {self.name!r} expects {self.layout}. "
                "Name the format that the camera gives"
            )
        return height, shape[1]

    def to_bgr(self, frame: NDArray[Any]) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) BGR of an array that `size` accepts; the array itself where it is that.

        Rows may lie apart, as cameras pad them; 16 bits count at their full range.
        """
        if self.dtype == "uint16":
            frame = cv2.convertScaleAbs(np.asarray(frame, np.uint16), alpha=_TO_BYTES)
        if self.code is not None:
            frame = cv2.cvtColor(frame, self.code)
        return np.asarray(frame, np.uint8)

    def view(
        self, data: Any, height: int, width: int, step: int | None = None, *, big_endian: bool = False
    ) -> NDArray[Any]:
        """An array in this format over the bytes of an image message, without a copy.

        Args:
            data: bytes, or whatever offers them as a buffer.
            height, width: in pixels.
            step: bytes from row to row; None where rows follow each other.
            big_endian: of 16-bit formats.

        Raises:
            FrameError: fewer bytes than the sizes ask for, a step that is shorter than a row, or sides that must be even.
        """
        dtype = np.dtype(self.dtype).newbyteorder(">" if big_endian else "<")
        if min(height, width) < 1 or height % self.even[0] or width % self.even[1]:
            raise FrameError(f"a frame of height={height} width={width}; {self.name} expects pixels, {self.layout}")
        row = width * self.channels * dtype.itemsize
        step = row if step is None else step
        rows = height * 3 // 2 if self.planar else height
        if step < row or (self.name == "i420" and step != row):
            exact = "exactly" if self.name == "i420" else "at least"
            raise FrameError(f"a step of {step} bytes; {exact} {row} are expected for width={width} in {self.name}")
        given = memoryview(data).nbytes
        needed = step * (rows - 1) + row
        if given < needed:
            raise FrameError(
                f"{given} bytes of image; height={height} width={width} in {self.name} with a step of {step} expects {needed}"
            )
        shape = (rows, width) if self.channels == 1 else (rows, width, self.channels)
        strides = (step, self.channels * dtype.itemsize, dtype.itemsize)[: len(shape)]
        return np.ndarray(shape, dtype, data, strides=strides)


_BAYER = {
    "rggb": cv2.COLOR_BayerRGGB2BGR,
    "bggr": cv2.COLOR_BayerBGGR2BGR,
    "gbrg": cv2.COLOR_BayerGBRG2BGR,
    "grbg": cv2.COLOR_BayerGRBG2BGR,
}

BGR8 = PixelFormat("bgr8", 3, None)
MONO8 = PixelFormat("mono8", 1, cv2.COLOR_GRAY2BGR)

FORMATS = {
    one.name: one
    for one in (
        BGR8,
        PixelFormat("rgb8", 3, cv2.COLOR_RGB2BGR),
        PixelFormat("bgra8", 4, cv2.COLOR_BGRA2BGR),
        PixelFormat("rgba8", 4, cv2.COLOR_RGBA2BGR),
        MONO8,
        PixelFormat("mono16", 1, cv2.COLOR_GRAY2BGR, "uint16"),
        PixelFormat("yuyv", 2, cv2.COLOR_YUV2BGR_YUYV, even=(1, 2)),
        PixelFormat("uyvy", 2, cv2.COLOR_YUV2BGR_UYVY, even=(1, 2)),
        PixelFormat("nv12", 1, cv2.COLOR_YUV2BGR_NV12, planar=True, even=(2, 2)),
        PixelFormat("nv21", 1, cv2.COLOR_YUV2BGR_NV21, planar=True, even=(2, 2)),
        PixelFormat("i420", 1, cv2.COLOR_YUV2BGR_I420, planar=True, even=(2, 2)),
        *(PixelFormat(f"bayer_{name}8", 1, code, mosaic=True) for name, code in _BAYER.items()),
        *(PixelFormat(f"bayer_{name}16", 1, code, "uint16", mosaic=True) for name, code in _BAYER.items()),
    )
}

# What else ROS, V4L2 and GStreamer call them, in small letters.
ALIASES = {
    "8uc3": "bgr8",
    "bgr": "bgr8",
    "bgr3": "bgr8",
    "rgb": "rgb8",
    "rgb3": "rgb8",
    "8uc4": "bgra8",
    "bgra": "bgra8",
    "bgrx": "bgra8",
    "rgba": "rgba8",
    "rgbx": "rgba8",
    "8uc1": "mono8",
    "grey": "mono8",
    "gray8": "mono8",
    "16uc1": "mono16",
    "y16": "mono16",
    "yuv422_yuy2": "yuyv",
    "yuy2": "yuyv",
    "yuv422": "uyvy",
    "yu12": "i420",
    "rggb": "bayer_rggb8",
    "ba81": "bayer_bggr8",
    "gbrg": "bayer_gbrg8",
    "grbg": "bayer_grbg8",
}


def pixel_format(name: str | PixelFormat) -> PixelFormat:
    """The format of that name: one of FORMATS, or what ROS, V4L2 and GStreamer else call it.

    Raises:
        UsageError: an unknown name.
    """
    if isinstance(name, PixelFormat):
        return name
    plain = str(name).strip().lower()
    found = FORMATS.get(ALIASES.get(plain, plain))
    if found is None:
        close = difflib.get_close_matches(plain, [*FORMATS, *ALIASES], n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UsageError(f"pixel_format {name!r} is unknown; expected one of {', '.join(FORMATS)}.{hint}")
    return found
