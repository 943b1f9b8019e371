"""Painting a 3D world into an image and its label map at once: camera, polygons, rounded limbs, textures.

World coordinates are metres: x to the right of the road's centre line, y up, s along the road. Colours are BGR, 0..255.
Whatever is painted goes into the image with soft edges and into the label map, as its kind, with hard ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, auto

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Points = NDArray[np.float64]
Colour = tuple[float, float, float]

NEAR = 0.6  # metres; nothing closer to the camera is painted
END = 600.0  # metres; the ground goes on to here, where the skyline takes over
FAR = 280.0  # metres; things rise from behind the horizon here, so that none pops up
SUBPIXEL = 4  # bits of sub-pixel position given to OpenCV
TINY = 8 << SUBPIXEL  # a solid texture no wider than this is painted in its mean colour
ARC = np.linspace(-0.5, 0.5, 5) * math.pi  # the rounded end of a limb


class Kind(IntEnum):
    """What a painted pixel shows; `fastscnn.model.street.TRAIN_IDS` maps it to a class of a dataset."""

    ROAD = 0
    PAVEMENT = auto()
    BUILDING = auto()
    WALL = auto()
    FENCE = auto()
    POLE = auto()
    LIGHT = auto()
    SIGN = auto()
    TREE = auto()
    GRASS = auto()
    SKY = auto()
    PERSON = auto()
    RIDER = auto()
    CAR = auto()
    TRUCK = auto()
    BUS = auto()
    MOTORCYCLE = auto()
    BICYCLE = auto()
    CLUTTER = auto()


@dataclass(frozen=True)
class Light:
    """Light of one street: `sun` points to it (unit x, y, s), `ambient` and `direct` are gains, 1 leaves a colour."""

    sun: tuple[float, float, float]
    ambient: float
    direct: float
    tint: Colour  # gain of each channel
    zenith: Colour
    horizon: Colour  # also the colour that distance fades to
    clouds: float  # 0 clear .. 1 covered
    haze: float  # metres after which 63 % has faded
    lit: float  # share of windows with a lamp on

    def on(self, x: float, y: float, s: float) -> float:
        """Gain of a face with the outward normal (x, y, s)."""
        facing = x * self.sun[0] + y * self.sun[1] + s * self.sun[2]
        return self.ambient * (0.9 + 0.1 * y) + self.direct * max(0.0, facing)


@dataclass
class Texture:
    """A picture (rows, columns, 3 or 4), uint8 BGR or BGRA, with smaller versions of it made when first needed."""

    picture: Image
    levels: dict[tuple[int, int], Image] = field(default_factory=dict)
    colour: Colour = (0.0, 0.0, 0.0)  # its mean

    def __post_init__(self) -> None:
        blue, green, red, _ = cv2.mean(self.picture)
        self.colour = (blue, green, red)

    def at(self, width: float, height: float) -> Image:
        """The version closest above width x height pixels, each side halved on its own."""
        rows, columns = self.picture.shape[:2]
        across = max(0, min(int(math.log2(columns / max(width, 1.0))), int(math.log2(columns)) - 1))
        down = max(0, min(int(math.log2(rows / max(height, 1.0))), int(math.log2(rows)) - 1))
        if (across, down) not in self.levels:
            size = (max(1, columns >> across), max(1, rows >> down))
            self.levels[across, down] = np.asarray(
                cv2.resize(self.picture, size, interpolation=cv2.INTER_AREA), np.uint8
            )
        return self.levels[across, down]


def fractal(rng: np.random.Generator, rows: int, columns: int, cells: float, octaves: int = 4) -> NDArray[np.float32]:
    """Smooth noise (rows, columns), float32, about -1..1; `cells` is the count of the largest blobs across."""
    total = np.zeros((rows, columns), np.float32)
    for octave in range(octaves):
        across = max(2, min(columns, int(cells * 2**octave)))
        down = max(2, min(rows, int(cells * 2**octave * rows / columns)))
        grid = rng.uniform(-1, 1, (down, across)).astype(np.float32)
        total += cv2.resize(grid, (columns, rows), interpolation=cv2.INTER_CUBIC) * 0.6**octave
    return np.asarray(total / np.float32(1.3), np.float32)


@dataclass
class Job:
    """One thing to paint: corners in fixed-point pixels (N, 2) int32, its finished colour, or a texture to paste."""

    corners: NDArray[np.int32]
    colour: Colour
    kind: Kind
    convex: bool
    paste: tuple[Texture, Points, float] | None = None  # texture, camera corners (4, 3) from the foot's start, gain


class Canvas:
    """One frame: image uint8 (H, W, 3) BGR and kinds uint8 (H, W).

    What is added waits until `flush`, which projects all of it at once: calling numpy for each thing would take longer
    than painting it. It is painted by falling `layer`, and within a layer in the order of adding.
    """

    def __init__(
        self, image: Image, kinds: Image, light: Light, *, focal: float, horizon: float, eye: float, mirror: int
    ) -> None:
        """`focal` in pixels, `horizon` in rows, `eye` metres up; `mirror` -1 swaps left and right."""
        self.image, self.kinds, self.light = image, kinds, light
        self.focal, self.horizon, self.eye, self.mirror = focal, horizon, eye, mirror
        self.height, self.width = kinds.shape
        self.x, self.s = 0.0, 0.0
        self.waves: tuple[tuple[float, float, float], ...] = ()
        self.layer = 0.0
        self.hazy = True
        self._clear()

    def _clear(self) -> None:
        self._flats: list[tuple[float, int, Points, Colour, Kind, float, bool, bool, Texture | None]] = []
        self._bars: list[tuple[float, int, Points, Points, Sequence[Colour], Kind, float]] = []
        self._count = 0

    def place(self, x: float, s: float, waves: tuple[tuple[float, float, float], ...]) -> None:
        """Put the camera at x, s of a road whose centre is the sum of waves (metres, radians per metre, phase)."""
        self.x, self.s, self.waves = x, s, waves

    def bend(self, depth: Points) -> Points:
        """Metres that the road's centre lies aside of the camera's heading at `depth` ahead."""
        aside = np.zeros_like(depth)
        for size, rate, phase in self.waves:
            now = rate * self.s + phase
            aside += size * (np.sin(now + rate * depth) - math.sin(now) - math.cos(now) * rate * depth)
        return aside

    def camera(self, points: Points) -> Points:
        """World points (..., 3) to camera coordinates (..., 3): right, up and ahead of the lens in metres."""
        seen = np.empty(points.shape)
        depth = points[..., 2] - self.s
        seen[..., 0] = self.mirror * (points[..., 0] - self.x + self.bend(depth))
        seen[..., 1] = points[..., 1] * np.clip((FAR - depth) / (0.25 * FAR), 0.0, 1.0) - self.eye
        seen[..., 2] = depth
        return seen

    def pixels(self, seen: Points) -> Points:
        """Camera coordinates (..., 3), none closer than NEAR, to pixel positions (..., 2) as column, row."""
        scale = self.focal / seen[..., 2]
        flat = np.empty((*seen.shape[:-1], 2))
        flat[..., 0] = 0.5 * self.width + seen[..., 0] * scale
        flat[..., 1] = self.horizon - seen[..., 1] * scale
        return flat

    def tones(self, colours: Points, depth: Points, gain: Points) -> Points:
        """Colours (N, 3) under this light at distances (N,) with gains (N,)."""
        clear = np.exp(-np.maximum(depth, 0.0) / self.light.haze)[:, None]
        lit = colours * gain[:, None] * np.array(self.light.tint)
        return np.asarray(np.clip(lit * clear + np.array(self.light.horizon) * (1.0 - clear), 0, 255), np.float64)

    def polygon(
        self,
        points: Points,
        colour: Colour,
        kind: Kind,
        gain: float = 1.0,
        *,
        convex: bool = True,
        culled: bool = False,
    ) -> None:
        """Add a world polygon (N, 3); a `culled` one only shows when its corners turn counter-clockwise."""
        self._flats.append((-self.layer, self._count, points, colour, kind, gain, convex, culled, None))
        self._count += 1

    def paste(
        self,
        texture: Texture,
        start: tuple[float, float, float],
        end: tuple[float, float, float],
        height: float,
        kind: Kind,
        gain: float,
    ) -> None:
        """Add a texture stretched over the upright quad with its foot from `start` to `end` (world x, y, s).

        A texture with alpha is labelled where it is more than half opaque, any other one over the whole quad.
        """
        (x0, y0, s0), (x1, y1, s1) = start, end
        corners = np.array([start, end, (x1, y1 + height, s1), (x0, y0 + height, s0)])
        self._flats.append((-self.layer, self._count, corners, texture.colour, kind, gain, True, False, texture))
        self._count += 1

    def limbs(self, ends: Points, radii: Points, colours: Sequence[Colour], kind: Kind, gain: float) -> None:
        """Add round tapered bars: world ends (N, 2, 3), radii (N, 2) in metres, a colour for each."""
        self._bars.append((-self.layer, self._count, ends, radii, colours, kind, gain))
        self._count += len(ends)

    def cut(self, seen: Points) -> Points | None:
        """A polygon in camera coordinates without its part closer than NEAR; None when nothing is left."""
        ahead = seen[:, 2] >= NEAR
        kept = []
        for here, there in zip(range(len(seen)), [*range(1, len(seen)), 0], strict=True):
            one, two = seen[here], seen[there]
            if ahead[here]:
                kept.append(one)
            if ahead[here] != ahead[there]:
                kept.append(one + (two - one) * (NEAR - one[2]) / (two[2] - one[2]))
        return np.array(kept) if len(kept) > 2 else None

    def outlines(
        self, polygons: Sequence[Points], culled: Sequence[bool]
    ) -> tuple[list[NDArray[np.int32] | None], Points, Points]:
        """World polygons to fixed-point pixel corners (None: out of sight), all camera points, mean depths."""
        sizes = np.array([len(points) for points in polygons])
        first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        seen = self.camera(np.concatenate(polygons))
        depth = np.add.reduceat(seen[:, 2], first) / sizes
        closest = np.minimum.reduceat(seen[:, 2], first)
        near = np.maximum(seen, (-np.inf, -np.inf, NEAR))
        flat = self.pixels(near)
        low, high = np.minimum.reduceat(flat, first), np.maximum.reduceat(flat, first)
        after = np.arange(len(flat)) + 1
        after[first + sizes - 1] = first
        area = np.add.reduceat(flat[:, 0] * flat[after, 1] - flat[:, 1] * flat[after, 0], first)
        cutting = (closest < NEAR) & (np.maximum.reduceat(seen[:, 2], first) > NEAR)
        shown = (high[:, 0] >= 0) & (high[:, 1] >= 0) & (low[:, 0] < self.width) & (low[:, 1] < self.height)
        shown &= ((high - low).max(axis=1) > 0.4) & (closest >= NEAR) & (closest < END)
        shown &= ~np.array(culled) | (area * self.mirror < 0)  # rows grow downwards, which flips the sign
        fixed = np.rint(np.clip(flat, -60000, 60000) * (1 << SUBPIXEL)).astype(np.int32)
        found: list[NDArray[np.int32] | None] = [None] * len(polygons)
        for number in np.flatnonzero(shown).tolist():
            start = first[number]
            found[number] = fixed[start : start + sizes[number]]
        for number in np.flatnonzero(cutting).tolist():
            part = self.cut(seen[first[number] : first[number] + sizes[number]])
            if part is not None:
                x, y = self.pixels(part).T
                turn = float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) * self.mirror
                if turn < 0 or not culled[number]:
                    corners = np.clip(np.stack([x, y], axis=1), -60000, 60000)
                    found[number] = np.rint(corners * (1 << SUBPIXEL)).astype(np.int32)
        return found, seen, depth

    def flush(self) -> None:
        """Paint all that was added, the farthest first."""
        jobs = [*self._flat_jobs(), *self._bar_jobs()]
        self._clear()
        for _, _, job in sorted(jobs, key=lambda entry: entry[:2]):
            if job.paste is not None:
                self._paste(job)
            elif job.convex:
                cv2.fillConvexPoly(self.image, job.corners, job.colour, cv2.LINE_AA, SUBPIXEL)
                cv2.fillConvexPoly(self.kinds, job.corners, (int(job.kind),), cv2.LINE_8, SUBPIXEL)
            else:
                cv2.fillPoly(self.image, [job.corners], job.colour, cv2.LINE_AA, SUBPIXEL)
                cv2.fillPoly(self.kinds, [job.corners], (int(job.kind),), cv2.LINE_8, SUBPIXEL)

    def _flat_jobs(self) -> list[tuple[float, int, Job]]:
        flats = self._flats
        if not flats:
            return []
        found, seen, depth = self.outlines([flat[2] for flat in flats], [flat[7] for flat in flats])
        gains = np.array([flat[5] for flat in flats])
        colours = self.tones(np.array([flat[3] for flat in flats]), depth if self.hazy else 0.0 * depth, gains).tolist()
        jobs, start = [], 0
        for flat, corners, colour in zip(flats, found, colours, strict=True):
            layer, order, points, _, kind, gain, convex, _, texture = flat
            if corners is not None:
                paste = None
                if texture is not None and (texture.picture.shape[2] == 4 or np.ptp(corners[:, 0]) > TINY):
                    paste = (texture, seen[start : start + 4], gain)
                jobs.append((layer, order, Job(corners, colour, kind, convex, paste)))
            start += len(points)
        return jobs

    def _bar_jobs(self) -> list[tuple[float, int, Job]]:
        bars = self._bars
        if not bars:
            return []
        counts = [len(bar[2]) for bar in bars]
        seen = self.camera(np.concatenate([bar[2] for bar in bars]))
        ahead = seen[..., 2].min(axis=1) >= NEAR
        seen[..., 2] = np.maximum(seen[..., 2], NEAR)
        middle = self.pixels(seen)
        radius = np.concatenate([bar[3] for bar in bars]) * self.focal / seen[..., 2]
        along = middle[:, 1] - middle[:, 0]
        angle = np.arctan2(along[:, 1], along[:, 0])[:, None] + np.concatenate([ARC + math.pi, ARC])[None, :]
        reach = np.repeat(radius, len(ARC), axis=1)
        shape = np.stack([np.cos(angle) * reach, np.sin(angle) * reach], axis=-1) + np.repeat(middle, len(ARC), axis=1)
        low, high = shape.min(axis=1), shape.max(axis=1)
        ahead &= (high[:, 0] >= 0) & (high[:, 1] >= 0) & (low[:, 0] < self.width) & (low[:, 1] < self.height)
        ahead &= (high - low).max(axis=1) > 0.9
        gains = np.repeat([bar[6] for bar in bars], counts)
        colours = self.tones(np.array([c for bar in bars for c in bar[4]]), seen[..., 2].mean(axis=1), gains).tolist()
        fixed = np.rint(np.clip(shape, -60000, 60000) * (1 << SUBPIXEL)).astype(np.int32)
        jobs, number = [], 0
        for layer, order, ends, _, _, kind, _ in bars:
            for step in range(len(ends)):
                if ahead[number]:
                    jobs.append((layer, order + step, Job(fixed[number], colours[number], kind, True)))
                number += 1
        return jobs

    def _paste(self, job: Job) -> None:
        if job.paste is None:
            return
        texture, foot, gain = job.paste
        start, end, _, top = foot.tolist()
        low = (job.corners.min(axis=0) >> SUBPIXEL).tolist()
        high = ((job.corners.max(axis=0) >> SUBPIXEL) + 2).tolist()
        left, upper, right, lower = max(low[0], 0), max(low[1], 0), min(high[0], self.width), min(high[1], self.height)
        if left >= right or upper >= lower:
            return
        picture = texture.at(high[0] - low[0] - 2, high[1] - low[1] - 2)
        rows, columns = picture.shape[:2]
        aside, ahead = (end[0] - start[0]) / columns, (end[2] - start[2]) / columns
        down = (start[1] - top[1]) / rows
        x, y, z = top[0] + 0.5 * aside, top[1] + 0.5 * down, top[2] + 0.5 * ahead  # the first pixel's centre
        across, over = 0.5 * self.width - left, self.horizon - upper
        plane = np.array(
            [
                [self.focal * aside + across * ahead, 0.0, self.focal * x + across * z],
                [over * ahead, -self.focal * down, -self.focal * y + over * z],
                [ahead, 0.0, z],
            ]
        )
        solid = picture.shape[2] == 3
        size = (right - left, lower - upper)
        border = cv2.BORDER_REPLICATE if solid else cv2.BORDER_CONSTANT
        seen = cv2.warpPerspective(picture, plane, size, flags=cv2.INTER_LINEAR, borderMode=border)
        clear = math.exp(-max(NEAR, 0.5 * (start[2] + end[2])) / self.light.haze)
        mix = np.zeros((3, 4))
        for channel, (tint, haze) in enumerate(zip(self.light.tint, self.light.horizon, strict=True)):
            mix[channel, channel], mix[channel, 3] = tint * gain * clear, haze * (1.0 - clear)
        kinds = self.kinds[upper:lower, left:right]
        if solid:
            mask: Image = np.zeros(size[::-1], np.uint8)
            corners = job.corners - np.array([left << SUBPIXEL, upper << SUBPIXEL], np.int32)
            cv2.fillConvexPoly(mask, corners, (255,), cv2.LINE_AA, SUBPIXEL)
            cv2.fillConvexPoly(self.kinds, job.corners, (int(job.kind),), cv2.LINE_8, SUBPIXEL)
        else:
            mask = np.asarray(cv2.extractChannel(seen, 3), np.uint8)
            seen = cv2.cvtColor(seen, cv2.COLOR_BGRA2BGR)
            kinds[mask > 127] = job.kind
        region = self.image[upper:lower, left:right]
        cover = cv2.merge([mask, mask, mask])
        over_it = cv2.multiply(cv2.transform(seen, mix), cover, scale=1 / 255)
        under = cv2.multiply(region, cv2.bitwise_not(cover), scale=1 / 255)
        cv2.add(over_it, under, dst=region)
