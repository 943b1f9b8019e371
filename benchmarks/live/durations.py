"""`python -m fastscnn.benchmarks.live.durations`: does a result last as long as its source?

Ten kinds of files and a camera go through fastscnn-segment, to H.264 with time stamps (PyAV) and at a constant rate (OpenCV).
Beside them: OpenCV's time stamps against PyAV's, and how long the usual writer's result lasts, at the announced rate.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from ...runtime.artifacts.files import write_atomically
from ...runtime.commands import command
from ...runtime.errors import FastSCNNError
from ...runtime.media.sources import Source
from .. import suite
from . import clips
from .cameras import mjpeg

OUTPUTS = (".mp4", ".avi")
_LIVE = 3.0  # seconds that the camera is recorded, at _RATE
_RATE = 10.0


@dataclass(frozen=True)
class Row:
    """Seconds by name of output; `usual` is None where the announced rate cannot be written."""

    kind: str
    frames: int
    announced: int
    seconds: float
    stamps_differ: float  # the most between OpenCV's and PyAV's, seconds
    written: dict[str, float]
    step: float  # seconds that a frame lasts, at most
    usual: float | None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser("durations", "Compare how long sources and results last.")
    parser.add_argument("model", type=Path, metavar="MODEL", help="a file that fastscnn-export wrote")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the table with the command that made it")
    parser.add_argument("--json", metavar="PATH", help="write the report; - for stdout")
    return suite.run("live.durations", parser, _work, arguments, folder=False)


def _work(options: argparse.Namespace) -> None:
    command.expect_folder(options.markdown, Path(options.json) if options.json not in (None, "-") else None)
    with tempfile.TemporaryDirectory() as folder:
        rows = [measured(options.model, kind, Path(folder)) for kind in clips.kinds()]
        recorded = recording(options.model, Path(folder))
    if options.json:
        command.write_json(options.json, {"rows": list(map(asdict, rows)), "recording": recorded})
    text = f"{table(rows)}\n\n{sentence(recorded)}"
    if options.json != "-":
        print(text)
    if options.markdown:
        head = f"# Files in and out: how long they last\n\n`{options.command}`\n\n"
        write_atomically(options.markdown, f"{head}{text}\n".encode())


def measured(model: Path, kind: str, folder: Path) -> Row:
    """One kind through the command, each time in a process of its own.

    Raises:
        FastSCNNError: it was refused.
    """
    path = folder / kind
    clips.kinds()[kind](path)
    truth = clips.read(path)
    with Source(str(path)) as source:
        stamps = [named.stamp or 0.0 for named in source]
        announced = source.rate
    capture = cv2.VideoCapture(str(path))
    told, rate = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), float(capture.get(cv2.CAP_PROP_FPS))
    capture.release()
    differ = float(np.abs(np.array(stamps) - truth.times).max()) if len(stamps) == truth.frames else float("inf")
    written = {}
    for suffix in OUTPUTS:
        output = folder / f"{path.stem}-out{suffix}"
        segment(model, str(path), output)
        written[suffix] = round(clips.read(output).seconds, 3)
    longest = max(1 / announced if announced else 0.04, truth.seconds - truth.times[-1])
    usual = round(truth.frames / rate, 3) if rate > 0 else None
    return Row(kind, truth.frames, told, round(truth.seconds, 3), differ, written, longest, usual)


def recording(model: Path, folder: Path) -> dict[str, float]:
    """A camera of ten frames a second, recorded; seconds between the first and the last frame, by the clock and in the file."""
    output = folder / "camera.mp4"
    with mjpeg(_RATE, (96, 400)) as url:
        segment(model, url, output, "--every-frame", "--frames", str(int(_LIVE * _RATE)))
    return {"camera": _LIVE, "recorded": round(clips.read(output).seconds, 3)}


def segment(model: Path, place: str, output: Path, *more: str) -> None:
    """fastscnn-segment, as users run it."""
    program = [sys.executable, "-m", "fastscnn.runtime.commands.segment", place, "-m", str(model), "-o", str(output)]
    done = subprocess.run([*program, "--device", "cpu", *more], capture_output=True, text=True)
    if done.returncode:
        raise FastSCNNError(f"{place} was refused: {done.stderr.strip()}")


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = [
        "| file | frames | announced | seconds in | stamps differ | H.264 out | constant rate out | usual writer |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        usual = "–" if row.usual is None else f"{row.usual:.2f}"
        lines.append(
            f"| {row.kind} | {row.frames} | {row.announced} | {row.seconds:.3f} | {row.stamps_differ:.0e} | "
            f"{row.written['.mp4']:.3f} | {row.written['.avi']:.3f} | {usual} |"
        )
    return "\n".join(lines)


def sentence(recorded: dict[str, float]) -> str:
    return f"A camera recorded for {recorded['camera']:.1f} s: the video lasts {recorded['recorded']:.2f} s."


if __name__ == "__main__":
    raise SystemExit(main())
