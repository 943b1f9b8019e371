"""PNG files of labels that show in their classes' colours and hold the labels themselves."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

_SIGNATURE, _HEAD = 8, 13  # bytes of a PNG's signature, and of its first chunk's content
_COLOUR_TYPE = 9  # its place there: 0 is grey, 3 indexed
IGNORE = (0, 0, 0)


def png(labels: NDArray[np.uint8], palette: Sequence[tuple[int, int, int]]) -> bytes:
    """An indexed PNG: pixel values are the labels, uint8 (H, W), colours the palette's, RGB. Labels without one are black.

    OpenCV writes no palettes. A grey PNG of eight bits has the same pixels, so its head is changed and the palette put in.
    """
    grey = cv2.imencode(".png", labels)[1].tobytes()
    start = _SIGNATURE + 8
    head = bytearray(grey[start : start + _HEAD])
    head[_COLOUR_TYPE] = 3
    colours = b"".join(bytes(c) for c in [*palette, *[IGNORE] * (256 - len(palette))])
    return grey[:_SIGNATURE] + _chunk(b"IHDR", bytes(head)) + _chunk(b"PLTE", colours) + grey[start + _HEAD + 4 :]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
