"""What the benchmarks that are no commands of their own share: `python -m fastscnn.benchmarks.NAME`, a folder for the report."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..runtime.commands import command


def run(
    name: str,
    parser: argparse.ArgumentParser,
    work: Callable[[argparse.Namespace], None],
    arguments: Sequence[str] | None,
    *,
    folder: bool = True,
) -> int:
    """Run `work` with the options, among them `command`, as a user would type it; gives the exit code.

    Args:
        folder: add the option `--output`, the folder that the report goes to.
    """
    if folder:
        parser.add_argument(
            "-o",
            "--output",
            default=Path("benchmarks/results"),
            type=Path,
            metavar="FOLDER",
            help="where the report goes",
        )
    words = sys.argv[1:] if arguments is None else arguments
    parser.set_defaults(command=shlex.join(["python", "-m", f"fastscnn.benchmarks.{name}", *words]))
    return command.run(parser, work, arguments)
