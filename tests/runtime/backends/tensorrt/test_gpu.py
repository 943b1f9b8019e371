"""The same cases where there is a GPU: frame → labels against ONNX Runtime on the CPU, with whichever flavour is installed."""

import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fastscnn.export.tensorrt import BuildOptions, build
from fastscnn.runtime import ArtifactError, Segmenter
from fastscnn.runtime.artifacts import tensorrt_binding
from fastscnn.runtime.artifacts.gpu import first
from fastscnn.runtime.backends.tensorrt import TensorRTBackend
from fastscnn.runtime.errors import DeviceError

pytestmark = pytest.mark.gpu
Exported = Callable[..., Path]
Frames = list[np.ndarray]


@pytest.fixture(autouse=True)
def device() -> None:
    if first() is None:
        pytest.skip("no GPU")
    pytest.importorskip("pycuda")
    try:
        tensorrt_binding.find()
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    folder, made = tmp_path_factory.mktemp("engines"), {}

    def give(model: Path, **options: Any) -> Path:
        key = f"{model}{sorted(options.items())}"
        if key not in made:
            made[key] = build(model, folder / f"{len(made)}.plan", BuildOptions(**options)).path
        return made[key]

    return give


def assert_same(found: Any, wanted: Any, share: float) -> None:
    assert np.mean(found.labels == wanted.labels) >= share
    if wanted.probabilities is not None:
        assert np.abs(found.probabilities - wanted.probabilities).max() < (1e-3 if share > 0.999 else 5e-2)


@pytest.mark.parametrize("memory", ["pinned", "mapped", "managed"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("head", ["cls", "prob", "logits"])
def test_frames_become_what_onnx_runtime_makes_of_them(
    exported: Exported, engines: Callable[..., Path], frames: Frames, head: str, precision: str, memory: str
) -> None:
    model = exported(head)
    sizes = [frames[0], cv2.resize(frames[1], (320, 200)), frames[2], cv2.resize(frames[3], (131, 97))]
    with (
        Segmenter(engines(model, precision=precision), "cuda", memory=memory) as ours,
        Segmenter(model, "cpu") as theirs,
    ):
        assert memory in ours.device
        for frame in sizes * 3:  # the first of each size launches, the others replay
            assert_same(ours(frame), theirs(frame), 0.9995 if precision == "fp32" else 0.99)


def test_a_graph_is_replayed(exported: Exported, engines: Callable[..., Path], frames: Frames) -> None:
    backend = TensorRTBackend(engines(exported("cls")))
    try:
        assert backend.notes == [] and backend.device.endswith("CUDA graph")
        plain = TensorRTBackend(engines(exported("cls")), graphs=False)
        try:
            for frame in frames:
                assert np.array_equal(backend.run(frame[None]).labels, plain.run(frame[None]).labels)
        finally:
            plain.close()
    finally:
        backend.close()


@pytest.mark.parametrize("options", [{"input": "float"}, {"batch": 3}], ids=str)
def test_other_inputs(
    exported: Exported, engines: Callable[..., Path], frames: Frames, options: dict[str, Any]
) -> None:
    model = exported("cls", **options)
    with Segmenter(engines(model), "cuda") as ours, Segmenter(model, "cpu") as theirs:
        for frame in (frames[0], cv2.resize(frames[1], (200, 100)), frames[2]):
            assert_same(ours(frame), theirs(frame), 0.99)


def test_eight_threads_and_a_stream(exported: Exported, engines: Callable[..., Path], frames: Frames) -> None:
    with Segmenter(engines(exported("cls")), "cuda") as segmenter:
        wanted = [segmenter(frame).labels for frame in frames]
        with ThreadPoolExecutor(8) as threads:
            found = [result.labels for result in threads.map(segmenter, frames * 50)]
        assert all(np.array_equal(a, b) for a, b in zip(found, wanted * 50, strict=True))
        found = [result.labels for result in segmenter.stream(frames * 50)]
        assert all(np.array_equal(a, b) for a, b in zip(found, wanted * 50, strict=True))


def test_torch_lives_in_the_same_process(exported: Exported, engines: Callable[..., Path], frames: Frames) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    ones = torch.ones(1000, device="cuda")
    with Segmenter(engines(exported("cls")), "cuda") as segmenter:
        labels = segmenter(frames[0]).labels
        assert float((ones * 2).sum()) == 2000
        assert np.array_equal(segmenter(frames[0]).labels, labels)
    assert float((ones * 3).sum()) == 3000


def test_memory_comes_back(exported: Exported, engines: Callable[..., Path], frames: Frames) -> None:
    import pycuda.driver as cuda

    engine, free = engines(exported("cls")), []
    for _ in range(6):
        with Segmenter(engine, "cuda") as segmenter:
            segmenter(frames[0])
            backend = segmenter.backend
            assert isinstance(backend, TensorRTBackend)
            with backend.slot("asking"):
                free.append(cuda.mem_get_info()[0])
        gc.collect()
    assert free[1] - free[-1] < 8 << 20


def test_a_truncated_plan_is_refused(exported: Exported, engines: Callable[..., Path], tmp_path: Path) -> None:
    engine = engines(exported("cls"))
    (tmp_path / "e.plan").write_bytes(engine.read_bytes()[:-1])
    (tmp_path / "e.plan.json").write_bytes(Path(f"{engine}.json").read_bytes())
    with pytest.raises(ArtifactError, match="is not the engine that"):
        Segmenter(tmp_path / "e.plan", "cuda")
