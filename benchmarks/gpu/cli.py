"""`python -m fastscnn.benchmarks.gpu`: the whole suite on a GPU machine in under eight minutes, whatever part of it fails.

Models are exported from the weights that ship, engines built from them; every step notes what it found or why it failed, and
the short table comes last. Exit code 1 where a step failed.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...runtime.commands import command
from ...runtime.errors import FastSCNNError
from .. import power
from ..machine import machine
from . import goals, steps
from .steps import Bench

log = logging.getLogger(__name__)
LIMIT = 420.0  # seconds; a step that has not begun by then is left out


@dataclass
class Outcome:
    """What became of the steps, in their order."""

    results: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser("python -m fastscnn.benchmarks.gpu", "Everything about this GPU, in one run.")
    parser.add_argument("--json", default="gpu.json", metavar="PATH", help="where the numbers go; - for stdout")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keep models and engines there; default: nowhere")
    parser.add_argument(
        "--res", nargs="+", default=[(1024, 2048), (512, 1024), (256, 512)], type=command.resolution, metavar="HxW", help="of the models; the first one's results go into the table"
    )  # fmt: skip
    parser.add_argument(
        "--frames", default=100, type=command.positive, metavar="N", help="burn-in, and as many measured"
    )
    parser.add_argument("--soak", default=60, type=command.whole, metavar="S", help="seconds of the last step")
    parser.add_argument("--source", metavar="INPUT", help="image, folder or video; default: the drawn street")
    parser.add_argument("--limit", default=LIMIT, type=float, metavar="S", help="no step begins later")
    return command.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    if options.json != "-":
        command.expect_folder(Path(options.json))
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastscnn-gpu-")))
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(folder, tuple(options.res), options.frames, options.soak, options.source)
        outcome = run(steps.steps(bench), options.limit - options.soak, always=("soak",))
    report: dict[str, Any] = {
        "machine": machine(), "resolutions": [f"{h}x{w}" for h, w in options.res], "frames": options.frames, "power": power.state(),
        "results": outcome.results, "failures": outcome.failures, "seconds": outcome.seconds,
    }  # fmt: skip
    text = table(outcome)
    if tuple(options.res[0]) == (1024, 2048):
        report["goals"] = goals.goals(outcome.results, options.source is not None)
        text += "\n" + goals.as_text(report["goals"])
    if options.json == "-":
        command.write_json("-", report)
    else:
        command.write_json(options.json, report)
        print(text)
    if outcome.failures:
        raise FastSCNNError(
            f"{len(outcome.failures)} steps failed: {', '.join(outcome.failures)}; the report tells why"
        )


def run(todo: Sequence[tuple[str, Callable[[], Any]]], limit: float, always: Sequence[str] = ()) -> Outcome:
    """Every step, whatever becomes of the others; one that would begin after `limit` seconds is left out, unless `always`."""
    outcome, begun = Outcome(), time.perf_counter()
    for name, step in todo:
        started = time.perf_counter()
        if started - begun > limit and name not in always:
            outcome.failures[name] = f"left out: {started - begun:.0f} s had passed, of {limit:.0f}"
            continue
        log.info("%s …", name)
        try:
            outcome.results[name] = step()
        except Exception as error:  # a broken step must not cost the numbers of the others
            outcome.failures[name] = f"{type(error).__name__}: {error}"
            log.warning("%s failed: %s", name, error)
            if not isinstance(error, FastSCNNError):
                log.debug("%s", traceback.format_exc())
        outcome.seconds[name] = round(time.perf_counter() - started, 2)
    return outcome


def table(outcome: Outcome) -> str:
    """One line a step."""
    lines = []
    for name, seconds in outcome.seconds.items():
        found = outcome.failures.get(name)
        text = f"FAILED {found}" if found else steps.sentence(outcome.results[name])
        lines.append(f"{name:<26}{seconds:>7.1f} s  {text}")
    lines += [f"{name:<26}{'':>9}  {text}" for name, text in outcome.failures.items() if name not in outcome.seconds]
    return "\n".join(lines)


__all__ = ["main", "run", "table"]
