"""Class sets of the data sets that this project knows: names, colours and the ignore label."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

from ..runtime.artifacts.artifact import IGNORE

Colour = tuple[int, int, int]  # RGB, 0-255


@dataclass(frozen=True)
class ClassSet:
    """An ordered set of classes; a class's place is its train id."""

    name: str
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    ignore: int = IGNORE  # in labels: neither trained on nor counted

    def __len__(self) -> int:
        return len(self.classes)


def _class_set(name: str, colours: dict[str, Colour]) -> ClassSet:
    return ClassSet(name, tuple(colours), tuple(colours.values()))


def made_colours(count: int) -> tuple[Colour, ...]:
    """Colours for classes that have none, each as far from those before as steps by the golden ratio put it."""
    found = []
    for index in range(count):
        hue, light = (index * 0.618034) % 1, (0.95, 0.7, 0.5)[index % 3]
        red, green, blue = colorsys.hsv_to_rgb(hue, (0.75, 0.9, 0.55)[index // 3 % 3], light)
        found.append((round(255 * red), round(255 * green), round(255 * blue)))
    return tuple(found)


# Names, order and colours of cityscapesScripts' labels.py.
CITYSCAPES = _class_set(
    "cityscapes",
    {
        "road": (128, 64, 128),
        "sidewalk": (244, 35, 232),
        "building": (70, 70, 70),
        "wall": (102, 102, 156),
        "fence": (190, 153, 153),
        "pole": (153, 153, 153),
        "traffic light": (250, 170, 30),
        "traffic sign": (220, 220, 0),
        "vegetation": (107, 142, 35),
        "terrain": (152, 251, 152),
        "sky": (70, 130, 180),
        "person": (220, 20, 60),
        "rider": (255, 0, 0),
        "car": (0, 0, 142),
        "truck": (0, 0, 70),
        "bus": (0, 60, 100),
        "train": (0, 80, 100),
        "motorcycle": (0, 0, 230),
        "bicycle": (119, 11, 32),
    },
)

# Names and order of the SegNet tutorial's 11 classes; colours of the CamVid palette.
CAMVID = _class_set(
    "camvid",
    {
        "sky": (128, 128, 128),
        "building": (128, 0, 0),
        "pole": (192, 192, 128),
        "road": (128, 64, 128),
        "pavement": (60, 40, 222),
        "tree": (128, 128, 0),
        "sign": (192, 128, 128),
        "fence": (64, 64, 128),
        "car": (64, 0, 128),
        "pedestrian": (64, 64, 0),
        "bicyclist": (0, 128, 192),
    },
)

CLASS_SETS = {s.name: s for s in (CITYSCAPES, CAMVID)}
