"""The Segmenter on real ONNX Runtime: equal to the graph's own head, in order, from many threads, without growth."""

import gc
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import psutil
import pytest
import recorded
import reference

from fastscnn.runtime import ArtifactError, DeviceError, FrameError, Segmenter, UsageError, install

Exported = Callable[..., Path]
Frames = list[np.ndarray]


def in_graph(path: Path, frame: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(path).run(None, {"image": frame[None]})[0][0]


@pytest.mark.parametrize("resolution", [(128, 256), (64, 64), (100, 140), (333, 517)])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_labels_equal_the_graphs_own_but_for_ties(
    exported: Exported, frames: Frames, resolution: tuple[int, int], precision: str
) -> None:
    frame = cv2.resize(frames[0], resolution[::-1])
    with Segmenter(exported("cls", resolution, precision=precision)) as segmenter:
        labels = segmenter(frame).labels
    with Segmenter(exported("logits", resolution, precision=precision)) as segmenter:
        logits = segmenter(frame).logits
    best = reference.best_two(reference.upsampled(logits, resolution))
    tied = best[0] - best[1] <= (1e-5 if precision == "fp32" else 1e-2) * float(np.ptp(logits.astype(np.float32)))
    different = labels != in_graph(exported("cls", resolution, precision=precision), frame)
    assert not np.any(different & ~tied)
    assert different.mean() < 0.01
    assert len(np.unique(labels)) > 1, "a scene of one class would prove little"


@pytest.mark.parametrize("resolution", [(128, 256), (100, 140)])
def test_probabilities_equal_the_graphs_own(exported: Exported, frames: Frames, resolution: tuple[int, int]) -> None:
    frame = cv2.resize(frames[0], resolution[::-1])
    path = exported("prob", resolution)
    with Segmenter(path) as segmenter:
        result = segmenter(frame)
    assert result.probabilities is not None
    assert np.abs(result.probabilities - in_graph(path, frame)).max() < 1e-5
    assert np.array_equal(result.labels, result.probabilities.argmax(axis=0))


def test_float_input_gives_the_same_labels(exported: Exported, frames: Frames) -> None:
    with Segmenter(exported("cls")) as by_bytes, Segmenter(exported("cls", input="float")) as by_floats:
        agreement = np.mean(by_bytes(frames[0]).labels == by_floats(frames[0]).labels)
    assert agreement > 0.9999


@pytest.mark.parametrize("head", ["cls", "prob", "logits"])
@pytest.mark.parametrize("size", [(90, 160), (480, 640), (1, 1), (7, 1000)])
def test_frames_of_any_size(exported: Exported, head: str, size: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    with Segmenter(exported(head)) as segmenter:
        result = segmenter(frame)
    assert result.labels.shape == size
    assert result.colour().shape == result.overlay(frame).shape == (*size, 3)
    if head == "prob":
        assert result.probabilities.shape == (19, *size)
        assert np.array_equal(result.probabilities.argmax(axis=0), result.labels)
    if head == "logits":
        assert result.logits.shape == (19, 16, 32)


def test_result_after_close(exported: Exported, frames: Frames) -> None:
    with Segmenter(exported("logits")) as segmenter:
        result = segmenter(frames[0])
    with Segmenter(exported("cls")) as segmenter:
        assert np.array_equal(result.labels, segmenter(frames[0]).labels)


def test_colours_and_overlay_are_the_palettes(exported: Exported, frames: Frames) -> None:
    with Segmenter(exported()) as segmenter:
        result = segmenter(frames[0])
    colours = result.colour()
    for train_id in np.unique(result.labels):
        assert np.unique(colours[result.labels == train_id], axis=0)[:, ::-1].tolist() == [
            list(segmenter.artifact.palette[train_id])
        ]
    assert np.array_equal(result.overlay(frames[0], 1.0), colours)
    assert np.array_equal(result.overlay(frames[0], 0.0), frames[0])
    with pytest.raises(FrameError, match="Pass the frame that was segmented"):
        result.overlay(frames[0][:50])


def test_timings_add_up(exported: Exported, frames: Frames) -> None:
    with Segmenter(exported()) as segmenter:
        started = time.perf_counter()
        timings = segmenter(frames[0]).timings
        wall = (time.perf_counter() - started) * 1e3
    assert min(timings.prepare, timings.forward, timings.decode) > 0
    assert timings.total == pytest.approx(timings.prepare + timings.forward + timings.decode)
    assert timings.total <= wall


def test_batches(exported: Exported, frames: Frames) -> None:
    with Segmenter(exported(batch=3)) as segmenter, Segmenter(exported()) as single:
        expected = [single(frame).labels for frame in frames]
        for count in (1, 2, 3):
            results = segmenter.batch(frames[:count])
            assert [np.mean(r.labels == e) > 0.9999 for r, e in zip(results, expected, strict=False)] == [True] * count
        assert len(list(segmenter.stream(frames[:5]))) == 5
        for wrong in ([], frames[:4]):
            with pytest.raises(FrameError, match="1 to 3 at a time"):
                segmenter.batch(wrong)


def test_stream_keeps_order_and_two_in_flight(exported: Exported, frames: Frames) -> None:
    read = 0

    def source() -> Iterator[np.ndarray]:
        nonlocal read
        for index in range(12):
            read += 1
            yield frames[index % len(frames)]

    with Segmenter(exported()) as segmenter:
        expected = [segmenter(frame).labels for frame in frames]
        for index, result in enumerate(segmenter.stream(source())):
            assert np.array_equal(result.labels, expected[index % len(frames)])
            assert read - index <= 2, "more than two frames were in flight"
    assert read == 12


def test_stream_yields_what_came_before_a_failure(exported: Exported, frames: Frames) -> None:
    def source() -> Iterator[np.ndarray]:
        yield from frames[:3]
        raise OSError("the cable is out")

    results = []
    with Segmenter(exported()) as segmenter, pytest.raises(OSError, match="cable"):
        for result in segmenter.stream(source()):
            results.append(result)
    assert len(results) == 3


def test_abandoned_stream_stops_reading_and_its_threads(exported: Exported, frames: Frames) -> None:
    read = []

    def source() -> Iterator[np.ndarray]:
        while True:
            read.append(1)
            yield frames[0]

    with Segmenter(exported()) as segmenter:
        stream = segmenter.stream(source())
        next(stream)
        stream.close()
        assert len(read) <= 3
    assert not [t for t in threading.enumerate() if t.name.startswith("fastscnn") and "stream" not in t.name]


def test_close_waits_for_calls_and_ends_them(exported: Exported, frames: Frames) -> None:
    segmenter = Segmenter(exported())
    outcomes: list[str] = []

    def work() -> None:
        try:
            while True:
                assert segmenter(frames[0]).labels.shape == frames[0].shape[:2]
                outcomes.append("done")
        except UsageError as error:
            outcomes.append(str(error))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    deadline = time.monotonic() + 30
    while outcomes.count("done") < 8:
        time.sleep(0.01)
        assert time.monotonic() < deadline, outcomes
    segmenter.close()
    segmenter.close()
    for worker in workers:
        worker.join(timeout=30)
    assert outcomes.count("this Segmenter is closed; open a new one") == 4
    assert set(outcomes) == {"done", "this Segmenter is closed; open a new one"}


@pytest.mark.parametrize(("head", "size"), [("cls", (64, 64)), ("prob", (64, 64)), ("cls", (100, 150))])
def test_memory_does_not_grow_over_a_thousand_frames(
    exported: Exported, frames: Frames, head: str, size: tuple[int, int]
) -> None:
    process = psutil.Process()
    shown = [cv2.resize(frame, size[::-1]) for frame in frames]
    with Segmenter(exported(head, (64, 64))) as segmenter:
        growths = []
        for _ in range(4):  # the first fills caches; an allocator may take a block at any time, a leak shows every time
            gc.collect()
            before = process.memory_info().rss
            for index in range(1000):
                segmenter(shown[index % len(shown)])
            gc.collect()
            growths.append(process.memory_info().rss - before)
    assert min(growths[1:]) < 1e6, f"{growths} bytes more a thousand frames; one leaked 64x64 label map a frame is 4 MB"


def test_stream_survives_a_camera_that_reuses_its_buffer(exported: Exported, frames: Frames) -> None:
    buffer = np.empty_like(frames[0])

    def camera() -> Iterator[np.ndarray]:
        for frame in frames * 3:
            buffer[:] = frame
            yield buffer

    with Segmenter(exported()) as segmenter:
        expected = [segmenter(frame).labels for frame in frames * 3]
        found = [result.labels for result in segmenter.stream(camera())]
    assert all(np.array_equal(f, e) for f, e in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("height", 136),
        ("batch", 2),
        ("input", "float"),
        ("logits_height", 17),
        ("head", "prob"),
        ("precision", "fp16"),
        ("classes", ["a", "b"]),
    ],
)
def test_a_description_that_is_not_the_graphs_is_refused_on_opening(
    exported: Exported, tmp_path: Path, field: str, value: object
) -> None:
    changes = {field: value} | ({"palette": [[0, 0, 0], [1, 1, 1]]} if field == "classes" else {})
    (tmp_path / "edited.onnx").write_bytes(recorded.described_anew(exported().read_bytes(), changes))
    with pytest.raises(ArtifactError, match="does not match its own description"):
        Segmenter(tmp_path / "edited.onnx")


@pytest.mark.parametrize("opacity", [-0.1, 2, float("nan")])
def test_opacity_out_of_range(exported: Exported, frames: Frames, opacity: float) -> None:
    with Segmenter(exported()) as segmenter, pytest.raises(UsageError, match="expected 0 to 1"):
        segmenter(frames[0]).overlay(frames[0], opacity)


def test_opening_errors(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'gpu' is unknown"):
        Segmenter(exported(), "gpu")
    for threads in (0, 1.5, "2", 10**9):
        with pytest.raises(UsageError, match=r"threads; expected 1 to"):
            Segmenter(exported(), threads=threads)  # type: ignore[arg-type]
    for name in ("x" * 5000, "x" * 5000 + ".plan"):
        with pytest.raises(ArtifactError, match="does not exist"):
            Segmenter(name)
    with pytest.raises(ArtifactError, match="does not exist"):
        Segmenter(tmp_path / "absent.onnx")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(DeviceError, match=re.escape(install.command("gpu"))):
            Segmenter(exported(), "cuda")


@pytest.mark.torch
def test_a_graph_that_onnxruntime_refuses(exported: Exported, tmp_path: Path) -> None:
    import onnx

    damaged = tmp_path / "damaged.onnx"
    model = onnx.load(exported())
    model.graph.node[0].attribute[0].i = 999  # a Cast to a type that does not exist
    onnx.save(model, damaged)
    with pytest.raises(ArtifactError, match="ONNX Runtime refuses"):
        Segmenter(damaged)


@pytest.mark.parametrize("size", [(128, 256), (90, 160), (333, 517)])
def test_a_region_of_any_head_is_the_prob_heads(exported: Exported, frames: Frames, size: tuple[int, int]) -> None:
    frame = cv2.resize(frames[0], size[::-1])
    rows, columns = slice(10, size[0] // 2), slice(size[1] // 3, size[1])
    with Segmenter(exported("prob")) as segmenter:
        result = segmenter(frame)
    expected = result.probabilities[:, rows, columns]
    assert np.array_equal(result.region(rows, columns), expected)
    for head in ("cls", "logits"):
        with Segmenter(exported(head)) as segmenter:
            result = segmenter(frame)
            segmenter(frames[1])  # another frame meanwhile
        assert np.abs(result.region(rows, columns) - expected).max() < 1e-5
        assert "labels" not in vars(result) or head == "cls", "a part costs no more than itself"
        assert (result.logits is None) == (head == "cls")


@pytest.mark.parametrize(
    ("rows", "columns"),
    [((0, 0), (0, 5)), ((-1, 5), (0, 5)), ((0, 129), (0, 5)), ((0, 5), (7, 3)), ((0, 5), (0, 9, 2))],
)
def test_regions_that_are_none(
    exported: Exported, frames: Frames, rows: tuple[int, ...], columns: tuple[int, ...]
) -> None:
    with Segmenter(exported()) as segmenter:
        result = segmenter(frames[0])
    with pytest.raises(UsageError, match="no part of a frame"):
        result.region(slice(*rows), slice(*columns))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell a process's peak memory")
@pytest.mark.torch
def test_a_whole_process_stays_below_300_mb_at_the_full_resolution(newly_exported: Exported) -> None:
    code = (
        "import sys\n"
        "import numpy\n"
        "from fastscnn import Segmenter\n"
        "frame = numpy.random.default_rng(0).integers(0, 256, (1024, 2048, 3), numpy.uint8)\n"
        "with Segmenter(sys.argv[1], 'cpu', threads=2) as segmenter:\n"
        "    for _ in range(3):\n"  # the second run used to plan another block
        "        assert segmenter(frame).labels.shape == (1024, 2048)\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, newly_exported("cls", (1024, 2048))], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert 50e3 < int(done.stdout) * 1.024 < 300e3, f"{int(done.stdout) * 1.024 / 1e3:.0f} MB"
