"""Weights that bfloat16 holds exactly, at the end of a training."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from fastscnn.export.exporter import export
from fastscnn.model import checkpoint
from fastscnn.model.checkpoint import Checkpoint, untrained
from fastscnn.model.classes import CAMVID
from fastscnn.model.training import Recipe
from fastscnn.model.training.machine import Machine
from fastscnn.model.training.rounding import round_weights
from fastscnn.model.training.trainer import Trainer


def kernels(source: Path, folder: Path, **options: str) -> list[torch.Tensor]:
    """Of every convolution as an exported file has them."""
    graph = onnx.load(export("cls", (64, 64), source, output=folder / "model.onnx", **options)).graph
    names = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    found = [torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer if t.name in names]
    assert len(found) == 45
    return found


def lost(found: list[torch.Tensor]) -> float:
    """The largest share of a number that bfloat16 rounds away."""
    return max(float(((k.bfloat16().float() - k).abs() / k.abs().clamp(min=1e-30)).max()) for k in found)


@pytest.fixture
def network(tmp_path: Path) -> tuple[Checkpoint, Path]:
    source, path = untrained(CAMVID, seed=3), tmp_path / "weights.safetensors"
    checkpoint.save(path, source)
    return source, path


def test_an_exported_file_has_nothing_to_round(network: tuple[Checkpoint, Path], tmp_path: Path) -> None:
    source, path = network
    before = kernels(path, tmp_path)
    assert lost(before) > 1e-3
    round_weights(source)
    checkpoint.save(path, source)
    after = kernels(path, tmp_path)
    assert lost(after) < 1e-6, "what float32 loses as it folds"
    for one, other in zip(before, after, strict=True):
        assert 0 < float((one - other).abs().max()) < 2**-7 * float(one.abs().max()), "a neighbour, no other number"
        if one[0, 0].numel() > 1:
            parted = (one.double() - other.double()).sum(dim=(2, 3)).abs()
            assert float(parted.max()) < 2**-8 * float(one.abs().max()), "the sum of the taps stays"
            assert float(parted.mean()) < 0.5 * float((one - one.bfloat16()).sum(dim=(2, 3)).abs().mean())
    wholes = kernels(path, tmp_path, precision="fp16")
    parts = [float((k.float() - a).abs().max() / a.abs().max()) for k, a in zip(wholes, after, strict=True)]
    assert max(parts) < 1e-5, "FP16 has these numbers, too, but for the smallest"


def test_labels_stay_near(network: tuple[Checkpoint, Path]) -> None:
    source, _ = network
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, 64, 128))).float()
    with torch.inference_mode():
        before = source.network(image)
        round_weights(source)
        after = source.network(image)
    assert 0 < float((after - before).abs().max() / (before.max() - before.min())) < 0.02


def test_a_channel_that_batch_norm_switched_off_stays(network: tuple[Checkpoint, Path]) -> None:
    source, _ = network
    block = source.network.classifier.dsconv1.pointwise
    with torch.no_grad():
        block.bn.weight[5] = 0
        kept = block.conv.weight[5].clone()
    round_weights(source)
    assert torch.equal(block.conv.weight[5], kept)
    assert all(bool(tensor.isfinite().all()) for tensor in source.network.state_dict().values())


def test_a_run_ends_with_them_and_batch_norm_as_it_was(rectangles: Path, tmp_path: Path) -> None:
    found = []
    for rounded in (False, True):
        recipe = Recipe(
            str(rectangles),
            epochs=1,
            batch=2,
            crop=(96, 96),
            device="cpu",
            learning_rate=0.01,
            balance=True,
            rounded=rounded,
        )
        Trainer(recipe, tmp_path / str(rounded), Machine(torch.device("cpu"))).run()
        found.append(checkpoint.load(tmp_path / str(rounded) / "final.safetensors").network.state_dict())
    plain, moved = found
    changed = {name for name in plain if not torch.equal(plain[name], moved[name])}
    convolutions = {name for name, tensor in plain.items() if tensor.ndim == 4}
    assert convolutions <= changed <= convolutions | {"classifier.conv.bias"}
    assert lost(kernels(tmp_path / "True" / "final.safetensors", tmp_path)) < 1e-6
