"""Options that say what of a frame the model sees, and what it may leave unknown: those of `Segmenter`, as words."""

from __future__ import annotations

import argparse
import re
from typing import Any

from . import command


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--roi",
        type=region,
        metavar="ROWS,COLUMNS",
        help="segment a part of each frame, such as 400:1000,: for some rows",
    )
    parser.add_argument("--letterbox", action="store_true", help="keep the aspect ratio; else frames are stretched")
    parser.add_argument(
        "--unknown-below",
        type=command.share,
        metavar="P",
        help="label 255 what no class reaches the probability P for, 0 to 1",
    )


def chosen(options: argparse.Namespace) -> dict[str, Any]:
    """For `Segmenter`."""
    return {name: getattr(options, name) for name in ("roi", "letterbox", "unknown_below")}


def region(text: str) -> tuple[slice, slice]:
    """`400:1000,:` → slices of rows and columns; for `type=` of an option."""
    found = re.fullmatch(r"(-?\d*):(-?\d*),(-?\d*):(-?\d*)", text.replace(" ", ""))
    if not found or "-" in found.groups():
        raise argparse.ArgumentTypeError(
            f"{text!r} is no part of a frame; expected ROWS,COLUMNS such as 400:1000,: or 0:720,160:1120"
        )
    top, bottom, left, right = (int(part) if part else None for part in found.groups())
    return slice(top, bottom), slice(left, right)
