"""The drawn street's vehicles: a side view for each shape, stretched over its width into a mesh."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .paint import Canvas, Colour, Kind, Light, Points

PAINTS: tuple[Colour, ...] = (
    (36, 34, 34),
    (60, 60, 62),
    (120, 118, 116),
    (170, 170, 168),
    (212, 212, 210),
    (110, 62, 30),
    (70, 44, 26),
    (34, 32, 140),
    (40, 40, 92),
    (70, 88, 52),
    (120, 140, 150),
    (150, 120, 70),
)
GLASS: Colour = (66, 60, 54)
TYRE: Colour = (26, 26, 27)


@dataclass(frozen=True)
class Shape:
    """A vehicle's side view: (share of the length from the rear, height in metres), clockwise from the rear's foot."""

    kind: Kind
    length: float
    width: float
    profile: tuple[tuple[float, float], ...]
    glass: tuple[int, ...]  # profile segments that are rear window and windscreen
    windows: tuple[tuple[tuple[float, float], ...], ...]
    wheels: tuple[float, ...]
    radius: float = 0.32

    @property
    def height(self) -> float:
        return max(y for _, y in self.profile)


def _row(start: float, end: float, count: int, low: float, high: float) -> tuple[tuple[tuple[float, float], ...], ...]:
    """`count` upright side windows from start to end."""
    step = (end - start) / count
    return tuple(
        (
            (start + i * step, low),
            (start + i * step, high),
            (start + (i + 0.9) * step, high),
            (start + (i + 0.9) * step, low),
        )
        for i in range(count)
    )


# fmt: off
SHAPES: dict[str, Shape] = {
    "hatchback": Shape(
        Kind.CAR, 4.0, 1.74,
        ((0, 0.3), (0, 0.62), (0.02, 0.95), (0.12, 1.4), (0.2, 1.47), (0.5, 1.45), (0.7, 0.98), (0.93, 0.84),
         (0.99, 0.64), (1, 0.3)), (2, 5),
        (((0.13, 0.97), (0.19, 1.33), (0.36, 1.37), (0.36, 0.95)),
         ((0.38, 0.95), (0.38, 1.37), (0.49, 1.36), (0.64, 0.96))),
        (0.18, 0.82),
    ),
    "saloon": Shape(
        Kind.CAR, 4.6, 1.8,
        ((0, 0.3), (0, 0.68), (0.02, 0.95), (0.15, 1.0), (0.28, 1.4), (0.35, 1.45), (0.54, 1.44), (0.71, 0.99),
         (0.94, 0.85), (0.99, 0.66), (1, 0.3)), (3, 6),
        (((0.22, 0.98), (0.31, 1.33), (0.41, 1.36), (0.41, 0.96)),
         ((0.43, 0.96), (0.43, 1.36), (0.53, 1.35), (0.66, 0.97))),
        (0.19, 0.81),
    ),
    "suv": Shape(
        Kind.CAR, 4.5, 1.88,
        ((0, 0.36), (0, 0.75), (0.02, 1.08), (0.08, 1.6), (0.14, 1.7), (0.55, 1.68), (0.71, 1.12), (0.94, 1.0),
         (0.99, 0.76), (1, 0.36)), (2, 5),
        (((0.1, 1.12), (0.14, 1.54), (0.33, 1.58), (0.33, 1.1)),
         ((0.35, 1.1), (0.35, 1.58), (0.53, 1.57), (0.66, 1.1))),
        (0.18, 0.82), 0.37,
    ),
    "van": Shape(
        Kind.CAR, 5.2, 1.95,
        ((0, 0.4), (0, 1.15), (0.005, 1.25), (0.02, 1.95), (0.05, 2.1), (0.76, 2.1), (0.9, 1.3), (0.98, 1.08),
         (1, 0.8), (1, 0.4)), (2, 5),
        (((0.62, 1.25), (0.62, 1.85), (0.76, 1.85), (0.85, 1.25)),), (0.18, 0.82), 0.34,
    ),
    "truck": Shape(
        Kind.TRUCK, 8.0, 2.4,
        ((0, 0.6), (0, 3.3), (0.01, 3.35), (0.74, 3.35), (0.75, 2.6), (0.93, 2.6), (0.98, 1.7), (1, 1.5),
         (1, 0.5)), (5,),
        (((0.82, 1.55), (0.82, 2.25), (0.92, 2.25), (0.955, 1.55)),), (0.14, 0.3, 0.85), 0.48,
    ),
    "bus": Shape(
        Kind.BUS, 11.0, 2.5,
        ((0, 0.4), (0, 1.5), (0, 2.5), (0.01, 3.05), (0.98, 3.05), (1, 2.7), (1, 1.1), (1, 0.4)), (1, 5),
        _row(0.04, 0.98, 8, 1.25, 2.4), (0.2, 0.78), 0.48,
    ),
}
# fmt: on


@dataclass
class Mesh:
    """Points (N, 3) around the vehicle's foot and, in painting order, its faces."""

    points: Points
    faces: list[tuple[slice, Colour]]


