"""YAML that is only what it looks like: no aliases, which a few lines can multiply into gigabytes, and no depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..runtime import install
from ..runtime.artifacts.files import whole
from ..runtime.errors import ArtifactError, DeviceError, UsageError
from ..runtime.text import shown

try:
    import yaml
except ImportError as error:
    raise DeviceError(
        f"reading YAML needs pyyaml, which cannot be imported ({error}). Install: {install.command('data')}"
    ) from None

_LONGEST = 1 << 20  # bytes of a file
_DEEPEST = 8  # of the values in each other; a recipe and a class list need 3


_CONSTANTS = {"tag:yaml.org,2002:bool": "a truth value", "tag:yaml.org,2002:null": "nothing"}  # that keys are not


class _Plain(yaml.SafeLoader):
    depth = 0

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # refused below, as no key that can be held
            line = key.start_mark.line + 1
            if key.tag in _CONSTANTS:
                raise yaml.YAMLError(
                    f"line {line}: {key.value!r} is {_CONSTANTS[key.tag]} in YAML; a name needs quotes: '{key.value}'"
                )
            if key.value in lines:
                raise yaml.YAMLError(f"line {line}: {key.value!r} stands in line {lines[key.value]} already")
            lines[key.value] = line
        return super().construct_mapping(node, deep)

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("an alias in it; expected each value written out")
        self.depth += 1
        if self.depth > _DEEPEST:
            raise yaml.YAMLError(f"more than {_DEEPEST} values in each other")
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def parse(text: str | bytes) -> Any:
    """Plain values.

    Raises:
        UsageError: not YAML, or more than plain values; says why in half a sentence.
    """
    try:
        return yaml.load(text, _Plain)
    except Exception as error:  # YAMLError, and ValueError for the 99th of a month or a number of 5000 digits
        raise UsageError(shown((str(error).strip() or type(error).__name__).splitlines()[0][:200])) from error


def read(path: Path) -> Any:
    """Plain values of a file; errors as in `parse`."""
    try:
        return parse(whole(path, _LONGEST, "a YAML file"))
    except ArtifactError as error:
        raise UsageError(str(error)) from error
