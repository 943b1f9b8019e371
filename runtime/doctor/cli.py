"""`fastscnn-doctor`: what this machine has, what it lacks, and what to do about it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence

from ...version import __version__
from ..commands import command
from ..errors import DeviceError, FastSCNNError, SourceError
from ..media.uri import without_password
from .examine import SECTIONS, examine
from .finding import FAILURE, OK, STATUSES, WARNING, Finding, worst

_COLOURS = {OK: "32", WARNING: "33", FAILURE: "31;1"}  # of a terminal: green, yellow, bold red
_WIDEST = 120  # columns; longer lines are hard to read
_EXITS = "0 nothing worse than a warning, 1 a failure, 4 MODEL does not fit this machine"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "fastscnn-doctor",
        "Look at this machine: what is there, what is missing, what to do.",
        "fastscnn-doctor",
        "fastscnn-doctor model.onnx --json",
        "fastscnn-doctor rtsp://camera.local/stream",
        exits=_EXITS,
    )
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="an ONNX file or an engine: does it fit here? Or a camera, an address or a video: what does it give?",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    return command.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    findings = examine(options.model)
    if options.json:
        told = {"fastscnn": __version__, "worst": worst(findings), "findings": list(map(dataclasses.asdict, findings))}
        print(json.dumps(told, indent=2))
    else:
        print(as_text(findings, min(shutil.get_terminal_size((100, 24)).columns, _WIDEST), _coloured()))
    if worst([finding for finding in findings if finding.section == "model"]) == FAILURE:
        raise DeviceError(f"{options.model} does not fit this machine; see the section model")
    if worst([finding for finding in findings if finding.section == "source"]) == FAILURE:
        raise SourceError(f"{without_password(options.model)} gives no frames; see the section source")
    if worst(findings) == FAILURE:
        raise FastSCNNError("this machine needs attention; see the failures")


def as_text(findings: list[Finding], width: int = 100, coloured: bool = False) -> str:
    """A page for a terminal: one line a finding, what to do beneath those that are not ok."""
    lines = [f"fastscnn {__version__}"]
    column = max((len(finding.name) for finding in findings), default=0) + 2
    for section in SECTIONS:
        of_it = [finding for finding in findings if finding.section == section]
        if of_it:
            lines += ["", section[0].upper() + section[1:]]
        for finding in of_it:
            lines += _lines(finding, column, max(width, 60), coloured)
    counts = Counter(finding.status for finding in findings)
    sums = ", ".join(f"{counts[status]} {_plural(status, counts[status])}" for status in STATUSES)
    return "\n".join([*lines, "", f"{len(findings)} findings: {sums}"])


def _lines(finding: Finding, column: int, width: int, coloured: bool) -> list[str]:
    status = f"{finding.status:<9}"
    head = f"  {status}{finding.name:<{column}}"
    hanging = " " * len(head)
    told = textwrap.wrap(
        finding.found,
        width,
        initial_indent=head,
        subsequent_indent=hanging,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [head]
    if coloured:
        told[0] = told[0].replace(status, f"\033[{_COLOURS[finding.status]}m{status}\033[0m", 1)
    if finding.remedy:
        told += textwrap.wrap(
            f"fix: {finding.remedy}",
            width,
            initial_indent=hanging,
            subsequent_indent=f"{hanging}     ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return told


def _plural(status: str, count: int) -> str:
    return status if status == OK or count == 1 else f"{status}s"


def _coloured() -> bool:
    return (
        sys.stdout is not None
        and sys.stdout.isatty()
        and "NO_COLOR" not in os.environ
        and os.environ.get("TERM") != "dumb"
    )


if __name__ == "__main__":
    raise SystemExit(main())