@lru_cache(maxsize=256)
def vehicle(name: str, paint: Colour, away: bool, light: Light) -> Mesh:
    """The mesh of a vehicle that drives away from the camera or towards it, its faces' light worked in."""
    shape = SHAPES[name]
    boxy = shape.kind != Kind.CAR or name == "van"
    belt, top = 0.95, shape.height

    def half(y: float) -> float:
        lean = 0.02 if boxy else 0.17
        return 0.5 * shape.width * (1.0 - lean * max(0.0, (y - belt) / (top - belt)))

    turn = 1.0 if away else -1.0
    parts: list[NDArray[np.float64]] = []
    colours: list[Colour] = []

    def face(corners: list[tuple[float, float, float]], colour: Colour, gain: float) -> None:
        """Corners are right, up, share of the length, counter-clockwise from outside."""
        local = np.array(corners)
        parts.append(np.stack([turn * local[:, 0], local[:, 1], turn * (local[:, 2] - 0.5) * shape.length], axis=1))
        blue, green, red = (c * gain for c in colour)
        colours.append((blue, green, red))

    segments = list(enumerate(pairwise(shape.profile)))
    if away:
        segments.reverse()  # the far end first
    for number, ((z0, y0), (z1, y1)) in segments:
        length = math.hypot((z1 - z0) * shape.length, y1 - y0) or 1.0
        gain = light.on(0.0, (z1 - z0) * shape.length / length, turn * (y0 - y1) / length)
        box = paint if name != "truck" or z0 > 0.7 else (188.0, 190.0, 192.0)
        face([(-half(y0), y0, z0), (half(y0), y0, z0), (half(y1), y1, z1), (-half(y1), y1, z1)], box, gain)
        if number in shape.glass:
            low, high = (0.1, 0.9) if not boxy else (0.12, 0.88)
            inner = [(z0 + (z1 - z0) * t, y0 + (y1 - y0) * t) for t in (low, high)]
            (z2, y2), (z3, y3) = inner
            a, b = 0.9 * half(y2), 0.88 * half(y3)
            face([(-a, y2, z2), (a, y2, z2), (b, y3, z3), (-b, y3, z3)], GLASS, 0.6 + 0.6 * gain)
            c, y4, z4 = 0.4 * a + 0.6 * b, 0.4 * y2 + 0.6 * y3, 0.4 * z2 + 0.6 * z3  # its top mirrors the sky
            face([(-c, y4, z4), (c, y4, z4), (b, y3, z3), (-b, y3, z3)], GLASS, 0.9 + 0.8 * gain)

    def rear(x0: float, x1: float, y0: float, y1: float, z: float, colour: Colour, gain: float = 1.0) -> None:
        """A box on the rear (z 0) or the front (z 1)."""
        corners = [(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)]
        face(corners if z < 0.5 else corners[::-1], colour, gain)

    w, low = 0.5 * shape.width, shape.profile[0][1]
    for z in (0.0, 1.0):
        rear(-w, w, low - 0.02, low + 0.16, z, (44, 44, 46), 0.8)
        for x in (-0.86 * w, 0.64 * w):
            rear(x, x + 0.22 * w, 0.02, low, z, TYRE)
    rear(-0.28, 0.28, 0.46, 0.58, 0.0, (120, 190, 205), light.ambient)
    rear(-0.26, 0.26, 0.4, 0.5, 1.0, (205, 210, 210), light.ambient)
    rear(-0.55 * w, 0.55 * w, 0.56, 0.72, 1.0, (30, 30, 32), 1.0)
    for side in (-1.0, 1.0):
        x0, x1 = sorted((side * 0.94 * w, side * 0.66 * w))
        level = 0.68 if boxy else 0.72 * belt
        rear(x0, x1, level, level + 0.22, 0.0, (38, 30, 150), 1.1)
        rear(x0, x1, level - 0.06, level + 0.1, 1.0, (226, 228, 226), 1.0)
    for side in (-1.0, 1.0):
        gain = light.on(side * turn, 0.0, 0.0)
        order = 1 if side > 0 else -1

        def flank(
            corners: list[tuple[float, float]],
            colour: Colour,
            out: float = 0.01,
            side: float = side,
            gain: float = gain,
            order: int = order,
        ) -> None:
            face([(side * (half(y) + out), y, z) for z, y in corners][::-order], colour, gain)

        flank(list(shape.profile), paint, 0.0)
        if not boxy:
            flank(
                [(0.0, low), (0.0, 0.62), (0.99, 0.62), (0.99, low)],
                (paint[0] * 0.78, paint[1] * 0.78, paint[2] * 0.78),
                0.0,
            )
        if name == "truck":
            flank([(0, 0.9), (0, 3.3), (0.73, 3.3), (0.73, 0.9)], (188, 190, 192))
        flank([(0.01, low), (0.01, low + 0.1), (0.99, low + 0.1), (0.99, low)], (50, 50, 52))
        for window in shape.windows:
            flank(list(window), GLASS)
        for wheel in shape.wheels:
            for size, colour in ((1.14, (20, 20, 20)), (1.0, TYRE), (0.62, (140, 140, 142)), (0.2, (70, 70, 72))):
                reach, turns = size * shape.radius, np.linspace(0, 2 * math.pi, 15)[:-1]
                flank(
                    [(wheel - reach * math.cos(a) / shape.length, shape.radius + reach * math.sin(a)) for a in turns],
                    colour,
                )
    bounds = np.cumsum([0] + [len(part) for part in parts])
    slices = [slice(int(a), int(b)) for a, b in pairwise(bounds)]
    return Mesh(np.concatenate(parts), list(zip(slices, colours, strict=True)))


def draw_vehicle(canvas: Canvas, name: str, paint: Colour, x: float, s: float, away: bool, gain: float) -> None:
    """Paint a vehicle whose middle is at x, s."""
    mesh = vehicle(name, paint, away, canvas.light)
    points = mesh.points + np.array([x, 0.0, s])
    for part, colour in mesh.faces:
        canvas.polygon(points[part], colour, SHAPES[name].kind, gain, convex=part.stop - part.start < 5, culled=True)
