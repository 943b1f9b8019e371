"""What the classes of a foreign network are called and painted: from its metadata, from a file, or by their numbers."""

from __future__ import annotations

import ast
import colorsys
import re
from collections.abc import Mapping
from pathlib import Path

from ...model.classes import CLASS_SETS, ClassSet, Colour
from ...runtime.artifacts.artifact import printable
from ...runtime.artifacts.files import whole
from ...runtime.errors import UsageError
from ...runtime.text import shown

_LONGEST = 1 << 16  # characters of a list of names
_GOLDEN = 0.618034  # of a turn, between the hues of neighbours
_COLOURED = re.compile(r"(.*?)[\s,]+(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})")


def class_set(count: int, metadata: Mapping[str, str], given: str | Path | None, source: str) -> ClassSet:
    """Of `count` classes.

    Args:
        given: a class set's name, or a file: classes.yaml, or a text with a name a line, three numbers for its colour behind it or none.

    Raises:
        UsageError: another number of names, or a file that cannot be read.
    """
    if given is None:
        names = _of_metadata(metadata)
        if names and len(names) == count:
            known = [s for s in CLASS_SETS.values() if [n.casefold() for n in names] == list(s.classes)]
            return known[0] if known else _painted(source, names)
        return _painted(
            "numbers", ["background", "foreground"] if count == 2 and not names else list(map(str, range(count)))
        )
    if str(given) in CLASS_SETS:
        found = CLASS_SETS[str(given)]
    elif Path(given).suffix in (".yaml", ".yml"):
        from ...model.datasets import read_classes

        found = read_classes(Path(given))
    else:
        found = _listed(Path(given))
    if len(found) != count:
        raise UsageError(f"{given} names {len(found)} classes and {source} has {count}; expected a name for each")
    return found


def _of_metadata(metadata: Mapping[str, str]) -> list[str]:
    """Ultralytics writes `names` as a Python dictionary: number → name."""
    text = metadata.get("names", "")
    if not text or len(text) > _LONGEST:
        return []
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return []
    if isinstance(value, dict) and sorted(value) == list(range(len(value))):
        value = [value[index] for index in range(len(value))]
    return [str(name) for name in value] if isinstance(value, list) and all(map(printable, map(str, value))) else []


def _listed(path: Path) -> ClassSet:
    lines = [line.strip() for line in whole(path, _LONGEST, "a list of classes").decode(errors="replace").splitlines()]
    names: list[str] = []
    colours: dict[int, Colour] = {}
    for line in filter(None, lines):
        match = _COLOURED.fullmatch(line)
        name = match[1] if match else line
        if not printable(name):
            raise UsageError(f"{path} has the name {shown(name)!r:.80}; expected a short text of one line")
        if match:
            red, green, blue = (min(int(match[i]), 255) for i in (2, 3, 4))
            colours[len(names)] = (red, green, blue)
        names.append(name)
    painted = _painted(path.stem[:100], names)
    return ClassSet(painted.name, painted.classes, tuple(colours.get(i, c) for i, c in enumerate(painted.palette)))


def _painted(name: str, names: list[str]) -> ClassSet:
    """Hues that lie far apart for neighbours, in three shades."""
    palette = []
    for index in range(len(names)):
        value, saturation = ((0.9, 0.75), (0.6, 0.9), (0.95, 0.4))[index % 3]
        red, green, blue = colorsys.hsv_to_rgb(index * _GOLDEN % 1, saturation, value)
        palette.append((round(red * 255), round(green * 255), round(blue * 255)))
    return ClassSet(name if printable(name) else "own", tuple(names), tuple(palette))
