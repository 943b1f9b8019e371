"""What PyTorch's pooling and interpolation compute, by their definition, in float64 and without PyTorch: a robot has none.

`tests/test_support.py` holds these to PyTorch itself where that is installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


def interpolation(low: int, full: int, align_corners: bool) -> Doubles:
    """(full, low): how much of each sample is in each pixel, along one axis."""
    pixels = np.arange(full)
    if align_corners:
        places = pixels * ((low - 1) / (full - 1) if full > 1 else 0.0)
    else:
        places = np.maximum((pixels + 0.5) * (low / full) - 0.5, 0.0)
    below = np.minimum(places.astype(int), low - 1)
    matrix = np.zeros((full, low))
    np.add.at(matrix, (pixels, below), 1 - (places - below))
    np.add.at(matrix, (pixels, np.minimum(below + 1, low - 1)), places - below)
    return matrix


def upsampled(logits: NDArray[Any], size: tuple[int, int], align_corners: bool = False) -> Doubles:
    """(C, h, w) → (C, H, W), bilinear."""
    down, across = (interpolation(low, full, align_corners) for low, full in zip(logits.shape[1:], size, strict=True))
    return np.asarray(down @ logits.astype(np.float64) @ across.T)


def pooled(values: NDArray[Any], bins: tuple[int, int]) -> Doubles:
    """(C, h, w) → (C, *bins): means as adaptive average pooling divides an axis."""
    for axis, count in zip((1, 2), bins, strict=True):
        size = values.shape[axis]
        spans = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
        values = np.stack([values.take(range(*span), axis).mean(axis=axis) for span in spans], axis)
    return values


def best_two(logits: Doubles) -> Doubles:
    """(C, …) → (2, …): the largest and the one below it."""
    return np.partition(logits, (-2, -1), axis=0)[:-3:-1]


def softmax(logits: Doubles) -> Doubles:
    powers = np.exp(logits - logits.max(axis=0))
    return np.asarray(powers / powers.sum(axis=0))


def sigmoid(logits: Doubles) -> Doubles:
    return np.asarray(1 / (1 + np.exp(-logits)))


def logits_of(classes: int, size: tuple[int, int], seed: int = 0, smooth: int = 3) -> NDArray[np.float32]:
    """Drawn logits (C, *size), neighbours alike as a network's are, so that cells agree and disagree; 1 for noise."""
    noise = np.random.default_rng(seed).standard_normal((classes, *size))
    coarse = pooled(noise, (max(1, size[0] // smooth), max(1, size[1] // smooth)))
    return (upsampled(coarse, size) * 10).astype(np.float32)
