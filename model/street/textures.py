"""The pictures that the drawn street is papered with: facades, foliage, sky with a far skyline, ground grain.

Every function draws from the generator it is given and nothing else, so a street's seed decides them all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .paint import Colour, Image, Kind, Light, Texture, fractal

WALLS: tuple[Colour, ...] = (  # brick, render, sandstone, concrete, paint
    (58, 72, 122),
    (66, 84, 118),
    (80, 96, 130),
    (112, 142, 168),
    (168, 188, 200),
    (196, 204, 208),
    (118, 132, 142),
    (140, 168, 190),
    (104, 150, 190),
    (128, 132, 130),
    (150, 156, 134),
    (90, 104, 112),
    (150, 170, 206),
    (172, 160, 140),
)
BRICKS = 3  # this many of WALLS show courses of bricks
SHOPS: tuple[Colour, ...] = (
    (40, 38, 44),
    (34, 34, 150),
    (110, 52, 24),
    (52, 90, 28),
    (40, 150, 200),
    (170, 168, 164),
    (90, 40, 90),
    (66, 60, 56),
)
LEAVES: tuple[Colour, ...] = ((34, 76, 58), (38, 88, 74), (30, 62, 44), (40, 92, 96), (44, 66, 50), (36, 84, 112))


@dataclass
class Facade:
    """The front of a house, `width` x `height` metres, its windowless end wall and the mean colour of both."""

    front: Texture
    end: Texture
    width: float
    height: float
    colour: Colour
    roof: Colour
    pitched: bool


def _box(picture: Image, scale: float, x: float, y: float, width: float, height: float, colour: Colour) -> None:
    """Fill a box given in metres, y up from the picture's foot."""
    foot = picture.shape[0] - round(y * scale)
    corners = (round(x * scale), foot - max(1, round(height * scale))), (round((x + width) * scale) - 1, foot - 1)
    cv2.rectangle(picture, *corners, colour, -1)


def _shade(colour: Colour, gain: float) -> Colour:
    return colour[0] * gain, colour[1] * gain, colour[2] * gain


def _window(
    picture: Image,
    scale: float,
    place: tuple[float, float, float, float],
    frame: Colour,
    light: Light,
    rng: np.random.Generator,
) -> None:
    """One window at place = x, y, width, height in metres: reveal, frame, panes that mirror the sky, maybe a blind."""
    x, y, width, height = place
    _box(picture, scale, x - 0.08, y - 0.14, width + 0.16, 0.12, _shade(frame, 0.9))
    _box(picture, scale, x, y, width, height, frame)
    glow = rng.uniform(0.5, 1.0)
    lamp = (90 * glow, 175 * glow, 235 * glow)
    pane: Colour = lamp if rng.random() < light.lit else _shade(light.zenith, rng.uniform(0.18, 0.45))
    panes = 2 if width > 0.9 else 1
    for column in range(panes):
        wide = (width - 0.08 * (panes + 1)) / panes
        left = x + 0.08 + column * (wide + 0.08)
        _box(picture, scale, left, y + 0.08, wide, height - 0.16, pane)
        _box(picture, scale, left, y + height * 0.62, wide, 0.06, frame)
        _box(picture, scale, left, y + height - 0.2, wide, 0.12, _shade(pane, 0.55))
    if rng.random() < 0.3:
        drop = rng.uniform(0.2, 0.6) * height
        _box(picture, scale, x + 0.08, y + height - 0.08 - drop, width - 0.16, drop, _shade((196, 206, 214), 0.8))


