"""Class biases at the end of a training."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fastscnn.model import checkpoint
from fastscnn.model.datasets import open_dataset
from fastscnn.model.evaluate import evaluate
from fastscnn.model.inference import Network
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


def test_the_score_of_what_is_kept_stands_in_the_log(rectangles: Path, tmp_path: Path) -> None:
    recipe = Recipe(
        str(rectangles),
        epochs=2,
        batch=2,
        crop=(96, 96),
        device="cpu",
        learning_rate=0.01,
        balance=True,
        evaluate_every=1,
    )
    trainer = Trainer(recipe, tmp_path, Machine(torch.device("cpu")))
    trainer.run()
    network = Network(checkpoint.load(tmp_path / "final.safetensors"), "cpu")
    expected = evaluate(network, open_dataset(rectangles, "val"), progress=False).confusion.mean_iou()

    def logged() -> list[dict[str, str]]:
        with (tmp_path / "log.csv").open() as file:
            return list(csv.DictReader(file))

    first, last = rows = logged()
    assert float(last["balanced_mean_iou"]) == pytest.approx(100 * expected)
    assert first["balanced_mean_iou"] == "" and "balanced_iou_red" in last
    assert float(last["mean_iou"]) != float(last["balanced_mean_iou"])
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (event,) = board.Scalars("balanced_mean_iou")
    assert (event.step, event.value) == (2, pytest.approx(100 * expected))
    assert len(board.Scalars("mean_iou")) == 2
    Trainer(recipe, tmp_path, Machine(torch.device("cpu")), resume=True).run()
    assert logged() == rows
