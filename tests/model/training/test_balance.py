"""Class biases at the end of a training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score

from fastscnn.model import checkpoint
from fastscnn.model.training import Recipe
from fastscnn.model.training.balance import biases
from fastscnn.model.training.machine import Machine
from fastscnn.model.training.trainer import Trainer


def test_what_a_shift_spoilt_is_put_right() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 20_000, p=[0.7, 0.25, 0.05]).astype(np.uint8)
    logits = torch.from_numpy(np.eye(3)[labels] * 2 + rng.normal(0, 1, (len(labels), 3))).float()
    shift = torch.tensor([0.0, -2.0, 1.5])
    found, before, after = biases(logits + shift, labels)
    predicted = (logits + shift + found).argmax(1).numpy()
    assert after == pytest.approx(jaccard_score(labels, predicted, average="macro"), abs=1e-9)
    assert after > before + 0.1
    assert after >= jaccard_score(labels, logits.argmax(1).numpy(), average="macro")
    assert abs(float(found.mean())) < 1e-6


def test_nothing_moves_where_nothing_is_gained() -> None:
    labels = np.arange(4, dtype=np.uint8).repeat(50)
    found, before, after = biases(torch.eye(4)[torch.from_numpy(labels).long()] * 9, labels)
    assert (before, after, found.tolist()) == (1.0, 1.0, [0.0] * 4)


def test_a_run_ends_with_biases_moved_and_nothing_else(rectangles: Path, tmp_path: Path) -> None:
    plain, moved = (
        Recipe(str(rectangles), epochs=1, batch=2, crop=(96, 96), device="cpu", learning_rate=0.01, balance=balance)
        for balance in (False, True)
    )
    tensors = []
    for recipe, folder in ((plain, tmp_path / "plain"), (moved, tmp_path / "moved")):
        Trainer(recipe, folder, Machine(torch.device("cpu"))).run()
        tensors.append(checkpoint.load(folder / "final.safetensors").network.state_dict())
    changed = {name for name in tensors[0] if not torch.equal(tensors[0][name], tensors[1][name])}
    assert changed == {"classifier.conv.bias"}
