"""Streams as a robot uses them: a camera that is faster than the robot, a consumer that fails, deadlines."""

import gc
import json
import logging
import math
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastscnn.runtime import FrameError, Latency, Result, Segmenter, Stream, UsageError
from fastscnn.runtime.flow import IN_FLIGHT

Exported = Callable[..., Path]
Frames = list[np.ndarray]
DROPS = [None, "oldest"]


@pytest.fixture
def segmenter(exported: Exported) -> Iterator[Segmenter]:
    with Segmenter(exported(resolution=(64, 64)), threads=1) as opened:
        yield opened
    gc.collect()
    assert not [
        thread.name
        for thread in threading.enumerate()
        if thread.name.startswith("fastscnn") and "stream" not in thread.name
    ]


class Camera:
    """Gives numbered frames at its own pace, and knows which of them still exist."""

    def __init__(self, count: int = 1 << 30, pause: float = 0.0) -> None:
        self.count, self.pause, self.given = count, pause, 0
        self.all_given = threading.Event()

    def __iter__(self) -> Iterator[np.ndarray]:
        for index in range(self.count):
            time.sleep(self.pause)
            self.given += 1
            yield np.full((64, 64, 3), index % 256, np.uint8)
        self.all_given.set()


@pytest.mark.parametrize("drop", DROPS)
def test_the_stream_tells_which_frame_a_result_is_of(segmenter: Segmenter, frames: Frames, drop: str | None) -> None:
    stream = segmenter.stream(iter(frames), drop=drop)
    assert (stream.frame, stream.index, stream.read, stream.dropped) == (None, None, 0, 0)
    seen = []
    for result in stream:
        assert stream.index is not None
        seen.append(stream.index)
        assert np.array_equal(stream.frame, frames[stream.index])
        assert np.array_equal(result.labels, segmenter(stream.frame).labels)
    assert seen == sorted(set(seen))
    assert len(seen) + stream.dropped == stream.read == len(frames)
    assert seen[-1] == len(frames) - 1, "the last frame is the freshest"
    assert stream.frame is None


def test_dropping_keeps_a_camera_fresh_and_counts(segmenter: Segmenter) -> None:
    camera = Camera(pause=0.002)
    with segmenter.stream(camera, drop="oldest") as stream:
        for count, _ in enumerate(stream, start=1):
            time.sleep(0.05)  # a slow robot
            assert stream.index is not None
            if count == 1:
                continue
            # When it was taken nothing newer was there; since then the camera gave what it could in this pause.
            assert camera.given - stream.index < 200
            if count == 8:
                break
        assert stream.dropped >= 8, "a camera 25 times as fast must lose frames"
        assert stream.dropped + count <= stream.read <= stream.dropped + count + 2
    given = camera.given
    time.sleep(0.1)
    assert camera.given == given, "a closed stream went on reading"


def test_only_the_newest_waits(segmenter: Segmenter) -> None:
    camera = Camera(50, pause=0.001)
    stream = segmenter.stream(camera, drop="oldest")
    next(stream)
    assert camera.all_given.wait(30)
    next(stream)
    assert stream.index == 49
    assert stream.read == 50
    assert stream.dropped == 48
    assert list(stream) == []


def test_dropping_fills_batches_without_waiting_for_them(exported: Exported) -> None:
    with Segmenter(exported(resolution=(64, 64), batch=3), threads=1) as segmenter:
        camera = Camera(50, pause=0.001)
        stream = segmenter.stream(camera, drop="oldest")
        next(stream)
        assert camera.all_given.wait(30)
        indices = [stream.index for _ in stream]
    assert indices[-3:] == [47, 48, 49]
    assert len(indices) <= 5, "what was under way and three that waited"


def test_a_slow_consumer_holds_back_two_frames_and_no_more(segmenter: Segmenter) -> None:
    camera = Camera()
    with segmenter.stream(camera) as stream:
        for _ in range(5):
            next(stream)
            time.sleep(0.05)
            assert stream.index is not None
            assert camera.given - stream.index <= 2
        assert stream.dropped == 0


