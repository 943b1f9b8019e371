"""The decode alone, compiled beside NumPy's: in a loop, after a pause, right after the network. `python -m fastscnn.benchmarks.decode`."""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from ..export import export
from ..runtime import Segmenter, UsageError
from ..runtime.artifacts.files import write_atomically
from ..runtime.backends.cores import usable_cores
from ..runtime.backends.logits import LogitsBackend
from ..runtime.commands import command
from ..runtime.decode import Decoder, native
from ..runtime.frame import InputLayout
from . import suite
from .bench import distinct_frames
from .machine import machine, sentence

WAYS = ("numpy", "native")
SETTINGS = ("in a loop", "after 20 ms", "after the network")
_PAUSE = 0.02


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser("decode", "Time the decode alone, compiled beside NumPy's, in turns.")
    parser.add_argument("--res", nargs="+", default=[(1024, 2048), (512, 1024), (256, 512)], type=command.resolution, metavar="HxW")  # fmt: skip
    parser.add_argument("--rounds", default=30, type=command.positive, metavar="N", help="times that each is measured")
    parser.add_argument("--threads", type=command.positive, metavar="N", help="CPU threads; default: all cores")
    parser.add_argument("--source", metavar="INPUT", help="image, folder or video; default: the drawn street")
    command.add_device(parser)
    return suite.run("decode", parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    command.make_folder(options.output)
    threads = options.threads or usable_cores()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for height, width in options.res:
            model = export("cls", (height, width), output=Path(folder) / f"{height}x{width}.onnx")
            with Segmenter(model, options.device, threads=threads) as segmenter:
                if not isinstance(segmenter.backend, LogitsBackend):
                    raise UsageError(
                        f"{segmenter.device} decodes by itself; expected a device whose decode is on the CPU"
                    )
                frames, origin = distinct_frames(options.source, segmenter.artifact)
                layout = InputLayout(segmenter.artifact)
                images = [layout([frame]) for frame in frames[:4]]
                rows += _timed(segmenter.backend, images, threads, options.rounds)
                device = segmenter.device
    report = _page(options, rows, device, origin)
    print(report)
    write_atomically(options.output / "decode.md", report.encode())


def _timed(backend: LogitsBackend, images: list[np.ndarray], threads: int, rounds: int) -> list[dict[str, Any]]:
    """Both results, both ways, in every setting."""
    decoders: dict[str, Decoder] = {}
    for way in WAYS:
        with mock.patch.dict(os.environ, {native.CHOICE: way}):
            decoders[way] = Decoder.of(backend.artifact, threads)
    times: dict[tuple[str, str, str], list[float]] = {}
    for turn in range(-3, rounds):
        image = images[turn % len(images)]
        for way, decoder in decoders.items():
            work: dict[str, Callable[[Any], Any]] = {"labels": decoder.labels, "probabilities": decoder.probabilities}
            for name, decode in work.items():
                for setting in SETTINGS:
                    logits = backend.logits(image)[0]
                    if setting == "after 20 ms":
                        time.sleep(_PAUSE)
                    for _ in range(3 if setting == "in a loop" else 1):
                        started = time.perf_counter()
                        decode(logits)
                        took = (time.perf_counter() - started) * 1e3
                    if turn >= 0:
                        times.setdefault((name, way, setting), []).append(took)
    for decoder in decoders.values():
        decoder.close()
    medians = {key: statistics.median(values) for key, values in times.items()}
    return [
        {
            "result": name,
            "resolution": backend.artifact.resolution,
            **{f"{way}, {setting}": medians[name, way, setting] for setting in SETTINGS for way in WAYS},
        }
        for name in ("labels", "probabilities")
    ]


def _page(options: argparse.Namespace, rows: list[dict[str, Any]], device: str, origin: str) -> str:
    lines = [
        "# The decode alone",
        "",
        f"Made by `{options.command}`.",
        "",
        "| ms | " + " | ".join(f"NumPy, {s} | compiled | times" for s in SETTINGS) + " |",
        "|---|" + "---:|---:|---:|" * len(SETTINGS),
    ]
    for row in sorted(rows, key=lambda row: str(row["result"])):
        cells = []
        for setting in SETTINGS:
            slow, fast = (row[f"{way}, {setting}"] for way in WAYS)
            cells += [f"{slow:.2f}", f"{fast:.2f}", f"{slow / fast:.1f}"]
        lines.append(f"| {row['result']}, {row['resolution']} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"Medians of {options.rounds} rounds in turns, on logits of {origin}; the network runs on {device}.",
        f"{sentence(machine())}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
