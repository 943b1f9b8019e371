"""A drawn street with exact labels: the project's bundled sample, made from a seed, nothing downloaded.

A camera drives at steady speed along an endless road. What stands where follows from the seed and a number along the
road, who drives and walks where from the time as well, so any frame can be drawn by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np

from ...runtime.frame import fitted
from .ground import Ground, flat, shadow_of_box, shadow_of_tree
from .layout import LOT, Lot, Thing, draws, lot, mover, plan_of
from .objects import SQUARE, draw_cycle, draw_lamp, draw_person, draw_post, draw_sign, draw_traffic_light, plate
from .paint import END, FAR, Canvas, Image, Kind, Points, Texture
from .textures import LEAVES, WALLS, Facade, facade, hedge, masonry, panel, panorama, tree
from .vehicles import PAINTS, SHAPES, draw_vehicle

MINIMUM_SIDE = 64
RATE = 25.0  # frames a second
CROWD = 130.0  # metres; people and cyclists grow out of the ground from here to 25 m closer
IGNORE = 255
DEEP = 9.0  # metres from the front of a house to its back

SETS = ("cityscapes", "camvid")
# CamVid counts walls as building, grass as tree, all vehicles as car, traffic lights as sign.
TRAIN_IDS: dict[Kind, tuple[int, int]] = {  # in the order of SETS
    Kind.ROAD: (0, 3),
    Kind.PAVEMENT: (1, 4),
    Kind.BUILDING: (2, 1),
    Kind.WALL: (3, 1),
    Kind.FENCE: (4, 7),
    Kind.POLE: (5, 2),
    Kind.LIGHT: (6, 6),
    Kind.SIGN: (7, 6),
    Kind.TREE: (8, 5),
    Kind.GRASS: (9, 5),
    Kind.SKY: (10, 0),
    Kind.PERSON: (11, 9),
    Kind.RIDER: (12, 10),
    Kind.CAR: (13, 8),
    Kind.TRUCK: (14, 8),
    Kind.BUS: (15, 8),
    Kind.MOTORCYCLE: (17, 10),
    Kind.BICYCLE: (18, 10),
    Kind.CLUTTER: (IGNORE, IGNORE),
}


class Street:
    """A drawn street seen from a moving car, with exact labels.

    The vertical field of view is fixed (33 to 40 degrees, by seed), so a wider image sees more to the sides. The seed
    decides the street: light, houses, trees, road, traffic, camera. Frame `index` is the street at index / 25 seconds.
    """

    def __init__(self, height: int, width: int, *, seed: int = 0, classes: str = "cityscapes") -> None:
        """Prepare a street of `height` x `width` pixels; ValueError for sides under 64 or an unknown class set."""
        if min(height, width) < MINIMUM_SIDE:
            raise ValueError(f"street size: found {height}x{width}, expected sides of at least {MINIMUM_SIDE}")
        if classes not in SETS:
            raise ValueError(f"street classes: found {classes!r}, expected one of {', '.join(SETS)}")
        if seed < 0:
            raise ValueError(f"street seed: found {seed}, expected 0 or more")
        self.height, self.width = height, width
        self.plan = plan = plan_of(seed)
        self._ids = np.full(256, IGNORE, np.uint8)
        for kind, numbers in TRAIN_IDS.items():
            self._ids[kind] = numbers[SETS.index(classes)]
        self._focal = 0.5 * height / math.tan(math.radians(0.5 * plan.view))
        self._horizon = plan.horizon * height
        rng = draws(plan, 5)
        self._prepare_textures(rng)
        self._ground = Ground(plan, height, width, self._focal, self._horizon, rng)
        self._prepare_lens(rng)

    def _prepare_textures(self, rng: np.random.Generator) -> None:
        plan, scale = self.plan, float(np.clip(self.height / 18, 8, 64))
        storeys = (2, 3) if plan.urban < 0.45 else (3, 3 + int(4 * plan.urban))
        self._facades: list[Facade] = [facade(rng, scale, plan.light, storeys) for _ in range(9)]
        rows = int(np.clip(0.9 * self.height, 96, 800))
        leaves = [LEAVES[int(rng.integers(len(LEAVES)))] for _ in range(3)]
        bright = plan.light.ambient + 0.5 * plan.light.direct
        leaves = [(b * 1.1 / bright, g * 1.1 / bright, r * 1.1 / bright) for b, g, r in leaves]
        self._trees = [tree(rng, rows, plan.light, leaves[n % 3]) for n in range(6)]
        side = max(16, int(scale))
        self._borders = {
            "hedge": hedge(rng, 2 * side, 16 * side, leaves[0]),
            "wood": panel(rng, 2 * side, 12 * side, True),
            "bars": panel(rng, 2 * side, 12 * side, False),
            "wall": Texture(masonry(rng, 2 * side, 12 * side, 2.0 * side, WALLS[int(rng.integers(7))], True)),
        }
        margin = math.ceil(sum(size * rate for size, rate, _ in plan.waves) * self._focal) + 2
        skyline = int(self._horizon + self._focal * plan.eye / END) + 2
        self._sky, self._sky_kinds = panorama(
            rng,
            skyline,
            self.width + 2 * margin,
            int(self._horizon),
            plan.light,
            float(np.clip(1.2 - plan.urban, 0.2, 1)),
        )

    def _prepare_lens(self, rng: np.random.Generator) -> None:
        y, x = np.linspace(-1, 1, self.height)[:, None], np.linspace(-1, 1, self.width)[None, :]
        dim = np.exp(-rng.uniform(0.04, 0.14) * (x**2 + y**2)) * 255
        self._vignette = cv2.merge([dim.astype(np.uint8)] * 3)
        noise = rng.normal(128, rng.uniform(1.5, 4.0), (256, 256, 3)).astype(np.uint8)
        tiles = (self.height // 256 + 2, self.width // 256 + 2, 1)
        self._noise = np.tile(noise, tiles)
        levels = np.linspace(0, 1, 256)
        contrast, gain = rng.uniform(0.0, 0.35), rng.uniform(1.08, 1.35)
        curve = levels * gain
        curve = curve + contrast * (3 * curve**2 - 2 * curve**3 - curve) * (curve < 1)
        balance = rng.uniform(0.96, 1.04, 3)
        self._film = np.clip(curve[:, None] * balance[None, :] * 255, 0, 255).astype(np.uint8)[None]

    def frame(self, index: int) -> tuple[Image, Image]:
        """Draw one frame: image uint8 (H, W, 3) BGR and labels uint8 (H, W) of train ids, 255 to ignore."""
        plan, time = self.plan, index / RATE
        image = np.empty((self.height, self.width, 3), np.uint8)
        kinds = np.empty((self.height, self.width), np.uint8)
        canvas = Canvas(
            image, kinds, plan.light, focal=self._focal, horizon=self._horizon, eye=plan.eye, mirror=plan.mirror
        )
        s = 40.0 + plan.speed * time
        canvas.place((plan.lanes - 0.5) * plan.lane, s, plan.waves)
        self._paint_sky(canvas)
        skyline = min(len(self._sky), self.height) - 1
        self._ground.paint(canvas, skyline, self._shadows(canvas, time))
        self._paint_things(canvas, time)
        seen = cv2.LUT(image, self._film)
        seen = cv2.GaussianBlur(seen, (3, 3), 0.3 + 0.25 * min(1.0, self.height / 1024))
        seen = cv2.multiply(seen, self._vignette, scale=1 / 255)
        row, column = draws(plan, 6, index).integers(0, 256, 2)
        noise = self._noise[row : row + self.height, column : column + self.width]
        seen = cv2.addWeighted(seen, 1.0, noise, 1.0, -128.0)
        return np.ascontiguousarray(seen, np.uint8), self._ids[kinds]

    def frames(self, count: int) -> Iterator[tuple[Image, Image]]:
        """The first `count` frames, each as `frame` returns it."""
        for index in range(count):
            yield self.frame(index)

    def _paint_sky(self, canvas: Canvas) -> None:
        turn = sum(size * rate * math.cos(rate * canvas.s + phase) for size, rate, phase in self.plan.waves)
        spare = self._sky.shape[1] - self.width
        left = round(spare / 2 + canvas.mirror * turn * self._focal)
        rows = min(len(self._sky), self.height)
        canvas.image[:rows] = self._sky[:rows, left : left + self.width]
        canvas.kinds[:rows] = self._sky_kinds[:rows, left : left + self.width]

    def _lots(self, canvas: Canvas, side: int) -> list[Lot]:
        first = int((canvas.s - 2 * LOT) // LOT)
        return [lot(self.plan, side, number) for number in range(first, int((canvas.s + FAR) // LOT) + 1)]

    def _house(self, piece: Lot) -> Facade:
        return self._facades[piece.design % len(self._facades)]

    def _flow(
        self, canvas: Canvas, lane: int, speed: float, spacing: float, time: float, far: float
    ) -> Iterator[tuple[float, int]]:
        """Where the movers of a lane are now, up to `far` ahead, each with a number to draw its looks from."""
        travelled = speed * time
        first = math.ceil((canvas.s - 10 - travelled) / spacing)
        for number in range(first, int((canvas.s + far - travelled) / spacing) + 1):
            aside, look = mover(self.plan, lane, number)
            s = (number + aside) * spacing + travelled
            if s < canvas.s + far:
                yield s, look

    def _traffic(self, canvas: Canvas, time: float) -> Iterator[tuple[str, float, float, bool, int]]:
        """Moving vehicles: shape, x, s, whether away from the camera, look."""
        plan = self.plan
        gap = 26.0 + 40.0 * (1 - plan.busy)
        names = ("saloon", "suv", "hatchback") * 3 + ("van", "truck", "bus")
        for number in range(-plan.lanes, plan.lanes):
            x = (number + 0.5) * plan.lane
            away, own = number >= 0, number == plan.lanes - 1
            speed = plan.speed * (1.0 if own else 1.12) if away else -plan.speed * (0.9 + 0.1 * number)
            spacing = gap if away else 0.9 * gap
            for s, look in self._flow(canvas, 20 + number, speed, spacing, time, 0.8 * FAR):
                if not own or s > canvas.s + 17:
                    yield names[look % len(names)], x, s + 2.0 * math.sin(0.2 * time + look % 7), away, look

    def _vehicles(self, canvas: Canvas, time: float) -> Iterator[tuple[str, float, float]]:
        """Shape, x and s of all vehicles, parked and moving."""
        for side in (-1, 1):
            for piece in self._lots(canvas, side):
                for thing in piece.things:
                    if thing.name == "parked":
                        yield self._parked(thing), thing.x, thing.s
        for name, x, s, _, _ in self._traffic(canvas, time):
            yield name, x, s

    @staticmethod
    def _parked(thing: Thing) -> str:
        return ("hatchback", "saloon", "suv", "hatchback", "saloon", "van")[thing.look % 6]

    def _paint_things(self, canvas: Canvas, time: float) -> None:
        """Everything that stands or moves, the farthest first."""
        for side in (-1, 1):
            pieces = self._lots(canvas, side)
            for before, piece in zip([None, *pieces], pieces, strict=False):
                canvas.layer = piece.far
                self._paint_lot(canvas, side, before, piece)
                for thing in piece.things:
                    canvas.layer = thing.s
                    self._paint_thing(canvas, thing, side, time)
        for name, x, s, away, look in self._traffic(canvas, time):
            canvas.layer = s
            self._paint_vehicle(canvas, name, x, s, away, look)
        self._paint_walkers(canvas, time)
        canvas.flush()

    def _shadows(self, canvas: Canvas, time: float) -> list[tuple[Points, int]]:
        """World polygons that houses, trees and vehicles shade, each with what it takes of the light, of 255."""
        sun, dark, found = self.plan.light.sun, self._ground.dark, []
        sunny = dark > 40
        for side in (-1, 1) if sunny else ():
            for piece in self._lots(canvas, side):
                if piece.name == "house" and side * sun[0] > 0:
                    front, back = side * piece.front, side * (piece.front + DEEP)
                    tall = self._house(piece).height * piece.scale
                    found.append((shadow_of_box((front, piece.near), (back, piece.far), tall, sun), dark))
                for thing in piece.things:
                    if thing.name == "tree" and abs(thing.s - canvas.s) < 70:
                        patches = shadow_of_tree(thing.x, thing.s, thing.size, thing.look, sun)
                        found += [(patch, dark) for patch in patches]
        for name, x, s in self._vehicles(canvas, time):
            shape = SHAPES[name]
            low, high = (x - shape.width / 2, s - shape.length / 2), (x + shape.width / 2, s + shape.length / 2)
            if sunny:
                found.append((shadow_of_box(low, high, shape.height, sun), dark))
            found.append((flat(np.array([low, (high[0], low[1]), high, (low[0], high[1])])), 190))
        return found

    def _paint_walkers(self, canvas: Canvas, time: float) -> None:
        """People on the pavements and cyclists along the kerb."""
        plan = self.plan
        for number, (side, way) in enumerate(((-1, -1), (-1, 1), (1, -1), (1, 1))):
            for s, look in self._flow(canvas, 40 + number, 1.3 * way, 16.0 + 40.0 * (1 - plan.busy), time, CROWD):
                x = side * (plan.border - plan.pavement * (0.25 + 0.5 * (look % 101) / 100))
                phase = 2 * math.pi * (1.3 * time / 1.45 + look % 89 / 89)
                grown = min(1.0, (canvas.s + CROWD - s) / 25)
                canvas.layer = s
                draw_person(canvas, x, s, (0.0, float(way)), phase, look, self._gain(canvas, x, s), grown)
        for side in (-1, 1):
            for s, look in self._flow(canvas, 50 + side, 4.6 * side, 30.0 + 60.0 * (1 - plan.busy), time, CROWD):
                x = side * (plan.lanes * plan.lane - 0.45)
                canvas.layer = s
                draw_cycle(
                    canvas,
                    x,
                    s,
                    (0.0, float(side)),
                    7.0 * time + look % 7,
                    look,
                    self._gain(canvas, x, s),
                    rider=True,
                    motor=look % 6 == 0,
                )

    def _hides(self, before: Lot | None, piece: Lot) -> bool:
        """Whether the house before this one covers its end wall."""
        if (
            before is None
            or before.name != "house"
            or piece.near - before.far > 0.5
            or before.front > piece.front + 0.1
        ):
            return False
        return self._house(before).height * before.scale >= self._house(piece).height * piece.scale

    def _gain(self, canvas: Canvas, x: float, s: float) -> float:
        """Light on something small that faces the camera at x, s: less in the shadow of a house."""
        light = self.plan.light
        full, shade = light.on(0.0, 0.5, -0.87), light.ambient * 0.9
        if light.direct < 0.2:
            return full
        side = 1 if light.sun[0] > 0 else -1
        for number in (int(s // LOT), int(s // LOT) - 1):
            piece = lot(self.plan, side, number)
            if piece.name == "house" and piece.near <= s < piece.far:
                reach = self._house(piece).height * piece.scale * abs(light.sun[0]) / light.sun[1]
                return shade if side * x > piece.front - reach else full
        return full

    def _paint_vehicle(self, canvas: Canvas, name: str, x: float, s: float, away: bool, look: int) -> None:
        light = self.plan.light
        gain = self._gain(canvas, x, s) / light.on(0.0, 0.5, -0.87)
        draw_vehicle(canvas, name, PAINTS[look // 16 % len(PAINTS)], x, s, away, gain)

    def _paint_thing(self, canvas: Canvas, thing: Thing, side: int, time: float) -> None:
        x, s, look = thing.x, thing.s, thing.look
        gain = self._gain(canvas, x, s)
        if thing.name == "tree":
            texture = self._trees[look % len(self._trees)]
            rows, columns = texture.picture.shape[:2]
            half = 0.5 * thing.size * columns / rows * (1 if look & 8 else -1)
            canvas.paste(texture, (x - half, 0.0, s), (x + half, 0.0, s), thing.size, Kind.TREE, gain)
        elif thing.name == "parked":
            self._paint_vehicle(canvas, self._parked(thing), x, s, (look & 32 > 0) != (side < 0), look)
        elif thing.name == "lamp":
            draw_lamp(canvas, x, s, -float(side), gain)
        elif thing.name == "lights":
            state = (2, 2, 2, 1, 0, 0)[int(time / 2 + look % 6) % 6]
            draw_traffic_light(canvas, x, s, -side * thing.size, state, gain)
        elif thing.name == "sign":
            draw_sign(canvas, x, s, look, gain)
        elif thing.name == "bin":
            plate(canvas, x, 0.62, s, SQUARE * (0.26, 0.5), (58, 66, 52), Kind.CLUTTER, gain)
            plate(canvas, x, 1.1, s - 0.01, SQUARE * (0.3, 0.06), (40, 44, 40), Kind.CLUTTER, gain)
        elif thing.name == "bollard":
            draw_post(canvas, x, s, 0.95, 0.08, (50, 52, 54), gain)
        elif thing.name == "bicycle":
            draw_cycle(canvas, x, s, (0.94, 0.34), 0.0, look, gain, rider=False)
        else:
            draw_person(canvas, x, s, (-float(side), 0.0), 0.15, look, gain)

    def _paint_lot(self, canvas: Canvas, side: int, before: Lot | None, piece: Lot) -> None:
        """House, roof and end wall, then what borders the garden; at a crossing the side street's far end."""
        light, house, x = self.plan.light, self._house(piece), side * piece.front
        if piece.name == "crossing":
            far = side * (self.plan.edge + 50.0)
            canvas.paste(
                house.front,
                (far, 0.0, piece.near - 12),
                (far, 0.0, piece.far + 12),
                house.height,
                Kind.BUILDING,
                light.on(-side, 0.0, 0.0),
            )
        elif piece.name == "house":
            high, deep = house.height * piece.scale, DEEP
            gain = light.on(0.0, 0.0, -1.0)
            corner = before is not None and before.name == "crossing"
            if not self._hides(before, piece):
                canvas.paste(
                    house.front if corner else house.end,
                    (x, 0.0, piece.near),
                    (x + side * deep, 0.0, piece.near),
                    high,
                    Kind.BUILDING,
                    gain,
                )
            canvas.paste(
                house.front, (x, 0.0, piece.near), (x, 0.0, piece.far), high, Kind.BUILDING, light.on(-side, 0.0, 0.0)
            )
            if house.pitched:
                ridge, middle = high + 3.0, x + side * deep / 2
                canvas.polygon(
                    np.array(
                        [
                            (x, high, piece.near),
                            (x, high, piece.far),
                            (middle, ridge, piece.far),
                            (middle, ridge, piece.near),
                        ]
                    ),
                    house.roof,
                    Kind.BUILDING,
                    light.on(-0.55 * side, 0.83, 0.0),
                )
                canvas.polygon(
                    np.array([(x, high, piece.near), (x + side * deep, high, piece.near), (middle, ridge, piece.near)]),
                    house.colour,
                    Kind.BUILDING,
                    gain,
                )
                for share in (0.12, 0.85):
                    s = piece.near + share * (piece.far - piece.near)
                    plate(canvas, middle, ridge + 0.4, s, SQUARE * (0.35, 0.7), WALLS[0], Kind.BUILDING, gain)
        if piece.border:
            kind = {"hedge": Kind.TREE, "wall": Kind.WALL}.get(piece.border, Kind.FENCE)
            line = side * (self.plan.border + 0.1)
            tall = 1.0 + 0.6 * (piece.design % 8) / 7
            canvas.paste(
                self._borders[piece.border],
                (line, 0.0, piece.near),
                (line, 0.0, piece.far),
                tall,
                kind,
                light.on(-side, 0.0, 0.0),
            )


def drawn(height: int, width: int, count: int) -> list[Image]:
    """Frames of one street, uint8 (H, W, 3) BGR, 10 apart; also of sizes that a Street is too small for."""
    street = Street(max(height, MINIMUM_SIDE), max(width, MINIMUM_SIDE))
    return [fitted(street.frame(index * 10)[0], height, width) for index in range(count)]
