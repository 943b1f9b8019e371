"""The last step of a training: class biases that suit the mean IoU instead of the loss."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..checkpoint import Checkpoint
from ..datasets import Dataset
from ..inference import Network, sampled
from ..metrics import Confusion

IMAGES = 200  # looked at, evenly spaced over the data set
PIXELS = 20_000  # of each, drawn at random
STEPS = (0.6, 0.3, 0.15)


def balance(checkpoint: Checkpoint, dataset: Dataset, device: str) -> tuple[tuple[float, ...], float, float]:
    """Move the biases of the checkpoint's last layer in place, to the best mean IoU on images of `dataset`.

    Returns:
        What was added to each class's bias; the mean IoU on them before and after, from 0 to 1.

    Raises:
        SourceError: an image or label that cannot be read.
    """
    step = -(-len(dataset) // IMAGES)
    logits, labels = sampled(Network(checkpoint, device), dataset.samples[::step], dataset, PIXELS)
    found, before, after = biases(logits.to(device), labels.numpy())
    last = checkpoint.network.classifier.conv
    assert last.bias is not None
    with torch.no_grad():
        last.bias += found.to(last.bias.device)
    return tuple(found.tolist()), before, after


def biases(logits: Tensor, labels: NDArray[np.uint8]) -> tuple[Tensor, float, float]:
    """What to add to each class's logit so that the mean IoU is highest: coordinate ascent from zero.

    A loss, and weights in it, make a network prefer some classes more than their IoU rewards; as few numbers as there are
    classes put that right, and are too few to learn the images by heart.

    Args:
        logits: (pixels, C), on the device that is to count.
        labels: (pixels,) train ids.

    Returns:
        (C,) float32 of mean 0, on the CPU; the mean IoU without and with them, from 0 to 1.
    """
    classes = logits.shape[1]
    found = torch.zeros(classes, device=logits.device)
    rows = torch.from_numpy(labels).to(logits.device, torch.int64) * classes

    def score(added: Tensor) -> float:
        confusion = Confusion(classes)
        cells = torch.bincount(rows + (logits + added).argmax(dim=1), minlength=classes**2)
        confusion.counts += cells.reshape(classes, classes).cpu().numpy()
        return confusion.mean_iou()

    before = best = score(found)
    for step in STEPS:
        moved = True
        while moved:
            moved = False
            for index in range(len(found)):
                for change in (step, -step):
                    tried = found.clone()
                    tried[index] += change
                    reached = score(tried)
                    if reached > best + 1e-5:
                        found, best, moved = tried, reached, True
                        break
    return (found - found.mean()).cpu(), before, best
