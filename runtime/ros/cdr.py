"""Images as the bytes that ROS 2 sends (CDR, OMG's DDS-XTypes 1.3, 7.4): read and written without a copy of the pixels.

rclpy would make an array of a message's data, and an object of each field: at 6 MB that is a third of the time that a
message takes. A node that asks for the bytes (`raw=True`) looks into them in place.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import FrameError

_LITTLE_ENDIAN = b"\x00\x01\x00\x00"  # how a plain CDR body begins
_LONGEST_NAME = 1 << 16


@dataclass(frozen=True)
class Header:
    """`std_msgs/Header`: when and in which frame of the robot the picture was taken."""

    seconds: int
    nanoseconds: int
    frame_id: str

    @property
    def stamp(self) -> int:
        """Nanoseconds since the clock's start."""
        return self.seconds * 1_000_000_000 + self.nanoseconds


@dataclass(frozen=True)
class ImageView:
    """`sensor_msgs/Image`, its data still where the message has them: uint8, one dimension."""

    header: Header
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: NDArray[np.uint8]


@dataclass(frozen=True)
class CompressedView:
    """`sensor_msgs/CompressedImage`: a JPEG or PNG file in `data`, uint8."""

    header: Header
    format: str
    data: NDArray[np.uint8]


def read_image(message: bytes) -> ImageView:
    """Look into a serialised `sensor_msgs/Image`.

    Raises:
        FrameError: cut off, or no CDR.
    """
    body = _Reader(message)
    header = body.header()
    height, width = body.number(), body.number()
    encoding, big = body.text(), body.byte()
    return ImageView(header, height, width, encoding, big, body.number(), body.array())


def read_compressed(message: bytes) -> CompressedView:
    """Look into a serialised `sensor_msgs/CompressedImage`; errors as in `read_image`."""
    body = _Reader(message)
    return CompressedView(body.header(), body.text(), body.array())


def read_size(message: bytes) -> tuple[int, int]:
    """(height, width) of a message that begins with them behind its header: `PointCloud2`, `CameraInfo`, `Image`."""
    body = _Reader(message)
    body.header()
    return body.number(), body.number()


def write_image(header: Header, pixels: NDArray[np.uint8], encoding: str) -> bytes:
    """A serialised `sensor_msgs/Image` of (H, W) or (H, W, C) pixels; `step` is the width times the channels, no more."""
    pixels = np.ascontiguousarray(pixels)
    height, width = pixels.shape[:2]
    body = _Writer(header)
    body.numbers(height, width)
    body.text(encoding)
    body.raw(b"\x00")  # is_bigendian: bytes have no order
    body.numbers(pixels.nbytes // height)
    return body.message(pixels.data.cast("B"))


def write_compressed(header: Header, form: str, data: bytes | NDArray[np.uint8]) -> bytes:
    """A serialised `sensor_msgs/CompressedImage`."""
    body = _Writer(header)
    body.text(form)
    return body.message(data.data.cast("B") if isinstance(data, np.ndarray) else memoryview(data))


class _Reader:
    """Walks through a message; each value lies at a multiple of its size behind the four bytes in front."""

    def __init__(self, message: bytes) -> None:
        self._body = memoryview(message)[4:]
        if len(message) < 4 or message[0] != 0 or message[1] not in (0, 1):
            raise FrameError(
                f"a message that begins with {bytes(message[:4]).hex() or 'nothing'}; expected plain CDR (0000 or 0001)"
            )
        self._order = "<" if message[1] else ">"
        self._at = 0

    def number(self) -> int:
        return int(self._unpacked("I", 4))

    def byte(self) -> int:
        return int(self._unpacked("B", 1))

    def text(self) -> str:
        length = self.number()
        if length > _LONGEST_NAME:
            raise FrameError(f"a message with a text of {length:,} bytes; expected at most {_LONGEST_NAME:,}")
        return bytes(self._taken(length)).rstrip(b"\x00").decode(errors="surrogateescape")

    def header(self) -> Header:
        return Header(int(self._unpacked("i", 4)), self.number(), self.text())

    def array(self) -> NDArray[np.uint8]:
        return np.frombuffer(self._taken(self.number()), np.uint8)

    def _unpacked(self, kind: str, size: int) -> int:
        self._at += -self._at % size
        value: int = struct.unpack(self._order + kind, self._taken(size))[0]
        return value

    def _taken(self, size: int) -> memoryview:
        part = self._body[self._at : self._at + size]
        if len(part) < size:
            raise FrameError(
                f"a message of {len(self._body) + 4:,} bytes that speaks of {self._at + size + 4:,}; it is cut off"
            )
        self._at += size
        return part


class _Writer:
    def __init__(self, header: Header) -> None:
        self._parts: list[bytes | memoryview] = []
        self._at = 0
        self.raw(struct.pack("<iI", header.seconds, header.nanoseconds))
        self.text(header.frame_id)

    def raw(self, data: bytes | memoryview) -> None:
        self._parts.append(data)
        self._at += len(data)

    def numbers(self, *values: int) -> None:
        self.raw(b"\x00" * (-self._at % 4) + struct.pack(f"<{len(values)}I", *values))

    def text(self, text: str) -> None:
        data = text.encode(errors="surrogateescape") + b"\x00"
        self.numbers(len(data))
        self.raw(data)

    def message(self, data: memoryview) -> bytes:
        """With the array of bytes that ends it."""
        self.numbers(len(data))
        return b"".join([_LITTLE_ENDIAN, *self._parts, data])
