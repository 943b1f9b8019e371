"""`fastscnn-bench`: how fast a model runs here, by the paper's protocol, and what exactly was timed."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..model.street import drawn
from ..runtime import Result, Segmenter
from ..runtime.artifacts.artifact import Artifact
from ..runtime.artifacts.files import write_atomically
from ..runtime.backends.tensorrt import MEMORY, TensorRTBackend
from ..runtime.commands import command
from ..runtime.errors import ParityError, SourceError, UsageError
from ..runtime.frame import Frame, fitted
from ..runtime.media.sources import Source
from . import plot
from .baseline import InGraph
from .engine import bench as engine_bench
from .engine.baseline import HOW
from .machine import machine
from .protocol import Measurement, Pipeline, measure, resident_bytes
from .report import ENCLOSES, Report, alike, as_markdown, as_text, compared, describe_model
from .untouched import Untouched

log = logging.getLogger(__name__)

_DISTINCT_FRAMES = 16
_RESULTS = {"cls": "labels", "prob": "probabilities", "logits": "logits"}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "fastscnn-bench",
        "Time a model by the paper's protocol: burn-in, then measured frames.",
        "fastscnn-bench model.onnx --baseline --markdown report.md",
        "fastscnn-bench model.plan --layers --json -",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a file that fastscnn-export wrote")
    parser.add_argument(
        "--burn-in", default=100, type=command.whole, metavar="N", help="frames before the clock counts"
    )
    parser.add_argument("--frames", default=100, type=command.positive, metavar="N", help="frames measured")
    parser.add_argument(
        "--source", metavar="INPUT", help="image, folder or video to take frames from; default: the drawn street"
    )
    parser.add_argument("--threads", type=command.positive, metavar="N", help="CPU threads; default: all cores")
    command.add_device(parser)
    command.add_try_again(parser)
    parser.add_argument(
        "--baseline", action="store_true", help="also time ONNX Runtime with the usual head in the graph, in turns"
    )
    parser.add_argument(
        "--baseline-file",
        type=Path,
        metavar="ONNX",
        help="what an adopted model's --baseline runs: the file that it was made from",
    )
    parser.add_argument("--baseline-engine", type=Path, metavar="PLAN", help=f"what an engine's --baseline runs: {HOW}")
    parser.add_argument(
        "--memory", default="auto", choices=MEMORY, help="how an engine's frames and results reach the GPU"
    )
    parser.add_argument("--layers", action="store_true", help="of an engine: time each layer; --plot draws them")
    parser.add_argument("--compare", type=Path, metavar="JSON", help="an earlier report of the same kind")
    command.add_trust(parser)
    parser.add_argument("--json", metavar="PATH", help="write the report; - for stdout")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the text with the command that made it")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the latency of each frame")
    parser.set_defaults(command=shlex.join(["fastscnn-bench", *(sys.argv[1:] if arguments is None else arguments)]))
    return command.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    command.expect_folder(
        options.markdown, options.plot, Path(options.json) if options.json not in (None, "-") else None
    )
    if options.plot:
        plot.expect_format(options.plot)
    with Segmenter(
        options.model,
        options.device,
        threads=options.threads,
        memory=options.memory,
        trust=options.trust,
        try_again=options.try_again,
    ) as segmenter:
        frames, origin = distinct_frames(options.source, segmenter.artifact)
        if isinstance(segmenter.backend, TensorRTBackend):
            engine_bench.run(segmenter, options, frames, origin)
            return
        for option in ("layers", "baseline_engine"):
            if getattr(options, option):
                raise UsageError(
                    f"--{option.replace('_', '-')} is for engines; {segmenter.device} runs {options.model}"
                )
        about: Report = {
            "command": options.command,
            "model": options.model.name,
            "frames_of": origin,
            **describe(segmenter),
        }
        earlier = alike(options.compare, about) if options.compare else None
        baseline: InGraph | Untouched | None = None
        if options.baseline_file:
            baseline = Untouched(options.baseline_file, segmenter.artifact, options.threads)
        elif options.baseline:
            baseline = InGraph(options.model, options.threads)
        measured, measurements = benchmark(segmenter, frames, baseline, options.burn_in, options.frames)
    report = {**about, **measured}
    if earlier:
        report["compared"] = compared(report, earlier, options.compare.name)
    if options.json != "-":
        print(as_text(report))
    if options.json:
        command.write_json(options.json, report)
    if options.markdown:
        write_atomically(options.markdown, as_markdown(report).encode())
    if options.plot:
        latencies = {name: m.stages["total"] for name, m in measurements.items()}
        plot.plot_latencies(options.plot, latencies, report["description"])


def describe(segmenter: Segmenter) -> Report:
    """What is about to be measured, on what."""
    artifact = segmenter.artifact
    return {
        "description": describe_model(artifact),
        "head": artifact.head,
        "resolution": artifact.resolution,
        "batch": artifact.batch,
        "classes": len(artifact.classes),
        "precision": artifact.precision,
        "input": artifact.input,
        "device": segmenter.device,
        "why": segmenter.why,
        "machine": machine(),  # before the run, for the load average
        "encloses": {name: text.format(result=_RESULTS[artifact.head]) for name, text in ENCLOSES.items()},
    }


def benchmark(
    segmenter: Segmenter, frames: list[Frame], baseline: InGraph | Untouched | None, burn_in: int, count: int
) -> tuple[Report, dict[str, Measurement]]:
    """Time a segmenter, in turns with the baseline where there is one, after making sure that both say the same.

    Raises:
        ParityError: the two disagree, so that their times cannot be compared.
    """
    artifact = segmenter.artifact
    ours = "this runtime"

    def run(frame: Frame) -> dict[str, float]:
        timings = segmenter.batch([frame] * artifact.batch)[0].timings
        return {"prepare": timings.prepare, "forward": timings.forward, "decode": timings.decode}

    pipelines: dict[str, Pipeline] = {ours: run}
    agreement = ""
    if baseline:
        plain = baseline  # narrowed for the closure
        agreement = _agreement(
            segmenter(frames[0]), plain(frames[0]), artifact, segmenter.precision == artifact.precision
        )

        def run_plain(frame: Frame) -> dict[str, float]:
            plain(frame)
            return {}

        pipelines[plain.name] = run_plain
    memory: list[float] = []
    with tqdm(total=burn_in + count, unit=" frames", desc="timing", disable=None, leave=False) as bar:
        measure(pipelines, frames, burn_in=burn_in, count=0, batch=artifact.batch, advance=bar.update)
        memory.append((resident_bytes() or 0) / 1e6)
        measured = measure(pipelines, frames, burn_in=0, count=count, batch=artifact.batch, advance=bar.update)
        memory.append((resident_bytes() or 0) / 1e6)
    stages = {
        "forward": measured[ours].summary("forward"),
        "frame to result": measured[ours].summary(),
        "prepare": measured[ours].summary("prepare"),
        "decode": measured[ours].summary("decode"),
    }
    report: Report = {
        "burn_in": burn_in,
        "frames": count,
        "stages": {name: summary.as_dict() for name, summary in stages.items()},
        "overhead": (stages["prepare"].median + stages["decode"].median) / stages["forward"].median,
        "memory_mb": memory if all(memory) else None,
    }
    if baseline:
        total = measured[baseline.name].summary()
        report["baseline"] = {
            "name": baseline.name,
            "total": total.as_dict(),
            "ratio": total.median / stages["frame to result"].median,
            "agreement": agreement,
        }
    return report, measured


def _agreement(result: Result, plain: NDArray[Any], artifact: Artifact, exact: bool) -> str:
    """Say how well the two pipelines agree; times of disagreeing ones mean nothing.

    Args:
        exact: both compute in the same precision; a reduced one may part further.
    """
    pixels, bound = (0.001, 1e-3) if exact else (0.005, 0.1)
    if artifact.precision == "int8":  # whose steps engines may take the other way
        pixels, bound = 0.03, 0.5
    if artifact.head == "cls":
        share = float(np.mean(result.labels == plain))
        if share < 1 - pixels:
            raise ParityError(
                f"the baseline gives other labels on {1 - share:.2%} of pixels; expected at most {pixels:.1%}. Export the model again"
            )
        return f"labels equal on {share:.4%} of pixels"
    assert result.probabilities is not None
    error = float(np.abs(result.probabilities - plain).max())
    if not error < bound:
        raise ParityError(
            f"the baseline's probabilities differ by up to {error:.1e}; expected at most {bound:.0e}. Export the model again"
        )
    return f"probabilities equal to {error:.0e}"


def distinct_frames(source: str | None, artifact: Artifact) -> tuple[list[Frame], str]:
    """Distinct frames at the model's resolution, so that the measurement is of the model and not of resizing."""
    if source is None:
        count = _DISTINCT_FRAMES if artifact.height * artifact.width <= 1 << 21 else 4
        return drawn(artifact.height, artifact.width, count), f"the drawn street ({count} frames, repeated)"
    with Source(source) as opened:
        frames = [fitted(named.frame, artifact.height, artifact.width) for named in islice(opened, _DISTINCT_FRAMES)]
    if not frames:
        raise SourceError(f"{source} gave no frames")
    return frames, f"{Path(source).name} ({len(frames)} frames, resized before the clock starts, repeated)"
