"""The paper's augmentations, each a plain function of the numbers that were drawn for it.

One draw fixes one view of one sample: resize, place, mirror and colours. It comes from (seed, epoch, index) alone, so that a
resumed run, or one with another number of workers, sees the same images.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ...runtime.artifacts.artifact import IGNORE
from ...runtime.frame import Frame
from .recipe import Recipe

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """One drawn view: which part of the image becomes the crop, and in which colours."""

    scale: tuple[float, float]  # crop pixels per image pixel, down and across
    offset: tuple[float, float]  # y, x of the scaled image's corner in the crop, in crop pixels
    mirrored: bool
    gain: tuple[float, float, float]  # B, G, R: brightness and channel noise together
    contrast: float


def draw(rng: np.random.Generator, size: tuple[int, int], whole: tuple[int, int], recipe: Recipe) -> View:
    """Draw a view of an image of `size` = (height, width), which is `whole` where the random resize is 1."""
    factor = float(np.exp(rng.uniform(*np.log(recipe.scales))))  # as often halved as doubled
    scale = (factor * whole[0] / size[0], factor * whole[1] / size[1])
    room = [crop - side * s for crop, side, s in zip(recipe.crop, size, scale, strict=True)]
    offset = [float(rng.uniform(min(0.0, r), max(0.0, r))) for r in room]
    brightness, contrast = (1 + rng.uniform(-x, x) for x in (recipe.brightness, recipe.contrast))
    noise = 1 + rng.uniform(-recipe.channel_noise, recipe.channel_noise, 3)
    b, g, r = (float(v) for v in brightness * noise)
    return View(scale, (offset[0], offset[1]), recipe.flip and bool(rng.integers(2)), (b, g, r), float(contrast))


def centred(size: tuple[int, int], whole: tuple[int, int], crop: tuple[int, int]) -> View:
    """The middle of an image of `size`, shown as large as `whole`; nothing random."""
    scale = (whole[0] / size[0], whole[1] / size[1])
    return View(scale, ((crop[0] - whole[0]) / 2, (crop[1] - whole[1]) / 2), False, (1.0, 1.0, 1.0), 1.0)


def image_view(image: Frame, view: View, crop: tuple[int, int]) -> Frame:
    """uint8 (H, W, 3) BGR → uint8 (crop height, crop width, 3); what the image does not cover is its mean colour."""
    height, width = crop
    mean = np.array(cv2.sumElems(image)[:3]) / (image.shape[0] * image.shape[1])  # as NumPy's, in a tenth of the time
    seen = cv2.warpAffine(
        image, _matrix(view, crop, 1), (width, height), flags=cv2.INTER_LINEAR, borderValue=tuple(mean.tolist())
    )
    return colours(np.asarray(seen, np.uint8), view, float(mean.mean()))


def label_view(labels: Labels, view: View, crop: tuple[int, int], stride: int) -> Labels:
    """uint8 (H, W) → uint8 (⌈crop / stride⌉), nearest neighbour; what the image does not cover is ignored."""
    height, width = (-(-side // stride) for side in crop)
    seen = cv2.warpAffine(
        labels, _matrix(view, crop, stride), (width, height), flags=cv2.INTER_NEAREST, borderValue=(IGNORE,)
    )
    return np.asarray(seen, np.uint8)


def colours(image: Frame, view: View, mean: float) -> Frame:
    """Each channel times its gain, then contrast around the image's mean; rounded and clipped to 0-255."""
    steps = np.arange(256, dtype=np.float32)[:, None] * np.array(view.gain, np.float32)
    steps = mean + view.contrast * (steps - mean)
    table = np.clip(np.rint(steps), 0, 255).astype(np.uint8)[:, None]
    return np.asarray(cv2.LUT(image, table), np.uint8)


def pasted(
    image: Frame, labels: Labels, other: Frame, theirs: Labels, classes: NDArray[np.uint8]
) -> tuple[Frame, Labels]:
    """The view with what the other view shows of `classes` laid over it, image and labels, in the same place."""
    table = np.zeros(256, np.uint8)
    table[classes] = 1
    over = cv2.LUT(theirs, table)
    height, width = image.shape[:2]
    mask = cv2.resize(over, (width, height), interpolation=cv2.INTER_NEAREST)
    seen = cv2.copyTo(other, mask, image.copy())
    return np.asarray(seen, np.uint8), np.where(over > 0, theirs, labels)


def half(labels: Labels, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Half of the classes that are in it (Olsson et al.: ClassMix, 2021)."""
    present = np.unique(labels[labels != IGNORE])
    return np.sort(rng.permutation(present)[: -(-len(present) // 2)])


def _matrix(view: View, crop: tuple[int, int], stride: int) -> NDArray[np.float64]:
    """Image → crop, 2×3 for OpenCV, which counts from the centres of pixels."""
    (sy, sx), (oy, ox) = view.scale, view.offset
    forward = np.array([[sx, 0, ox + 0.5 * sx], [0, sy, oy + 0.5 * sy], [0, 0, 1]])  # centre of a pixel → crop's edges
    if view.mirrored:
        forward = np.array([[-1, 0, crop[1]], [0, 1, 0], [0, 0, 1]]) @ forward
    to_centres = np.array([[1 / stride, 0, -0.5], [0, 1 / stride, -0.5], [0, 0, 1]])
    return (to_centres @ forward)[:2]
