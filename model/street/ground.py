"""The drawn street's ground: road, markings, kerbs, pavements, grass, their grain and the shadows on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from .layout import LOT, Plan, crossing, draws, lot
from .objects import DISC
from .paint import END, FAR, NEAR, SUBPIXEL, Canvas, Colour, Kind, Points
from .textures import grain

STEPS = np.geomspace(NEAR, END, 48)  # metres ahead where the outlines of the ground follow the bend
ASPHALT: Colour = (112, 110, 110)
PAINT: Colour = (214, 216, 216)
YELLOW: Colour = (70, 160, 190)
SLABS: Colour = (128, 132, 136)
KERB: Colour = (150, 154, 156)
LAWN: Colour = (52, 104, 92)


class Ground:
    """The ground of one street at one resolution: where its pixels lie in the world, their grain and haze."""

    def __init__(
        self, plan: Plan, height: int, width: int, focal: float, horizon: float, rng: np.random.Generator
    ) -> None:
        """`focal` in pixels, `horizon` in rows; the grain is drawn from `rng`."""
        self.plan, self.height, self.width = plan, height, width
        self.gain = plan.light.on(0.0, 1.0, 0.0)
        self.dark = int(255 * 0.85 * plan.light.direct / self.gain)  # what a shadow takes from the light, of 255
        self.top = math.ceil(horizon)
        rows = np.arange(self.top, height, dtype=np.float64)
        self._depth = depth = np.clip(focal * plan.eye / np.maximum(rows - horizon, 1e-3), 0, END)
        across = plan.mirror * (np.arange(width) - 0.5 * width)[None, :] * (depth / focal)[:, None]
        self._across = np.clip(across, -600, 600).astype(np.float32)
        step = depth**2 / (focal * plan.eye)  # metres along that one row spans
        clear = np.exp(-depth / plan.light.haze)
        self._fades = tuple(
            (strength * np.clip(size / step, 0, 1)).astype(np.float32)[:, None]
            for strength, size in ((0.13, 0.02), (0.10, 0.5))
        )
        self._grains = (grain(rng, 1024, 256), grain(rng, 512, 16))
        self._clear = clear.astype(np.float32)[:, None]
        haze = (1 - clear)[:, None, None] * np.array(plan.light.horizon)
        self._haze = np.ascontiguousarray(np.broadcast_to(haze, (len(rows), width, 3)).astype(np.uint8))

    def paint(self, canvas: Canvas, skyline: int, shadows: Sequence[tuple[Points, int]]) -> None:
        """Paint all ground below row `skyline`; shadows are world polygons (N, 3) with what they take of the light."""
        plan, s, gain = self.plan, canvas.s, self.gain
        yard, kind = (SLABS, Kind.PAVEMENT) if plan.urban > 0.55 else (LAWN, Kind.GRASS)
        canvas.image[skyline:] = [min(255.0, c * gain * k) for c, k in zip(yard, plan.light.tint, strict=True)]
        canvas.kinds[skyline:] = kind
        canvas.hazy = False  # haze and light come at the end, for each pixel
        self._strip(canvas, (-plan.edge, 0), (plan.edge, 0), (s, s + END), ASPHALT, Kind.ROAD)
        numbers = range(int((s - 20) // LOT), int((s + END) // LOT) + 1)
        for number in numbers[: int(FAR / LOT)] if yard != LAWN else ():
            for side in (-1, 1):
                piece = lot(plan, side, number)
                if piece.name == "park":
                    inner, outer = side * plan.border, side * (plan.border + 60)
                    self._strip(canvas, (inner, 0), (outer, 0), (piece.near, piece.far), LAWN, Kind.GRASS)
        crossings = [number for number in numbers if crossing(plan, number)]
        starts = [s - 20.0] + [LOT * (number + 1) for number in crossings]
        ends = [LOT * number for number in crossings] + [s + END]
        for span in zip(starts, ends, strict=True):
            for side in (-1, 1):
                self._side(canvas, side, span)
            self._lines(canvas, span)
        for number in crossings:
            self._strip(canvas, (-150, 0), (150, 0), (LOT * number, LOT * (number + 1)), ASPHALT, Kind.ROAD)
            self._crossing(canvas, LOT * number)
        for number in range(numbers[0], numbers[0] + 6):
            self._repairs(canvas, number)
        canvas.flush()
        canvas.hazy = True
        self._finish(canvas, shadows)

    def _strip(
        self,
        canvas: Canvas,
        inner: tuple[float, float],
        outer: tuple[float, float],
        span: tuple[float, float],
        colour: Colour,
        kind: Kind,
    ) -> None:
        """A band of ground between two lines (x, y) over a span along the road."""
        start, end = max(span[0] - canvas.s, NEAR + 1e-6), min(span[1] - canvas.s, END - 1e-6)
        if start >= end:
            return
        depth = (
            np.concatenate(
                [[start], STEPS[np.searchsorted(STEPS, start, "right") : np.searchsorted(STEPS, end)], [end]]
            )
            + canvas.s
        )
        count = len(depth)
        points = np.empty((2 * count, 3))
        points[:count, :2], points[count:, :2] = inner, outer
        points[:count, 2], points[count:, 2] = depth, depth[::-1]
        canvas.polygon(points, colour, kind, self.gain, convex=False)

    def _side(self, canvas: Canvas, side: int, span: tuple[float, float]) -> None:
        """Kerb, verge and pavement of one side between two crossings."""
        plan, edge = self.plan, self.plan.edge
        inner, outer, high = edge + 0.15, plan.border, 0.12
        walk = inner + plan.verge
        self._strip(canvas, (side * walk, high), (side * outer, high), span, SLABS, Kind.PAVEMENT)
        if plan.verge:
            self._strip(canvas, (side * inner, high), (side * walk, high), span, LAWN, Kind.GRASS)
        close = (span[0], min(span[1], canvas.s + 25))
        for row in range(1, int((outer - walk) / 0.9)):  # joints between slabs
            x = side * (walk + 0.9 * row)
            self._strip(canvas, (x, high), (x + 0.02, high), close, (104, 108, 112), Kind.PAVEMENT)
        self._strip(canvas, (side * (edge - 0.35), 0), (side * edge, 0), span, (94, 94, 96), Kind.ROAD)  # gutter
        self._strip(canvas, (side * edge, 0), (side * edge, high), span, (104, 106, 108), Kind.PAVEMENT)
        self._strip(canvas, (side * edge, high), (side * inner, high), span, KERB, Kind.PAVEMENT)

    def _lines(self, canvas: Canvas, span: tuple[float, float]) -> None:
        plan, lanes = self.plan, self.plan.lanes * self.plan.lane
        if plan.lanes == 2:
            for x in (-0.15, 0.15):
                self._strip(canvas, (x - 0.05, 0), (x + 0.05, 0), span, YELLOW if plan.yellow else PAINT, Kind.ROAD)
        first = max(math.ceil(span[0] / 7.5), int(canvas.s // 7.5))
        for x in (0.0,) if plan.lanes == 1 else (-plan.lane, plan.lane):
            for dash in range(first, min(int((span[1] - 8) / 7.5) + 1, int(canvas.s // 7.5) + 24)):
                self._strip(canvas, (x - 0.06, 0), (x + 0.06, 0), (7.5 * dash, 7.5 * dash + 3.2), PAINT, Kind.ROAD)
        colour = YELLOW if plan.yellow and plan.parking < 1 else PAINT
        for x in (-lanes, lanes):
            self._strip(canvas, (x - 0.06, 0), (x + 0.06, 0), (span[0] + 1, span[1] - 7), colour, Kind.ROAD)

    def _crossing(self, canvas: Canvas, start: float) -> None:
        """Zebra stripes before a side street, and the lines to stop at on either side of it."""
        edge = self.plan.edge
        if start > canvas.s + 130:
            return
        for bar in range(int(2 * edge)):
            x = -edge + 0.3 + bar
            self._strip(canvas, (x, 0), (x + 0.5, 0), (start - 4.5, start - 1.2), PAINT, Kind.ROAD)
        self._strip(canvas, (0, 0), (edge - 0.3, 0), (start - 6.4, start - 6.0), PAINT, Kind.ROAD)
        self._strip(canvas, (-edge + 0.3, 0), (0, 0), (start + LOT + 1.0, start + LOT + 1.4), PAINT, Kind.ROAD)

    def _repairs(self, canvas: Canvas, number: int) -> None:
        """Patches of newer or older asphalt and the lid of a drain."""
        rng = draws(self.plan, 7, number)
        for _ in range(int(rng.integers(0, 4))):
            x, s = rng.uniform(-self.plan.edge + 1, self.plan.edge - 1.6), LOT * number + rng.uniform(0, LOT)
            tone = rng.uniform(0.85, 1.08)
            colour = (ASPHALT[0] * tone, ASPHALT[1] * tone, ASPHALT[2] * tone)
            span = (s, s + rng.uniform(0.8, 9.0))
            self._strip(canvas, (x, 0), (x + rng.uniform(0.3, 1.2), 0), span, colour, Kind.ROAD)
        x, s = rng.uniform(-self.plan.lane, self.plan.lane), LOT * number + rng.uniform(0, LOT)
        canvas.polygon(flat(DISC * 0.32 + (x, s)), (58, 58, 60), Kind.ROAD, self.gain)

    def _finish(self, canvas: Canvas, shadows: Sequence[tuple[Points, int]]) -> None:
        """Multiply the painted ground by grain, shadow and clear air, then add the haze."""
        ground = canvas.image[self.top :]
        offset = (canvas.x - canvas.bend(self._depth)).astype(np.float32)[:, None]
        light = np.ones(self._across.shape, np.float32)
        place = self._across + offset
        for picture, fade, scale in zip(self._grains, self._fades, (100.0, 6.0), strict=True):
            rows = ((self._depth + canvas.s) * scale % len(picture)).astype(np.float32)[:, None]
            map_y = np.ascontiguousarray(np.broadcast_to(rows, place.shape))
            grains = cv2.remap(picture, place * np.float32(scale), map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
            light += fade * grains
        light *= self._shadow(canvas, shadows)
        light *= self._clear
        factor = cv2.convertScaleAbs(light, alpha=160.0)
        cv2.multiply(ground, cv2.merge([factor, factor, factor]), dst=ground, scale=1 / 160)
        cv2.add(ground, self._haze, dst=ground)

    def _shadow(self, canvas: Canvas, shadows: Sequence[tuple[Points, int]]) -> NDArray[np.float32]:
        """Gain (rows below the horizon, W) of the ground's pixels."""
        mask = np.zeros((self.height - self.top, self.width), np.uint8)
        if shadows:
            found, _, _ = canvas.outlines([points for points, _ in shadows], [False] * len(shadows))
            for corners, (_, dark) in zip(found, shadows, strict=True):
                if corners is not None:
                    shifted = corners - np.array([0, self.top << SUBPIXEL], np.int32)
                    cv2.fillPoly(mask, [shifted], (dark,), cv2.LINE_8, SUBPIXEL)
        soft = cv2.blur(mask, (max(3, self.height // 150 | 1),) * 2)
        return 1.0 - soft.astype(np.float32) * np.float32(1 / 255)


def flat(outline: Points) -> Points:
    """Points (N, 2) as x, s laid on the ground: world points (N, 3)."""
    points = np.zeros((len(outline), 3))
    points[:, ::2] = outline
    return points


def shadow_of_box(
    low: tuple[float, float], high: tuple[float, float], tall: float, sun: tuple[float, float, float]
) -> Points:
    """The ground (N, 3) that a box from corner `low` to `high` (x, s) shades."""
    base = np.array([low, (high[0], low[1]), high, (low[0], high[1])])
    cast = base - np.array([sun[0], sun[2]]) * tall / sun[1]
    hull = cv2.convexHull(np.concatenate([base, cast]).astype(np.float32))
    return flat(hull[:, 0].astype(np.float64))


def shadow_of_tree(x: float, s: float, tall: float, look: int, sun: tuple[float, float, float]) -> list[Points]:
    """The patches of ground (N, 3) that the crown and the trunk of a tree shade."""
    up, aside, along, size = tall * _patches(look)
    x_all, s_all = x - sun[0] / sun[1] * up + aside, s - sun[2] / sun[1] * up + along
    patches = np.zeros((len(up), len(DISC), 3))
    patches[..., ::2] = DISC * size[:, None, None] + np.stack([x_all, s_all], axis=1)[:, None]
    return [*patches, shadow_of_box((x - 0.12, s - 0.12), (x + 0.12, s + 0.12), 0.5 * tall, sun)]


@lru_cache(maxsize=512)
def _patches(look: int) -> Points:
    """Height, two offsets and radius (4, 12) of the patches that shade the ground, as shares of a tree's height."""
    rng = np.random.default_rng(look)
    return np.stack([rng.uniform(0.4, 0.9, 12), *rng.normal(0, 0.13, (2, 12)), rng.uniform(0.05, 0.13, 12)])
