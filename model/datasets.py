"""Labelled images on disk: Cityscapes, CamVid, and a folder of one's own. Nothing is downloaded.

Cityscapes   ROOT/leftImg8bit/SPLIT/CITY/*_leftImg8bit.png with ROOT/gtFine (or gtCoarse)/…/*_labelIds.png
CamVid       ROOT/SPLIT/*.png or .jpg with ROOT/SPLITannot/*.png of the same stem (the SegNet tutorial's layout)
own          ROOT/images/SPLIT/… with ROOT/labels/SPLIT/*.png of the same stem, and ROOT/classes.yaml

A classes.yaml beside the first two says what their numbers mean in place of the known classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..runtime.artifacts.files import there
from ..runtime.errors import SourceError, UsageError
from ..runtime.frame import Frame
from ..runtime.media.sources import IMAGES
from .classes import CAMVID, CITYSCAPES, ClassSet
from .labelled import class_list
from .labelled.class_list import read_classes
from .labelled.masks import Labels, Reading
from .labelled.nearest import label_advice, split_advice
from .labelled.orientation import as_shown, read_turned

# Cityscapes' labelIds of the 19 train ids, in their order (cityscapesScripts' labels.py); all others are ignored.
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_CITYSCAPES_LAST = 33  # the license plate, -1, is 255 in the PNG files
_CAMVID_UNLABELLED = 11
CLASSES = "classes.yaml"


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
    reading: Reading
    samples: tuple[Sample, ...]
    exif: Literal["stored", "shown"] | None = None  # what labels of turned pictures were drawn on, where it is said

    @property
    def classes(self) -> ClassSet:
        return self.reading.classes

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[tuple[Sample, Frame, Labels]]:
        for sample in self.samples:
            yield sample, *self.read(sample)

    def read(self, sample: Sample) -> tuple[Frame, Labels]:
        """Image uint8 (H, W, 3) BGR as it is shown, and labels uint8 (H, W) train ids, 255 to ignore.

        Raises:
            SourceError: unreadable files, sizes that differ, or labels that the data set does not define; names the file.
        """
        image, orientation = read_turned(sample.image)
        size = image.shape[0], image.shape[1]
        labels = as_shown(sample.image, sample.label, self.labels(sample), size, orientation, self.exif)
        if labels.shape != size:
            raise SourceError(
                f"{sample.label} is height={labels.shape[0]} width={labels.shape[1]}, but its image is "
                f"height={size[0]} width={size[1]}; expected the same size"
            )
        return image, labels

    def labels(self, sample: Sample) -> Labels:
        """The label file alone, uint8 (H, W) train ids as they are stored.

        Raises:
            SourceError: missing, with the nearest name that is there; unreadable, or of unknown meaning.
        """
        if not there(sample.label):
            raise SourceError(
                f"{sample.label} does not exist; expected the label of {sample.image.name}.{label_advice(sample.label)}"
            )
        return self.reading.labels(sample.label)


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
                raise UsageError(
                    f"{root} has the layout of {opened.kind}, but its split {split!r} holds no images.{split_advice(root, split)}"
                )
            return opened
    found = ", ".join(sorted(p.name for p in root.iterdir())[:8]) or "nothing"
    raise UsageError(
        f"{root} has no known layout for the split {split!r}; found {found}; expected leftImg8bit/ and gtFine/ (Cityscapes), "
        f"{split}/ and {split}annot/ (CamVid), or images/, labels/ and classes.yaml (one's own).{split_advice(root, split)} "
        f"What annotation tools write becomes a data set by fastscnn-data init {root}"
    )


def _cityscapes(root: Path, split: str, coarse: bool) -> Dataset | None:
    images = root / "leftImg8bit"
    if not images.is_dir():
        return None
    kind = "gtCoarse" if coarse else "gtFine"
    samples = []
    for image in sorted((images / split).glob("*/*_leftImg8bit.png")):
        stem = image.name.removesuffix("_leftImg8bit.png")
        samples.append(Sample(stem, image, root / kind / split / image.parent.name / f"{stem}_{kind}_labelIds.png"))
    known = Reading.of_ids(CITYSCAPES, "Cityscapes", CITYSCAPES_IDS, range(_CITYSCAPES_LAST + 1))
    return _described(root, "Cityscapes", known, tuple(samples))


def _camvid(root: Path, split: str) -> Dataset | None:
    if not (root / f"{split}annot").is_dir():
        return None
    known = Reading.of_ids(CAMVID, "CamVid", range(len(CAMVID)), [_CAMVID_UNLABELLED])
    return _described(root, "CamVid", known, _pairs(root / split, root / f"{split}annot"))


def _own(root: Path, split: str) -> Dataset | None:
    if not (root / CLASSES).is_file() or not (root / "images").is_dir():
        return None
    return _described(root, "", None, _pairs(root / "images" / split, root / "labels" / split))


def _described(root: Path, kind: str, known: Reading | None, samples: tuple[Sample, ...]) -> Dataset:
    """With the classes of the folder's own list where it has one, whatever its layout or name."""
    if known is not None and not (root / CLASSES).is_file():
        return Dataset(kind, known, samples)
    own = class_list.read(root / CLASSES)
    return Dataset(own.classes.name, own.reading(root / CLASSES), samples, own.exif)


def _pairs(images: Path, labels: Path) -> tuple[Sample, ...]:
    found = sorted(path for path in images.glob("*") if path.suffix.lower() in IMAGES and not path.name.startswith("."))
    return tuple(Sample(path.stem, path, labels / f"{path.stem}.png") for path in found)


__all__ = ["CITYSCAPES_IDS", "CLASSES", "Dataset", "Labels", "Sample", "open_dataset", "read_classes"]
