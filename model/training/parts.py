"""What is trained on and what is scored: splits, or whole drives held out of them, because frames of a drive are alike."""

from __future__ import annotations

from dataclasses import replace

from ...runtime.commands.command import did_you_mean
from ...runtime.errors import UsageError
from ..datasets import Dataset, open_dataset
from ..drives import drive_of, drives, listed
from .recipe import Recipe


def parts(recipe: Recipe) -> tuple[Dataset, Dataset | None]:
    """Training and validation data of a recipe; no validation where it trains on everything.

    Raises:
        UsageError: the data set is not there, or has no drive of a name in `holdout`, or nothing is left to train on.
    """
    everything = labelled(recipe)
    if not recipe.holdout:
        return everything, open_dataset(recipe.data, "val") if recipe.split == "train" else None
    wanted = {name.strip() for name in recipe.holdout.split(",")}
    known = drives(everything)
    for name in sorted(wanted - known.keys()):
        raise UsageError(
            f"holdout names the drive {name!r}, which {recipe.split} of {recipe.data} does not have; it has "
            f"{listed(known)}.{did_you_mean(name, list(known))}"
        )
    held = tuple(sample for sample in everything.samples if drive_of(everything, sample) in wanted)
    left = tuple(sample for sample in everything.samples if drive_of(everything, sample) not in wanted)
    if not left:
        raise UsageError(f"holdout={recipe.holdout} leaves nothing to train on; the drives are {listed(known)}")
    return replace(everything, samples=left), replace(everything, samples=held)


def labelled(recipe: Recipe) -> Dataset:
    """The samples of the recipe's split, or of both."""
    first, *others = (open_dataset(recipe.data, name) for name in recipe.split.split("+"))
    return replace(first, samples=sum((other.samples for other in others), first.samples))
