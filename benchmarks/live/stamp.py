"""A time painted into a picture, as blocks of black and white that survive JPEG and H.264, and read out of it again.

Only the standard library and bytes: the RTSP server, which runs in the system's Python, paints with it, too.
"""

from __future__ import annotations

from typing import Any

BITS = 32  # of milliseconds; they start again after 49 days
CHECK = 8  # bits that tell a misread one
SIDE = 16  # pixels of a block: one macroblock
COLUMNS, ROWS = 20, 2
WIDTH, HEIGHT = COLUMNS * SIDE, ROWS * SIDE  # of the whole, in the picture's upper left corner


def blocks(milliseconds: int) -> list[bool]:
    """Which of the 40 blocks are white, row by row."""
    value = milliseconds & (1 << BITS) - 1
    word = value << CHECK | _check(value)
    return [bool(word >> bit & 1) for bit in range(BITS + CHECK)]


def rows(milliseconds: int) -> list[bytes]:
    """Luminance of the two rows of blocks, one line of `WIDTH` bytes each, to be repeated `SIDE` times."""
    white = blocks(milliseconds)
    return [
        b"".join(bytes([235 if on else 16]) * SIDE for on in white[row * COLUMNS : (row + 1) * COLUMNS])
        for row in range(ROWS)
    ]


def read(picture: Any) -> int | None:
    """The milliseconds in a picture, uint8 (H, W, 3) or (H, W); None where there are none, or a block is unclear."""
    if picture.shape[0] < HEIGHT or picture.shape[1] < WIDTH:
        return None
    word = 0
    for bit in range(BITS + CHECK):
        y, x = bit // COLUMNS * SIDE, bit % COLUMNS * SIDE
        level = float(picture[y + 4 : y + SIDE - 4, x + 4 : x + SIDE - 4].mean())
        if 80 < level < 170:
            return None
        word |= (level > 125) << bit
    value = word >> CHECK
    return value if word & (1 << CHECK) - 1 == _check(value) else None


def _check(value: int) -> int:
    return (value * 2654435761 >> 16 ^ value) & (1 << CHECK) - 1


def age(now: float, milliseconds: int) -> float:
    """Seconds between a stamp and `now`, both of the same monotonic clock."""
    return ((round(now * 1000) - milliseconds) & (1 << BITS) - 1) / 1000
