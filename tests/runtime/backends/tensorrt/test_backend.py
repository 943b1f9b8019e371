"""Frame → labels through the whole TensorRT path, on a stand-in GPU that runs the real kernels, against ONNX Runtime."""

import gc
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from installing import StandInGpu

from fastscnn.runtime import Segmenter, UsageError
from fastscnn.runtime.backends.tensorrt import TensorRTBackend
from fastscnn.runtime.decode import kernels
from fastscnn.runtime.pixels import pixel_format

Exported = Callable[..., Path]
Frames = list[np.ndarray]


def expected(model: Path, frames: Frames) -> list[Any]:
    with Segmenter(model, "cpu", threads=1) as segmenter:
        return [segmenter(frame) for frame in frames]


def assert_same(found: Any, wanted: Any, exact: float = 0.999) -> None:
    """The labels but for ties, and probabilities and logits to rounding."""
    assert found.labels.shape == wanted.labels.shape and found.labels.dtype == np.uint8
    assert np.mean(found.labels == wanted.labels) >= exact
    for name in ("probabilities", "logits"):
        ours, theirs = getattr(found, name), getattr(wanted, name)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
            assert np.abs(ours.astype(np.float32) - theirs.astype(np.float32)).max() < 1e-5 * max(
                1, np.abs(theirs).max()
            )


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("memory", ["pinned", "mapped", "managed"])
@pytest.mark.parametrize("head", ["cls", "prob", "logits"])
def test_frames_become_what_onnx_runtime_makes_of_them(
    standin: StandInGpu, exported: Exported, frames: Frames, head: str, memory: str, graphs: bool
) -> None:
    model = exported(head)
    standin.machine.refuses_capture = not graphs
    with Segmenter(standin.engine(model), memory=memory) as segmenter:
        assert segmenter.device.startswith("Orin (sm87), TensorRT 10.3.0, " + memory)
        assert segmenter.device.endswith("CUDA graph" if graphs else "stream")
        for found, wanted in zip([segmenter(frame) for frame in frames[:3]], expected(model, frames[:3]), strict=True):
            assert_same(found, wanted)
    assert standin.machine.replays == (3 if graphs else 0)
    launched = {
        "cls": {"fastscnn_winners_f32", "fastscnn_labels_f32"},
        "prob": {"fastscnn_softmax_f32_f32"},
        "logits": set(),
    }
    assert set(standin.machine.launched) == launched[head]


@pytest.mark.parametrize("options", [{"precision": "fp16"}, {"probability": "sigmoid"}, {"input": "float"}, {"batch": 2}], ids=str)  # fmt: skip
def test_every_kind_of_model(standin: StandInGpu, exported: Exported, frames: Frames, options: dict[str, Any]) -> None:
    head = "prob" if "probability" in options else "cls"
    model = exported(head, **options)
    with Segmenter(standin.engine(model)) as segmenter:
        for found, wanted in zip([segmenter(frame) for frame in frames[:2]], expected(model, frames[:2]), strict=True):
            assert_same(found, wanted)


@pytest.mark.parametrize("input", ["uint8", "float"])
@pytest.mark.parametrize("size", [(200, 320), (97, 131), (64, 1000)])
def test_the_gpu_resizes_frames_as_the_cpu_does(
    standin: StandInGpu, exported: Exported, frames: Frames, size: tuple[int, int], input: str
) -> None:
    model = exported("cls", input=input)
    resized = [np.ascontiguousarray(cv2.resize(frame, size[::-1])) for frame in frames[:2]]
    with Segmenter(standin.engine(model)) as segmenter:
        for found, wanted in zip(
            [segmenter(frame) for frame in resized * 2], expected(model, resized) * 2, strict=True
        ):
            assert found.labels.shape == size
            assert_same(found, wanted)
    assert standin.machine.launched.count(f"fastscnn_frame_{'u8' if input == 'uint8' else 'f32'}") == 4
    assert standin.machine.replays == 3, "each but the first of its size"


def test_a_batch_of_frames_of_different_sizes(standin: StandInGpu, exported: Exported, frames: Frames) -> None:
    model = exported("cls", batch=3)
    batch = [frames[0], cv2.resize(frames[1], (150, 90)), cv2.resize(frames[2], (300, 200))]
    with Segmenter(standin.engine(model)) as ours, Segmenter(model, "cpu", threads=1) as theirs:
        for _ in range(2):
            for found, wanted in zip(ours.batch(batch), theirs.batch(batch), strict=True):
                assert_same(found, wanted)
        for found, wanted in zip(ours.batch(batch[:2]), theirs.batch(batch[:2]), strict=True):  # padded
            assert_same(found, wanted)


