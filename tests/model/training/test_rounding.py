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


def exported(source: Path, folder: Path, port: int, **options: str) -> list[torch.Tensor]:
    """What every convolution of an exported file has: kernels (port 1) or biases (2)."""
    graph = onnx.load(export("cls", (64, 64), source, output=folder / "model.onnx", **options)).graph
    values = {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in graph.initializer}
    found = [torch.from_numpy(values[node.input[port]]) for node in graph.node if node.op_type == "Conv"]
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
    before = exported(path, tmp_path, 1)
    assert min(lost(before), lost(exported(path, tmp_path, 2))) > 1e-3
    round_weights(source)
    checkpoint.save(path, source)
    after = exported(path, tmp_path, 1)
    assert lost(after) < 1e-6, "what float32 loses as it folds"
    assert lost(exported(path, tmp_path, 2)) < 1e-4, "the same, of a difference"
    for one, other in zip(before, after, strict=True):
        assert 0 < float((one - other).abs().max()) < 2**-7 * float(one.abs().max()), "a neighbour, no other number"
        if one[0, 0].numel() > 1:
            parted = (one.double() - other.double()).sum(dim=(2, 3)).abs()
            assert float(parted.max()) < 2**-8 * float(one.abs().max()), "the sum of the taps stays"
            assert float(parted.mean()) < 0.5 * float((one - one.bfloat16()).sum(dim=(2, 3)).abs().mean())
    halves = exported(path, tmp_path, 1, precision="fp16")
    parts = [float((k.float() - a).abs().max() / a.abs().max()) for k, a in zip(halves, after, strict=True)]
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


def test_a_run_ends_with_them_and_batch_norm_normalises_as_it_did(rectangles: Path, tmp_path: Path) -> None:
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
    assert convolutions <= changed
    assert {name.rpartition(".")[2] for name in changed - convolutions} == {"bias"}
    final = tmp_path / "True" / "final.safetensors"
    assert lost(exported(final, tmp_path, 1)) < 1e-6
    assert lost(exported(final, tmp_path, 2)[:-1]) < 1e-4, "of all layers but the last, whose biases were balanced"
