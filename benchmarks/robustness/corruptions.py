"""Eight ways in which a picture gets worse, each in five severities, the same for the same random numbers.

Lengths are those of a picture 360 pixels high and grow with it. The libraries that have such functions bring
opencv-python-headless along, which overwrites the OpenCV that this project runs on, so they are written here.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ...model.datasets import Dataset, Labels, Sample
from ...runtime.frame import Frame

Corrupt = Callable[[Frame, np.random.Generator, int], Frame]  # uint8 (H, W, 3) BGR, severity 1 to 5
SEVERITIES = (1, 2, 3, 4, 5)
_HEIGHT = 360


@dataclass(frozen=True)
class Corrupted(Dataset):
    """A data set whose pictures are corrupted when they are read; a picture's numbers come from the seed and its name."""

    corruption: str = ""  # one of CORRUPTIONS; empty leaves pictures as they are
    severity: int = 3
    seed: int = 0

    def read(self, sample: Sample) -> tuple[Frame, Labels]:
        image, labels = super().read(sample)
        if self.corruption:
            place = list(CORRUPTIONS).index(self.corruption)
            rng = np.random.default_rng((self.seed, zlib.crc32(sample.name.encode()), place))
            image = CORRUPTIONS[self.corruption](image, rng, self.severity)
        return image, labels


def fog(image: Frame, rng: np.random.Generator, severity: int) -> Frame:
    """Uneven light grey before everything."""
    density = (0.25, 0.4, 0.5, 0.6, 0.7)[severity - 1] * (0.75 + 0.5 * _clouds(image.shape[:2], rng))
    return _bytes(image * (1 - density[..., None]) + 225 * density[..., None])


def noise(image: Frame, rng: np.random.Generator, severity: int) -> Frame:
    """A sensor with too little light: normal noise, more of it where it is bright."""
    deviation = (6, 10, 16, 24, 34)[severity - 1]
    strength = deviation * np.sqrt(0.5 + image / 255)
    return _bytes(image + strength * rng.standard_normal(image.shape, np.float32))


def blur(image: Frame, rng: np.random.Generator, severity: int) -> Frame:
    """Out of focus: every point a disc."""
    radius = (1.0, 1.5, 2.0, 3.0, 4.5)[severity - 1] * len(image) / _HEIGHT
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(y, x), 0, 1)
    return np.asarray(cv2.filter2D(image, -1, disc / disc.sum(), borderType=cv2.BORDER_REPLICATE), np.uint8)


def darkness(image: Frame, rng: np.random.Generator, severity: int) -> Frame:
    """A part of the light, and the noise that comes with it."""
    light = (0.3, 0.18, 0.1, 0.06, 0.03)[severity - 1]
    dimmed = 255 * ((image / 255) ** 2.2 * light) ** (1 / 2.2)
    return _bytes(dimmed + (1 + severity) * rng.standard_normal(image.shape, np.float32))


def jpeg(image: Frame, rng: np.random.Generator, severity: int) -> Frame:
    """A file of low quality."""
    quality = (30, 20, 12, 8, 5)[severity - 1]
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def contrast(image: Frame, rng: np.random.Generator, severity: int) -> Frame:
    """Everything nearer to the mean."""
    factor = (0.6, 0.45, 0.3, 0.2, 0.12)[severity - 1]
    mean = float(image.mean())
    return _bytes(mean + factor * (image - mean))


def rain(image: Frame, rng: np.random.Generator, severity: int) -> Frame:
    """Bright streaks, all falling one way, before a picture that is a little paler."""
    height, width = image.shape[:2]
    scale = height / _HEIGHT
    share = (0.0015, 0.003, 0.005, 0.007, 0.010)[severity - 1] / scale**2
    length = round((12 + 4 * severity) * scale)
    drops = (rng.random((height, width), np.float32) < share).astype(np.float32)
    slant = np.deg2rad(rng.uniform(-20, 20))
    kernel = np.zeros((length | 1, length | 1), np.float32)
    middle = length // 2
    reach = round(middle * np.tan(slant))
    cv2.line(kernel, (middle - reach, 0), (middle + reach, 2 * middle), 1.0, max(1, round(scale)))
    streaks = np.clip(cv2.filter2D(drops, -1, kernel), 0, 1)
    streaks = 0.75 * cv2.GaussianBlur(streaks, (0, 0), 0.6 * scale)[..., None]
    paler = 0.85 * image + 0.15 * image.mean()
    return _bytes(paler * (1 - streaks) + 235 * streaks)


def half_resolution(image: Frame, rng: np.random.Generator, severity: int) -> Frame:
    """Made smaller, to a half at severity 3, and as large again."""
    factor = (0.75, 0.6, 0.5, 0.4, 0.3)[severity - 1]
    height, width = image.shape[:2]
    small = cv2.resize(image, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


CORRUPTIONS: Mapping[str, Corrupt] = {
    "fog": fog,
    "noise": noise,
    "blur": blur,
    "darkness": darkness,
    "JPEG": jpeg,
    "contrast": contrast,
    "rain": rain,
    "half resolution": half_resolution,
}


def _clouds(size: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """(H, W) from 0 to 1: noise of several sizes, the largest the strongest."""
    height, width = size
    total = np.zeros((height, width), np.float32)
    for octave in range(1, 6):
        grid = rng.random((2**octave + 1, 2**octave + 1), np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
    return np.asarray((total - total.min()) / max(float(np.ptp(total)), 1e-6), np.float32)


def _bytes(values: NDArray[np.floating]) -> Frame:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
