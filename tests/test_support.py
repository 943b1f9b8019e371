"""What the tests themselves lean on: the reference in NumPy is PyTorch's, and the recorded models are what is exported today."""

import sys
from collections.abc import Callable
from pathlib import Path

import floor
import numpy as np
import pytest
import pythons
import recorded
import reference


@pytest.mark.torch
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("low", "full"), [((16, 32), (128, 256)), ((9, 13), (65, 100)), ((1, 1), (8, 9)), ((11, 20), (4, 7)), ((12, 9), (1, 33))]
)  # fmt: skip
def test_the_reference_is_pytorchs(low: tuple[int, int], full: tuple[int, int], align_corners: bool) -> None:
    import torch
    from torch.nn import functional

    logits = np.random.default_rng(0).standard_normal((5, *low))
    tensor = torch.from_numpy(logits)[None]
    expected = functional.interpolate(tensor, full, mode="bilinear", align_corners=align_corners)[0].numpy()
    found = reference.upsampled(logits, full, align_corners)
    assert np.abs(found - expected).max() < 1e-12
    assert np.abs(reference.softmax(found) - torch.softmax(torch.from_numpy(expected), 0).numpy()).max() < 1e-12
    assert np.array_equal(reference.best_two(found), torch.from_numpy(found).topk(2, dim=0).values.numpy())
    for bins in ((1, 1), low, (max(1, low[0] // 3), max(1, low[1] // 2))):
        pooled = functional.adaptive_avg_pool2d(tensor, bins)[0].numpy()
        assert np.abs(reference.pooled(logits, bins) - pooled).max() < 1e-12


@pytest.mark.torch
@pytest.mark.parametrize(
    "name",
    [
        "cls_100x140_cityscapes.onnx",
        "logits_128x256_cityscapes_precision-fp16.onnx",
        "cls_128x256_cityscapes_input-float.onnx",
    ],
)
def test_recorded_models_are_what_is_exported_today(
    name: str, newly_exported: Callable[..., Path], tmp_path: Path
) -> None:
    """Else: python tests/support/record.py. Weights and channels are others, operators, names and description are not."""
    import onnx

    (spec,) = (spec for spec in recorded.SPECS if spec.name == name)
    new = onnx.load(newly_exported(**spec.arguments))
    old = onnx.load(recorded.unpacked(tmp_path)[name])
    told = lambda model: [(node.op_type, node.name, list(node.input), list(node.output)) for node in model.graph.node]  # noqa: E731
    assert told(old) == told(new)
    described = [recorded.description(model.SerializeToString()) for model in (old, new)]
    assert {key for key in described[0] if described[0][key] != described[1][key]} <= {"checkpoint", "version"}


def test_the_floor_is_the_lowest_of_each_bound() -> None:
    found = dict(line.split("==") for line in floor.lowest(["cpu"]))
    assert found["opencv-python"] == "4.8.0.*", "JetPack 6 has it"
    assert found["onnxruntime"].startswith("1.17.")
    higher = dict(line.split("==") for line in floor.lowest(["cpu", "convert"]))
    assert higher["onnxruntime"].startswith("1.18."), "the highest of several bounds"
    assert pythons.find(".".join(map(str, sys.version_info[:2]))) or sys.prefix != sys.base_prefix
    assert pythons.find("1.4") is None
