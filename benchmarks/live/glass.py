"""Glass to label: how old a frame is when its labels are there, by a time stamp painted into it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ...runtime import Segmenter
from ...runtime.commands.segment import segmented
from ...runtime.commands.tally import Tally
from ...runtime.errors import SourceError
from ...runtime.frame import Frame
from ...runtime.media.sinks import VideoSink
from ...runtime.media.sources import Source
from ...runtime.result import Result
from . import stamp

_SETTLING = 2.0  # seconds for what FFmpeg had gathered to find out what the stream is, and for the first slow frames
Results = Generator[tuple[Frame, Result], None, None]


@dataclass(frozen=True)
class Ages:
    """Of one way to read a source. Milliseconds.

    Attributes:
        label: median, p95 and maximum of the age when the labels are there.
        written: the same when the overlay is in the video.
        within: share of the written frames that are younger than the bound.
        model: median time of a frame in the Segmenter, in this run.
        last: median age of the last tenth, which shows whether it grows.
    """

    frames: int
    dropped: int
    unread: int
    seconds: float
    label: tuple[float, float, float]
    written: tuple[float, float, float]
    last: float
    model: float
    bound: float
    within: float


def newest(segmenter: Segmenter, url: str, tally: Callable[[int], None]) -> Results:
    """As fastscnn-segment reads a live source."""
    with Source(url) as source:
        counted = Tally(segmenter, source)
        with closing(segmented(segmenter, iter(source), counted, newest=True)) as results:
            for named, result in results:
                tally(counted.dropped)
                yield named.frame, result


def usual(segmenter: Segmenter, url: str, tally: Callable[[int], None]) -> Results:
    """As it is usually written: read, segment, read."""
    capture = cv2.VideoCapture(url)
    try:
        while True:
            read, picture = capture.read()
            if not read:
                raise SourceError(f"{url} gave no frame")
            frame = np.asarray(picture, np.uint8)
            yield frame, segmenter(frame)
    finally:
        capture.release()


WAYS = {"newest frame": newest, "usual loop": usual}


def measured(way: str, segmenter: Segmenter, url: str, seconds: float, period: float, video: Path) -> Ages:
    """Segment for so many seconds, write the overlays, and read the painted stamps.

    Args:
        period: seconds between two frames of the source.

    Raises:
        SourceError: the source gives no frames, or none with a stamp.
    """
    dropped = unread = 0

    def tally(count: int) -> None:
        nonlocal dropped
        dropped = count

    labels, writes, models = [], [], []
    with closing(WAYS[way](segmenter, url, tally)) as results, VideoSink(video, 30.0, recording=True) as sink:
        began = 0.0
        for frame, result in results:
            now = time.monotonic()
            began = began or now
            if now - began > _SETTLING + seconds:
                break
            sink.write("", result.overlay(frame), now)
            done = time.monotonic()
            if now - began < _SETTLING:
                continue
            milliseconds = stamp.read(frame)
            if milliseconds is None:
                unread += 1
                continue
            labels.append(stamp.age(now, milliseconds) * 1e3)
            writes.append(stamp.age(done, milliseconds) * 1e3)
            models.append(result.timings.total)
    with contextlib.suppress(FileNotFoundError):
        video.unlink()
    if len(labels) < 3:
        raise SourceError(
            f"{url} gave {len(labels)} frames with a stamp in {seconds:g} s; expected a source of benchmarks/live"
        )
    model = float(np.median(models))
    bound = 2 * model + period * 1e3
    return Ages(
        frames=len(labels), dropped=dropped, unread=unread, seconds=seconds,
        label=_three(labels), written=_three(writes),
        last=round(float(np.median(writes[-max(len(writes) // 10, 3):])), 1),
        model=round(model, 1), bound=round(bound, 1),
        within=round(float(np.mean(np.array(writes) < bound)), 4),
    )  # fmt: skip


def _three(values: list[float]) -> tuple[float, float, float]:
    median, p95, most = np.percentile(values, [50, 95, 100])
    return round(float(median), 1), round(float(p95), 1), round(float(most), 1)
