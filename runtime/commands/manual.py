"""What every `--help` ends in: what the device names mean, examples, the exit codes."""

from __future__ import annotations

import argparse
import textwrap

EXITS = "0 done, 1 failed at run time, 2 wrong usage, 3 parity check failed, 4 the file does not fit this machine"
_INDENT = "  "


class Formatter(argparse.HelpFormatter):
    """Shows the defaults that are values, and leaves indented lines of descriptions as they are."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        told = action.help or ""
        if "default:" in told or not action.option_strings or action.nargs == 0:
            return told
        return f"{told} (default: %(default)s)" if action.default not in (None, argparse.SUPPRESS, (), "") else told

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = text.splitlines()
        if not any(line.startswith(_INDENT) for line in lines):
            return super()._fill_text(text, width, indent)
        return "\n".join(line if line.startswith(_INDENT) else textwrap.fill(line, width) for line in lines)


def epilogue(examples: tuple[str, ...], exits: str = EXITS) -> str:
    """Examples, one a line, each as one would type it; and the exit codes."""
    parts = [f"exit codes:\n{_item(exits)}"]
    if examples:
        heading = "example" if len(examples) == 1 else "examples"
        parts.insert(0, "\n".join([f"{heading}:", *(f"{_INDENT}{line}" for line in examples)]))
    return "\n\n".join(parts)


def devices() -> str:
    """What the names that `--device` takes mean."""
    from ..backends.choice import MEANINGS, PREFERRED  # here: the doctor starts where NumPy is what is broken

    column = max(map(len, MEANINGS)) + 2
    lines = [_item(f"{name:<{column}}{meaning}", column) for name, meaning in MEANINGS.items()]
    return "\n".join(
        ["devices:", *lines, _item(f"The environment variable {PREFERRED} says what auto means for ONNX files.")]
    )


def _item(text: str, column: int = 0) -> str:
    """Wrapped to a terminal of 80 columns, as nobody's help is read at 200."""
    return textwrap.fill(
        text,
        78,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT + " " * column,
        break_on_hyphens=False,
    )
