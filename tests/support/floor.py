"""The lowest versions that pyproject.toml promises, as constraints for pip: `>=4.8` becomes the first release of 4.8.

python tests/support/floor.py EXTRA… > floor.txt
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

try:
    import tomllib
except ImportError:  # Python 3.10: pip brings one
    from pip._vendor import tomli as tomllib

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def lowest(extras: list[str]) -> Iterator[str]:
    project = tomllib.loads(PROJECT.read_text())["project"]
    wanted = [*project["dependencies"], *(line for name in extras for line in project["optional-dependencies"][name])]
    floors: dict[str, list[str]] = {}
    for requirement in wanted:
        name, floor = re.fullmatch(r"([\w-]+)>=([\d.]+).*", requirement).groups()  # type: ignore[union-attr]
        floors[name] = max(floors.get(name, []), floor.split("."), key=lambda numbers: list(map(int, numbers)))
    for name, numbers in floors.items():
        exact = ".".join([*numbers, *["0"] * (3 - len(numbers))])
        yield f"{name}=={exact}" if len(numbers) > 3 else f"{name}=={exact}.*"


if __name__ == "__main__":
    print("\n".join(lowest(sys.argv[1:])))
