"""Drawn frames on which engines are compared: no data set lies on a robot."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from ..frame import Frame


def scene(height: int, width: int, seed: int = 0) -> Frame:
    """A drawn frame with what a camera sees: bright above and grey below, things with edges, texture of every size."""
    rng = np.random.default_rng(seed)
    size = (width, height)
    column = rng.uniform([[[150] * 3], [[90] * 3], [[60] * 3]], [[[255] * 3], [[160] * 3], [[130] * 3]])
    image = cv2.resize(column.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    for _ in range(40):  # far things are small and stand on the horizon
        near = rng.uniform() ** 2
        x, y = int(rng.uniform(0, width)), int(height * (0.45 + 0.5 * near))
        across, up = int(width * (0.01 + 0.1 * near)), int(height * rng.uniform(0.02, 0.3 + 0.2 * near))
        colour = tuple(float(v) for v in rng.uniform(20, 220) + rng.normal(0, 25, 3))
        cv2.rectangle(image, (x - across, y - up), (x + across, y), colour, -1)
    texture: Any = np.zeros((1, 2, 3), np.float32)
    cells = 4
    while cells <= height:  # each on the coarser one, so that the last alone has the whole size
        texture = cv2.resize(texture, (cells * 2, cells), interpolation=cv2.INTER_LINEAR)
        texture += 5 * rng.standard_normal(texture.shape, np.float32)
        cells *= 4
    image = cv2.add(image, cv2.resize(texture, size, interpolation=cv2.INTER_LINEAR))
    return np.asarray(image.clip(0, 255), np.uint8)
