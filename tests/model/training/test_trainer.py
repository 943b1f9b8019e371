"""Training for real, on a few small images: it learns, goes on where it was, and stops at what is not a number."""

import csv
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fastscnn.model import checkpoint
from fastscnn.model.training import Recipe
from fastscnn.model.training.journal import Journal
from fastscnn.model.training.machine import enter
from fastscnn.model.training.trainer import Trainer
from fastscnn.runtime import install
from fastscnn.runtime.errors import ArtifactError, TrainingError, UsageError

Command = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ["epochs=8", "batch=2", "crop=[64, 64]", "device=cpu", "threads=1", "evaluate_every=4", "learning_rate=0.02"]


def train(folder: Path, *overrides: str, resume: bool = False) -> Trainer:
    recipe = Recipe.read("cityscapes", [*SMALL, "workers=0", *overrides])
    trainer = Trainer(recipe, folder, enter(recipe), resume=resume)
    trainer.run()
    return trainer


def losses(folder: Path) -> list[str]:
    with (folder / "log.csv").open() as file:
        return [row["loss"] for row in csv.DictReader(file)]


def test_a_few_images_are_learnt_by_heart(rectangles: Path, tmp_path: Path) -> None:
    plain = ["scales=[1, 1]", "flip=false", "brightness=0", "channel_noise=0", "dropout=0", "crop=[96, 96]"]
    trainer = train(
        tmp_path / "run", f"data={rectangles}", *plain, "epochs=40", "batch=3", "evaluate_every=40", "optimizer=adamw",
        "learning_rate=0.01", "weight_decay=0", "ema=0.9"
    )  # fmt: skip
    last = trainer.history[-1]
    assert trainer.history[0]["loss"] > 1.5
    assert last["loss"] < 0.1, "the sum of three cross-entropies"
    assert last["mean_iou"] > 95
    kept = checkpoint.load(tmp_path / "run" / "best.safetensors")
    assert kept.classes.classes == ("red", "green", "blue", "grey")
    for name in ("last.pt", "final.safetensors", "recipe.yaml", "log.csv", "curves.png"):
        assert (tmp_path / "run" / name).stat().st_size, name
    assert cv2.imread(str(tmp_path / "run" / "curves.png")).std() > 5
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


