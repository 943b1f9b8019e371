"""The temperature at which confidence means what it says (Guo et al.: On calibration of modern neural networks, 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..runtime.errors import UsageError
from .checkpoint import Checkpoint
from .datasets import Dataset, Sample
from .drives import drive_of
from .inference import Network, sampled
from .reliability import Reliability

Group = tuple[Tensor, Tensor]  # logits (n, C) and train ids (n,) of pixels that belong together, such as a drive's
HEADS = ("prob", "cls")  # in the order of a checkpoint's temperatures
_RANGE = (0.05, 20.0)  # of temperatures, which checkpoints hold, too
_PIXELS = 4000  # of each image
_PARTS = 4  # of one drive alone, from its beginning to its end
_STEPS = 60  # of the golden section: to a ten-thousandth


@dataclass(frozen=True)
class Fitted:
    """A temperature and what it is worth on pixels that it was not fitted to."""

    temperature: float  # of all groups together
    before: float  # expected calibration error, 0 to 1
    after: float  # each group with the temperature of the others; of one group alone, with its own

    def __str__(self) -> str:
        return (
            f"expected calibration error {self.before:.2%}, {self.after:.2%} at the temperature {self.temperature:.3f}"
        )


def temperature(logits: Tensor, labels: Tensor) -> float:
    """The divisor of the logits at which the labels are likeliest.

    Args:
        logits: (n, C). labels: (n,) train ids.
    """
    wanted = labels.long()

    def unlikely(place: float) -> float:
        return float(F.cross_entropy(logits / np.exp(place), wanted))

    low, high = np.log(_RANGE)
    ratio = (5**0.5 - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = unlikely(left), unlikely(right)
    for _ in range(_STEPS):  # one valley: the loss is convex in the temperature's inverse
        if high - low < 1e-4:
            break
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = unlikely(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = unlikely(right)
    return float(np.exp((low + high) / 2))


def fitted(groups: Sequence[Group]) -> Fitted:
    """One temperature for all, judged by cross-validation over the groups."""
    before, after = Reliability(), Reliability()
    whole = temperature(*_together(groups))
    for index, (logits, labels) in enumerate(groups):
        others = [*groups[:index], *groups[index + 1 :]]
        divisor = temperature(*_together(others)) if others else whole
        _count(before, logits, labels)
        _count(after, logits / divisor, labels)
    return Fitted(whole, before.error(), after.error())


def calibrated(checkpoint: Checkpoint, dataset: Dataset, device: str) -> tuple[Checkpoint, dict[str, Fitted]]:
    """The checkpoint with both temperatures fitted to a labelled split, and what they are worth, by head.

    Judged by cross-validation over the split's drives, or over stretches of one drive.

    Raises:
        SourceError: an image or label that cannot be read.
        UsageError: weights whose classes each have a probability of their own.
    """
    if checkpoint.network.variant.probability != "softmax":
        raise UsageError(
            "these weights were trained with a sigmoid for each class; expected a soft-max, which a temperature can calibrate"
        )
    plain = replace(checkpoint, temperature=(1.0, 1.0))
    groups = grouped(plain, dataset, device)
    found = {head: fitted(as_head(groups, plain.balanced, head)) for head in HEADS}
    temperatures = found["prob"].temperature, found["cls"].temperature
    return replace(checkpoint, temperature=temperatures), found


def grouped(checkpoint: Checkpoint, dataset: Dataset, device: str) -> list[Group]:
    """Pixels of every drive by itself, with the logits that labels are taken from."""
    drives: dict[str, list[Sample]] = {}
    for sample in dataset.samples:
        drives.setdefault(drive_of(dataset, sample), []).append(sample)
    parts = list(drives.values())
    if len(parts) == 1:
        size = -(-len(dataset) // _PARTS)
        parts = [parts[0][start : start + size] for start in range(0, len(dataset), size)]
    predict = Network(checkpoint, device)
    return [sampled(predict, part, dataset, _PIXELS) for part in parts]


def as_head(groups: Sequence[Group], balanced: Sequence[float], head: str) -> list[Group]:
    """The logits as a head has them: of probabilities without the balanced biases."""
    if head != "prob" or not balanced:
        return list(groups)
    return [(logits - torch.tensor(balanced), labels) for logits, labels in groups]


def _count(into: Reliability, logits: Tensor, labels: Tensor) -> None:
    best, predicted = logits.softmax(dim=1).max(dim=1)
    into.add(best.numpy(), (predicted == labels.long()).numpy())


def _together(groups: Sequence[Group]) -> Group:
    return torch.cat([logits for logits, _ in groups]), torch.cat([labels for _, labels in groups])
