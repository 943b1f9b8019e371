"""`make soak`: hours of what a robot does, and proof that memory, file descriptors and threads do not grow.

A round opens some models, segments frames of many sizes in every way that there is, meets every error that a camera or a
damaged file brings, writes and reads images and videos, closes everything, and samples. Rounds are drawn from a seed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ...model.street import Street
from ...runtime import Segmenter
from ...runtime.commands import command
from ...runtime.errors import FastSCNNError
from ...runtime.frame import Frame, fitted
from ...runtime.media.sinks import open_sink
from ...runtime.media.sources import Source
from ...runtime.view import View
from ..live import mjpeg
from ..machine import machine
from .leaks import Sample, Verdict, verdicts

log = logging.getLogger(__name__)

MODELS = (("cls", (64, 96)), ("cls", (96, 128)), ("prob", (64, 64)), ("logits", (100, 140)))
_RECONNECTING = 100  # rounds between two in which a camera is lost, which takes seconds
SIZES = ((64, 96), (48, 64), (120, 160), (37, 211), (1, 1), (240, 320))


@dataclass(frozen=True)
class Report:
    rounds: int
    frames: int
    gaps: int  # of cameras that were lost and came back
    hours: float
    samples: tuple[Sample, ...]
    verdicts: tuple[Verdict, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser("soak", "Open, segment, fail and close for hours; nothing may grow.")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long")
    parser.add_argument("--seed", type=command.whole, default=0, help="of the rounds")
    parser.add_argument("--json", metavar="PATH", help="write samples and verdicts; - for stdout")
    return command.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    command.expect_folder(Path(options.json) if options.json and options.json != "-" else None)
    with tempfile.TemporaryDirectory(prefix="fastscnn-soak-") as folder:
        report = soak(options.minutes, Path(folder), options.seed)
    if options.json:
        command.write_json(options.json, {"machine": machine(), **asdict(report)})
    if options.json != "-":
        print(as_text(report))
    if grown := [verdict for verdict in report.verdicts if not verdict.flat]:
        raise FastSCNNError(f"{'; '.join(map(str, grown))}. Something is not given back; look for the round that grew")


def soak(minutes: float, folder: Path, seed: int = 0) -> Report:
    """Rounds for so many minutes, at least enough of them for a verdict.

    Args:
        folder: for models and results.
    """
    models = exported(folder)
    street = Street(240, 320)
    rounds = Rounds(models, [street.frame(index * 7)[0] for index in range(4)], folder, random.Random(seed))
    samples: list[Sample] = []
    began = time.monotonic()
    with tqdm(total=round(minutes * 60), unit=" s", desc="soak", disable=None) as bar:
        while (passed := time.monotonic() - began) < minutes * 60 or len(samples) < Verdict.FEWEST:
            rounds.next()
            gc.collect()
            samples.append(Sample.now(time.monotonic() - began))
            bar.update(min(round(passed), round(minutes * 60)) - bar.n)
    return Report(
        len(samples), rounds.frames, rounds.gaps, samples[-1].seconds / 3600, tuple(samples), verdicts(samples)
    )


def exported(folder: Path) -> list[Path]:
    """The models, with random weights; in processes of their own, because PyTorch's memory is not what is looked at."""
    made = []
    for index, (head, (height, width)) in enumerate(MODELS):
        made.append(folder / f"{index}.onnx")
        program = [sys.executable, "-m", "fastscnn.export.exporter", "--classes", "cityscapes", "-o", str(made[-1])]
        done = subprocess.run([*program, "--head", head, "--res", f"{height}x{width}"], capture_output=True, text=True)
        if done.returncode:
            raise FastSCNNError(f"no model for the soak could be exported. {done.stderr.strip()}")
    return made


