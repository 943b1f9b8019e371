"""What a drawn street looks like: its character, drawn from a seed, and what stands on each of its lots.

The road is cut into lots of LOT metres on either side. Everything follows from the seed and the lot's number alone, so
that any stretch of an endless street can be laid out by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .paint import Light

LOT = 15.0  # metres

WEATHERS: tuple[Light, ...] = (
    Light((0.5, 0.75, -0.43), 0.74, 0.45, (1.0, 1.0, 1.0), (214, 160, 104), (236, 222, 200), 0.35, 900.0, 0.04),
    Light((-0.74, 0.45, -0.56), 0.72, 0.46, (0.96, 1.0, 1.04), (222, 176, 128), (240, 232, 220), 0.6, 700.0, 0.05),
    Light((0.1, 0.97, -0.2), 0.98, 0.08, (1.0, 1.0, 0.98), (206, 202, 196), (226, 226, 224), 1.0, 420.0, 0.15),
    Light((-0.72, 0.42, 0.55), 0.78, 0.46, (0.9, 1.0, 1.1), (214, 176, 140), (196, 218, 238), 0.45, 600.0, 0.1),
    Light((0.3, 0.9, -0.3), 0.6, 0.05, (1.12, 1.0, 0.92), (150, 122, 104), (172, 160, 160), 0.9, 500.0, 0.4),
)


@dataclass(frozen=True)
class Thing:
    """Something that stands on a lot: what, where (metres) and which variant."""

    name: str
    x: float
    s: float
    look: int
    size: float = 1.0


@dataclass(frozen=True)
class Lot:
    """One side's piece of street from `near` to `far` (metres along): a house, a park or a crossing."""

    name: str
    near: float
    far: float
    front: float  # metres from the road's centre to the house front
    design: int
    border: str  # along the pavement: "", "hedge", "wood", "bars" or "wall"
    scale: float
    things: tuple[Thing, ...]


@dataclass(frozen=True)
class Plan:
    """The street's character, drawn from its seed; metres, metres a second, shares 0..1."""

    seed: int
    light: Light
    mirror: int  # -1 drives on the left
    view: float  # vertical field of view, degrees
    horizon: float  # share of the height
    eye: float
    speed: float
    lanes: int  # each way
    lane: float
    parking: float  # width of the parking strip
    verge: float
    pavement: float
    urban: float
    green: float
    busy: float
    waves: tuple[tuple[float, float, float], ...]
    yellow: bool

    @property
    def edge(self) -> float:
        """Half the road's width, kerb to centre."""
        return self.lanes * self.lane + self.parking

    @property
    def border(self) -> float:
        """Where the pavement ends."""
        return self.edge + 0.15 + self.verge + self.pavement


def plan_of(seed: int) -> Plan:
    """Draw a street's character."""
    rng = np.random.default_rng((seed, 1))
    weather = WEATHERS[int(rng.choice(len(WEATHERS), p=(0.3, 0.25, 0.2, 0.15, 0.1)))]
    urban = float(rng.uniform(0, 1))
    curve = float(rng.choice([0.0, 3.0, 6.0]))
    return Plan(
        seed=seed,
        light=weather,
        mirror=int(rng.choice([-1, 1])),
        view=float(rng.uniform(33, 40)),
        horizon=float(rng.uniform(0.43, 0.5)),
        eye=float(rng.uniform(1.3, 1.75)),
        speed=float(rng.uniform(7, 12)),
        lanes=1 if rng.random() < 0.75 else 2,
        lane=float(rng.uniform(3.1, 3.6)),
        parking=2.2 if rng.random() < 0.6 else 0.3,
        verge=1.5 if rng.random() < 0.5 - 0.3 * urban else 0.0,
        pavement=float(rng.uniform(2.0, 3.0 + 1.5 * urban)),
        urban=urban,
        green=float(rng.uniform(0.15, 1) * (1.1 - 0.6 * urban)),
        busy=float(rng.uniform(0.3, 1.0)),
        waves=((curve, 1 / 55, float(rng.uniform(0, 6))), (0.4 * curve, 1 / 31, float(rng.uniform(0, 6)))),
        yellow=bool(rng.random() < 0.35),
    )


def draws(plan: Plan, *numbers: int) -> np.random.Generator:
    """A generator of its own for one part of one street; the numbers may be negative."""
    return np.random.default_rng((plan.seed, *(2 * n if n >= 0 else -2 * n - 1 for n in numbers)))