def masonry(rng: np.random.Generator, rows: int, columns: int, scale: float, colour: Colour, brick: bool) -> Image:
    """Bare wall with stains and, for brick, courses; uint8 (rows, columns, 3)."""
    grain = 1.0 + 0.07 * fractal(rng, rows, columns, 4.0, 5) + rng.normal(0, 0.025, (rows, columns)).astype(np.float32)
    if brick:
        size = (max(2, int(columns / scale / 0.22)), max(2, int(rows / scale / 0.075)))
        tones = rng.normal(0, 0.10, size[::-1]).astype(np.float32)
        grain += cv2.resize(tones, (columns, rows), interpolation=cv2.INTER_NEAREST)
    grain *= np.linspace(1.03, 0.93, rows, dtype=np.float32)[:, None]  # dirtier near the ground
    return np.asarray(np.clip(grain[..., None] * np.array(colour, np.float32), 0, 255), np.uint8)


def facade(rng: np.random.Generator, scale: float, light: Light, storeys: tuple[int, int]) -> Facade:
    """A house front drawn at `scale` pixels a metre with storeys[0] to storeys[1] storeys."""
    floors = int(rng.integers(storeys[0], storeys[1] + 1))
    shop = floors > 2 and rng.random() < 0.7
    ground, floor = (4.0, 3.2) if shop else (3.1, 2.9)
    bay, bays = rng.uniform(2.0, 3.4), int(rng.integers(3, 7))
    width, height = bay * bays, ground + floor * (floors - 1) + 0.7
    rows, columns = round(height * scale), round(width * scale)
    choice = int(rng.integers(len(WALLS)))
    colour = _shade(WALLS[choice], rng.uniform(0.85, 1.12))
    picture = masonry(rng, rows, columns, scale, colour, choice < BRICKS)
    end = masonry(rng, rows, rows, scale, _shade(colour, 0.95), choice < BRICKS)
    frame = _shade((214, 220, 222) if rng.random() < 0.65 else (70, 74, 80), rng.uniform(0.8, 1.0))
    trim = _shade(colour, 1.22) if rng.random() < 0.6 else _shade((190, 200, 206), 0.95)
    modern = floors > 3 and rng.random() < 0.3
    wide = bay * (0.86 if modern else rng.uniform(0.38, 0.58))
    tall = floor * (0.72 if modern else rng.uniform(0.5, 0.6))
    for level in range(1, floors):
        base = ground + floor * (level - 1)
        if modern or rng.random() < 0.3:
            _box(picture, scale, 0, base - 0.08, width, 0.16, trim)
        for column in range(bays):
            place = (column * bay + 0.5 * (bay - wide), base + 0.26 * floor, wide, tall)
            _window(picture, scale, place, frame, light, rng)
    if shop:
        _shop(picture, scale, width, ground, light, rng)
    else:
        door = int(rng.integers(bays))
        for column in range(bays):
            if column == door:
                _box(picture, scale, column * bay + 0.5 * bay - 0.62, 0.0, 1.24, 2.5, frame)
                _box(picture, scale, column * bay + 0.5 * bay - 0.5, 0.1, 1.0, 2.1, SHOPS[int(rng.integers(5))])
            else:
                place = (column * bay + 0.5 * (bay - wide), 0.9, wide, min(tall, 1.5))
                _window(picture, scale, place, frame, light, rng)
        _box(picture, scale, 0, 0, width, 0.35, _shade(colour, 0.7))
    _box(picture, scale, 0, height - 0.45, width, 0.45, trim)
    _box(picture, scale, 0, height - 0.6, width, 0.12, _shade(colour, 0.62))
    _box(picture, scale, width - 0.12, 0, 0.08, height - 0.5, _shade(colour, 0.6))  # rain pipe
    roof = _shade(
        [(62, 60, 62), (50, 62, 100), (70, 78, 96), (76, 74, 70)][int(rng.integers(4))], rng.uniform(0.8, 1.1)
    )
    return Facade(
        Texture(picture), Texture(end), width, height, colour, roof, pitched=floors < 5 and rng.random() < 0.75
    )


