"""What every reader of a format gives: the pictures of a folder, and for each a mask of the format's own classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...runtime.artifacts.files import whole
from ...runtime.errors import ArtifactError, SourceError, UsageError
from ...runtime.media.sources import IMAGES
from ..classes import Colour

Numbers = NDArray[np.int16]  # (H, W): the place of a class in `Found.names`, or one of these
NOTHING, IGNORED = -1, -2  # in no polygon; marked as not to be trained on
_JSON_BYTES = 1 << 30


@dataclass(frozen=True)
class Labelled:
    """One picture and its labels."""

    image: Path
    label: Path  # for messages
    draw: Callable[
        [tuple[int, int]], Numbers
    ]  # (height, width) of the picture as it is shown → its mask, in a size of its own
    split: str | None = None  # where the source says


@dataclass(frozen=True)
class Found:
    """A folder as one format.

    `names` are those of the format: where it knows numbers or colours only, they are these in writing, and `named` is
    false. `rest` is whether there may be pixels in no polygon. `drawn` is what its labels were drawn on (EXIF).
    """

    kind: str
    names: tuple[str, ...]
    pictures: tuple[Labelled, ...]
    colours: Mapping[str, Colour] = field(default_factory=dict)
    named: bool = True
    rest: bool = False
    drawn: Literal["stored", "shown"] | None = "shown"  # annotation tools show pictures as their EXIF says
    shares: Mapping[str, float] = field(default_factory=dict)  # of the pixels, where they were counted
    notes: tuple[str, ...] = ()  # what was left out, in words


def images_by_stem(*folders: Path) -> dict[str, Path]:
    """The pictures below these folders by stem, the first of each."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if is_image(path):
                found.setdefault(path.stem, path)
    return found


def inside(path: Path, *folders: Path | None) -> bool:
    """Whether a file is there, and below one of these: what a stranger's file names elsewhere on the disk is not touched."""
    try:
        return path.is_file() and any(folder and path.resolve().is_relative_to(folder.resolve()) for folder in folders)
    except (OSError, ValueError):  # a name that is too long, or with a null byte in it
        return False


def is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGES and not path.name.startswith(".") and path.is_file()


def load_json(path: Path) -> Any:
    """Raises SourceError: not JSON, or too large."""
    try:
        return json.loads(whole(path, _JSON_BYTES, "a JSON file"))
    except (ArtifactError, ValueError, RecursionError) as error:
        raise SourceError(f"{path} is not JSON that can be read ({error!s:.200})") from error


def lines_of(path: Path) -> list[str]:
    """Raises SourceError: not a text file."""
    try:
        return [
            line.strip()
            for line in whole(path, 1 << 26, "a text file").decode("utf-8-sig").splitlines()
            if line.strip()
        ]
    except (ArtifactError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} is not a text file that can be read ({error!s:.200})") from error


def expect_pictures(kind: str, root: Path, missing: Iterable[str], given: Path | None) -> None:
    """Refuse labels without their pictures.

    Raises:
        UsageError: names the first and says where they were looked for.
    """
    names = list(missing)
    if names:
        where = f"{root} and {given}" if given else f"{root}. Say where they are with --images FOLDER"
        raise UsageError(f"{kind}: {len(names)} label files have no picture, such as {names[0]}; looked below {where}")


def dotless(paths: Iterable[Path]) -> Iterator[Path]:
    """Without hidden files, such as macOS's `._a.png`."""
    return (path for path in sorted(paths) if not path.name.startswith("."))
