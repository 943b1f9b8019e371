"""Drives: recordings whose frames are so alike that they belong to one side of a split together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from ..runtime.errors import UsageError
from .datasets import Dataset, Sample


def sequence_of(name: str) -> tuple[str, int]:
    """`drive_03_000017` → (`drive_03_`, 17); what Roboflow puts behind a name does not count. -1 without a number."""
    name = re.sub(r"_(jpe?g|png|bmp|webp|tiff?)\.rf\.[0-9A-Za-z]+$", "", name)
    name = re.sub(r"_(leftImg8bit|gtFine|rgb|image|img|color)$", "", name)
    match = re.fullmatch(r"(.*?)(\d{1,12})", name)
    return (match[1], int(match[2])) if match else (name, -1)


def drive_of(dataset: Dataset, sample: Sample) -> str:
    """The recording that a sample is of: Cityscapes' city, CamVid's `0016E5`, else what its name has before its number."""
    if dataset.kind == "Cityscapes":
        return sample.image.parent.name
    if dataset.kind == "CamVid":
        return sample.name.partition("_")[0]
    return sequence_of(sample.name)[0].rstrip("_-. ") or sample.name


def drives(dataset: Dataset) -> Mapping[str, int]:
    """Each drive and how many samples it has, in alphabetical order."""
    return dict(sorted(Counter(drive_of(dataset, sample) for sample in dataset.samples).items()))


def folds(dataset: Dataset, groups: int) -> list[tuple[str, ...]]:
    """The drives in so many groups of about the same size, or each by itself where there are not as many.

    Raises:
        UsageError: one drive or one group alone.
    """
    known = drives(dataset)
    if len(known) < 2 or groups < 2:
        raise UsageError(
            f"{groups} groups of the drives {listed(known)}, as names tell them, are no cross-validation; expected two or more. "
            "Score on val instead"
        )
    found: list[list[str]] = [[] for _ in range(min(groups, len(known)))]
    for name in sorted(known, key=lambda drive: -known[drive]):  # the largest first, into what is smallest so far
        min(found, key=lambda group: sum(known[other] for other in group)).append(name)
    return sorted(tuple(sorted(group)) for group in found)


def listed(known: Mapping[str, int]) -> str:
    """`0001TP (62), 0006R0 (101)`, and how many more there are."""
    shown = [f"{name} ({count})" for name, count in list(known.items())[:12]]
    return ", ".join(shown) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