def _shop(picture: Image, scale: float, width: float, ground: float, light: Light, rng: np.random.Generator) -> None:
    """Turn the ground floor into shops: panes with goods, doors, a sign board with something like writing."""
    shops = 2 if width > 11 else 1
    for number in range(shops):
        left, wide = number * width / shops, width / shops
        colour = SHOPS[int(rng.integers(len(SHOPS)))]
        _box(picture, scale, left, 0, wide, ground - 0.1, _shade(colour, 0.75))
        glass = (96.0, 150.0, 190.0) if rng.random() < light.lit + 0.12 else _shade(light.zenith, 0.22)
        panes = max(2, round(wide / 2.0))
        for pane in range(panes):
            low = 0.1 if pane == panes // 2 else 0.55
            place = left + 0.2 + pane * (wide - 0.2) / panes, (wide - 0.2) / panes - 0.2
            _box(picture, scale, place[0], low, place[1], ground - 1.15 - low, glass)
            for _ in range(6):
                goods = _shade(SHOPS[int(rng.integers(len(SHOPS)))], rng.uniform(0.3, 0.7))
                x, size = place[0] + rng.uniform(0, place[1] - 0.5), rng.uniform(0.2, 0.5)
                _box(picture, scale, x, low, size, rng.uniform(0.3, 1.3), goods)
            _box(picture, scale, place[0], ground - 1.75, place[1], 0.5, _shade(glass, 1.3))
        _box(picture, scale, left + 0.08, ground - 0.85, wide - 0.16, 0.65, colour)
        bright = (220.0, 226.0, 230.0) if sum(colour) < 420 else (40.0, 40.0, 60.0)
        start = left + rng.uniform(0.15, 0.35) * wide
        for letter in range(int(rng.integers(5, 10))):
            x = start + 0.32 * letter
            if x < left + wide - 0.5 and rng.random() < 0.9:
                _box(picture, scale, x, ground - 0.68, rng.uniform(0.1, 0.22), rng.uniform(0.2, 0.32), bright)


def _leaves(
    picture: Image,
    rng: np.random.Generator,
    centres: NDArray[np.float64],
    size: float,
    colour: Colour,
    light: NDArray[np.float64],
) -> None:
    """Dab leaf clusters on a BGRA picture at pixel centres (N, 2), each with its own gain light (N,)."""
    count = len(centres)
    tones = np.empty((count, 4))
    tones[:, :3] = np.array(colour) * (light * rng.uniform(0.85, 1.15, count))[:, None]
    tones[:, 3] = 255.0
    turn = rng.uniform(0, 2 * math.pi, (count, 1)) + np.array([0.0, 1.3, 2.4, 3.5, 4.6])
    reach = size * rng.uniform(0.5, 1.2, (count, 5))
    leaves = np.stack([np.cos(turn) * reach, np.sin(turn) * reach], axis=-1) + centres[:, None]
    for corners, tone in zip(np.rint(leaves * 16).astype(np.int32), np.clip(tones, 0, 255).tolist(), strict=True):
        cv2.fillConvexPoly(picture, corners, tone, cv2.LINE_8, 4)


