"""Training by drive for real: nobody sees what scores it, a killed command goes on, and a table tells the worth."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fastscnn.model.checkpoint import load
from fastscnn.model.training import Recipe, crossvalidation
from fastscnn.model.training.crossvalidation import BASE, SHIPPED, as_markdown, cross_validate, read_settings
from fastscnn.model.training.machine import Machine
from fastscnn.model.training.parts import parts
from fastscnn.model.training.task import open_task
from fastscnn.model.training.train import main
from fastscnn.model.training.trainer import Trainer
from fastscnn.runtime import FastSCNNError, UsageError

CPU = Machine(torch.device("cpu"))


@pytest.fixture(scope="module")
def drives(rectangles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The six pictures as three drives, two in train and one in val."""
    root = tmp_path_factory.mktemp("drives")
    shutil.copy(rectangles / "classes.yaml", root)
    for index in range(6):
        drive, split = "abc"[index // 2], "val" if index > 3 else "train"
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
            shutil.copy(rectangles / kind / "train" / f"{index}.png", root / kind / split / f"{drive}_{index:03d}.png")
    return root


@pytest.fixture
def recipe(drives: Path) -> Recipe:
    return Recipe(
        str(drives),
        epochs=2,
        batch=2,
        crop=(64, 64),
        device="cpu",
        threads=1,
        learning_rate=0.01,
        optimizer="adamw",
        balance=True,
    )


def test_what_is_held_out_is_scored_and_not_trained_on(recipe: Recipe) -> None:
    def names(one: Recipe) -> tuple[list[str], list[str] | None]:
        train, held = parts(one)
        return [s.name for s in train.samples], None if held is None else [s.name for s in held.samples]

    assert names(recipe) == (["a_000", "a_001", "b_002", "b_003"], ["c_004", "c_005"])
    both = replace(recipe, split="train+val")
    assert names(both) == (["a_000", "a_001", "b_002", "b_003", "c_004", "c_005"], None)
    assert names(replace(both, holdout="a, c")) == (["b_002", "b_003"], ["a_000", "a_001", "c_004", "c_005"])
    with pytest.raises(
        UsageError, match=r"holdout names the drive 'd', which train\+val of .* has a \(2\), b \(2\), c \(2\)"
    ):
        parts(replace(both, holdout="d"))
    with pytest.raises(UsageError, match="leaves nothing to train on"):
        parts(replace(both, holdout="a,b,c"))


def test_all_of_it_can_be_trained_on_and_then_nothing_is_chosen(recipe: Recipe, tmp_path: Path) -> None:
    whole = replace(recipe, split="train+val", temperature=(1.5, 2.0))
    trainer = Trainer(whole, tmp_path, CPU)
    assert trainer.steps == 3
    history = trainer.run()
    assert all(row.keys() == {"epoch", "loss", "learning_rate", "seconds"} for row in history)
    assert not (tmp_path / "best.safetensors").exists()
    kept = load(tmp_path / "final.safetensors")
    assert kept.temperature == (1.5, 2.0) and len(kept.balanced) == 4
    Trainer(replace(whole, temperature=(1.2, 1.3)), tmp_path, CPU, resume=True).run()
    later = load(tmp_path / "final.safetensors")
    assert later.temperature == (1.2, 1.3), "found when the run had begun"
    assert later.balanced == kept.balanced
    assert all(
        torch.equal(one, other)
        for one, other in zip(kept.network.parameters(), later.network.parameters(), strict=True)
    )


def test_settings_are_compared_and_a_killed_command_goes_on(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"smooth": {"smoothing": 0.1}, "runs away": {"learning_rate": 99.0, "optimizer": "sgd", "epochs": 30}}
    trained: list[str] = []
    run = Trainer.run

    def killed(trainer: Trainer) -> list[dict[str, float]]:
        if len(trained) == 2 and not (tmp_path / "once").exists():
            (tmp_path / "once").touch()
            raise KeyboardInterrupt
        trained.append(f"{trainer.recipe.smoothing} {trainer.recipe.holdout}")
        return run(trainer)

    monkeypatch.setattr(Trainer, "run", killed)
    place = tmp_path / "folds"
    with pytest.raises(KeyboardInterrupt):
        cross_validate(recipe, settings, place, CPU, groups=3)
    with pytest.raises(UsageError, match=r"holds runs already\. Add --resume"):
        cross_validate(recipe, settings, place, CPU, groups=3)
    found = cross_validate(recipe, settings, place, CPU, groups=3, resume=True)
    assert trained[:6] == ["0.0 a", "0.0 b", "0.0 c", "0.1 a", "0.1 b", "0.1 c"], "what was finished is not run again"
    assert [setting.name for setting in found] == [BASE, "smooth", "runs away"]
    assert found[2].failure and "finite" in found[2].failure
    for setting in found[:2]:
        assert [fold.drives for fold in setting.folds] == [("a",), ("b",), ("c",)]
        total = setting.pooled().counts
        assert total.sum() == sum(fold.confusion.counts.sum() for fold in setting.folds)
        fits = setting.calibration()
        assert set(fits) == {"prob", "cls"} and 0.05 <= fits["prob"].temperature <= 20
    table = (place / "settings.md").read_text()
    assert table == as_markdown(recipe, found)
    assert "| smooth (smoothing=0.1) |" in table and "\nruns away failed: " in table
    report = json.loads((place / "settings.json").read_text())
    assert report["smooth"]["mean_iou"].keys() == {"a", "b", "c"}
    assert report["runs away"]["failure"]
    written: list[Path] = []
    monkeypatch.setattr(crossvalidation, "_write", lambda folder, *_: written.append(folder))
    cross_validate(recipe, {"smooth": settings["smooth"]}, place, CPU, groups=3, resume=True)
    assert written == [place], "once at the end: six finished runs give no table news"
    with pytest.raises(UsageError, match=r"was trained with seed=0 \(now 1\)"):
        cross_validate(replace(recipe, seed=1), {}, place, CPU, groups=3, resume=True)


def test_settings_files(tmp_path: Path, drives: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in SHIPPED.glob("*.yaml"):
        base = Recipe.read(path.stem, [f"data={drives}"])
        for changes in read_settings(path.stem).values():
            assert Recipe.of({**base.as_dict(), **changes}) != base
    bad = tmp_path / "bad.yaml"
    for text, says in (
        ("- 1\n", "does not hold names"),
        ("a: 3\n", "does not hold names"),
        ("A b: {}\na-b: {}\n", "same folder"),
    ):
        bad.write_text(text)
        with pytest.raises(UsageError, match=says):
            read_settings(str(bad))
    with pytest.raises(UsageError, match="Did you mean 'camvid'"):
        read_settings("camvit")
    bad.write_text("typo: {epoch: 3}\n")
    arguments = ["camvid", f"data={drives}", "street=0"]
    assert main([*arguments, "--folds", "3", "--settings", str(bad), "-o", str(tmp_path / "run")]) == 2
    assert "setting 'typo': 'epoch' is not a field" in capsys.readouterr().err
    assert main([*arguments, "--settings", str(bad)]) == 2
    assert "expected --folds" in capsys.readouterr().err


def test_a_teacher_pulls_towards_what_it_says(recipe: Recipe, tmp_path: Path) -> None:
    trained = Trainer(replace(recipe, balance=False, epochs=20), tmp_path / "teacher", CPU)
    trained.run()
    path = str(tmp_path / "teacher" / "final.safetensors")
    pupil = open_task(replace(recipe, teacher=f"{path}, {path}", distillation=2.0))
    images = torch.randn(2, 3, 64, 64)
    target = torch.zeros(2, 64, 64, dtype=torch.uint8)
    target[1] = 255
    teacher = load(Path(path)).network
    with torch.no_grad():
        outputs = teacher(images), *(torch.zeros(2, 4, 2, 2) for _ in range(2))
    losses = pupil.losses(outputs, target, images)
    (total, count, weight) = losses[1]
    assert (float(count), weight) == (64.0, 2.0)
    assert float(total) == pytest.approx(0, abs=1e-3), "who says the same as the teacher has nothing to learn"
    other = pupil.losses((torch.zeros_like(outputs[0]), *outputs[1:]), target, images)[1][0]
    probabilities = outputs[0][0].softmax(dim=0).double()
    entropy = float((probabilities * (probabilities * 4).log()).sum())
    assert float(other) == pytest.approx(entropy, rel=1e-4)
    with pytest.raises(FastSCNNError):
        open_task(replace(recipe, teacher=str(tmp_path / "none.safetensors"), distillation=1.0))
    with pytest.raises(UsageError, match="teacher is None"):
        replace(recipe, distillation=1.0)