def test_many_sizes_keep_little_memory(standin: StandInGpu, exported: Exported, frames: Frames) -> None:
    with Segmenter(standin.engine(exported("cls"))) as segmenter:
        held = []
        for width in range(100, 220, 10):
            assert segmenter(cv2.resize(frames[0], (width, 100))).labels.shape == (100, width)
            held.append((standin.machine.allocated, len(standin.machine.executables)))
        assert max(graphs for _, graphs in held) == 4
        assert held[-1][0] < held[4][0] + 4 * 2 * 3 * 100 * 130


@pytest.mark.parametrize("head", ["cls", "prob"])
def test_an_engine_with_its_head_inside(standin: StandInGpu, exported: Exported, frames: Frames, head: str) -> None:
    model = exported(head)
    with Segmenter(standin.engine(model, inside=True)) as segmenter:
        resized = cv2.resize(frames[0], (200, 100))  # no kernels are in its description: the CPU resizes
        for frame in (frames[0], resized, frames[0]):
            (wanted,) = expected(model, [frame])
            assert_same(segmenter(frame), wanted)
    assert standin.machine.launched == []


def test_without_kernels_for_this_gpu_the_cpu_decodes_and_says_so(
    standin: StandInGpu, exported: Exported, frames: Frames, caplog: pytest.LogCaptureFixture
) -> None:
    for head in ("cls", "prob"):
        model = exported(head)
        with Segmenter(standin.engine(model, kernels=None)) as segmenter:
            resized = cv2.resize(frames[1], (200, 100))
            for frame, wanted in zip((frames[0], resized), expected(model, [frames[0], resized]), strict=True):
                assert_same(segmenter(frame), wanted)
    assert "holds no kernels, so the CPU resizes and decodes, which is slower" in caplog.text
    assert standin.machine.launched == []


def test_the_engines_own_outputs(standin: StandInGpu, exported: Exported, frames: Frames) -> None:
    """As fastscnn-trt verify compares them."""
    backend = TensorRTBackend(standin.engine(exported("cls")), decode=False)
    try:
        raw = backend.run(frames[0][None])
        assert raw.labels is None and raw.logits is not None
        (wanted,) = expected(exported("logits"), frames[:1])
        assert np.abs(raw.logits[0] - wanted.logits).max() < 1e-4
    finally:
        backend.close()


def test_eight_threads_share_a_segmenter(standin: StandInGpu, exported: Exported, frames: Frames) -> None:
    model = exported("cls")
    wanted = [result.labels for result in expected(model, frames)]
    with Segmenter(standin.engine(model)) as segmenter, ThreadPoolExecutor(8) as threads:
        found = list(threads.map(segmenter, frames * 8))
        for index, result in enumerate(found):
            assert np.mean(result.labels == wanted[index % len(frames)]) > 0.999, index
        assert len(standin.machine.streams) == 2, "two frames in flight, whatever the number of threads"


def test_a_stream_of_frames_keeps_its_order_and_takes_both_streams(
    standin: StandInGpu, exported: Exported, frames: Frames
) -> None:
    model = exported("cls")
    wanted = [result.labels for result in expected(model, frames)]
    with Segmenter(standin.engine(model)) as segmenter:
        buffer = np.empty_like(frames[0])

        def camera() -> Any:
            for frame in frames * 3:
                buffer[:] = frame  # one buffer for every frame, as a camera has
                yield buffer

        for index, result in enumerate(segmenter.stream(camera())):
            assert np.mean(result.labels == wanted[index % len(frames)]) > 0.999, index
        assert index == 3 * len(frames) - 1
        assert len(standin.machine.streams) == 2


def test_results_stay_as_they_are(standin: StandInGpu, exported: Exported, frames: Frames) -> None:
    with Segmenter(standin.engine(exported("cls"))) as segmenter:
        first = segmenter(frames[0]).labels
        copy = first.copy()
        rest = [segmenter(frame).labels for frame in frames[1:]]
    assert np.array_equal(first, copy) and any(not np.array_equal(first, other) for other in rest)


