"""What files say of themselves, where some versions of OpenCV hide that they could not read all of it.

OpenCV 4.8 and 4.10 give a JPEG file that breaks off as a picture with a grey part, or with that of the picture before. And
the FFmpeg of OpenCV 4.8 ends a fragmented MP4 file after its first part, whose frames alone the file announces there.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_ALONE = (0x01, *range(0xD0, 0xD9))  # JPEG markers without a length: TEM, RST0 to RST7, SOI
_SCAN, _END = 0xDA, 0xD9
_BOXES = 1 << 20  # that a file may have, or one box; more is no video
_LARGEST = 64 << 20  # bytes of a box that is read whole: the index of a day of video


def breaks_off(data: bytes) -> bool:
    """Whether a JPEG file's bytes end before its picture does; False for whatever is no JPEG."""
    if not data.startswith(b"\xff\xd8"):
        return False
    at = 2
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 2 > len(data):
            return True
        marker = data[at + 1]
        if marker == _END:
            return False
        if marker == 0xFF:  # padding
            at += 1
        elif marker == 0 or marker in _ALONE:  # a byte of the picture that happens to be 255, or a restart
            at += 2
        else:  # a table, or the head of a scan, whose own bytes follow it up to the next marker
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def frames_told(path: Path) -> int:
    """How many frames of video the boxes of an MP4 or QuickTime file list in all its fragments; 0 where it has none."""
    try:
        with path.open("rb") as file:
            return _told(file, os.fstat(file.fileno()).st_size)
    except (OSError, struct.error, LookupError):  # broken boxes are for OpenCV to refuse
        return 0


def _told(file: BinaryIO, size: int) -> int:
    videos: set[int] = set()  # numbers of tracks
    total = 0
    fragmented = False
    for kind, start, end in _top(file, size):
        if kind not in (b"moov", b"moof") or end - start > _LARGEST:
            continue
        file.seek(start)
        box = memoryview(file.read(end - start))
        for name, track in _inner(box):
            if name == b"trak" and bytes(_find(track, b"mdia", b"hdlr")[8:12]) == b"vide":
                header = _find(track, b"tkhd")
                videos.add(_number(header, 20 if header[0] else 12))
                for sizes in (b"stsz", b"stz2"):
                    total += _number(_find(track, b"mdia", b"minf", b"stbl", sizes), 8)
            elif name == b"traf" and _number(_find(track, b"tfhd"), 4) in videos:
                fragmented = True
                total += sum(_number(run, 4) for inner, run in _inner(track) if inner == b"trun")
    return total if fragmented else 0


def _top(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of the content of each box of a file."""
    at = 0
    for _ in range(_BOXES):
        if at + 8 > size:
            return
        file.seek(at)
        head = file.read(16)
        length, kind = struct.unpack(">I4s", head[:8])
        begin = at + 8
        if length == 1:
            begin, length = at + 16, int.from_bytes(head[8:16], "big")
        end = size if length == 0 else at + length
        if end < begin or not kind.isascii():
            return
        yield kind, begin, min(end, size)
        at = end


def _inner(box: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    at = 0
    while at + 8 <= len(box):
        length, kind = struct.unpack(">I4s", box[at : at + 8])
        if length < 8:
            return
        yield kind, box[at + 8 : at + length]
        at += length


def _find(box: memoryview, *path: bytes) -> memoryview:
    """The box that lies in those boxes, or an empty one."""
    for kind in path:
        box = dict(_inner(box)).get(kind, memoryview(b""))
    return box


def _number(box: memoryview, at: int) -> int:
    return int.from_bytes(box[at : at + 4], "big")