@pytest.mark.parametrize("drop", DROPS)
@pytest.mark.parametrize("managed", [True, False], ids=["with", "for"])
def test_a_failing_consumer_stops_the_producer_and_frees_the_frames(
    segmenter: Segmenter, drop: str | None, managed: bool
) -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    camera = Camera(pause=0.001)

    def consume() -> None:
        def use(result: Result, stream: Stream) -> None:
            alive.append(weakref.ref(stream.frame))
            raise RuntimeError("the robot's own fault")

        stream = segmenter.stream(camera, drop=drop)
        if managed:
            with stream:
                for result in stream:
                    use(result, stream)
        else:
            for result in stream:
                use(result, stream)

    try:
        consume()
    except RuntimeError as error:
        if managed:  # at once, though the traceback still holds the stream
            assert error.__traceback__ is not None
            given = camera.given
            time.sleep(0.05)
            assert camera.given == given
    gc.collect()
    given = camera.given
    time.sleep(0.05)
    assert camera.given == given
    assert [frame() for frame in alive] == [None]
    assert not [
        thread for thread in threading.enumerate() if thread.name.startswith("fastscnn") and "stream" not in thread.name
    ]


@pytest.mark.parametrize("drop", DROPS)
def test_a_stream_that_the_garbage_collector_finds_on_its_own_thread(
    segmenter: Segmenter, frames: Frames, drop: str | None
) -> None:
    """A stream in a cycle is closed by whichever thread collects, which may be the one that closing waits for."""
    released, ended = threading.Event(), threading.Event()

    def collect() -> None:
        released.wait(30)
        gc.collect()
        ended.set()

    def source() -> Iterator[np.ndarray]:
        yield from frames[:2]
        if drop:
            collect()

    def segment(arrived: list[Any]) -> list[Result]:
        if arrived[0].index == 1 and not drop:
            collect()
        return segmenter.batch([arrived[0].frame])

    stream = Stream(source(), segment, 1, drop)
    next(stream)
    gc.disable()
    try:
        cycle: list[Any] = [stream]
        cycle.append(cycle)
        del stream, cycle
        released.set()
        assert ended.wait(30)
    finally:
        gc.enable()
    deadline = time.monotonic() + 20
    while [
        thread for thread in threading.enumerate() if thread.name.startswith("fastscnn") and "stream" not in thread.name
    ]:
        time.sleep(0.01)
        assert time.monotonic() < deadline


def test_streams_one_after_another_share_their_threads(segmenter: Segmenter, frames: Frames) -> None:
    def working() -> set[int]:
        return {thread.native_id or 0 for thread in threading.enumerate() if "fastscnn-stream" in thread.name}

    next(segmenter.stream(frames))  # abandoned, which takes one more to stop it
    before = working()
    for _ in range(10):
        list(segmenter.stream(frames))
        next(segmenter.stream(frames))  # abandoned
        with pytest.raises(FrameError):
            list(segmenter.stream([*frames, np.zeros(3)]))
    gc.collect()
    assert working() == before
    many = [segmenter.stream(frames) for _ in range(8)]
    for stream in many:
        next(stream)
    for stream in many:
        stream.close()
    deadline = time.monotonic() + 20
    while len(working()) > 4 * IN_FLIGHT:
        time.sleep(0.01)
        assert time.monotonic() < deadline
    assert len(list(segmenter.stream(frames))) == len(frames)


def test_a_source_that_fails_while_frames_are_dropped(segmenter: Segmenter, frames: Frames) -> None:
    def source() -> Iterator[np.ndarray]:
        yield from frames
        raise OSError("the cable is out")

    seen = []
    stream = segmenter.stream(source(), drop="oldest")
    with pytest.raises(OSError, match="cable"):
        for _ in stream:
            seen.append(stream.index)
    assert seen[-1] == len(frames) - 1
    assert list(stream) == []


@pytest.mark.parametrize("drop", DROPS)
def test_a_frame_that_is_none_ends_the_stream_with_a_message(
    segmenter: Segmenter, frames: Frames, drop: str | None
) -> None:
    stream = segmenter.stream(iter([frames[0], None]), drop=drop)
    with pytest.raises(FrameError, match="the frame is None"):
        list(stream)