def test_on_a_board_that_shares_memory_the_fastest_mode_is_taken(
    standin: StandInGpu, exported: Exported, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastscnn.runtime.backends.tensorrt import fastest

    engine = standin.engine(exported("cls"))
    with Segmenter(engine) as segmenter:
        assert "pinned" in segmenter.device
    standin.machine.attributes["INTEGRATED"] = 1
    times = {"pinned": 3.0, "mapped": 1.0, "managed": 2.0}
    monkeypatch.setattr(fastest, "_time", lambda slot: times[slot.mode])
    with Segmenter(engine) as segmenter:
        assert "mapped" in segmenter.device
        assert len(standin.machine.streams) == 1, "those that were tried are freed"
    standin.machine.attributes["CAN_MAP_HOST_MEMORY"] = 0
    with Segmenter(engine) as segmenter:
        assert "managed" in segmenter.device
    monkeypatch.undo()


def test_the_choice_of_memory_is_measured(standin: StandInGpu, exported: Exported) -> None:
    standin.machine.attributes["INTEGRATED"] = 1
    with Segmenter(standin.engine(exported("cls", (64, 64)))) as segmenter:
        assert any(mode in segmenter.device for mode in ("pinned", "mapped", "managed"))
        assert standin.machine.replays >= 30


def test_managed_memory_of_a_jetson_belongs_to_its_stream(
    standin: StandInGpu, exported: Exported, frames: Frames
) -> None:
    standin.machine.attributes["CONCURRENT_MANAGED_ACCESS"] = 0
    model = exported("cls")
    with Segmenter(standin.engine(model), memory="managed") as segmenter:
        assert standin.machine.attached is not None
        assert_same(segmenter(frames[0]), expected(model, frames[:1])[0])
        assert segmenter.device.endswith("stream")
        del standin.machine.attached


def test_rtx(standin: StandInGpu, exported: Exported, frames: Frames, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StandInGpu, "version", "1.7.1.116")
    standin.install("rtx", name="RTX 4070", capability=(8, 9))
    model = exported("cls")
    engine = standin.engine(model, flavour="rtx", device="")
    with Segmenter(engine) as segmenter:
        assert segmenter.device == "RTX 4070 (sm89), TensorRT for RTX 1.7.1.116, pinned memory, CUDA graph"
        assert_same(segmenter(frames[0]), expected(model, frames[:1])[0])
    standin.tensorrt.capturable = False
    with Segmenter(engine) as segmenter:
        assert segmenter.device.endswith("stream")
        assert_same(segmenter(frames[0]), expected(model, frames[:1])[0])


def test_closing_twice_and_what_comes_after(standin: StandInGpu, exported: Exported, frames: Frames) -> None:
    segmenter = Segmenter(standin.engine(exported("cls")))
    segmenter(frames[0])
    segmenter.close()
    segmenter.close()
    standin.assert_clean()
    with pytest.raises(UsageError, match="closed"):
        segmenter(frames[0])
    backend = segmenter.backend
    with pytest.raises(UsageError, match="closed"):
        backend.run(frames[0][None])
    assert isinstance(backend, TensorRTBackend)
    with pytest.raises(UsageError, match="closed"), backend.context.active("looking"):
        pass


def test_closing_from_another_thread_frees_everything(standin: StandInGpu, exported: Exported, frames: Frames) -> None:
    segmenter = Segmenter(standin.engine(exported("cls")))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(segmenter, frames))
    thread = threading.Thread(target=segmenter.close)
    thread.start()
    thread.join()
    standin.assert_clean()


@pytest.mark.parametrize(
    ("opened", "said"), [(Segmenter, "unclosed Segmenter of .*plan"), (TensorRTBackend, r"engine\.plan was not closed")]
)
def test_a_forgotten_one_warns_and_frees_everything(
    standin: StandInGpu, exported: Exported, frames: Frames, opened: Callable[..., Any], said: str
) -> None:
    one = opened(standin.engine(exported("cls")))
    if isinstance(one, Segmenter):
        one(frames[0])
    else:
        one.run(frames[0][None])
    with pytest.warns(ResourceWarning, match=said) as warned:
        del one
        gc.collect()
    assert len(warned) == 1
    standin.assert_clean()


def test_a_warning_that_is_an_error_does_not_keep_the_memory(standin: StandInGpu, exported: Exported) -> None:
    backend = TensorRTBackend(standin.engine(exported("cls")))
    with warnings.catch_warnings(), pytest.raises(ResourceWarning):
        warnings.simplefilter("error")
        backend._forgotten()
    standin.assert_clean()


