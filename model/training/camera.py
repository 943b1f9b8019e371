"""What light, lens, sensor and file do to a picture; labels stay. Each a plain function of the numbers that were drawn for it.

All are off in a recipe that does not name them, and draw nothing then: an older run goes on with the pictures that it had.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ...runtime.frame import Frame
from .recipe import Recipe

_GRAIN = 1 << 21  # values of noise that are drawn once; pictures take theirs from a place in them
_LUMA = np.array([0.114, 0.587, 0.299])  # of B, G, R (ITU-R BT.601)
_RAIN = 230  # level of a drop that hides everything
_SOFT = 8  # pixels of the picture for one of a shadow's mask
_DROPS, _FALL = (0.0003, 0.004), (8, 40)  # of rain: how many for a pixel, their length in pixels
_LEAN, _OPACITY = (-25, 25), (0.3, 0.9)  # degrees from upright, share of what is behind a drop that it hides
_SIGMAS, _LENGTHS, _QUALITIES = (0.4, 2.0), (3, 13), (15, 90)  # of blur in pixels, of motion in pixels, of JPEG


def seen_by_camera(image: Frame, rng: np.random.Generator, recipe: Recipe) -> Frame:
    """uint8 (H, W, 3) BGR as another camera on another day would give it, as far as the recipe wants that."""
    if recipe.shadow and rng.random() < recipe.shadow:
        image = shadowed(
            image, rng.uniform(0, 1, 2), rng.uniform(0.15, 0.8, 2), rng.uniform(0, 180), rng.uniform(0.3, 0.75)
        )
    if recipe.saturation or recipe.hue:
        image = tinted(image, 1 + rng.uniform(-1, 1) * recipe.saturation, rng.uniform(-1, 1) * recipe.hue)
    if recipe.gamma:
        image = curved(image, (1 + recipe.gamma) ** rng.uniform(-1, 1))
    if recipe.rain and rng.random() < recipe.rain:
        drops = round(rng.uniform(*_DROPS) * image.shape[0] * image.shape[1])
        length, lean, opacity = (rng.uniform(*span) for span in (_FALL, _LEAN, _OPACITY))
        image = rained(image, drops, length, lean, opacity, int(rng.integers(2**31)))
    if recipe.blur and rng.random() < recipe.blur:
        if rng.random() < 0.5:
            image = blurred(image, rng.uniform(*_SIGMAS))
        else:
            image = moved(image, int(rng.integers(*_LENGTHS)), rng.uniform(0, 180))
    if recipe.noise:
        image = grained(image, 255 * rng.uniform(0, recipe.noise), int(rng.integers(_GRAIN)))
    if recipe.jpeg and rng.random() < recipe.jpeg:
        image = compressed(image, int(rng.integers(*_QUALITIES)))
    return image


def shadowed(
    image: Frame, centre: NDArray[np.float64], size: NDArray[np.float64], degrees: float, depth: float
) -> Frame:
    """A turned rectangle, `centre` and `size` as shares of width and height, darkened by `depth` with a soft edge."""
    height, width = image.shape[:2]
    rows, columns = -(-height // _SOFT), -(-width // _SOFT)
    box = cv2.boxPoints(((centre[0] * columns, centre[1] * rows), (size[0] * columns, size[1] * rows), degrees))
    mask = np.full((rows, columns), 255, np.uint8)
    cv2.fillConvexPoly(mask, np.rint(box).astype(np.int32), round(255 * (1 - depth)))
    mask = cv2.GaussianBlur(mask, (0, 0), 1)
    light = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.multiply(image, cv2.merge([light] * 3), scale=1 / 255), np.uint8)


def tinted(image: Frame, saturation: float, hue: float) -> Frame:
    """Colours turned around grey by `hue`, a share of the whole circle, then farther from grey or nearer to it."""
    turn, _ = cv2.Rodrigues(np.full(3, 2 * np.pi * hue / np.sqrt(3)))
    grey = np.tile(_LUMA, (3, 1))
    return np.asarray(cv2.transform(image, (saturation * np.eye(3) + (1 - saturation) * grey) @ turn), np.uint8)


def curved(image: Frame, exponent: float) -> Frame:
    """Each value, as a share of 255, to a power: below 1 brightens what is dark."""
    table = 255 * (np.arange(256) / 255) ** exponent
    return np.asarray(cv2.LUT(image, np.rint(table).astype(np.uint8)), np.uint8)


def rained(image: Frame, drops: int, length: float, degrees: float, opacity: float, seed: int) -> Frame:
    """Bright streaks of about `length` pixels, all falling at about `degrees` from upright; `opacity` from 0 to 1."""
    height, width = image.shape[:2]
    rng = np.random.default_rng(seed)
    turn = np.deg2rad(degrees + rng.normal(0, 2, drops))
    fall = np.stack([np.sin(turn), np.cos(turn)], axis=1) * length * rng.uniform(0.5, 1.5, (drops, 1))
    begins = rng.random((drops, 2)) * (width, height + 2 * length) - (0, 2 * length)
    lines = np.rint(np.stack([begins, begins + fall], axis=1)).astype(np.int32)
    mask = np.zeros((height, width), np.uint8)
    cv2.polylines(mask, list(lines), False, round(255 * opacity), 1, cv2.LINE_AA)
    hidden = cv2.merge([cv2.GaussianBlur(mask, (3, 3), 0)] * 3)
    behind = cv2.multiply(image, 255 - hidden, scale=1 / 255)
    return np.asarray(cv2.addWeighted(behind, 1, hidden, _RAIN / 255, 0), np.uint8)


def blurred(image: Frame, sigma: float) -> Frame:
    """Out of focus: Gaussian."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def moved(image: Frame, length: int, degrees: float) -> Frame:
    """Motion along a straight line of `length` pixels."""
    side = length | 1
    kernel = np.zeros((side, side), np.float32)
    middle = side // 2
    reach = np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))]) * (length - 1) / 2
    start, end = (tuple(int(v) for v in np.rint(middle + sign * reach)) for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE), np.uint8)


def grained(image: Frame, deviation: float, place: int) -> Frame:
    """Normal noise of a standard deviation in levels, on each channel by itself."""
    grain = (
        np.resize(_grain()[place:], image.size) if place + image.size > _GRAIN else _grain()[place : place + image.size]
    )
    noisy = cv2.scaleAdd(grain.reshape(image.shape), deviation, image.astype(np.float32))
    return np.asarray(cv2.convertScaleAbs(np.maximum(noisy, 0)), np.uint8)


def compressed(image: Frame, quality: int) -> Frame:
    """What JPEG of a quality from 1 to 100 leaves of it."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


@cache
def _grain() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(_GRAIN, np.float32)
