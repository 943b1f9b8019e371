"""What is done to a graph before OpenVINO compiles it: rounded kernels for bfloat16, frames that stay channels-last."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastscnn.runtime.backends import agreement, bfloat16, channels_last
from fastscnn.runtime.backends.onnxruntime import OnnxRuntimeBackend
from fastscnn.runtime.backends.openvino import OpenVinoBackend, available

openvino = pytest.importorskip("openvino")
Exported = Callable[..., Path]
SIZE = (256, 512)

needs_bf16 = pytest.mark.skipif("openvino-bf16" not in available(), reason="this processor has no bfloat16 arithmetic")


@pytest.mark.torch
@needs_bf16
def test_bfloat16_is_better_prepared_than_not(
    whole: Path, scenes: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = whole
    expected = [OnnxRuntimeBackend(path, "cpu").logits(scene[None])[0] for scene in scenes]

    def errors() -> list[float]:
        backend = OpenVinoBackend(path, "openvino-bf16")
        pairs = zip(scenes, expected, strict=True)
        return [float(np.sqrt(np.mean((backend.logits(s[None])[0] - e) ** 2))) for s, e in pairs]

    prepared = errors()
    monkeypatch.setattr(bfloat16, "prepare", lambda model: None)
    assert max(prepared) < 0.9 * max(errors())


def test_preparing_leaves_the_network_what_it_is(shipped: Exported, scenes: list[np.ndarray]) -> None:
    """Whole means and rounded kernels, computed in float32: away from the border only the rounding is left."""
    core = openvino.Core()
    results = []
    for prepare in (False, True):
        model = core.read_model(shipped("logits"))
        if prepare:
            bfloat16.prepare(model)
            (means,) = [n for n in model.get_ordered_ops() if n.get_friendly_name() == "input.mean"]
            values = means.input(1).get_source_output().get_node().data.ravel()
            assert values.tolist() == np.round(values).tolist()
        request = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
        request.infer([scenes[0][None]])
        results.append(request.get_output_tensor(0).data[0].copy())
    assert 0 < agreement.share(results[1], results[0]) < 0.5 * agreement.REDUCED


def test_frames_stay_channels_last_and_the_numbers_the_same(shipped: Exported, scenes: list[np.ndarray]) -> None:
    core = openvino.Core()
    results, moves = [], []
    for prepare in (False, True):
        model = core.read_model(shipped("logits"))
        if prepare:
            assert channels_last.prepare(model)
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        kinds = [node.get_rt_info()["layerType"].astype(str) for node in compiled.get_runtime_model().get_ordered_ops()]
        moves.append(kinds.count("Transpose"))
        request = compiled.create_infer_request()
        request.infer([scenes[0][None]])
        results.append(request.get_output_tensor(0).data.copy())
    assert np.array_equal(*results)
    assert moves[1] < moves[0], "a whole frame is moved outward and back"
    means = next(
        node for node in compiled.get_runtime_model().get_ordered_ops() if node.get_friendly_name() == "input.mean"
    )
    assert tuple(means.get_output_shape(0)) == (1, SIZE[0], SIZE[1] * 3), "not by rows"
    for other in (shipped(input="float"), shipped("logits", precision="fp16")):
        channels_last.prepare(core.read_model(other))  # nothing to do, or the same; nothing fails


def test_rounding_keeps_the_sum_of_every_kernel() -> None:
    kernels = np.random.default_rng(0).standard_normal((500, 9)).astype(np.float32)
    kernels[0], kernels[1] = 0, [1, -2, 0.5, 3, 0, 1, 1, 1, -1]  # exact already
    found = bfloat16.rounded(kernels)
    assert not np.any(found.view(np.uint32) & 0xFFFF), "more than bfloat16 holds"
    assert np.array_equal(found[:2], kernels[:2])
    assert np.all(np.abs(found - kernels) <= np.abs(kernels) * 2.0**-7), "further than the two nearest numbers"
    nearest = ((kernels.view(np.uint32) + 0x8000) & np.uint32(0xFFFF0000)).view(np.float32)
    drift, nearest_drift = (np.abs((w.astype(np.float64) - kernels).sum(axis=1)) for w in (found, nearest))
    assert drift.mean() < 0.2 * nearest_drift.mean()
    assert np.all(drift <= nearest_drift + 1e-6)
