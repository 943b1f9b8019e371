"""`python -m fastscnn.benchmarks.confidence`: what confidence and unknown labels cost beside labels alone, and how exact they are."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..export import export
from ..model.street import Street
from ..runtime import Segmenter
from ..runtime.artifacts.files import write_atomically
from ..runtime.commands import command
from ..runtime.decode.decoder import UNKNOWN, Decoder
from ..runtime.media.sources import Source
from . import suite
from .machine import machine, sentence

Decode = Callable[[NDArray[Any]], object]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser("confidence", "Time confidence and unknown labels beside labels alone, in turns.")
    parser.add_argument("--res", default=(1024, 2048), type=command.resolution, metavar="HxW", help="height x width")
    parser.add_argument("--input", metavar="CLIP", help="frames to decode; default: a drawn street")
    parser.add_argument("--frames", default=8, type=command.positive, metavar="N", help="of it")
    parser.add_argument("--rounds", default=10, type=command.positive, metavar="N", help="over all frames")
    parser.add_argument(
        "--below", default=0.6, type=float, metavar="P", help="probability below which labels are unknown"
    )
    return suite.run("confidence", parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # The weights that ship: where a network is sure decides how much there is to do.
        model = export("logits", options.res, output=Path(folder) / "model.onnx")
        with Segmenter(model, "cpu") as segmenter:
            artifact = segmenter.artifact
            logits = [low for frame in _frames(options) if (low := segmenter(frame).logits) is not None]
    decoder = Decoder.of(artifact)
    below = options.below
    ways: dict[str, Decode] = {
        "labels": decoder.labels,
        "confidence on the grid, alone": decoder.confidence,
        "labels and confidence on the grid": lambda low: (decoder.labels(low), decoder.confidence(low)),
        f"labels, unknown below {below:g}": lambda low: decoder.labels(low, below),
        "probabilities, from which both follow": decoder.probabilities,
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(options.rounds + 1):
        for low in logits:
            for name, decode in ways.items():
                started = time.thread_time()
                decode(low)
                if turn:  # the first warms up
                    times[name].append((time.thread_time() - started) * 1e3)
    medians = {name: float(np.median(taken)) for name, taken in times.items()}
    least = {name: min(taken) for name, taken in times.items()}
    lines = [
        "# Confidence and unknown labels beside labels alone",
        "",
        f"Made by `{options.command}`.",
        "",
        f"{sentence(machine())}",
        "",
        f"Decode alone, on one thread, by that thread's own processor time, from the logits of {len(logits)} frames at {artifact.resolution} with {len(artifact.classes)} "
        f"classes; medians of {len(times['labels'])} turns, all ways in turns.",
        "",
        "| decode | ms, median | ms, least | median beside labels alone | least beside labels alone |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {name} | {medians[name]:.2f} | {least[name]:.2f} | {medians[name] / medians['labels']:.2f} "
            f"| {least[name] / least['labels']:.2f} |"
            for name in ways
        ),
        "",
        *_exactness(decoder, logits, below),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    write_atomically(options.output / "confidence.md", text.encode())


def _frames(options: argparse.Namespace) -> list[NDArray[np.uint8]]:
    if options.input is None:
        return [frame for frame, _ in islice(Street(*options.res).frames(options.frames), options.frames)]
    with Source(options.input) as source:
        return [named.frame for named in islice(source, options.frames)]


def _exactness(decoder: Decoder, logits: list[Any], below: float) -> list[str]:
    """Against the soft-max in double precision: on the grid, and of the upsampled logits' own probabilities."""
    worst, wrong, near, unknown, pixels = 0.0, 0, 0, 0, 0
    for low in logits:
        double = np.asarray(low, np.float64)
        shares = np.exp(double - double.max(axis=0))
        worst = max(worst, float(np.abs(decoder.certainty(low) - (shares.max(axis=0) / shares.sum(axis=0))).max()))
        best = decoder.probabilities(low).max(axis=0)
        forgotten = decoder.labels(low, below) == UNKNOWN
        different = forgotten != (best < below)
        wrong += int(np.sum(different & (np.abs(best - below) > 1e-5)))
        near += int(np.sum(different))
        unknown, pixels = unknown + int(forgotten.sum()), pixels + forgotten.size
    return [
        f"Exactness: on the grid the largest difference from the soft-max in double precision is {worst:.1e}, before it is rounded "
        f"to 1/255. Of {pixels:,} pixels {unknown / pixels:.1%} are unknown; {wrong} differ from the arg-max of the full-size "
        f"probabilities, {near} where rounding within 1e-5 of the bound counts."
    ]


if __name__ == "__main__":
    raise SystemExit(main())
