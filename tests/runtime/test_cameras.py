"""Cameras as robots have them: slow, hung, several, failing; results in time, with their stamps, in asyncio, too."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fastscnn.runtime import Captured, FrameError, Segmenter, SourceError, StalledError, UsageError
from fastscnn.runtime.media.sinks import VideoSink

Exported = Callable[..., Path]
Frames = list[np.ndarray]
DROPS = [None, "oldest"]
SMALL = (64, 64)


@pytest.fixture
def segmenter(exported: Exported) -> Iterator[Segmenter]:
    with Segmenter(exported(resolution=SMALL), threads=1) as opened:
        yield opened


def paced(count: int, pause: float, given: list[float] | None = None) -> Iterator[np.ndarray]:
    for index in range(count):
        time.sleep(pause)
        if given is not None:
            given.append(time.perf_counter())
        yield np.full((*SMALL, 3), index % 256, np.uint8)


class Hung:
    """A camera that gives some frames and then never returns, until it is let go."""

    def __init__(self, count: int) -> None:
        self.count, self.let_go = count, threading.Event()

    def __iter__(self) -> Iterator[np.ndarray]:
        yield from paced(self.count, 0)
        self.let_go.wait(60)


@pytest.fixture
def hung() -> Iterator[Hung]:
    camera = Hung(2)
    yield camera
    camera.let_go.set()


@pytest.mark.parametrize("drop", DROPS)
@pytest.mark.parametrize("batch", [1, 4])
def test_a_result_comes_when_it_is_computed_and_latency_tells_when(
    exported: Exported, drop: str | None, batch: int
) -> None:
    """Not when the next frame comes, here 200 ms later, nor when a batch is full, after 800 ms."""
    given: list[float] = []
    with Segmenter(exported(resolution=SMALL, batch=batch), threads=1, deadline_ms=100) as segmenter:
        segmenter.warm_up(frames=2)
        ages = [
            time.perf_counter() - given[result.index] for result in segmenter.stream(paced(6, 0.2, given), drop=drop)
        ]
        assert len(ages) == 6
        assert sorted(ages)[3] < 0.1, ages
        assert segmenter.latency.frames == 6
        assert segmenter.latency.percentile(50) == pytest.approx(sorted(ages)[3] * 1e3, abs=30)


def test_latency_counts_the_wait_for_the_caller(segmenter: Segmenter) -> None:
    stream = segmenter.stream(iter(list(paced(2, 0))), drop=None)
    next(stream)
    time.sleep(0.3)  # the second waits that long
    next(stream)
    assert segmenter.latency.percentile(100) > 290
    stream.close()


@pytest.mark.parametrize("drop", DROPS)
@pytest.mark.parametrize("closes", ["stream", "segmenter"])
def test_another_thread_stops_a_stream_whose_camera_hangs(
    exported: Exported, hung: Hung, drop: str | None, closes: str, caplog: pytest.LogCaptureFixture
) -> None:
    segmenter = Segmenter(exported(resolution=SMALL), threads=1)
    stream = segmenter.stream(hung, drop=drop)
    ended = threading.Event()
    seen: list[int] = []

    def consume() -> None:
        for result in stream:
            seen.append(result.index)
        ended.set()

    threading.Thread(target=consume, daemon=True).start()
    deadline = time.monotonic() + 30
    while 1 not in seen:
        time.sleep(0.01)
        assert time.monotonic() < deadline
    started = time.monotonic()
    (stream if closes == "stream" else segmenter).close()
    assert ended.wait(5)
    assert time.monotonic() - started < 5
    assert stream.ended
    assert "has not returned for 1 s" in caplog.text
    segmenter.close()


@pytest.mark.parametrize("drop", DROPS)
def test_a_timeout_tells_who_is_silent_and_the_stream_goes_on(segmenter: Segmenter, drop: str | None) -> None:
    again = threading.Event()

    def camera() -> Iterator[np.ndarray]:
        yield from paced(1, 0)
        again.wait(60)
        yield from paced(1, 0)

    with segmenter.stream(camera(), drop=drop, timeout=0.2) as stream:
        next(stream)
        with pytest.raises(
            StalledError, match=r"no result for 0.2 s \(the source gave no frame for 0\.\d s\)"
        ) as caught:
            next(stream)
        assert isinstance(caught.value, TimeoutError) and isinstance(caught.value, SourceError)
        again.set()
        assert stream.get(timeout=30).index == 1
        with pytest.raises(StopIteration):
            stream.get()
    for wrong in (0, -1, float("nan")):
        with pytest.raises(UsageError, match="expected seconds above 0"):
            segmenter.stream([], timeout=wrong)


def test_the_latest_result_without_waiting(segmenter: Segmenter) -> None:
    stop = threading.Event()

    def camera() -> Iterator[np.ndarray]:
        for index in range(250):
            if stop.wait(0.002):
                return
            yield np.full((*SMALL, 3), index, np.uint8)

    with segmenter.stream(camera(), drop="oldest") as stream:
        assert stream.latest() is None
        indices: list[int] = []
        deadline = time.monotonic() + 30
        while len(set(indices)) < 5:
            result = stream.latest(max_age=10)
            if result is not None:
                indices.append(result.index)
            time.sleep(0.01)
            assert time.monotonic() < deadline
        assert indices == sorted(indices)
        stop.set()
        while not stream.ended:
            stream.latest()
            time.sleep(0.01)
            assert time.monotonic() < deadline
        last = stream.latest()
        assert last is not None and last.index == stream.read - 1, "the last frame is the freshest"
        time.sleep(0.05)
        assert stream.latest(max_age=0.04) is None
        results = stream.cameras[None].results
        assert results + stream.dropped == stream.read
        assert segmenter.latency.frames == results, "a result that is taken twice counts once"


def test_the_latest_of_a_stream_that_drops_nothing(segmenter: Segmenter) -> None:
    stream = segmenter.stream(list(paced(5, 0)), drop=None)
    deadline = time.monotonic() + 30
    while not stream.ended:
        stream.latest()
        assert time.monotonic() < deadline
    last = stream.latest()
    assert last is not None and last.index == 4
    assert stream.cameras[None].results == 5
    stream.close()


def test_the_latest_of_a_camera_that_failed_says_so(segmenter: Segmenter) -> None:
    def camera() -> Iterator[np.ndarray]:
        yield from paced(1, 0)
        raise OSError("the cable is out")

    stream = segmenter.stream(camera(), drop="oldest")

    def poll() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            stream.latest()
            time.sleep(0.005)

    for _ in range(2):  # not once: the last result would look fresh for ever
        with pytest.raises(OSError, match="cable"):
            poll()
    stream.close()


@pytest.mark.parametrize("drop", DROPS)
def test_stamps_and_tags_come_back(segmenter: Segmenter, frames: Frames, drop: str | None) -> None:
    class Message:  # whatever has a frame, as a Source's frames have
        frame, stamp, tag = frames[2], 17, "left"

    source: list[Any] = [
        (frames[0], 1.5),
        (frames[1], "noon", {"id": 7}),
        Message(),
        Captured(frames[3], tag=8),
        frames[4],
    ]
    found = []
    for item in source:
        (result,) = segmenter.stream([item], drop=drop)
        found.append((result.stamp, result.tag))
        direct = segmenter(item)
        assert (direct.stamp, direct.tag) == found[-1]
        assert np.array_equal(direct.labels, result.labels)
    assert found == [(1.5, None), ("noon", {"id": 7}), (17, "left"), (None, 8), (None, None)]
    results = list(segmenter.stream([(frame, index) for index, frame in enumerate(frames)], drop=None))
    assert [result.stamp for result in results] == [result.index for result in results] == list(range(len(frames)))


@pytest.mark.parametrize("drop", DROPS)
@pytest.mark.parametrize("batch", [1, 3])
def test_broken_frames_are_refused_by_name_and_need_not_end_a_stream(
    exported: Exported, frames: Frames, drop: str | None, batch: int, caplog: pytest.LogCaptureFixture
) -> None:
    broken: list[Any] = [frames[0], None, np.zeros((4, 4, 3)), frames[1]]
    with Segmenter(exported(resolution=SMALL, batch=batch), threads=1) as segmenter:
        with (
            segmenter.stream(iter(broken), drop=drop) as stream,
            pytest.raises(FrameError, match=r"^frame 1: the frame is None"),
        ):
            list(stream)
        stream = segmenter.stream(iter(broken), drop=drop, on_error="skip")
        assert next(iter(reversed(list(stream)))).index == 3
        assert (stream.read, stream.refused) == (4, 2)
        assert "frame 1: the frame is None" in caplog.text
        assert "(passed over, 1 so far)" in caplog.text
        told: list[Exception] = []
        stream = segmenter.stream(iter(broken), drop=drop, on_error=told.append)
        assert len(list(stream)) + stream.dropped == 2
        assert [str(error).split(":")[0] for error in told] == ["frame 1", "frame 2"]

        def fails(error: Exception) -> None:
            raise RuntimeError("the robot's own fault")

        with pytest.raises(RuntimeError, match="own fault"):
            list(segmenter.stream(iter(broken), drop=drop, on_error=fails))
        with pytest.raises(UsageError, match="'ignore' is unknown; expected raise, skip or a function"):
            segmenter.stream([], on_error="ignore")


def test_what_is_no_source_is_told_what_is(segmenter: Segmenter, frames: Frames) -> None:
    with pytest.raises(UsageError, match=r"is a name; expected frames. Open it first, with Source\('0'\)"):
        segmenter.stream("0")
    with pytest.raises(UsageError, match=r"one frame, shape .* is no stream"):
        segmenter.stream(frames[0])
    with pytest.raises(UsageError, match="a int gives no frames"):
        segmenter.stream(3)
    with pytest.raises(UsageError, match="no cameras"):
        segmenter.stream({})
    with pytest.raises(FrameError, match=r"a pair as VideoCapture.read\(\) gives it"):
        list(segmenter.stream([(True, frames[0])]))
    assert len(list(segmenter.stream(np.stack(frames)))) == len(frames)


@pytest.fixture
def clip(tmp_path: Path, frames: Frames) -> Path:
    with VideoSink(tmp_path / "clip.avi", 25) as sink:
        for frame in frames:
            sink.write("", frame)
    return tmp_path / "clip.avi"


def test_a_video_capture_is_a_source(segmenter: Segmenter, clip: Path, frames: Frames) -> None:
    results = list(segmenter.stream(cv2.VideoCapture(str(clip))))
    assert [result.index for result in results] == list(range(len(frames))), "a file drops nothing"
    with segmenter.stream(cv2.VideoCapture(str(clip)), drop="oldest") as stream:
        assert list(stream)[-1].index == len(frames) - 1
    with pytest.raises(SourceError, match="not open"):
        list(segmenter.stream(cv2.VideoCapture(str(clip.with_name("none.avi")))))


def test_a_camera_that_is_unplugged_is_a_failure_and_no_end(segmenter: Segmenter) -> None:
    class Camera:  # as OpenCV's, which none is here to be pulled out
        def __init__(self) -> None:
            self.left = 3

        def isOpened(self) -> bool:  # noqa: N802
            return True

        def get(self, prop: int) -> float:
            return -1.0

        def read(self) -> tuple[bool, Any]:
            self.left -= 1
            return (True, np.zeros((*SMALL, 3), np.uint8)) if self.left >= 0 else (False, None)

    stream = segmenter.stream(Camera())
    with pytest.raises(SourceError, match="stopped giving frames after 3"):
        for _ in stream:
            pass
    assert stream.dropped + stream.cameras[None].results == 3


def test_in_asyncio_other_tasks_run_meanwhile(segmenter: Segmenter, hung: Hung) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.005)

    async def work() -> None:
        ticking = asyncio.create_task(tick())
        seen = []
        async with segmenter.stream(paced(4, 0.05)) as stream:
            async for result in stream:
                seen.append(result.index)
        assert seen == [0, 1, 2, 3]
        assert ticks > 10
        stream = segmenter.stream(hung, timeout=0.2)
        assert (await anext(stream)).index == 0
        assert (await anext(stream)).index == 1
        before = ticks
        with pytest.raises(StalledError, match=r"no result for 0.2 s"):
            await anext(stream)
        waiting = asyncio.create_task(stream.__anext__())
        await asyncio.sleep(0.05)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        hung.let_go.set()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert ticks > before + 10
        with pytest.raises(FrameError, match="is None"):
            await anext(segmenter.stream([None]))
        result = await segmenter.call_async(np.zeros((*SMALL, 3), np.uint8))
        assert result.labels.shape == SMALL
        ticking.cancel()

    asyncio.run(work())


@pytest.mark.parametrize("batch", [1, 4])
def test_several_cameras_take_turns_and_each_has_its_counts(exported: Exported, batch: int) -> None:
    """The fast one gives ten times as many frames, and gets no larger share."""
    with Segmenter(exported(resolution=SMALL, batch=batch), threads=1) as segmenter:
        cameras = {"front": paced(200, 0.002), "left": paced(20, 0.02), "rear": paced(20, 0.02)}
        with segmenter.stream(cameras) as stream:
            last, shares = dict.fromkeys(cameras, -1), {}
            for result in stream:
                assert result.index > last[result.camera]
                last[result.camera] = result.index
                assert np.all(stream.frame == result.index % 256)
                if not any(camera.ended for camera in stream.cameras.values()):
                    shares = {name: camera.results for name, camera in stream.cameras.items()}
                time.sleep(0.01)
            assert last == {"front": 199, "left": 19, "rear": 19}
            for name, camera in stream.cameras.items():
                assert camera.name == name
                assert camera.ended and camera.error is None
                assert camera.results + camera.dropped == camera.read == last[name] + 1
            assert stream.cameras["front"].dropped > 80
            assert max(shares.values()) <= 1.5 * min(shares.values()) + 2, shares
            assert stream.read == 240


def test_a_stalled_camera_does_not_hold_the_others(segmenter: Segmenter, hung: Hung) -> None:
    with segmenter.stream({"front": paced(30, 0.005), "hung": hung}, timeout=5) as stream:
        seen = []
        while "front" not in seen or not stream.cameras["front"].ended:
            seen.append(next(stream).camera)
        assert seen.count("front") > 3
        assert stream.cameras["hung"].silent > 0.05 and not stream.cameras["hung"].ended
        assert stream.latest("hung").index <= 1  # type: ignore[union-attr]
        with pytest.raises(UsageError, match="camera 'rear' is unknown; expected one of 'front', 'hung'"):
            stream.latest("rear")
        hung.let_go.set()


def test_every_frame_of_several_sources_each_in_its_order(segmenter: Segmenter, hung: Hung) -> None:
    seen: dict[str, list[int]] = {"a": [], "b": [], "hung": []}
    with segmenter.stream({"a": list(paced(20, 0)), "b": paced(7, 0.01), "hung": hung}, drop=None) as stream:
        for result in stream:
            seen[result.camera].append(result.index)
            if len(seen["a"]) == 20 and len(seen["b"]) == 7:
                hung.let_go.set()
    assert seen == {"a": list(range(20)), "b": list(range(7)), "hung": [0, 1]}


@pytest.mark.parametrize("drop", DROPS)
def test_one_of_several_fails(segmenter: Segmenter, drop: str | None) -> None:
    def failing() -> Iterator[np.ndarray]:
        yield from paced(2, 0)
        raise OSError("the cable is out")

    def cameras() -> dict[str, Any]:
        return {"good": paced(20, 0.01), "bad": failing()}

    stream = segmenter.stream(cameras(), drop=drop)
    with pytest.raises(OSError, match="cable"):
        list(stream)
    told: list[Exception] = []
    stream = segmenter.stream(cameras(), drop=drop, on_error=told.append)
    seen = [result.camera for result in stream]
    assert [str(error) for error in told] == ["the cable is out"]
    assert seen.count("good") > 3
    assert isinstance(stream.cameras["bad"].error, OSError)
    with pytest.raises(OSError, match="cable"):  # where none is left, somebody must say so
        list(segmenter.stream({"bad": failing(), "worse": failing()}, drop=drop, on_error="skip"))