def test_a_source_that_never_returns_does_not_hang_close(
    segmenter: Segmenter, frames: Frames, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()

    def stuck() -> Iterator[np.ndarray]:
        yield frames[0]
        release.wait(60)

    started = time.monotonic()
    with segmenter.stream(stuck(), drop="oldest") as stream:
        next(stream)
    assert time.monotonic() - started < 30
    assert "has not returned for 1 s" in caplog.text
    release.set()


def test_frames_that_change_their_size_in_mid_stream(segmenter: Segmenter) -> None:
    sizes = [(64, 64), (48, 80), (200, 100), (64, 64)]
    changing = (np.zeros((*size, 3), np.uint8) for size in sizes)
    assert [result.labels.shape for result in segmenter.stream(changing)] == sizes


def test_an_unknown_drop_is_refused_at_once(segmenter: Segmenter) -> None:
    with pytest.raises(UsageError, match="'newest' is unknown; expected one of 'auto', None, 'oldest'"):
        segmenter.stream([], drop="newest")


def test_deadlines_are_counted_per_frame(exported: Exported, frames: Frames, caplog: pytest.LogCaptureFixture) -> None:
    with Segmenter(exported(), deadline_ms=1e-6) as hopeless:
        for frame in frames[:3]:
            hopeless(frame)
        list(hopeless.stream(frames))
        assert (hopeless.latency.frames, hopeless.latency.misses) == (9, 9)
    assert caplog.text.count("the deadline is 1e-06 ms") == 1, "one warning in ten seconds"
    with Segmenter(exported(), deadline_ms=60_000) as easy:
        wall = []
        for _ in range(30):
            started = time.perf_counter()
            easy(frames[0])
            wall.append((time.perf_counter() - started) * 1e3)
        assert (easy.latency.frames, easy.latency.misses) == (30, 0)
        assert 0 < easy.latency.p99 <= max(wall)
        assert min(wall) * 0.5 < easy.latency.percentile(50)


def test_a_wait_for_another_threads_frame_counts_against_the_deadline(segmenter: Segmenter, frames: Frames) -> None:
    lock = segmenter._backend._turn  # type: ignore[attr-defined]
    with lock:
        caller = threading.Thread(target=segmenter, args=(frames[0],))
        caller.start()
        time.sleep(0.2)
    caller.join()
    assert segmenter.latency.p99 > 190


def test_percentiles_look_back_on_a_thousand_frames(caplog: pytest.LogCaptureFixture) -> None:
    latency = Latency(10)
    assert math.isnan(latency.p99)
    for milliseconds in [50.0] * 500 + [*range(1000)]:
        latency.count(milliseconds)
    assert latency.p99 == pytest.approx(np.percentile(range(1000), 99))
    assert (latency.frames, latency.misses) == (1500, 500 + 989)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert Latency().deadline_ms is None


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf")])
def test_deadlines_that_are_none(exported: Exported, deadline: float) -> None:
    with pytest.raises(UsageError, match="milliseconds above 0"):
        Segmenter(exported(), deadline_ms=deadline)


WARM = """
import json, sys, time
import numpy as np
from fastscnn import Segmenter
frames = list(np.load(sys.argv[2]))
with Segmenter(sys.argv[1], threads=1) as segmenter:
    if sys.argv[3] == "warm":
        segmenter.warm_up(frames[0].shape[:2])
    counted = segmenter.latency.frames
    times = []
    for index in range(31):
        started = time.process_time()
        segmenter(frames[index % len(frames)]).labels
        times.append(time.process_time() - started)
print(json.dumps({"ratio": times[0] / sorted(times[1:])[15], "counted": counted}))
"""


@pytest.mark.torch  # of the recorded networks, which are small, what comes once would outweigh a frame
def test_after_warm_up_the_first_frame_is_as_fast_as_the_rest(
    newly_exported: Exported, frames: Frames, tmp_path: Path
) -> None:
    """In fresh processes, for only there the first frame is the first; in CPU time, as other programs run here, too."""
    np.save(tmp_path / "frames.npy", np.stack([np.repeat(frame, 2, axis=0) for frame in frames]))

    def run(how: str) -> dict[str, float]:
        words = [sys.executable, "-c", WARM, newly_exported(resolution=(256, 512)), tmp_path / "frames.npy", how]
        return dict(json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout))

    warm = [run("warm") for _ in range(5)]
    assert all(one["counted"] == 0 for one in warm)
    assert min(one["ratio"] for one in warm) <= 1.2, warm
    cold = [run("cold") for _ in range(3)]
    print("first frame / median of the next 30: warm", warm, "cold", cold)
    assert sorted(one["ratio"] for one in cold)[1] > 1.2, "then warming up would prove nothing here"


def test_warm_up_of_nothing(segmenter: Segmenter) -> None:
    assert segmenter.warm_up((48, 80), frames=2) > 0
    assert segmenter.latency.frames == 0
    for wrong in ({"frames": 0}, {"size": (0, 5)}):
        with pytest.raises(UsageError, match="expected at least 1"):
            segmenter.warm_up(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("drop", DROPS)
def test_a_stream_that_failed_is_let_go(segmenter: Segmenter, frames: Frames, drop: str | None) -> None:
    """Its error's traceback holds the stream, and nothing that lives on may hold the error."""

    def camera() -> Iterator[np.ndarray]:
        yield frames[0]
        raise OSError("the camera is gone")

    stream = segmenter.stream(camera(), drop=drop)
    with pytest.raises(OSError, match="the camera is gone"):
        for _ in stream:
            pass
    gone = weakref.ref(stream)
    del stream
    gc.collect()
    assert gone() is None
