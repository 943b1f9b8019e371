"""`python -m fastscnn.benchmarks.neighbours`: how fast and how even frames become labels while other programs want the cores."""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from ...export import export
from ...runtime.artifacts import onnx_file
from ...runtime.artifacts.files import write_atomically
from ...runtime.backends.cores import usable_cores
from ...runtime.commands import command
from ...runtime.frame import Frame
from .. import suite
from ..bench import distinct_frames
from ..machine import machine
from ..peers.cli import AGREEMENT, agreement
from ..protocol import measure
from . import report as reporting
from .field import SPINNING, Timed, field
from .load import neighbours

log = logging.getLogger(__name__)

_BURN_IN = 5
_REST = 0.1  # seconds
_JITTER = 1000  # frames, of which ten lie beyond the 99th percentile


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "neighbours",
        "Time this runtime and its peers in turns, idle and beside busy processes, from frame to labels.",
        "python -m fastscnn.benchmarks.neighbours --res 512x1024 1024x2048",
        "python -m fastscnn.benchmarks.neighbours --jitter",
    )
    parser.add_argument(
        "--res", nargs="+", default=[(512, 1024)], type=command.resolution, metavar="HxW", help="height x width"
    )
    parser.add_argument(
        "--neighbours", nargs="+", type=command.whole, metavar="N", help="busy processes beside it; default: 0 1 2"
    )
    parser.add_argument(
        "--models", nargs="+", type=command.positive, metavar="N", help="that each runs in turn; default: 1 2"
    )
    parser.add_argument("--threads", nargs="+", type=command.positive, metavar="N", help="default: 1 and all cores")
    parser.add_argument(
        "--rounds", type=command.positive, metavar="N", help="frames measured in each setting; default: 100"
    )
    parser.add_argument("--no-options", action="store_true", help="leave out the engines' other options")
    parser.add_argument(
        "--jitter",
        action="store_true",
        help=f"how even: {_JITTER} frames, 0 and 1 neighbours, one model, all cores, no options",
    )
    parser.add_argument("--source", metavar="INPUT", help="image, folder or video; default: the drawn street")
    return suite.run("neighbours", parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    folder: Path = options.output
    command.make_folder(folder)
    cores = usable_cores()
    counts = options.neighbours or ([0, 1] if options.jitter else [0, 1, 2])
    threads = options.threads or ([cores] if options.jitter else sorted({1, cores}))
    models = options.models or ([1] if options.jitter else [1, 2])
    rounds = options.rounds or (_JITTER if options.jitter else 100)
    found: dict[str, Any] = {
        "command": options.command,
        "rounds": rounds,
        "machine": machine(),
        "frames_of": "",
        "settings": [],
    }
    total = len(options.res) * len(counts) * len(threads) * len(models) * (rounds + _BURN_IN)
    with (
        tempfile.TemporaryDirectory() as temporary,
        tqdm(total=total, unit=" rounds", disable=None, leave=False) as bar,
    ):
        for resolution in options.res:
            model = export("cls", resolution, output=Path(temporary) / "{}x{}.onnx".format(*resolution))
            artifact = onnx_file.artifact(onnx_file.read(model), str(model))
            frames, found["frames_of"] = distinct_frames(options.source, artifact)
            for used in threads:
                cv2.setNumThreads(used)
                for several in models:
                    with contextlib.ExitStack() as held:
                        timed = list(field(model, used, several, not (options.no_options or options.jitter), held))
                        absent = expect_equal(timed, frames)
                        for count in counts:
                            bar.set_description(
                                f"{artifact.resolution}, {used} threads, {several} models, {count} neighbours"
                            )
                            setting = {"resolution": artifact.resolution, "threads": used, "models": several}
                            measured = beside(count, timed, frames, rounds, bar.update)
                            found["settings"].append({**setting, **measured, "absent": absent})
    print(reporting.as_text(found, options.jitter))
    name = "jitter" if options.jitter else "neighbours"
    command.write_json(str(folder / f"{name}.json"), found)
    write_atomically(folder / f"{name}.md", reporting.as_markdown(found, options.jitter).encode())


def expect_equal(timed: list[Timed], frames: list[Frame]) -> dict[str, str]:
    """Take out of the list who does not run, or gives other labels than the first peer; tells why, by name."""
    absent = {one.name: one.absent for one in timed if one.absent}
    present = [one for one in timed if not one.absent]
    shares = agreement([one.competitors[0] for one in present], frames[:2])
    absent |= {name: f"gives other labels on {1 - s:.2%} of pixels" for name, s in shares.items() if s < AGREEMENT}
    timed[:] = [one for one in present if one.name not in absent]
    return absent


def beside(count: int, timed: Sequence[Timed], frames: list[Frame], rounds: int, advance: Any) -> dict[str, Any]:
    """Everybody's numbers with so many neighbours, in turns on every frame."""
    gc.collect()  # what opening them has left behind
    pipelines = {one.name: one.pipeline() for one in timed}
    rests = dict.fromkeys(SPINNING, _REST)
    with neighbours(count) as busy:
        measured = measure(
            pipelines,
            frames,
            burn_in=_BURN_IN,
            count=rounds,
            batch=len(timed[0].competitors),
            rests=rests,
            advance=advance,
        )
        cores = busy.cores()
    entries = []
    for one in timed:
        found = measured[one.name]
        summary = found.summary()
        costs = {stage: round(float(found.stages[stage].mean()), 3) for stage in ("processor", "faults", "switches")}
        times = {key: round(getattr(summary, key), 3) for key in ("median", "p90", "p99", "jitter", "min")}
        worst = round(float(found.stages["total"].max()), 3)
        entries.append({"name": one.name, "kind": one.kind, "device": one.device, **times, "worst": worst, **costs})
    return {"neighbours": count, "neighbours_cores": round(cores, 2), "entries": entries}
