"""Damage as disks, networks and malice do it, from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable

TOKENS = (
    b"\x00", b"\xff" * 4, b"\xff" * 9 + b"\x01", b"\x80" * 9 + b"\x01", b"\x7f\xff\xff\xff", b"99999999999999999999", b"-1",
    b"NaN", b"Infinity", b"1e999", b"[" * 2000, b"{" * 2000, b"null", b"true", b"\"\\u001b[2J\"", b"../../x", b"&a [*a, *a]",
    b"<<: *a", b"\r\n", b"\xef\xbb\xbf", b"!!python/object/apply:os.system ['true']", b"2001-99-99", b"0x", b"\x1b]0;x\x07",
)  # fmt: skip


def flip(data: bytearray, dice: random.Random) -> None:
    for _ in range(dice.choice((1, 1, 2, 8, 64))):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def overwrite(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data))
    data[at : at + dice.choice((1, 2, 4, 8, 100))] = dice.randbytes(dice.choice((1, 2, 4, 8, 100)))


def cut(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data))
    del data[at : None if dice.random() < 0.5 else at + dice.choice((1, 4, 100, 5000))]


def repeat(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data))
    part = bytes(data[at : at + dice.choice((1, 8, 100, 2000))])
    data[at:at] = part * dice.choice((1, 2, 30))


def insert(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data) + 1)
    token = dice.choice(TOKENS)
    data[at : at + (len(token) if dice.random() < 0.5 else 0)] = token


def number(data: bytearray, dice: random.Random) -> None:
    """A run of digits becomes another, as in a text."""
    digits = [i for i in range(max(0, len(data) - 20000), len(data)) if 48 <= data[i] < 58]
    if digits:
        at = dice.choice(digits)
        data[at : at + 1] = str(dice.choice((-1, 0, 7, 255, 256, 65536, 100_000, 1 << 31, 1 << 64))).encode()


KINDS: tuple[Callable[[bytearray, random.Random], None], ...] = (flip, overwrite, cut, repeat, insert, number)


def mutated(data: bytes, dice: random.Random, focus: tuple[int, int] | None = None) -> bytes:
    """One to three kinds of damage; half of the cases within `focus`, the bytes from, to where the meaning stands."""
    start, stop = focus if focus and dice.random() < 0.7 else (0, len(data))
    part = bytearray(data[start:stop])
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        if part:
            dice.choice(KINDS)(part, dice)
    return data[:start] + bytes(part) + data[stop:]
