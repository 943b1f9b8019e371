"""Whether a video file is shorter than its own structure says: the one damage that neither FFmpeg nor OpenCV tells.

Only sizes are read, of the outermost boxes (ISO base media), chunks (RIFF) or elements (Matroska).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_MOST = 1_000_000  # boxes that are looked at
_BOXES = (b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"styp", b"sidx", b"pnot")
_SEGMENT, _UNKNOWN = 0x18538067, {0x7F, 0x3FFF, 0x1FFFFF, 0xFFFFFFF, (1 << 35) - 1, (1 << 42) - 1, (1 << 49) - 1, (1 << 56) - 1}  # fmt: skip


def missing(path: Path) -> str:
    """What is missing, in words; "" where nothing is, or where the format does not tell."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(12)
            file.seek(0)
            reader = _reader(head)
            lacking = reader(file, size) - size if reader and size else 0
    except (OSError, struct.error):
        return ""
    return f"{lacking:,} bytes are missing" if lacking > 0 else ""


def _reader(head: bytes) -> Callable[[BinaryIO, int], int] | None:
    if head[4:8] in _BOXES:
        return _boxes
    if head[:4] == b"RIFF":
        return _riff
    return _matroska if head[:4] == b"\x1a\x45\xdf\xa3" else None


def _boxes(file: BinaryIO, size: int) -> int:
    """Where the last box says that it ends."""
    place = 0
    for _ in range(_MOST):
        file.seek(place)
        head = file.read(16)
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head[:8])
        if length == 1 and len(head) == 16:
            (length,) = struct.unpack(">Q", head[8:])
        if length == 0 or not kind.isascii() or length < 8:  # to the end of the file, or no box any more
            break
        place += length
        if place >= size:
            break
    return place


def _riff(file: BinaryIO, size: int) -> int:
    """Files above 1 GB have several RIFF chunks."""
    place = 0
    for _ in range(_MOST):
        file.seek(place)
        head = file.read(8)
        if len(head) < 8 or head[:4] != b"RIFF":
            break
        (length,) = struct.unpack("<I", head[4:])
        if length in (0, 0xFFFFFFFF):  # never completed
            break
        place += 8 + length
        if place >= size:
            break
    return place


def _matroska(file: BinaryIO, size: int) -> int:
    """The EBML header, then one segment; of a live one the size is unknown."""
    place = 0
    for _ in range(8):
        file.seek(place)
        head = file.read(16)
        if not head or not head[0]:
            break
        of_name = 9 - head[0].bit_length()
        name = int.from_bytes(head[:of_name], "big")
        rest = head[of_name:]
        if of_name > 4 or not rest or not rest[0]:
            break
        of_length = 9 - rest[0].bit_length()
        length = int.from_bytes(rest[:of_length], "big") & (1 << 7 * of_length) - 1
        if length in _UNKNOWN and length == (1 << 7 * of_length) - 1:
            break
        place += of_name + of_length + length
        if name == _SEGMENT or place >= size:
            break
    return place