class Rounds:
    """One round after another, which leaves everything closed."""

    def __init__(self, models: Sequence[Path], frames: Sequence[Frame], folder: Path, dice: random.Random) -> None:
        self._models, self._folder, self._dice = models, folder, dice
        self._frames = {size: [fitted(frame, *size) for frame in frames] for size in SIZES}
        self.frames = self.rounds = self.gaps = 0
        self._broken = folder / "broken.onnx"
        self._broken.write_bytes(models[0].read_bytes()[:-1000])

    def next(self) -> None:
        dice = self._dice
        with contextlib.ExitStack() as opened:
            segmenters = [
                opened.enter_context(Segmenter(dice.choice(self._models), "cpu", threads=dice.choice((1, 2))))
                for _ in range(dice.randint(1, 3))
            ]
            for _ in range(8):
                segmenter = dice.choice(segmenters)
                dice.choice((self._single, self._stream, self._abandoned, self._failing, self._errors))(segmenter)
        self._files(dice.choice(self._models))
        if self.rounds % _RECONNECTING == 0:
            self._reconnecting(dice.choice(self._models))
        self.rounds += 1

    def _draw(self, count: int) -> Iterator[Frame]:
        for _ in range(count):
            self.frames += 1
            yield self._dice.choice(self._frames[self._dice.choice(SIZES)])

    def _single(self, segmenter: Segmenter) -> None:
        for frame in self._draw(5):
            result = segmenter(frame)
            result.overlay(frame)
            assert result.labels.shape == frame.shape[:2]

    def _stream(self, segmenter: Segmenter) -> None:
        assert sum(1 for _ in segmenter.stream(self._draw(6))) == 6

    def _abandoned(self, segmenter: Segmenter) -> None:
        stream = segmenter.stream(self._draw(6))
        next(iter(stream))
        if isinstance(stream, Iterator) and hasattr(stream, "close"):
            stream.close()

    def _failing(self, segmenter: Segmenter) -> None:
        def source() -> Iterator[Frame]:
            yield from self._draw(2)
            raise OSError("the camera is gone")

        with contextlib.suppress(OSError):
            for _ in segmenter.stream(source()):
                pass

    def _errors(self, segmenter: Segmenter) -> None:
        for frame in (None, np.zeros((4, 4)), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 4), np.uint8)):
            with contextlib.suppress(FastSCNNError):
                segmenter(frame)
        for path in (self._broken, self._folder / "absent.onnx", self._folder):
            with contextlib.suppress(FastSCNNError):
                Segmenter(path, "cpu", threads=1)

    def _files(self, model: Path) -> None:
        """A video out and in again, and images."""
        clip, images = self._folder / "clip.avi", self._folder / "images"
        with Segmenter(model, "cpu", threads=1) as segmenter:
            for output in (clip, images):
                with open_sink(output, many=True, rate=25.0, lossless=False) as sink:
                    for index, frame in enumerate(self._draw(3)):
                        sink.write(f"{index}", segmenter(fitted(frame, 64, 96)).colour())
            for place in (clip, images):
                with Source(str(place)) as source:
                    assert sum(1 for _ in source) == 3

    def _reconnecting(self, model: Path) -> None:
        """A camera that is lost and comes back, watched by a page; then one that does not."""
        pictures = self._frames[(240, 320)]
        with mjpeg.served(pictures, 200.0, after=6) as server, Segmenter(model, "cpu", threads=1) as segmenter:
            with Source(server.url, reconnect=30.0) as source, View("127.0.0.1", 0) as view:
                for named, _ in zip(source, range(8), strict=False):
                    view.show(named.frame, segmenter(named.frame))
                    self.frames += 1
                self.gaps += source.gaps
            lost = Source(server.url, reconnect=0.1, patience=0.5)
        with contextlib.suppress(FastSCNNError), lost:
            for _ in lost:
                pass


def as_text(report: Report) -> str:
    """A few lines for a terminal or a record."""
    lines = [f"{report.hours:.2f} h, {report.rounds:,} rounds, {report.frames:,} frames, {report.gaps} gaps"]
    return "\n".join([*lines, *(f"  {verdict}" for verdict in report.verdicts)])