def test_closing_waits_until_a_call_has_left_the_context(
    standin: StandInGpu, exported: Exported, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = TensorRTBackend(standin.engine(exported("cls")))
    closer, leaving, pop = threading.current_thread(), threading.Event(), standin.cuda.Context.pop

    def slow() -> None:
        if threading.current_thread() is not closer:
            leaving.set()
            time.sleep(0.3)
        pop()

    monkeypatch.setattr(standin.cuda.Context, "pop", staticmethod(slow))
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(backend.run, frames[0][None])
        assert leaving.wait(10)
        backend.close()
        assert call.result().labels is not None
    standin.assert_clean()


def test_after_warm_up_no_slot_is_cold(standin: StandInGpu, exported: Exported, frames: Frames) -> None:
    small = frames[0][:100].copy()
    with Segmenter(standin.engine(exported("cls"))) as segmenter:
        segmenter.warm_up((100, 256), frames=4)
        assert len(standin.machine.streams) == 2
        held, graphs = standin.machine.allocated, len(standin.machine.executables)
        list(segmenter.stream([small] * 8))
        assert (standin.machine.allocated, len(standin.machine.executables)) == (held, graphs)


@pytest.mark.parametrize("form", kernels.FORMS)
@pytest.mark.parametrize("resolution", [(128, 256), (96, 160)])
def test_other_formats_are_converted_on_the_gpu(
    standin: StandInGpu, exported: Exported, frames: Frames, form: str, resolution: tuple[int, int]
) -> None:
    """Their bytes cross the bus as they are; only what no kernel cuts goes through the CPU."""
    model, one = exported(resolution=resolution), pixel_format(form)
    height, width = 128 * 3 // 2 if one.planar else 128, 256 * one.channels
    data = np.random.default_rng(0).integers(0, 256, (height, width + 8), dtype=np.uint8)
    frame = (
        one.view(np.ascontiguousarray(data[:, :width]), 128, 256)
        if form == "i420"
        else one.view(data, 128, 256, width + 8)
    )
    kind = "frame" if form == "bgr8" else "yuv" if one.even != (1, 1) else "packed"
    copied = form == "bgr8" and resolution == (128, 256)
    for roi, there in ((None, True), (np.s_[8:72, 30:210], one.pixelwise)):
        standin.machine.launched.clear()
        with Segmenter(standin.engine(model), roi=roi) as segmenter, Segmenter(model, "cpu", roi=roi, threads=1) as cpu:
            found, wanted = segmenter(frame, pixel_format=form), cpu(frame, pixel_format=form)
            assert_same(found, wanted)
            expected_kernel = f"fastscnn_{kind if there else 'frame'}_u8"
            assert (expected_kernel in standin.machine.launched) == (not copied or roi is not None)
            boxed = segmenter(frame, pixel_format=form, letterbox=True), cpu(frame, pixel_format=form, letterbox=True)
            assert_same(*boxed)


@pytest.mark.parametrize("head", ["cls", "prob", "logits"])
@pytest.mark.parametrize("batch", [1, 2])
def test_confidence_and_unknown_labels(
    standin: StandInGpu, exported: Exported, frames: Frames, head: str, batch: int
) -> None:
    model = exported(head, batch=batch)
    with Segmenter(model, "cpu", threads=1) as cpu:
        below = float(np.median(cpu(frames[0]).confidence)) / 255
    with (
        Segmenter(standin.engine(model), unknown_below=below) as segmenter,
        Segmenter(model, "cpu", unknown_below=below) as cpu,
    ):
        for found, wanted in zip(segmenter.batch(frames[:batch]), cpu.batch(frames[:batch]), strict=True):
            assert_same(found, wanted)
            assert found.confidence.shape == (16, 32)
            assert np.abs(found.confidence.astype(int) - wanted.confidence).max() <= 1
            assert 0.2 < np.mean(found.labels == 255) < 0.8
    with Segmenter(standin.engine(model), unknown_below=0) as segmenter, Segmenter(model, "cpu") as cpu:
        found, wanted = segmenter(frames[0]), cpu(frames[0])
        assert_same(found, wanted)
        assert np.abs(found.confidence.astype(int) - wanted.confidence).max() <= 1
    if head != "logits":
        with Segmenter(standin.engine(model)) as segmenter, pytest.raises(UsageError, match="unknown_below=0"):
            _ = segmenter(frames[0]).confidence


def test_an_engine_with_its_head_inside_knows_no_confidence(standin: StandInGpu, exported: Exported) -> None:
    engine = standin.engine(exported("cls"), inside=True)
    with pytest.raises(UsageError, match=r"ends in labels. Build it again without --head-in-engine"):
        Segmenter(engine, unknown_below=0.5)


def test_without_kernels_the_cpu_finds_what_is_unknown(standin: StandInGpu, exported: Exported, frames: Frames) -> None:
    model = exported("cls")
    with Segmenter(standin.engine(model, kernels=None), unknown_below=0.1) as segmenter:
        with Segmenter(model, "cpu", unknown_below=0.1) as cpu:
            found, wanted = segmenter(frames[0], pixel_format="rgb8"), cpu(frames[0], pixel_format="rgb8")
        assert_same(found, wanted)
        assert np.array_equal(found.confidence, wanted.confidence)
