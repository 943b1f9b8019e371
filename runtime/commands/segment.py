"""`fastscnn-segment`: frames in, overlays, colour masks or label images out."""

from __future__ import annotations

import argparse
import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..artifacts.default_model import default_model
from ..backends.choice import DEVICES
from ..errors import UsageError
from ..frame import Frame
from ..media.sinks import open_sink
from ..media.sources import PATIENCE, Named, Source
from ..result import Result
from ..segmenter import Segmenter
from . import command

log = logging.getLogger(__name__)

STYLES = ("overlay", "colour", "labels")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser("fastscnn-segment", "Segment an image, a folder, a video or a camera.")
    parser.add_argument("input", metavar="INPUT", help="image, folder, video file, stream URL, or a camera's number")
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="OUT", help="image, video, or folder for one image a frame"
    )
    parser.add_argument(
        "-m",
        "--model",
        type=Path,
        help="a file that fastscnn-export wrote; default: the weights that ship, exported once",
    )
    parser.add_argument(
        "--as", dest="style", default="overlay", choices=STYLES, help="what to write; labels are train ids as grey PNG"
    )
    parser.add_argument("--opacity", default=0.5, type=_share, help="of the overlay's colours, 0 to 1")
    parser.add_argument("--frames", type=command.positive, metavar="N", help="stop after N frames; default: all")
    parser.add_argument("--device", default="auto", choices=DEVICES, help="what to run on")
    parser.add_argument("--threads", type=command.positive, metavar="N", help="CPU threads; default: all cores")
    parser.add_argument(
        "--patience",
        default=PATIENCE,
        type=_seconds,
        metavar="S",
        help="seconds that a camera or URL may take for a frame; three times as many for the first",
    )
    command.add_trust(parser)
    parser.add_argument("--explain", action="store_true", help="say which engine runs the model, and why that one")
    parser.add_argument("--json", metavar="PATH", help="write a report; - for stdout")
    return command.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    _keep_the_input(options.input, options.output)
    command.expect_folder(Path(options.json) if options.json and options.json != "-" else None)
    with ExitStack() as opened:
        if options.model:  # a wrong one is told before a camera wakes
            segmenter = opened.enter_context(
                Segmenter(options.model, options.device, threads=options.threads, trust=options.trust)
            )
        source = opened.enter_context(Source(options.input, patience=options.patience))
        frames = iter(source)
        if not options.model:
            first = next(frames)
            frames = chain([first], frames)
            model = default_model((first.frame.shape[0], first.frame.shape[1]))
            segmenter = opened.enter_context(Segmenter(model, options.device, threads=options.threads))
        if options.explain:
            log.info("%s", segmenter.why or f"{segmenter.device}, without a choice")
        if not segmenter.artifact.trained:
            log.warning("the model's weights are random: the colours mean nothing yet")
        expected = min(filter(None, (source.frames, options.frames)), default=None)
        many = (source.video or source.folder) and expected != 1
        tally = _Tally(segmenter)
        lossless = options.style == "labels"
        try:
            with open_sink(options.output, many=many, rate=source.rate, lossless=lossless) as sink:
                for named, result in _progress(segmented(segmenter, islice(frames, options.frames)), expected, options):
                    sink.write(named.name, rendered(result, named.frame, options.style, options.opacity))
                    tally.count(result)
        finally:  # also of an interrupted run, after its video is complete
            if tally.frames:
                log.info(
                    "%s: %d frame%s, %.1f frames/s", options.output, tally.frames, "s" * (tally.frames > 1), tally.rate
                )
                if options.json:
                    command.write_json(options.json, tally.report(options.input, str(options.output)))


def _keep_the_input(place: str, output: Path) -> None:
    """Nobody wants a camera's recordings replaced by their overlays."""
    source = Path(place)
    if source.exists() and output.exists() and output.resolve() == source.resolve():
        raise UsageError(
            f"{output} is the input itself, which would be overwritten; expected another name for the output"
        )


def segmented(segmenter: Segmenter, frames: Iterator[Named]) -> Iterator[tuple[Named, Result]]:
    """Each frame with its result, in order; two in flight."""
    waiting: deque[Named] = deque()

    def read() -> Iterator[Frame]:
        for named in frames:
            waiting.append(named)
            yield named.frame

    for result in segmenter.stream(read()):
        yield waiting.popleft(), result


def rendered(result: Result, frame: Frame, style: str, opacity: float) -> NDArray[np.uint8]:
    if style == "labels":
        return result.labels
    return result.colour() if style == "colour" else result.overlay(frame, opacity)


class _Tally:
    """Counts frames, times and pixels of each class for the report."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._started = time.perf_counter()
        self.frames = 0
        self._stages = dict.fromkeys(("prepare", "forward", "decode", "total"), 0.0)
        self._pixels = np.zeros(256, np.int64)

    def count(self, result: Result) -> None:
        self.frames += 1
        for stage in self._stages:
            self._stages[stage] += getattr(result.timings, stage)
        self._pixels += np.bincount(result.labels.ravel(), minlength=256)

    @property
    def rate(self) -> float:
        return self.frames / (time.perf_counter() - self._started)

    def report(self, source: str, output: str) -> dict[str, object]:
        artifact = self._segmenter.artifact
        total = max(int(self._pixels.sum()), 1)
        return {
            "input": source,
            "output": output,
            "frames": self.frames,
            "frames_per_second": round(self.rate, 2),
            "mean_milliseconds": {stage: round(t / max(self.frames, 1), 3) for stage, t in self._stages.items()},
            "class_share": {name: int(self._pixels[i]) / total for i, name in enumerate(artifact.classes)},
            "model": {"head": artifact.head, "resolution": artifact.resolution, "trained": artifact.trained},
            "device": self._segmenter.device,
        }


def _progress(
    results: Iterator[tuple[Named, Result]], expected: int | None, options: argparse.Namespace
) -> Iterator[tuple[Named, Result]]:
    yield from tqdm(
        results, total=expected, unit=" frames", desc=Path(options.input).name, disable=None
    )  # None: only on a terminal


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; expected seconds above 0")
    return value


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to 1")
    return value


__all__ = ["STYLES", "main", "rendered", "segmented"]
