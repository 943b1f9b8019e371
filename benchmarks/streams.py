"""`python -m fastscnn.benchmarks.streams`: how old a result is when it is handed over, and what other pixel formats cost."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..export import export
from ..model.street import Street
from ..runtime import Captured, Segmenter
from ..runtime.artifacts.files import write_atomically
from ..runtime.commands import command
from ..runtime.pixels import FORMATS
from . import suite
from .machine import machine, sentence

Image = NDArray[Any]

_MADE: dict[str, Callable[[Image], Image]] = {  # from BGR
    "rgb8": lambda frame: cv2.cvtColor(frame, cv2.COLOR_BGR2RGB),
    "bgra8": lambda frame: cv2.cvtColor(frame, cv2.COLOR_BGR2BGRA),
    "rgba8": lambda frame: cv2.cvtColor(frame, cv2.COLOR_BGR2RGBA),
    "mono8": lambda frame: cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY),
    "mono16": lambda frame: cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY).astype(np.uint16) * 257,
    "yuyv": lambda frame: np.ascontiguousarray(frame[..., :2]),
    "nv12": lambda frame: cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420),
    "i420": lambda frame: cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420),
    "bayer_rggb8": lambda frame: cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser("streams", "Time streams of paced frames and the conversion of pixel formats.")
    parser.add_argument(
        "--res", default=(256, 512), type=command.resolution, metavar="HxW", help="of the streams' model"
    )
    parser.add_argument("--seconds", default=6, type=command.positive, metavar="S", help="of each stream")
    parser.add_argument("--rounds", default=30, type=command.positive, metavar="N", help="of each format")
    return suite.run("streams", parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    frame = Street(*options.res).frame(0)[0]
    large = Street(1080, 1920).frame(0)[0]
    with tempfile.TemporaryDirectory() as folder:
        single, four = (
            export("cls", options.res, batch=batch, output=Path(folder) / f"{batch}.onnx") for batch in (1, 4)
        )
        streams = [line for path in (single, four) for line in _streams(path, frame, options.seconds)]
        costs = _costs(single, large, options.rounds)
    text = "\n".join(
        [
            "# Streams and pixel formats",
            "",
            f"Made by `{options.command}`.",
            "",
            sentence(machine()),
            "",
            f"Age of a frame, from when its source gave it until its result is in the caller's hands, at {options.res[0]}x{options.res[1]} on "
            "ONNX Runtime. Sources are paced by the clock and do not wait; the caller takes each result at once.",
            "",
            "| cameras, frames/s each | batch | drop | median ms | p95 ms | handed over | dropped |",
            "|---|---:|---|---:|---:|---:|---:|",
            *streams,
            "",
            "Conversion of a frame of 1080x1920 to BGR by OpenCV, `Result.timings.convert`, medians in turns.",
            "",
            "| pixel_format | ms |",
            "|---|---:|",
            *(f"| {name} | {cost:.2f} |" for name, cost in costs.items()),
            "",
        ]
    )
    print(text)
    write_atomically(options.output / "streams.md", text.encode())


def _paced(frame: Image, rate: float, seconds: float) -> Iterator[Captured]:
    """Frames by the clock; one that comes late does not delay those after it."""
    start = time.perf_counter()
    for index in range(int(rate * seconds)):
        time.sleep(max(start + index / rate - time.perf_counter(), 0))
        yield Captured(frame, stamp=time.perf_counter())


def _streams(path: Path, frame: Image, seconds: float) -> Iterator[str]:
    with Segmenter(path, "cpu") as segmenter:
        segmenter.warm_up(frame.shape[:2])
        for cameras, rate in ((1, 10), (1, 100), (3, 30)):
            for drop in (None, "oldest"):
                if cameras * rate > 10 and drop is None:
                    continue  # the queue of a source that does not wait is its own
                sources: Any = {name: _paced(frame, rate, seconds) for name in range(cameras)}
                with segmenter.stream(sources, drop=drop) as stream:
                    ages = [(time.perf_counter() - result.stamp) * 1e3 for result in stream]
                median, p95 = np.percentile(ages, [50, 95])
                yield (
                    f"| {cameras}, {rate} | {segmenter.artifact.batch} | {drop or 'none'} | {median:.1f} | {p95:.1f} | {len(ages)} "
                    f"| {stream.dropped} |"
                )


def _costs(path: Path, frame: Image, rounds: int) -> dict[str, float]:
    assert set(_MADE) <= set(FORMATS)
    pictures = {name: make(frame) for name, make in _MADE.items()}
    taken: dict[str, list[float]] = {name: [] for name in pictures}
    with Segmenter(path, "cpu") as segmenter:
        for _ in range(rounds):
            for name, picture in pictures.items():
                taken[name].append(segmenter(picture, pixel_format=name).timings.convert)
    return {name: float(np.median(times)) for name, times in taken.items()}


if __name__ == "__main__":
    raise SystemExit(main())
