"""`make demo`: export, time against the plain graph, segment a clip, and say where everything lies."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ..export import export
from ..model.street import RATE, Street
from ..runtime import Artifact, Segmenter
from ..runtime.artifacts.files import unwritable, write_atomically
from ..runtime.commands import command
from ..runtime.commands.segment import segmented
from ..runtime.frame import Frame
from ..runtime.media.sinks import VideoSink
from ..runtime.media.sources import Named, Source
from .baseline import InGraph
from .bench import benchmark, describe
from .report import as_markdown, as_text

log = logging.getLogger(__name__)

_SAMPLE = (540, 960)  # height and width of the drawn clip, as a common camera's
_FRAMES = 50
_BURN_IN, _MEASURED = 5, 20  # fewer than the paper's 100 and 100, so that a newcomer waits seconds


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser("fastscnn-demo", "The whole way, from weights to a segmented video.")
    parser.add_argument("--input", help="a video, image, folder or camera of your own; default: a street that is drawn")
    parser.add_argument("--checkpoint", type=Path, metavar="F", help="weights of your own; default: those that ship")
    parser.add_argument(
        "--res", default=(1024, 2048), type=command.resolution, metavar="HxW", help="height x width of the model"
    )
    parser.add_argument(
        "--frames", default=_FRAMES, type=command.positive, metavar="N", help="frames of the clip to segment"
    )
    parser.add_argument(
        "-o", "--output", default=Path("demo"), type=Path, metavar="FOLDER", help="where everything goes"
    )
    return command.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    folder: Path = options.output
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    if options.input:
        Source(options.input).close()  # a wrong one is told before the work, not after it
    height, width = options.res
    log.info("1/3  export")
    model = export("cls", options.res, options.checkpoint, output=folder / f"fastscnn-cls-{height}x{width}.onnx")
    with Segmenter(model) as segmenter:
        log.info("2/3  benchmark, in turns with the plain graph in ONNX Runtime")
        _time(segmenter, model, folder)
        log.info("3/3  segment %s", options.input or "a drawn street")
        video, picture = _segment(segmenter, options.input, options.frames, folder)
    print(f"\nmodel    {model}\nreport   {folder / 'benchmark.md'}\nvideo    {video}\npicture  {picture}")


def _time(segmenter: Segmenter, model: Path, folder: Path) -> None:
    artifact = segmenter.artifact
    street = Street(artifact.height, artifact.width)
    frames = [street.frame(index * 10)[0] for index in range(4)]
    about = {"command": "make demo", "model": model.name, "frames_of": "the drawn street (4 frames, repeated)"}
    about |= describe(segmenter)
    measured, _ = benchmark(segmenter, frames, InGraph(model, None), _BURN_IN, _MEASURED)
    report = {**about, **measured}
    print(as_text(report))
    write_atomically(folder / "benchmark.md", as_markdown(report).encode())


def _segment(segmenter: Segmenter, place: str | None, count: int, folder: Path) -> tuple[Path, Path]:
    """Write the overlay video and a picture of its middle frame; gives their paths."""
    video, picture = folder / "overlay.mp4", folder / "overlay.png"
    if place is None:
        source, rate, total = _drawn(count), RATE, count
        _write(segmenter, source, rate, total, video, picture)
    else:
        with Source(place) as opened:
            total = min(opened.frames or count, count)
            _write(segmenter, islice(opened, count), opened.rate or RATE, total, video, picture)
    return video, picture


def _write(segmenter: Segmenter, frames: Iterator[Named], rate: float, total: int, video: Path, picture: Path) -> None:
    with VideoSink(video, rate) as sink:
        results = segmented(segmenter, frames)
        for index, (named, result) in enumerate(
            tqdm(results, total=total, unit=" frames", desc="segmenting", disable=None)
        ):
            overlay = result.overlay(named.frame)
            sink.write(named.name, overlay)
            if index in (0, total // 2):  # the first, should the clip end early
                write_atomically(picture, _png(_board(named.frame, overlay, result.labels, segmenter.artifact)))


def _drawn(count: int) -> Iterator[Named]:
    street = Street(*_SAMPLE)
    for index in range(count):
        yield Named(f"{index:06d}", street.frame(index)[0])


def _board(frame: Frame, overlay: Frame, labels: np.ndarray, artifact: Artifact) -> Frame:
    """The frame above its overlay, and under them a legend of the classes that cover most of it."""
    rows = np.vstack([frame, overlay])
    shares = np.bincount(labels.ravel(), minlength=256)[: len(artifact.classes)]
    scale = max(frame.shape[1] / 960, 0.4)
    line = int(28 * scale)
    legend = np.full((line + line // 2, rows.shape[1], 3), 32, np.uint8)
    x = line // 2
    for train_id in np.argsort(shares)[::-1][: np.count_nonzero(shares)]:
        text = f"{artifact.classes[train_id]} {shares[train_id] / labels.size:.0%}"
        width = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.55 * scale, 1)[0][0]
        if x + width + 2 * line > rows.shape[1]:
            break
        cv2.rectangle(legend, (x, line // 3), (x + line // 2, line), artifact.palette[train_id][::-1], -1)
        cv2.putText(
            legend,
            text,
            (x + line * 3 // 4, line),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.55 * scale,
            (230, 230, 230),
            1,
            cv2.LINE_AA,
        )
        x += width + line * 3 // 2
    return np.vstack([rows, legend])


def _png(image: Frame) -> bytes:
    return bytes(cv2.imencode(".png", image)[1].tobytes())


if __name__ == "__main__":
    raise SystemExit(main())