def tree(rng: np.random.Generator, rows: int, light: Light, colour: Colour) -> Texture:
    """A tree as tall as the picture (rows, about 0.8 rows, 4): trunk, branches, leaf clusters lit from the sun."""
    columns = int(rows * rng.uniform(0.62, 0.95))
    picture = np.zeros((rows, columns, 4), np.uint8)
    picture[..., :3] = np.array(_shade(colour, 0.7))
    middle, base = columns / 2, rows * rng.uniform(0.62, 0.74)
    bark = (*_shade((52, 62, 72), rng.uniform(0.7, 1.1)), 255.0)
    thick = rows * rng.uniform(0.018, 0.03)
    foot = np.array(
        [
            [middle - thick, rows],
            [middle + thick, rows],
            [middle + 0.6 * thick, rows * 0.4],
            [middle - 0.6 * thick, rows * 0.4],
        ]
    )
    cv2.fillConvexPoly(picture, foot.astype(np.int32), bark, cv2.LINE_8)
    dark = cv2.boundingRect(foot.astype(np.int32))
    picture[dark[1] :, int(middle) : int(middle + thick), :3] = (
        picture[dark[1] :, int(middle) : int(middle + thick), :3] // 2
    )
    conifer = rng.random() < 0.15
    lobes = []
    for number in range(18):
        up = rng.uniform(0.0, 1.0)
        reach = (1.0 - up) if conifer else math.sqrt(max(0.0, 1.0 - (1.9 * up - 0.9) ** 2))
        aside = rng.uniform(-1, 1) * reach * 0.34 * columns
        size = columns * (0.06 + 0.1 * reach if conifer else rng.uniform(0.13, 0.2))
        lobes.append((middle + aside, base - up * (base - 0.16 * rows) - 0.02 * rows, size))
        if number < 8:
            cv2.line(
                picture,
                (int(middle), int(rows * 0.72)),
                (int(lobes[-1][0]), int(lobes[-1][1])),
                bark,
                max(1, int(thick * 0.6)),
            )
    lobes.sort(key=lambda lobe: lobe[1])
    sunward = np.array([light.sun[0], -light.sun[1] - 0.5])
    for x, y, size in reversed(lobes):
        core = (*_shade(colour, 0.62), 255.0)
        cv2.ellipse(picture, (int(x), int(y)), (int(0.62 * size), int(0.5 * size)), 0, 0, 360, core, -1)
        count = int(110 + 1.4 * size)
        spread = rng.normal(0, 0.5, (count, 2))
        spread /= np.maximum(1.0, np.linalg.norm(spread, axis=1, keepdims=True))
        gain = 0.78 + 0.34 * (spread @ sunward) * (0.5 + light.direct) - 0.16 * (y / base - 0.5)
        order = np.argsort(gain)
        _leaves(picture, rng, (spread * size + (x, y))[order], max(1.2, rows * 0.011), colour, gain[order])
    return Texture(picture)


def hedge(rng: np.random.Generator, rows: int, columns: int, colour: Colour) -> Texture:
    """A strip of bushes (rows, columns, 4) with a ragged top."""
    picture = np.zeros((rows, columns, 4), np.uint8)
    picture[..., :3] = np.array(_shade(colour, 0.6))
    top = rows * (0.2 + 0.12 * fractal(rng, 1, columns, 6.0, 3)[0])
    picture[..., 3] = np.where(np.arange(rows)[:, None] > top[None, :] + 0.06 * rows, 255, 0)
    x = rng.uniform(0, columns, 1600)
    deep = rng.random(1600)
    y = top[x.astype(int)] + deep * (rows - top[x.astype(int)])
    order = np.argsort(-deep)
    centres = np.stack([x, y], axis=1)[order]
    _leaves(picture, rng, centres, max(1.0, rows * 0.03), colour, 1.05 - 0.55 * deep[order] + rng.normal(0, 0.1, 1600))
    return Texture(picture)


