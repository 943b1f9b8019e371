"""`python -m fastscnn.benchmarks.peers`: this runtime beside everything else that runs the same weights on a CPU."""

from __future__ import annotations

import argparse
import contextlib
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from ...export import export
from ...model.checkpoint import SHIPPED, load
from ...runtime import install
from ...runtime.artifacts import onnx_file
from ...runtime.artifacts.artifact import Artifact
from ...runtime.artifacts.files import write_atomically
from ...runtime.backends.cores import usable_cores
from ...runtime.commands import command
from ...runtime.errors import OutputError, ParityError
from ...runtime.frame import Frame
from .. import plot, suite
from ..bench import distinct_frames
from ..machine import machine
from ..paper.arithmetic import arithmetic
from ..protocol import Measurement, Pipeline, measure
from .competitors import Competitor, competitors, quiet_compiler
from .peak import product
from .report import as_markdown, as_table, bars, ratios

log = logging.getLogger(__name__)

RESOLUTIONS = [(1024, 2048), (512, 1024), (256, 512)]
AGREEMENT = 0.995  # share of pixels with the reference's label, below which a time means nothing
QUANTISED = 0.97  # the same for INT8, as fastscnn-quantize asks
_BURN_IN = 3


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "peers", "Time this runtime and its peers on the same frames, in turns, from frame to result."
    )
    parser.add_argument("--head", default="cls", choices=("cls", "prob"), help="labels, or probabilities")
    parser.add_argument(
        "--res",
        nargs="+",
        default=RESOLUTIONS,
        type=command.resolution,
        metavar="HxW",
        help="height x width, any number",
    )
    parser.add_argument("--rounds", default=20, type=command.positive, metavar="N", help="frames measured at each size")
    parser.add_argument("--threads", type=command.positive, metavar="N", help="CPU threads; default: all cores")
    parser.add_argument("--source", metavar="INPUT", help="image, folder or video; default: the drawn street")
    parser.add_argument("--checkpoint", type=Path, metavar="F", help="weights; default: those that ship")
    parser.add_argument("--int8", type=Path, nargs="+", default=[], metavar="FILE", help="the same model, quantised")
    return suite.run("peers", parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    folder: Path = options.output
    command.make_folder(folder)
    threads = options.threads or usable_cores()
    cv2.setNumThreads(threads)
    report: dict[str, Any] = {
        "command": options.command,
        "head": options.head,
        "threads": threads,
        "rounds": options.rounds,
        "machine": machine(),
        "results": [],
    }
    with tempfile.TemporaryDirectory() as temporary, quiet_compiler():
        for height, width in options.res:
            model = Path(temporary) / f"{options.head}-{height}x{width}.onnx"
            export(options.head, (height, width), options.checkpoint, output=model)
            artifact = onnx_file.artifact(onnx_file.read(model), str(model))
            int8 = _matching(options.int8, artifact)
            frames, report["frames_of"] = distinct_frames(options.source, artifact)
            with contextlib.ExitStack() as held:
                opened = list(competitors(model, options.checkpoint, int8, threads, held))
                result = compare(opened, frames, artifact, options.rounds)
            counted = arithmetic(load(options.checkpoint or SHIPPED).network, height, width).multiply_adds
            precisions = dict.fromkeys(one.precision for one in opened if one.precision)
            peaks = {name: product(name, counted, threads) for name in precisions}
            report["results"].append({**result, "multiply_adds": counted, "peaks": peaks})
    print(as_table(report))
    name = f"peers-{options.head}"
    command.write_json(str(folder / f"{name}.json"), report)
    write_atomically(folder / f"{name}.md", as_markdown(report, f"{name}.png").encode())
    plot.plot_bars(folder / f"{name}.png", bars(report), f"frame to {options.head} result, milliseconds (median)")


def compare(opened: Sequence[Competitor], frames: list[Frame], artifact: Artifact, rounds: int) -> dict[str, Any]:
    """Check that all give the same labels, then time those that do, in turns.

    Raises:
        ParityError: this runtime gives other labels than its peers on every engine, or there is no peer to compare with.
    """
    agreements = agreement(opened, frames[:2])
    entries: list[dict[str, Any]] = []
    pipelines: dict[str, Pipeline] = {}
    for one in opened:
        entry: dict[str, Any] = {
            "name": one.name,
            "ours": one.ours,
            "absent": one.absent,
            "precision": one.precision,
        }
        if one.run is not None:
            entry["agreement"] = agreements[one.name]
            least = QUANTISED if one.quantised else AGREEMENT
            if agreements[one.name] < least:
                entry["absent"] = f"gives other labels on {1 - agreements[one.name]:.2%} of pixels"
            else:
                pipelines[one.name] = _timed(one)
        entries.append(entry)
    if not any(entry["ours"] and entry["name"] in pipelines for entry in entries):
        why = "; ".join(f"{e['name']}: {e['absent']}" for e in entries if e["ours"])
        raise ParityError(f"no time of this runtime would count, as at most {1 - AGREEMENT:.1%} may differ. {why}")
    with tqdm(total=_BURN_IN + rounds, unit=" rounds", desc=artifact.resolution, disable=None, leave=False) as bar:
        measured = measure(pipelines, frames, burn_in=_BURN_IN, count=rounds, advance=bar.update)
    for entry in entries:
        if entry["name"] in measured:
            entry |= _numbers(measured[entry["name"]])
    result = {"resolution": artifact.resolution, "classes": len(artifact.classes), "entries": entries}
    return {**result, "ratios": ratios(entries)}


def agreement(opened: Sequence[Competitor], frames: list[Frame]) -> dict[str, float]:
    """Share of pixels on which each gives the label of the first peer that runs, an engine in float32."""
    reference = next((one for one in opened if one.run is not None and not one.ours), None)
    if reference is None:
        raise ParityError(
            f"no peer is installed, so there is nothing to compare with: {install.command('export,openvino')}"
        )
    shares: dict[str, list[float]] = {one.name: [] for one in opened if one.run is not None}
    for frame in frames:
        expected = _labels(reference, frame)
        for one in opened:
            if one.run is not None:
                shares[one.name].append(float(np.mean(_labels(one, frame) == expected)))
    return {name: min(values) for name, values in shares.items()}


def _labels(one: Competitor, frame: Frame) -> np.ndarray:
    assert one.run is not None
    answer, _ = one.run(frame)
    return np.array(answer if answer.ndim == 2 else answer.argmax(axis=0))


def _timed(one: Competitor) -> Pipeline:
    def run(frame: Frame) -> dict[str, float]:
        assert one.run is not None
        return one.run(frame)[1]

    return run


def _numbers(measurement: Measurement) -> dict[str, Any]:
    summary = measurement.summary()
    return {
        "median": round(summary.median, 3),
        "min": round(summary.min, 3),
        "p90": round(summary.p90, 3),
        "stages": {s: round(measurement.summary(s).median, 3) for s in measurement.stages if s != "total"},
    }


def _matching(files: Sequence[Path], artifact: Artifact) -> Path | None:
    """The quantised file of this head and resolution, if one was given."""
    for path in files:
        other = onnx_file.artifact(onnx_file.read(path), str(path))
        if (other.head, other.resolution) == (artifact.head, artifact.resolution):
            if other.classes != artifact.classes:
                raise OutputError(
                    f"{path} has other classes than the weights that are compared. Quantise the same model"
                )
            return path
    return None
