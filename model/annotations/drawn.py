"""A drawn field as labelme leaves it: pictures, and a JSON file of polygons beside each. To try the way from labels to a model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ...runtime.artifacts.files import write_atomically
from ...runtime.commands.command import make_folder
from ...runtime.frame import Frame

Outline = NDArray[np.float64]  # (N, 2) x, y in pixels

_SUBPIXELS = 4  # bits of OpenCV's fixed-point coordinates
_LEAVES = {"crop": ((60, 150, 75), 0.055), "weed": ((50, 120, 95), 0.035)}  # BGR; length in shares of the width


@dataclass(frozen=True)
class Leaf:
    """One polygon of one class, in the order in which it was painted."""

    label: str
    outline: Outline


def write(folder: Path, pictures: int, size: tuple[int, int] = (240, 320), seed: int = 0) -> None:
    """`field_SS_NNN.jpg` with `field_SS_NNN.json`: rows of crop and strewn weeds, eight pictures of a drive each.

    Raises:
        OutputError: the folder cannot be written.
    """
    make_folder(folder)
    for index in range(pictures):
        drive, place = divmod(index, 8)
        name = f"field_{drive:02d}_{place:03d}"
        frame, leaves = draw(size, np.random.default_rng((seed, drive)), np.random.default_rng((seed, drive, place)))
        write_atomically(
            folder / f"{name}.jpg", cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
        )
        shapes = [
            {"label": leaf.label, "points": leaf.outline.round(2).tolist(), "shape_type": "polygon", "group_id": None}
            for leaf in leaves
        ]
        described: dict[str, object] = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"{name}.jpg"}
        described |= {"imageData": None, "imageHeight": size[0], "imageWidth": size[1]}
        write_atomically(folder / f"{name}.json", json.dumps(described).encode())


def draw(size: tuple[int, int], drive: np.random.Generator, here: np.random.Generator) -> tuple[Frame, list[Leaf]]:
    """uint8 (H, W, 3) BGR seen from above, and what grows there.

    Args:
        drive: what pictures of one drive share: light, soil, distance of the rows.
        here: what only this picture has.
    """
    height, width = size
    light = drive.uniform(0.65, 1.25) * np.array([drive.uniform(0.9, 1.1), 1.0, drive.uniform(0.9, 1.1)])
    base = np.array([55, 80, 115]) * drive.uniform(0.7, 1.2)
    clods = sum(_noise(here, size, cells) * gain for cells, gain in ((6, 14), (24, 18), (80, 16)))
    frame = base + np.asarray(clods)[..., None] + here.normal(0, 5, (height, width, 1))
    veins = 1 + 0.1 * _noise(here, size, 60)
    leaves: list[Leaf] = []
    for label, root, scale in _plants(size, drive, here):
        colour, length = _LEAVES[label]
        tint = np.array(colour) * here.uniform(0.8, 1.2)
        for outline in _rosette(label, root, length * width * scale, here):
            part = _around(outline, size)
            corner = np.array([part[1].start, part[0].start])
            shape = frame[part].shape[:2]
            shadow = _filled(outline - corner + np.array([2.5, 3.5]), shape)
            body = _filled(outline - corner, shape)[..., None] > 0
            dark = frame[part] * (1 - 0.45 * cv2.GaussianBlur(shadow, (5, 5), 0)[..., None])
            frame[part] = np.where(body, tint * veins[part][..., None] * here.uniform(0.85, 1.15), dark)
            leaves.append(Leaf(label, outline))
    frame = cv2.GaussianBlur(frame * light, (3, 3), 0.6) + here.normal(0, 3, frame.shape)
    return np.clip(frame, 0, 255).astype(np.uint8), leaves


def _plants(
    size: tuple[int, int], drive: np.random.Generator, here: np.random.Generator
) -> Iterator[tuple[str, NDArray[np.float64], float]]:
    height, width = size
    rows = int(drive.integers(2, 4))
    first, gap = drive.uniform(0.1, 0.25) * width, width / rows
    step = drive.uniform(0.28, 0.36) * height
    for row in range(rows):
        for y in np.arange(here.uniform(0, step), height, step):
            root = np.array([first + row * gap + here.normal(0, 4), y + here.normal(0, 4)])
            yield "crop", root, here.uniform(0.8, 1.2)
    for _ in range(int(here.integers(4, 10))):
        yield "weed", here.uniform((0, 0), (width, height)), here.uniform(0.6, 1.3)


def _rosette(label: str, root: NDArray[np.float64], length: float, here: np.random.Generator) -> Iterator[Outline]:
    """Crop: a few broad leaves; weeds: many narrow, toothed ones."""
    count, breadth, teeth = (
        (int(here.integers(4, 6)), 0.42, 0.0) if label == "crop" else (int(here.integers(5, 9)), 0.2, 0.22)
    )
    turn = here.uniform(0, 2 * np.pi)
    for index in range(count):
        angle = turn + 2 * np.pi * index / count + here.normal(0, 0.15)
        along = np.concatenate([np.linspace(0, 1, 12), np.linspace(1, 0, 12)[1:]])
        side = np.concatenate([np.ones(12), -np.ones(11)])
        across = side * breadth * np.sin(np.pi * along**0.8) * (1 + teeth * np.cos(np.arange(23) * np.pi))
        local = np.stack([along, across], axis=1) * length * here.uniform(0.85, 1.15)
        yield local @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) + root


def _around(outline: Outline, size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns that a leaf and its shadow reach, at least one of each."""
    low, high = np.floor(outline.min(axis=0)) - 8, np.ceil(outline.max(axis=0)) + 12
    left, top = (int(v) for v in low.clip(0, (size[1] - 1, size[0] - 1)))
    right, bottom = (int(v) for v in high.clip((left + 1, top + 1), (size[1], size[0])))
    return slice(top, bottom), slice(left, right)


def _filled(outline: Outline, size: tuple[int, int]) -> NDArray[np.float32]:
    mask = np.zeros(size, np.float32)
    points = np.rint(outline * 2**_SUBPIXELS).astype(np.int32)
    cv2.fillPoly(mask, [points], (1.0,), shift=_SUBPIXELS)
    return mask


def _noise(rng: np.random.Generator, size: tuple[int, int], cells: int) -> NDArray[np.float64]:
    """(H, W) smooth noise of about `cells` bumps across."""
    height, width = size
    coarse = rng.normal(0, 1, (max(2, cells * height // width), cells))
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
