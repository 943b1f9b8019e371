"""A data set's `classes.yaml`: names and colours of its classes, and how its files mean them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from ...runtime.artifacts.artifact import IGNORE, printable
from ...runtime.commands.command import did_you_mean
from ...runtime.errors import UsageError
from ..classes import ClassSet, Colour
from .masks import Reading

EXAMPLE = "classes: {soil: [139, 90, 43], crop: [0, 255, 0]}"
_MOST = 254  # classes: 254 and 255 mean something else in train ids


@dataclass(frozen=True)
class ClassList:
    """What the file says.

    `ids` are the numbers in the label files in the order of the classes; `ignore` the numbers or colours that are not
    trained on, beside 255; `labels` is whether the files hold ids or colours; `exif` whether labels of turned pictures
    were drawn on them as stored or as shown.
    """

    classes: ClassSet
    ids: tuple[int, ...]
    ignored_ids: tuple[int, ...] = ()
    ignored_colours: tuple[Colour, ...] = ()
    labels: Literal["ids", "colours"] | None = None
    exif: Literal["stored", "shown"] | None = None

    def reading(self, path: Path) -> Reading:
        """For label files of the data set whose file this is."""
        return Reading.of_ids(self.classes, str(path), self.ids, self.ignored_ids, self.ignored_colours, self.labels)


def read_classes(path: Path) -> ClassSet:
    """`name: yard` and `classes: {grass: [0, 255, 0], …}`, colours RGB, in the order of their ids; errors as in `read`."""
    return read(path).classes


def read(path: Path) -> ClassList:
    """The file, checked.

    Raises:
        UsageError: not YAML, of another shape, or with something in it that is no name, colour, id or known key.
    """
    from ..plain_yaml import read as read_yaml

    try:
        content: Any = read_yaml(path)
    except UsageError as error:
        raise UsageError(f"{path} cannot be read ({error}); expected for example `{EXAMPLE}`") from error
    if not isinstance(content, Mapping) or not isinstance(content.get("classes"), Mapping):
        found = "nothing" if content is None else _shape(content)
        raise UsageError(f"{path} holds {found}; expected names with a colour each, for example `{EXAMPLE}`")
    for key in content:
        if key not in _KEYS:
            raise UsageError(
                f"{path} has the unknown key {key!r:.80}.{did_you_mean(str(key), _KEYS)} Expected {', '.join(_KEYS)}"
            )
    colours = {str(name): _colour(path, name, value) for name, value in content["classes"].items()}
    if not 2 <= len(colours) <= _MOST:
        raise UsageError(f"{path} names {len(colours)} classes; expected 2 to {_MOST}, each with a colour")
    name = str(content.get("name", path.resolve().parent.name))
    if strange := [text for text in [name, *colours] if not printable(text)]:
        raise UsageError(f"{path} has the name {strange[0]!r:.80}; expected a short text of one line")
    ids = _ids(path, content.get("ids"), tuple(colours))
    ignored_ids, ignored_colours = _ignored(path, content.get("ignore"), dict(zip(ids, colours, strict=True)), colours)
    return ClassList(
        ClassSet(name, tuple(colours), tuple(colours.values())),
        ids,
        ignored_ids,
        ignored_colours,
        cast(Any, _choice(path, content, "labels", ("ids", "colours"))),
        cast(Any, _choice(path, content, "exif", ("stored", "shown"))),
    )


_KEYS = ("name", "classes", "ids", "ignore", "labels", "exif")


def _shape(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"`classes` as a {type(content['classes']).__name__}" if "classes" in content else "no `classes`"
    return f"a {type(content).__name__}"


def _colour(path: Path, name: object, value: Any) -> Colour:
    if not isinstance(value, list) or len(value) != 3 or not all(_byte(v) for v in value):
        raise UsageError(
            f"{path}: {name!s:.80} has the colour {value!r:.80}; expected three numbers from 0 to 255, as in [0, 255, 0]"
        )
    return value[0], value[1], value[2]


def _ids(path: Path, given: Any, names: tuple[str, ...]) -> tuple[int, ...]:
    if given is None:
        return tuple(range(len(names)))
    if isinstance(given, Mapping):
        if {str(key) for key in given} != set(names):
            raise UsageError(
                f"{path} has ids for {', '.join(map(str, given))!s:.200}; expected one for each of its classes"
            )
        given = [{str(key): value for key, value in given.items()}[name] for name in names]
    if (
        not isinstance(given, list)
        or len(given) != len(names)
        or not all(map(_byte, given))
        or len(set(given)) < len(given)
    ):
        raise UsageError(
            f"{path} has ids {given!r:.120}; expected {len(names)} different numbers from 0 to 255, one a class"
        )
    return tuple(given)


def _ignored(
    path: Path, given: Any, by_id: Mapping[int, str], colours: Mapping[str, Colour]
) -> tuple[tuple[int, ...], tuple[Colour, ...]]:
    """`0`, `[0, 11]`, `[0, 0, 0]` where no three ids can be meant, `[[0, 0, 0], 255]`."""
    if given is None:
        return (), ()
    numbers, tones = [], []
    for value in given if isinstance(given, list) else [given]:
        if _byte(value):
            numbers.append(value)
        elif isinstance(value, list) and len(value) == 3 and all(map(_byte, value)):
            tones.append((value[0], value[1], value[2]))
        else:
            raise UsageError(f"{path} ignores {value!r:.80}; expected ids, or colours as in [[0, 0, 0]]")
    for number in numbers:
        if number in by_id:
            ids = list(range(1, len(by_id) + 1))
            raise UsageError(
                f"{path} ignores the id {number}, which is that of {by_id[number]}; expected another. Where the ids count "
                f"from 1, write `ids: {ids}` beside it"
            )
    for tone in tones:
        if tone in colours.values():
            raise UsageError(f"{path} ignores the colour {list(tone)}, which one of its classes has; expected another")
    return tuple(numbers), tuple(tones)


def _choice(path: Path, content: Mapping[str, Any], key: str, known: tuple[str, ...]) -> str | None:
    value = content.get(key)
    if value is not None and value not in known:
        raise UsageError(f"{path} has {key}: {value!r:.80}; expected {' or '.join(known)}")
    return value


def _byte(value: Any) -> bool:
    return type(value) is int and 0 <= value <= IGNORE
