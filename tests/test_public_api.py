"""Names and signatures that users' programs hold on to. A change here is a change of theirs, and belongs in CHANGELOG.

After a meant change: python tests/test_public_api.py > tests/public_api.txt
"""

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

RECORD = Path(__file__).with_name("public_api.txt")
FACES = (
    "fastscnn",
    "fastscnn.runtime",
    "fastscnn.model",
    "fastscnn.model.importing",
    "fastscnn.model.street",
    "fastscnn.model.training",
    "fastscnn.export",
    "fastscnn.export.adopt",
    "fastscnn.export.quantisation",
    "fastscnn.export.tensorrt",
    "fastscnn.benchmarks",
)

MADE_HERE = ("Camera", "Result", "Stream")  # by a Segmenter; users receive them, so how they are made is not theirs


def lines() -> Iterator[str]:
    for face in FACES:
        module = import_module(face)
        for name in sorted(module.__all__):
            yield from told(f"{face}.{name}", getattr(module, name))


def told(name: str, thing: Any) -> Iterator[str]:
    if not inspect.isclass(thing):
        yield name + (signature(thing) if callable(thing) else "")
        return
    bases = ", ".join(base.__name__ for base in thing.__bases__ if base is not object)
    yield f"{name}({bases})" if bases else name
    inherited = issubclass(thing, BaseException)  # Exception's own differ between Pythons
    for member, value in sorted(vars(thing).items()):
        if not member.startswith("_") or (member == "__init__" and thing.__name__ not in MADE_HERE):
            if inspect.isfunction(value):
                yield f"    {member}{signature(value)}"
            elif not inherited or not inspect.isroutine(value):
                yield f"    {member}"


def signature(function: Any) -> str:
    found = inspect.signature(function)
    return str(found.replace(parameters=[p.replace(default=plain(p.default)) for p in found.parameters.values()]))


def plain(default: Any) -> Any:
    """Defaults whose text would hold an address are shown by their kind."""
    return default if default is inspect.Parameter.empty or " at 0x" not in repr(default) else type(default).__name__


def test_public_names_and_signatures_are_those_on_record() -> None:
    assert list(lines()) == RECORD.read_text().splitlines()


if __name__ == "__main__":
    print("\n".join(lines()))