@lru_cache(maxsize=4096)
def mover(plan: Plan, lane: int, number: int) -> tuple[float, int]:
    """How far (-0.3 to 0.3 spacings) a mover of a lane is from its even place, and the number its looks come from."""
    rng = draws(plan, 8, lane, number)
    return float(rng.uniform(-0.3, 0.3)), int(rng.integers(1 << 30))


@lru_cache(maxsize=4096)
def crossing(plan: Plan, number: int) -> bool:
    """Whether a side street takes the place of this lot on both sides; never two in a row."""
    rng = draws(plan, 2, number // 8)
    return bool(rng.random() < 0.8) and number % 8 == int(rng.integers(1, 7))


@lru_cache(maxsize=4096)
def _start(plan: Plan, side: int, number: int) -> float:
    """Where a lot starts, metres along."""
    fixed = crossing(plan, number) or crossing(plan, number - 1)
    return LOT * number + (0.0 if fixed else float(draws(plan, 3, side, number).uniform(-4, 4)))


@lru_cache(maxsize=4096)
def lot(plan: Plan, side: int, number: int) -> Lot:
    """What stands on lot `number` of side -1 (left) or 1 (right)."""
    rng = draws(plan, 4, side, number)
    near, far = _start(plan, side, number), _start(plan, side, number + 1)
    kerb, walk = plan.edge + 0.6, plan.border
    things: list[Thing] = []

    def put(name: str, x: float, s: float, size: float = 1.0) -> None:
        things.append(Thing(name, side * x, s, int(rng.integers(1 << 30)), size))

    if crossing(plan, number):
        put("lights", kerb, near - 1.0 if side > 0 else far + 1.0, 0.0 if plan.lanes == 1 else 1.0)
        put("lights", kerb, far + 1.0 if side > 0 else near - 1.0, 0.0)
        for _ in range(int(rng.integers(0, 3))):
            put("waiting", kerb + rng.uniform(0.2, 1.0), near - rng.uniform(1.5, 4.0))
        return Lot("crossing", near, far, walk, int(rng.integers(64)), "", 1.0, tuple(things))
    park = rng.random() < 0.12 + 0.25 * plan.green * (1 - plan.urban)
    garden = 0.0 if plan.urban > 0.55 else float(rng.uniform(1.5, 5.0))
    if number % 2 == (side > 0):
        put("lamp", kerb, LOT * number + 5.0)
    if rng.random() < 0.25:
        put("sign", kerb, rng.uniform(near + 1, far - 1))
    if rng.random() < 0.15:
        put("bin", walk - 0.5, rng.uniform(near + 1, far - 1))
    if rng.random() < 0.2:
        put("bicycle", walk - 0.8, rng.uniform(near + 2, far - 2))
    if rng.random() < 0.12:
        for step in range(5):
            put("bollard", plan.edge + 0.4, near + 1.5 + 1.7 * step)
    room = (walk + garden - kerb) / 0.36  # a taller tree's crown would grow into the house
    for step in range(int((far - near) / 9)):
        if rng.random() < 0.75 * plan.green and not crossing(plan, number + 1):
            tall = min(rng.uniform(5.0, 9.5), 30.0 if park else max(room, 3.5))
            put("tree", kerb + 0.3, near + 2.0 + 9 * step + rng.uniform(0, 4), tall)
    for _ in range(int(rng.poisson(0.35 * plan.busy * (0.4 + plan.urban)))):
        put("waiting", walk - rng.uniform(0.4, 1.2), rng.uniform(near, far))
    if plan.parking > 1:
        for step in range(int((far - near) / 6.2)):
            clear = crossing(plan, number + 1) and step > 0
            if rng.random() < 0.55 and not clear:
                put("parked", plan.edge - 1.1, near + 3.2 + 6.2 * step)
    if park:
        for _ in range(int(rng.integers(3, 7))):
            put("tree", walk + rng.uniform(2, 16), rng.uniform(near, far), rng.uniform(6, 12))
    elif garden > 2.5 and rng.random() < 0.8 * plan.green:
        put("tree", walk + 1.4, rng.uniform(near + 1, far - 1), rng.uniform(2.5, 5))
    if rng.random() < 0.6 * plan.green + 0.3:
        put("tree", walk + garden + rng.uniform(15, 22), rng.uniform(near, far), rng.uniform(9, 15))
    fences = ["hedge", "wood", "bars", "wall", ""]
    border = str(rng.choice(fences)) if park or garden > 1.5 else ""
    gap = float(rng.uniform(1.5, 4.0)) if garden > 0 and rng.random() < 0.6 else 0.0
    return Lot(
        "park" if park else "house",
        near + gap,
        far,
        walk + garden,
        int(rng.integers(64)),
        border,
        float(rng.uniform(0.9, 1.12)),
        tuple(things),
    )
