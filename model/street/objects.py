"""What stands and walks in the drawn street: people, bicycles, lamps, traffic lights, signs."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

import numpy as np

from .paint import Canvas, Colour, Kind, Points
from .vehicles import PAINTS, TYRE

CLOTHES: tuple[Colour, ...] = (
    (34, 32, 32),
    (56, 54, 56),
    (96, 66, 40),
    (40, 40, 130),
    (130, 130, 132),
    (66, 84, 60),
    (180, 178, 176),
    (60, 90, 130),
    (120, 70, 110),
    (60, 130, 190),
)
HAIRS: tuple[Colour, ...] = ((24, 26, 30), (34, 46, 66), (60, 92, 128), (110, 116, 120))
Bar = tuple[tuple[float, float, float], tuple[float, float, float], float, float, Colour]  # ends, radii, colour
SKINS: tuple[Colour, ...] = ((150, 172, 206), (110, 136, 176), (66, 88, 124), (44, 58, 84))


@lru_cache(maxsize=512)
def _clothes(look: int) -> tuple[float, Colour, Colour, Colour, Colour, bool]:
    """Size, coat, trousers, hair or hat, skin and whether the coat is long."""
    rng = np.random.default_rng(look)
    coat, trousers, hair = (CLOTHES[int(rng.integers(len(CLOTHES)))] for _ in range(3))
    if rng.random() < 0.7:
        trousers = CLOTHES[int(rng.integers(3))]
    if rng.random() < 0.7:
        hair = HAIRS[int(rng.integers(len(HAIRS)))]
    return rng.uniform(0.88, 1.06), coat, trousers, hair, SKINS[int(rng.integers(len(SKINS)))], rng.random() < 0.3


def draw_person(
    canvas: Canvas,
    x: float,
    s: float,
    heading: tuple[float, float],
    phase: float,
    look: int,
    gain: float,
    grown: float = 1.0,
) -> None:
    """Add someone walking towards heading (unit x, s); `phase` in radians of a double step, `look` picks clothes."""
    size, coat, trousers, hair, skin, long = _clothes(look)
    tall = size * grown

    def at(right: float, up: float, ahead: float) -> tuple[float, float, float]:
        return (
            x + (right * heading[1] + ahead * heading[0]) * tall,
            up * tall,
            s + (ahead * heading[1] - right * heading[0]) * tall,
        )

    bars: list[Bar] = []
    for side in (-1, 1):
        swing = 0.42 * math.sin(phase + (math.pi if side > 0 else 0.0))
        lift = 0.75 * max(0.0, math.cos(phase + (math.pi if side > 0 else 0.0)))
        knee = (0.44 * math.sin(swing + 0.3 * lift), 0.9 - 0.43 * math.cos(swing))
        foot = (knee[0] + 0.43 * math.sin(swing - lift), knee[1] - 0.41 * math.cos(swing - lift))
        out = 0.09 * side
        bars.append((at(out, 0.9, 0), at(out, knee[1], knee[0]), 0.095, 0.07, trousers))
        bars.append((at(out, knee[1], knee[0]), at(out, foot[1], foot[0]), 0.068, 0.05, trousers))
        bars.append(
            (
                at(out, max(0.04, foot[1] - 0.03), foot[0] - 0.03),
                at(out, max(0.04, foot[1] - 0.04), foot[0] + 0.14),
                0.045,
                0.04,
                (30, 30, 32),
            )
        )
    arms = []
    for side in (-1, 1):
        swing = -0.4 * math.sin(phase + (math.pi if side > 0 else 0.0))
        elbow = (0.28 * math.sin(swing), 1.4 - 0.28 * math.cos(swing))
        hand = (elbow[0] + 0.25 * math.sin(swing + 0.35), elbow[1] - 0.24 * math.cos(swing + 0.35))
        arms.append((at(0.21 * side, 1.4, 0), at(0.23 * side, elbow[1], elbow[0]), 0.055, 0.048, coat))
        arms.append((at(0.23 * side, elbow[1], elbow[0]), at(0.22 * side, hand[1], hand[0]), 0.046, 0.036, coat))
    bars += arms[:2]
    for side in (-1, 1):
        bars.append(
            (at(0.075 * side, 1.36, 0), at(0.06 * side, 0.62 if long else 0.9, 0), 0.125, 0.13 if long else 0.1, coat)
        )
    bars += arms[2:]
    bars.append((at(0, 1.45, 0), at(0, 1.55, 0.01), 0.05, 0.05, skin))
    bars.append((at(0, 1.57, 0.02), at(0, 1.68, 0.02), 0.08, 0.092, skin))
    bars.append((at(0, 1.66, -0.03), at(0, 1.7, -0.01), 0.095, 0.098, hair))
    _draw(canvas, bars, Kind.PERSON, gain)


def _draw(canvas: Canvas, bars: list[Bar], kind: Kind, gain: float) -> None:
    """Add limbs given as start, end, radius at the start, radius at the end, colour."""
    ends = np.array([(a, b) for a, b, *_ in bars])
    radii = np.array([(ra, rb) for _, _, ra, rb, _ in bars])
    canvas.limbs(ends, radii, [bar[4] for bar in bars], kind, gain)


def draw_cycle(
    canvas: Canvas,
    x: float,
    s: float,
    heading: tuple[float, float],
    phase: float,
    look: int,
    gain: float,
    *,
    rider: bool,
    motor: bool = False,
) -> None:
    """Paint a bicycle or a motorcycle heading along (unit x, s), with or without a rider; `phase` turns the pedals."""
    rng = np.random.default_rng(look)
    coat, trousers = (CLOTHES[int(rng.integers(len(CLOTHES)))] for _ in range(2))
    skin, frame = SKINS[int(rng.integers(len(SKINS)))], PAINTS[int(rng.integers(len(PAINTS)))]

    def at(right: float, up: float, ahead: float) -> tuple[float, float, float]:
        return x + right * heading[1] + ahead * heading[0], up, s + ahead * heading[1] - right * heading[0]

    bars: list[Bar] = []
    radius, thick = (0.3, 0.07) if motor else (0.34, 0.022)
    turns = np.linspace(0, 2 * math.pi, 11)
    for hub in (-0.52, 0.52):
        ring = [at(0, radius * (1 + math.sin(a)), hub + radius * math.cos(a)) for a in turns]
        bars += [(a, b, thick, thick, TYRE) for a, b in pairwise(ring)]
    crank, saddle, bar = (0.3, 0.02), (0.92, -0.18), (1.0, 0.4)
    tubes = (
        ((radius, -0.52), crank),
        (crank, saddle),
        (crank, (0.85, 0.38)),
        ((0.82, -0.14), (0.85, 0.38)),
        ((radius, 0.52), bar),
        ((radius, -0.52), (0.82, -0.14)),
    )
    body = 0.13 if motor else 0.022
    bars += [(at(0, *a), at(0, *b), body, body, frame) for a, b in tubes]
    bars.append((at(-0.27, *bar), at(0.27, *bar), 0.02, 0.02, TYRE))
    bars.append((at(0, 0.95, -0.3), at(0, 0.95, -0.05), 0.06, 0.03, TYRE))
    _draw(canvas, bars, Kind.MOTORCYCLE if motor else Kind.BICYCLE, gain)
    if not rider:
        return
    bars = []
    for side in (-1, 1):
        turn = phase + (math.pi if side > 0 else 0.0)
        foot = (0.3 + 0.17 * math.sin(turn), 0.06 + 0.17 * math.cos(turn))
        knee = (0.5 * (foot[0] + 0.98) + 0.1, 0.5 * (foot[1] - 0.15) + 0.24)
        bars.append((at(0.1 * side, 0.98, -0.15), at(0.13 * side, *knee), 0.1, 0.07, trousers))
        bars.append((at(0.13 * side, *knee), at(0.12 * side, *foot), 0.068, 0.05, trousers))
        bars.append((at(0.2 * side, 1.42, 0.1), at(0.25 * side, 1.0, 0.38), 0.055, 0.04, coat))
    for side in (-1, 1):
        bars.append((at(0.06 * side, 1.0, -0.16), at(0.09 * side, 1.4, 0.08), 0.12, 0.125, coat))
    bars.append((at(0, 1.48, 0.1), at(0, 1.66, 0.14), 0.06, 0.1, skin))
    bars.append((at(0, 1.66, 0.1), at(0, 1.7, 0.13), 0.11, 0.11, PAINTS[look % len(PAINTS)]))
    _draw(canvas, bars, Kind.RIDER, gain)


def draw_lamp(canvas: Canvas, x: float, s: float, inward: float, gain: float) -> None:
    """A street lamp 7 m high whose arm reaches 1.6 m inwards (-1 or 1)."""
    steel: Colour = (112, 114, 112)
    _draw(
        canvas,
        [
            ((x, 0.0, s), (x, 1.0, s), 0.11, 0.1, steel),
            ((x, 1.0, s), (x, 6.6, s), 0.075, 0.05, steel),
            ((x, 6.6, s), (x + 0.5 * inward, 7.0, s), 0.05, 0.045, steel),
            ((x + 0.5 * inward, 7.0, s), (x + 1.3 * inward, 7.1, s), 0.045, 0.045, steel),
            ((x + 1.2 * inward, 7.08, s), (x + 1.8 * inward, 7.1, s), 0.07, 0.1, (150, 156, 156)),
        ],
        Kind.POLE,
        gain,
    )


def draw_post(canvas: Canvas, x: float, s: float, height: float, radius: float, colour: Colour, gain: float) -> None:
    """A plain upright pole."""
    _draw(canvas, [((x, 0.0, s), (x, height, s), radius, radius, colour)], Kind.POLE, gain)


def plate(
    canvas: Canvas, x: float, y: float, s: float, outline: Points, colour: Colour, kind: Kind, gain: float
) -> None:
    """A flat shape (N, 2) in metres around x, y, facing the camera."""
    points = np.column_stack([outline[:, 0] + x, outline[:, 1] + y, np.full(len(outline), s)])
    canvas.polygon(points, colour, kind, gain)


DISC: Points = np.stack([np.cos(np.linspace(0, 6.2832, 17)[:-1]), np.sin(np.linspace(0, 6.2832, 17)[:-1])], axis=1)
TRIANGLE: Points = np.array([(-1.0, -0.7), (1.0, -0.7), (0.0, 1.05)])
SQUARE: Points = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
SIGNS: tuple[tuple[Points, Colour, Colour], ...] = (
    (DISC, (40, 36, 190), (226, 228, 228)),
    (TRIANGLE, (40, 36, 190), (226, 228, 228)),
    (DISC, (160, 84, 24), (200, 130, 60)),
    (SQUARE, (226, 226, 226), (160, 84, 24)),
    (TRIANGLE * (1, -1), (40, 36, 190), (226, 228, 228)),
    (SQUARE, (30, 30, 30), (40, 190, 225)),
)


def draw_sign(canvas: Canvas, x: float, s: float, look: int, gain: float) -> None:
    """A traffic sign on a pole, facing the camera."""
    draw_post(canvas, x, s, 2.3, 0.035, (128, 130, 130), gain)
    outline, rim, field = SIGNS[look % len(SIGNS)]
    plate(canvas, x, 2.4, s - 0.05, outline * 0.36, rim, Kind.SIGN, gain)
    plate(canvas, x, 2.4, s - 0.05, outline * 0.26, field, Kind.SIGN, gain)
    plate(canvas, x, 2.4, s - 0.05, SQUARE * (0.14, 0.04), rim, Kind.SIGN, gain)


def draw_traffic_light(canvas: Canvas, x: float, s: float, inward: float, state: int, gain: float) -> None:
    """A traffic light on a pole: state 0 red, 1 amber, 2 green; inward 0 leaves out the arm over the road."""
    draw_post(canvas, x, s, 3.4 if inward == 0 else 5.6, 0.06 if inward == 0 else 0.09, (84, 88, 86), gain)
    heads = [(x, 2.9)]
    if inward != 0:
        _draw(canvas, [((x, 5.5, s), (x + 3.4 * inward, 5.6, s), 0.07, 0.05, (84, 88, 86))], Kind.POLE, gain)
        heads.append((x + 3.2 * inward, 5.3))
    for head, up in heads:
        plate(canvas, head, up, s - 0.1, SQUARE * (0.2, 0.52), (28, 30, 28), Kind.LIGHT, gain)
        for number, colour in enumerate(((40, 40, 240), (40, 170, 245), (130, 235, 60))):
            glow = 1.0 if number == state else 0.2
            shown = (colour[0] * glow, colour[1] * glow, colour[2] * glow)
            plate(canvas, head, up + 0.32 * (1 - number), s - 0.12, DISC * 0.12, shown, Kind.LIGHT, 1.0)
