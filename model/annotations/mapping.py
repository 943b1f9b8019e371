"""Which class of the source becomes which class of the data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.artifacts.artifact import IGNORE, printable
from ...runtime.commands.command import did_you_mean
from ...runtime.errors import UsageError
from ..classes import ClassSet, Colour, made_colours
from .source import Found, Numbers

REST = 254  # in staged labels: pixels that nothing was drawn on
_IGNORE, _NOTHING, _OTHERS = "ignore", "nothing", "others"
_MOST = 253


@dataclass(frozen=True)
class Plan:
    """The data set's classes, and where each of the source's goes."""

    names: tuple[str, ...]  # without the class of the rest, unless it is one of them
    table: NDArray[np.uint8]  # place in `Found.names`, plus 2 → train id, REST or IGNORE
    rest: str  # what becomes of pixels that nothing was drawn on: a class, or "ignore"

    def staged(self, numbers: Numbers) -> NDArray[np.uint8]:
        """Train ids of one mask, with REST where nothing was drawn."""
        return self.table[numbers + 2]

    def finished(self, found: Found, name: str, rest: bool) -> tuple[ClassSet, NDArray[np.uint8]]:
        """The classes, and a (256,) table from staged to final ids.

        Args:
            name: of the class set.
            rest: whether any pixel was in nothing.
        """
        table = np.arange(256, dtype=np.uint8)
        names = self.names
        if rest and self.rest == _IGNORE:
            table[REST] = IGNORE
        elif rest and self.rest in names:
            table[REST] = names.index(self.rest)
        elif rest:  # it comes first, as background does everywhere
            names = (self.rest, *names)
            table[: len(self.names)] += 1
            table[REST] = 0
        if not 2 <= len(names) <= _MOST:
            raise UsageError(f"there would be {len(names)} classes ({', '.join(names[:5])}); expected 2 to {_MOST}")
        return ClassSet(name, names, _colours(names, found.colours)), table


def plan(found: Found, path: Path | None, rest: str) -> Plan:
    """What the mapping file says, else each class as it is called.

    Raises:
        UsageError: a source without names and no mapping; classes that the mapping forgets or invents.
    """
    if path is None:
        if not found.named:
            raise UsageError(
                f"the masks hold {'colours' if ',' in found.names[0] else 'ids'} without names: {_some(found.names)}; expected a "
                "name for each. Put your names behind the colons of the lines above, save them as map.yaml, and add --map map.yaml"
            )
        chosen = {name: name for name in found.names}
    else:
        chosen = _read(found, path)
    targets = tuple(dict.fromkeys(t for t in chosen.values() if t not in (_IGNORE, _NOTHING)))
    for name in (*targets, rest):
        if not printable(name):
            raise UsageError(f"the class {name!r:.80} has no name that can be shown; expected a short text of one line")
    places = {name: index for index, name in enumerate(targets)} | {_IGNORE: IGNORE, _NOTHING: REST}
    table = np.array([IGNORE, REST, *(places[chosen[name]] for name in found.names)], np.uint8)
    return Plan(targets, table, rest)


def template(found: Found) -> str:
    """Lines of a mapping file to fill in, with what is usual already."""
    lines = ["# what is found: your class; ignore is not trained on, nothing counts as not drawn"]
    for name in found.names:
        share = f"  # {found.shares[name]:.1%} of the pixels" if name in found.shares else ""
        lines.append(f"{name}: {_IGNORE if name == '255' and len(found.names) > 2 else 'class ' + name}{share}")
    return "\n".join(lines)


def _read(found: Found, path: Path) -> dict[str, str]:
    from ..plain_yaml import read

    content: Any = read(path)
    if not isinstance(content, Mapping) or not all(
        isinstance(v, (str, int)) and not isinstance(v, bool) for v in content.values()
    ):
        raise UsageError(f"{path} is not a mapping; expected lines such as\n{template(found)}")
    given = {str(key): str(value) for key, value in content.items()}
    others = given.pop(_OTHERS, None)
    if strange := [name for name in given if name not in found.names]:
        raise UsageError(
            f"{path} maps {strange[0]!r:.80}, which was not found.{did_you_mean(strange[0], found.names)} There are {_some(found.names)}"
        )
    if others is None and (forgotten := [name for name in found.names if name not in given]):
        raise UsageError(
            f"{path} says nothing of {_some(forgotten)}; expected each, with `ignore` for what is not to be trained on, or a line `others: ignore`"
        )
    return {name: given.get(name, others or "") for name in found.names}


def _colours(names: tuple[str, ...], known: Mapping[str, Colour]) -> tuple[Colour, ...]:
    """The source's where it has some, black for a background, and made ones that are like none of them."""
    taken = {**{name: known[name] for name in names if name in known}}
    if "background" in names:
        taken.setdefault("background", (0, 0, 0))
    free = iter(c for c in made_colours(len(names) + len(taken) + 8) if c not in taken.values())
    return tuple(taken[name] if name in taken else next(free) for name in names)


def _some(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
