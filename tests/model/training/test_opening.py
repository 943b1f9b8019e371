"""An opening: the first epochs see drawn streets alone, the others what they always saw."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fastscnn.model.street import Street
from fastscnn.model.training import Recipe
from fastscnn.model.training.machine import Machine
from fastscnn.model.training.task import open_task
from fastscnn.model.training.trainer import Trainer
from fastscnn.runtime.errors import UsageError

CPU = Machine(torch.device("cpu"))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Four pictures in CamVid's layout, street frames beside them, four epochs of which two are the opening."""
    for split in ("train", "val"):
        for folder in (split, f"{split}annot"):
            (tmp_path / "data" / folder).mkdir(parents=True)
        for index in range(4):
            image, labels = Street(64, 96, seed=90 + index, classes="camvid").frame(index)
            cv2.imwrite(str(tmp_path / "data" / split / f"d_{index}.png"), image)
            cv2.imwrite(
                str(tmp_path / "data" / f"{split}annot" / f"d_{index}.png"), np.where(labels == 255, 11, labels)
            )
    return Recipe(
        str(tmp_path / "data"), epochs=4, batch=2, crop=(64, 64), resolution=(80, 120), street=2, opening=0.5, rain=0.5,
        warmup=1, learning_rate=0.01, optimizer="adamw", ema=0.9, device="cpu", threads=1, evaluate_every=4,
    )  # fmt: skip


def test_it_shows_streets_of_its_own_and_changes_nothing_after_itself(recipe: Recipe) -> None:
    ours, theirs = (open_task(r).views for r in (recipe, replace(recipe, opening=0)))
    names = [ours[epoch, index][2] for epoch in (0, 1) for index in range(len(ours))]
    assert names == [f"street {place}" for place in range(2, 8)] * 2, "not the two that come beside the pictures later"
    first, second = (ours[epoch, 0][0] for epoch in (0, 1))
    assert not torch.equal(first, second), "another view of the same street"
    for index in range(len(theirs)):
        for one, other in zip(ours[2, index], theirs[2, index], strict=True):
            assert one == other if isinstance(one, str) else torch.equal(one, other)


@pytest.mark.parametrize("stopped", [1, 2])
def test_a_run_that_stopped_within_it_or_at_its_end_goes_on_the_same(
    recipe: Recipe, tmp_path: Path, stopped: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Trainer(recipe, tmp_path / "whole", CPU).run()
    with monkeypatch.context() as patched:
        saved = Trainer._save

        def killed(trainer: Trainer) -> None:
            saved(trainer)
            if trainer.epoch == stopped:
                raise KeyboardInterrupt

        patched.setattr(Trainer, "_save", killed)
        with pytest.raises(KeyboardInterrupt):
            Trainer(recipe, tmp_path / "run", CPU).run()
    Trainer(recipe, tmp_path / "run", CPU, resume=True).run()
    assert len(whole) == 4
    for name in ("final.safetensors", "best.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_what_cannot_be_is_refused(recipe: Recipe, rectangles: Path) -> None:
    with pytest.raises(
        UsageError, match=r"opening is 0\.5, but drawn streets have the classes of cityscapes or camvid, not of"
    ):
        open_task(replace(recipe, data=str(rectangles), street=0))
    for wrong in ({"opening": 1.0}, {"opening": 0.9}, {"closing": 0.5, "closing_crop": (80, 80)}):
        with pytest.raises(UsageError, match=r"opening is \S+; expected "):
            replace(recipe, **wrong)