def test_two_processes_see_the_loss_of_one_with_the_same_batch(rectangles: Path, tmp_path: Path) -> None:
    """With frozen norms: PyTorch's SyncBatchNorm, which shares their statistics, exists on GPUs only."""
    start = checkpoint.untrained(checkpoint.load(_bands(rectangles, tmp_path)).classes, seed=1)
    checkpoint.save(tmp_path / "start.safetensors", start)
    arguments = ["cityscapes", f"data={rectangles}", *SMALL, "workers=0", "batch=6", "epochs=4", "dropout=0"]
    arguments += ["freeze_norm=true", "weights=start.safetensors", "learning_rate=0.001", "auxiliary=0"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for count, how in (("1", [sys.executable]), ("2", torchrun)):
        done = subprocess.run(
            [*how, "-m", "fastscnn.model.training.train", *arguments, "-o", count],
            cwd=tmp_path, capture_output=True, text=True, timeout=200, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    one, two = ([float(v) for v in losses(tmp_path / count)] for count in ("1", "2"))
    assert len(one) == 4 and len(set(one)) == 4
    assert two == pytest.approx(one, rel=1e-5)


def _bands(rectangles: Path, folder: Path) -> Path:
    train(folder / "bands", f"data={rectangles}", "epochs=1", "evaluate_every=1")
    return folder / "bands" / "best.safetensors"


def test_a_training_that_runs_away_says_what_to_do(rectangles: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"start anew in another folder with a learning_rate below 90\.0$"):
        train(tmp_path / "run", f"data={rectangles}", "learning_rate=90", "epochs=30", "evaluate_every=30")


@pytest.mark.parametrize(
    ("after", "says"),
    [
        (1, r"the loss is (nan|inf) in epoch 2, at the images \d, \d; expected a finite"),
        (3, r"classifier.conv.bias .*not finite after the last step of epoch 2; expected finite"),
    ],
)
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_spoiled_weights_are_not_kept(
    rectangles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, says: str, ema: float
) -> None:
    """A loss is of the weights before its step, so it does not tell what the last step of an epoch did."""
    whole, taken = Trainer.step, []

    def step(trainer: Trainer, images: torch.Tensor, target: torch.Tensor) -> float:
        taken.append(whole(trainer, images, target))
        if len(taken) == trainer.steps + after:
            torch.nn.init.constant_(trainer.module.get_parameter("network.classifier.conv.bias"), torch.inf)
        return taken[-1]

    monkeypatch.setattr(Trainer, "step", step)
    with pytest.raises(TrainingError, match=says) as caught:
        train(tmp_path / "run", f"data={rectangles}", "epochs=2", "evaluate_every=1", f"ema={ema}")
    best = tmp_path / "run" / "best.safetensors"
    assert str(caught.value).endswith(f"with a learning_rate below 0.02 and weights={best}")
    assert checkpoint.load(best)
    assert not (tmp_path / "run" / "final.safetensors").exists()
    assert len(losses(tmp_path / "run")) == 1


def test_a_folder_with_a_run_is_not_overwritten(rectangles: Path, tmp_path: Path, command: Command) -> None:
    arguments = ["cityscapes", f"data={rectangles}", *SMALL, "workers=0", "epochs=1", "-o", "run"]
    done = command("fastscnn-train", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("run/best.safetensors: mean_iou ")
    again = command("fastscnn-train", *arguments)
    assert again.returncode == 2
    assert "holds a run already. Add --resume" in again.stderr
    assert "Traceback" not in again.stderr
    scored = command("fastscnn-eval", "run/last.pt", "--data", rectangles)
    assert scored.returncode == 4
    assert "run/last.pt is a training's state" in scored.stderr
    assert "expected weights. Those of that training are in run/best.safetensors" in scored.stderr
    other = command("fastscnn-train", *arguments, "seed=3", "--resume")
    assert other.returncode == 2
    assert "trained with seed=0 (now 3)" in other.stderr
    (tmp_path / "run" / "last.pt").write_bytes(b"PK not a state")
    with pytest.raises(ArtifactError, match=r"last\.pt is damaged"):
        train(tmp_path / "run", f"data={rectangles}", "epochs=1", resume=True)


def test_coarse_labels_and_street_frames_come_on_top(tmp_path: Path) -> None:
    for split, kind in (("train", "gtFine"), ("val", "gtFine"), ("train_extra", "gtCoarse")):
        for folder, suffix in (("leftImg8bit", "leftImg8bit"), (kind, f"{kind}_labelIds")):
            place = tmp_path / folder / split / "ulm"
            place.mkdir(parents=True)
            for index in range(3):
                content = np.full((64, 128, 3) if folder == "leftImg8bit" else (64, 128), 7 if index else 26, np.uint8)
                cv2.imwrite(str(place / f"ulm_{index}_{suffix}.png"), content)
    recipe = Recipe.read(
        "cityscapes", [f"data={tmp_path}", "coarse=true", "street=2", "batch=2", "crop=[64, 64]", "workers=0"]
    )
    views = Trainer(recipe, tmp_path / "run", enter(recipe)).task.views
    names = [views[index][2] for index in range(len(views))]
    assert names == ["ulm_0", "ulm_1", "ulm_2"] * 2 + ["street 0", "street 1"]
    image, labels, _ = views[6]
    assert image.shape == (64, 64, 3) and labels.unique().numel() > 3
    assert torch.equal(views[3][0], views[3][0])
    views.epoch += 1
    assert not torch.equal(views[6][0], image)


def test_pretrained_trunk_is_taken_over(rectangles: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name, level in (("bright", 200), ("dark", 50)):
            (tmp_path / "net" / split / name).mkdir(parents=True)
            for index in range(4):
                image = np.clip(rng.normal(level, 20, (80, 100, 3)), 0, 255).astype(np.uint8)
                cv2.imwrite(str(tmp_path / "net" / split / name / f"{index}.JPEG"), image)
    recipe = Recipe.read(
        "imagenet",
        [f"data={tmp_path / 'net'}", *SMALL, "workers=0", "epochs=24", "warmup=0", "brightness=0", "batch=4"],
    )
    pretraining = Trainer(recipe, tmp_path / "pre", enter(recipe))
    history = pretraining.run()
    assert history[-1]["top1"] > 80
    weights = tmp_path / "pre" / "final.safetensors"
    taken = load_file(weights)
    follow = Recipe.read("cityscapes", [f"data={rectangles}", *SMALL, "workers=0", f"weights={weights}"])
    own = Trainer(follow, tmp_path / "seg", enter(follow)).module.state_dict()
    shared = [name for name in taken if name.startswith(("learning_to_downsample.", "global_feature_extractor."))]
    assert len(shared) > 200
    assert all(torch.equal(own[f"network.{name}"], taken[name]) for name in shared)
    (tmp_path / "empty.pth").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"empty\.pth"):
        Trainer(Recipe.of({**follow.as_dict(), "weights": str(tmp_path / "empty.pth")}), tmp_path / "n", enter(follow))


def test_batches_that_cannot_be(rectangles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="batch is 12, but there are 6 images"):
        train(tmp_path / "a", f"data={rectangles}", "batch=12")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UsageError, match="batch is 6 for 4 processes; expected a multiple of 4"):
        train(tmp_path / "b", f"data={rectangles}", "batch=6")


def test_killed_between_state_and_journal_nothing_is_missing(
    rectangles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [f"data={rectangles}", "epochs=2", "evaluate_every=1"]
    with monkeypatch.context() as patched:
        written = Journal.write

        def killed(journal: Journal, row: dict[str, float]) -> None:
            if row["epoch"] == 2:
                raise KeyboardInterrupt
            written(journal, row)

        patched.setattr(Journal, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run", *arguments)
    assert len(losses(tmp_path / "run")) == 1
    train(tmp_path / "run", *arguments, resume=True)
    assert len(losses(tmp_path / "run")) == 2
    assert (tmp_path / "run" / "final.safetensors").exists()


def test_two_machines_resume_from_the_first_ones_state(rectangles: Path, tmp_path: Path) -> None:
    """Each with a folder of its own, of which only the first holds the run."""
    whole = tmp_path / "whole"
    arguments = ["cityscapes", f"data={rectangles}", *SMALL, "workers=0", "batch=4", "epochs=3"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def run(folders: tuple[str, str], *more: str) -> None:
        processes = []
        for rank, folder in enumerate(folders):
            env = {**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            with (tmp_path / f"stderr{rank}").open("w") as said:
                program = [Path(sys.executable).with_name("fastscnn-train"), *arguments, "-o", folder, *more]
                processes.append(subprocess.Popen(program, cwd=tmp_path, env=env, stderr=said, stdout=said))
        for rank, process in enumerate(processes):
            try:
                assert process.wait(120) == 0, (tmp_path / f"stderr{rank}").read_text()
            finally:
                process.kill()
                process.wait()

    run(("whole", "other"))
    state = torch.load(whole / "last.pt", weights_only=True)
    assert state["epoch"] == 3
    (tmp_path / "half").mkdir()
    recipe = Recipe.of({**state["recipe"], "batch": 4})
    single = Trainer(recipe, tmp_path / "single", enter(recipe))
    single.history.append({"epoch": 1.0, "loss": 1.0, "learning_rate": 0.1, "seconds": 1.0})
    single.epoch = 1
    single._save()
    (tmp_path / "single" / "last.pt").replace(tmp_path / "half" / "last.pt")
    run(("half", "nothing"), "--resume")
    assert "going on after epoch 1 of 3" in (tmp_path / "stderr1").read_text()
    assert not (tmp_path / "nothing").exists()
    assert len(losses(tmp_path / "half")) == 3


def test_what_a_user_can_get_wrong_is_one_sentence(rectangles: Path, tmp_path: Path, command: Command) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(rectangles, broken)
    (broken / "images" / "train" / "3.png").write_bytes(b"no image")
    (tmp_path / "file").write_text("")
    for more, code, says in (
        ([f"data={broken}", "workers=1"], 1, "3.png is not an image that OpenCV can read"),
        ([f"data={rectangles}", "street=2"], 2, "drawn streets have the classes of cityscapes or camvid, not of bands"),
        ([f"data={rectangles}", "-o", "file/run"], 1, "file/run cannot be written"),
    ):
        done = command("fastscnn-train", "cityscapes", *SMALL, *more)
        assert done.returncode == code, done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("fastscnn-train: ")]
        assert says in line
        assert "Traceback" not in done.stderr


def test_without_torch_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('No module named torch', name='torch')")
    paths = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [Path(sys.executable).with_name("fastscnn-train"), "camvid", "data=/x"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 4
    assert install.command("train") in done.stderr and "Traceback" not in done.stderr


def test_classes_of_pretraining_must_be_the_same_in_both_splits(tmp_path: Path) -> None:
    for place in ("train/a", "train/b", "val/b", "val/c"):
        (tmp_path / place).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / place / "0.png"), np.zeros((80, 80, 3), np.uint8))
    recipe = Recipe.read("imagenet", [f"data={tmp_path}", *SMALL, "warmup=0"])
    with pytest.raises(UsageError, match=r"different classes \(a, c\)"):
        Trainer(recipe, tmp_path / "run", enter(recipe))
