"""Labelled images on disk: Cityscapes, CamVid, and a folder of one's own. Nothing is downloaded.

Cityscapes   ROOT/leftImg8bit/SPLIT/CITY/*_leftImg8bit.png with ROOT/gtFine (or gtCoarse)/…/*_labelIds.png
CamVid       ROOT/SPLIT/*.png or .jpg with ROOT/SPLITannot/*.png of the same stem (the SegNet tutorial's layout)
own          ROOT/images/SPLIT/… with ROOT/labels/SPLIT/*.png of the same stem, and ROOT/classes.yaml
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..runtime.artifacts.artifact import IGNORE, printable
from ..runtime.errors import SourceError, UsageError
from ..runtime.frame import Frame
from ..runtime.media.sources import IMAGES, decoded, read_image
from .classes import CAMVID, CITYSCAPES, ClassSet

Labels = NDArray[np.uint8]

# Cityscapes' labelIds of the 19 train ids, in their order (cityscapesScripts' labels.py); all others are ignored.
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_CITYSCAPES_LAST = 33  # the license plate, -1, is 255 in the PNG files
_CAMVID_UNLABELLED = 11
_UNKNOWN = 254  # marks ids that the data set does not define; train ids end below it


@dataclass(frozen=True)
class Sample:
    """One image and its labels, which may be missing on disk."""

    name: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Dataset:
    """The samples of one split and the meaning of their label files' numbers."""

    kind: str
    classes: ClassSet
    samples: tuple[Sample, ...]
    table: Labels  # (256,) number in the file → train id, IGNORE, or _UNKNOWN

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[tuple[Sample, Frame, Labels]]:
        for sample in self.samples:
            yield sample, *self.read(sample)

    def read(self, sample: Sample) -> tuple[Frame, Labels]:
        """Image uint8 (H, W, 3) BGR and labels uint8 (H, W) train ids, 255 to ignore.

        Raises:
            SourceError: unreadable files, sizes that differ, or numbers that the data set does not define; names the file.
        """
        image, numbers = read_image(sample.image), read_numbers(sample.label)
        if numbers.shape != image.shape[:2]:
            raise SourceError(
                f"{sample.label} is height={numbers.shape[0]} width={numbers.shape[1]}, but its image is "
                f"height={image.shape[0]} width={image.shape[1]}; expected the same size"
            )
        labels = self.table[numbers]
        if np.any(labels == _UNKNOWN):
            strange = sorted(set(numbers[labels == _UNKNOWN].tolist()))
            raise SourceError(f"{sample.label} holds ids {_listed(strange)}, which {self.kind} does not define")
        return image, labels


def read_numbers(path: Path) -> Labels:
    """A label file's numbers as they are, uint8 (H, W).

    Raises:
        SourceError: missing, unreadable, or colours in place of numbers.
    """
    numbers = decoded(path, cv2.IMREAD_UNCHANGED)
    if numbers.ndim != 2 or numbers.dtype != np.uint8:
        raise SourceError(
            f"{path} has shape {numbers.shape} and {numbers.dtype}; expected one 8-bit channel of class ids, not colours"
        )
    return np.asarray(numbers, np.uint8)


def open_dataset(root: str | Path, split: str, *, coarse: bool = False) -> Dataset:
    """The data set whose layout `root` has.

    Args:
        split: "train", "val", or another that is there.
        coarse: Cityscapes' coarse labels in place of the fine ones.

    Raises:
        UsageError: no folder of a known layout, or no such split; says what was looked for.
    """
    root = Path(root)
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder; expected a data set. Check the path")
    for opened in (_cityscapes(root, split, coarse), _camvid(root, split), _own(root, split)):
        if opened is not None:
            if not opened.samples:
                raise UsageError(f"{root} has the layout of {opened.kind}, but its split {split!r} holds no images")
            return opened
    found = ", ".join(sorted(p.name for p in root.iterdir())[:8]) or "nothing"
    raise UsageError(
        f"{root} has no known layout for the split {split!r}; found {found}; expected leftImg8bit/ and gtFine/ (Cityscapes), "
        f"{split}/ and {split}annot/ (CamVid), or images/, labels/ and classes.yaml (one's own)"
    )


def _cityscapes(root: Path, split: str, coarse: bool) -> Dataset | None:
    images = root / "leftImg8bit"
    if not images.is_dir():
        return None
    kind = "gtCoarse" if coarse else "gtFine"
    table = np.full(256, _UNKNOWN, np.uint8)
    table[: _CITYSCAPES_LAST + 1] = table[255] = IGNORE
    table[list(CITYSCAPES_IDS)] = np.arange(len(CITYSCAPES_IDS))
    samples = []
    for image in sorted((images / split).glob("*/*_leftImg8bit.png")):
        stem = image.name.removesuffix("_leftImg8bit.png")
        samples.append(Sample(stem, image, root / kind / split / image.parent.name / f"{stem}_{kind}_labelIds.png"))
    return Dataset("Cityscapes", CITYSCAPES, tuple(samples), table)


def _camvid(root: Path, split: str) -> Dataset | None:
    if not (root / f"{split}annot").is_dir():
        return None
    table = np.full(256, _UNKNOWN, np.uint8)
    table[: len(CAMVID)] = np.arange(len(CAMVID))
    table[[_CAMVID_UNLABELLED, IGNORE]] = IGNORE
    return Dataset("CamVid", CAMVID, _pairs(root / split, root / f"{split}annot"), table)


def _own(root: Path, split: str) -> Dataset | None:
    description = root / "classes.yaml"
    if not description.is_file() or not (root / "images").is_dir():
        return None
    classes = read_classes(description)
    table = np.full(256, _UNKNOWN, np.uint8)
    table[: len(classes)] = np.arange(len(classes))
    table[IGNORE] = IGNORE
    return Dataset(classes.name, classes, _pairs(root / "images" / split, root / "labels" / split), table)


def _pairs(images: Path, labels: Path) -> tuple[Sample, ...]:
    found = sorted(path for path in images.glob("*") if path.suffix.lower() in IMAGES and not path.name.startswith("."))
    return tuple(Sample(path.stem, path, labels / f"{path.stem}.png") for path in found)


def read_classes(path: Path) -> ClassSet:
    """`name: yard` and `classes: {grass: [0, 255, 0], …}`, colours RGB, in the order of their ids."""
    from .plain_yaml import read

    try:
        content: Any = read(path)
        name, colours = content.get("name", path.parent.name), content["classes"]
        sound = all(isinstance(c, list) and len(c) == 3 and all(_byte(v) for v in c) for c in colours.values())
    except (UsageError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} cannot be read ({type(error).__name__}: {error}); expected `classes:` with a colour each"
        ) from error
    if not sound or not 2 <= len(colours) <= IGNORE:
        raise UsageError(
            f"{path} names {len(colours)} classes; expected 2 to {IGNORE}, each with three numbers from 0 to 255"
        )
    if strange := [text for text in [name, *colours] if not printable(str(text))]:
        raise UsageError(f"{path} has the name {strange[0]!r:.80}; expected a short text of one line")
    return ClassSet(str(name), tuple(map(str, colours)), tuple((c[0], c[1], c[2]) for c in colours.values()))


def _byte(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 255


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")