def panel(rng: np.random.Generator, rows: int, columns: int, wood: bool) -> Texture:
    """A fence (rows, columns, 3): upright boards, or bars with the garden behind showing dark between them."""
    picture = masonry(rng, rows, columns, rows / 1.2, (66, 92, 120) if wood else (48, 62, 56), False)
    step = max(2, columns // (28 if wood else 40))
    for left in range(0, columns, step):
        gain = rng.uniform(0.75, 1.1)
        if wood:
            picture[:, left : left + step - 1] = np.clip(picture[:, left : left + step - 1] * gain, 0, 255)
            picture[:, min(left + step, columns) - 1] = 36
        else:
            picture[:, left : left + max(1, step // 3)] = (150 * gain, 150 * gain, 146 * gain)
    for up in (0.08, 0.8):
        row = int(up * rows)
        picture[row : row + max(1, rows // 16)] = (56, 76, 98) if wood else (140, 140, 136)
    return Texture(picture)


def grain(rng: np.random.Generator, side: int, cells: float) -> NDArray[np.float32]:
    """Ground grain (side, side) float32 around 0 that repeats without a seam when its cells fit the side."""
    total = np.zeros((side, side), np.float32)
    for octave in range(3):
        count = int(cells * 2**octave)
        grid = np.pad(rng.uniform(-1, 1, (count, count)).astype(np.float32), 2, mode="wrap")
        step = side // count
        large = cv2.resize(grid, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
        total += large[2 * step : 2 * step + side, 2 * step : 2 * step + side]
    return total / np.float32(2.0)


def panorama(
    rng: np.random.Generator, rows: int, columns: int, horizon: int, light: Light, wooded: float
) -> tuple[Image, Image]:
    """Sky over a far skyline of woods and houses: image uint8 (rows, columns, 3) BGR, kinds uint8 (rows, columns)."""
    up = np.clip((horizon - np.arange(rows, dtype=np.float32)) / max(rows, 1), 0.0, 1.0)[:, None]
    rise = np.clip(up * 2.2, 0, 1)[..., None] ** np.float32(0.7)
    sky = np.array(light.horizon, np.float32) * (1 - rise) + np.array(light.zenith, np.float32) * rise
    sky = np.repeat(sky, columns, axis=1)
    noise = fractal(rng, rows, columns, 3.0 * columns / rows, 6)
    depth = (1.0 / (up[:, 0] + 0.45)).astype(np.float32)  # clouds crowd together towards the horizon
    map_y = np.repeat((depth * 0.5 * rows)[:, None], columns, axis=1).astype(np.float32)
    centre = np.arange(columns, dtype=np.float32)[None, :] - columns / 2
    map_x = (centre * depth[:, None] * np.float32(0.35) + columns / 2).astype(np.float32)
    flat = cv2.remap(noise, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    cover = np.clip((flat + 1.3 * light.clouds - 0.75) * 1.6, 0, 1) * np.clip(up * 8, 0.25, 1)
    shine = 0.5 * np.mean(light.horizon) + 0.5 * 240
    cloud = (shine * (0.93 - 0.3 * light.clouds * np.clip(flat, -0.3, 0.9)))[..., None] * np.array([1.0, 0.985, 0.97])
    cloud = cloud * np.array(light.tint)
    image = sky * (1 - cover[..., None]) + cloud * cover[..., None]
    picture = np.clip(image, 0, 255).astype(np.uint8)
    kinds = np.full((rows, columns), Kind.SKY, np.uint8)
    unit = rows / 100.0
    for _ in range(int(columns / unit / 6)):
        x, wide = rng.uniform(0, columns), rng.uniform(2, 7) * unit
        high = rng.uniform(1.0, 4.6) * unit
        corners = (int(x), int(horizon - high)), (int(x + wide), rows)
        colour = _fade(WALLS[int(rng.integers(len(WALLS)))], light, 0.42)
        cv2.rectangle(picture, *corners, colour, -1)
        cv2.rectangle(kinds, *corners, (int(Kind.BUILDING),), -1)
    profile = fractal(rng, 1, columns, max(4.0, columns / unit / 10), 6)[0]
    top = horizon - unit * (0.6 + 3.4 * wooded + 2.2 * profile)
    leaf = np.arange(rows)[:, None] > top[None, :]
    leaf &= (fractal(rng, 1, columns, max(3.0, columns / unit / 30), 2)[0] < 2 * wooded - 0.35)[None, :]
    dabs = 0.38 + 0.05 * fractal(rng, rows, columns, columns / unit / 1.5, 2)[..., None]
    woods = np.array(light.horizon) * (1 - dabs) + np.array(_shade(LEAVES[0], light.ambient)) * dabs
    picture[leaf] = np.clip(woods[leaf], 0, 255).astype(np.uint8)
    kinds[leaf] = Kind.TREE
    return picture, kinds


def _fade(colour: Colour, light: Light, share: float) -> Colour:
    gain = light.ambient * share
    blue, green, red = (c * gain + h * (1 - share) for c, h in zip(colour, light.horizon, strict=True))
    return blue, green, red
