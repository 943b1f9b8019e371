"""What a training says before it begins, how it ends when it cannot go on, and what may change when it goes on."""

import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
import torch

from fastscnn.model import checkpoint
from fastscnn.model.training import Recipe
from fastscnn.model.training.check import padding
from fastscnn.model.training.machine import enter
from fastscnn.model.training.task import SegmentationTask
from fastscnn.model.training.trainer import Trainer
from fastscnn.runtime.errors import SourceError, UsageError

Command = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ["epochs=2", "batch=2", "crop=64x64", "device=cpu", "threads=1", "evaluate_every=1", "workers=0"]


@pytest.fixture
def own(rectangles: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(rectangles, tmp_path / "own"))


def trainer(data: Path, folder: Path, *overrides: str, resume: bool = False) -> Trainer:
    recipe = Recipe.read("cityscapes", [*SMALL, f"data={data}", *overrides])
    return Trainer(recipe, folder, enter(recipe), resume=resume)


def relabel(root: Path, split: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    for path in (root / "labels" / split).iterdir():
        cv2.imwrite(str(path), change(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)).astype(np.uint8))


def test_data_that_teach_nothing_are_refused_and_leave_no_folder(own: Path, tmp_path: Path) -> None:
    black_and_white = tmp_path / "two"
    shutil.copytree(own, black_and_white)
    (black_and_white / "classes.yaml").write_text("classes: {red: [200, 0, 0], rest: [0, 200, 0]}")
    for split in ("train", "val"):
        relabel(black_and_white, split, lambda labels: np.where(labels == 0, 0, 255))
    ignored = Path(shutil.copytree(own, tmp_path / "ignored"))
    relabel(ignored, "val", lambda labels: np.full_like(labels, 255))
    unlabelled = Path(shutil.copytree(own, tmp_path / "unlabelled"))
    relabel(unlabelled, "train", lambda labels: np.full_like(labels, 255))
    missing = Path(shutil.copytree(own, tmp_path / "missing"))
    (missing / "labels" / "val" / "2.png").unlink()
    (missing / "images" / "val" / "3.png").write_bytes(b"")
    for data, says in (
        (black_and_white, r"train: the labels hold 0 and 255 alone.*write `ids: \[0, 255\]` into"),
        (ignored, "val has no labelled pixel: all 6 label files are ignored throughout"),
        (unlabelled, "train has no labelled pixel"),
        (
            missing,
            r"val/2.png does not exist; expected the label of 2.png.* and 1 more problems. Mend the validation data first",
        ),
    ):
        with pytest.raises(SourceError, match=says):
            trainer(data, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_warnings_before_the_first_step(own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    relabel(own, "train", lambda labels: np.where(labels == 3, 0, labels))
    with caplog.at_level(logging.WARNING):
        trainer(own, tmp_path / "run", "crop=192x256")
    assert "no pixel of grey in train: it will never be predicted" in caplog.text
    assert re.search(
        r"the crop is 192x256 and most pictures are 96x96: 7\d% of each step is padding. Take crop=96x96", caplog.text
    )
    paper = Recipe.read("cityscapes", ["data=x"])
    assert padding(paper, (240, 320)) == pytest.approx(0.93, abs=0.02)
    assert padding(paper, (1024, 2048)) < 0.35


def test_an_epoch_is_kept_though_its_validation_fails(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer(own, tmp_path / "whole").run()
    spoiled = trainer(own, tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(
            SegmentationTask, "validate", lambda *_: (_ for _ in ()).throw(SourceError("the disk went away"))
        )
        with pytest.raises(SourceError):
            spoiled.run()
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert state["epoch"] == 1 and "mean_iou" not in state["history"][0]
    history = trainer(own, tmp_path / "run", resume=True).run()
    assert ["mean_iou" in row for row in history] == [True, True]
    for name in ("best.safetensors", "final.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_what_may_change_at_a_resume(own: Path, tmp_path: Path) -> None:
    trainer(own, tmp_path / "poly").run()
    for change in ("epochs=3", "learning_rate=0.01"):
        with pytest.raises(UsageError, match=rf"because the rate falls .*weights={tmp_path}/poly/best.safetensors"):
            trainer(own, tmp_path / "poly", change, resume=True)
    trainer(own, tmp_path / "flat", "power=0").run()
    longer = trainer(own, tmp_path / "flat", "power=0", "epochs=4", "learning_rate=0.01", resume=True)
    history = longer.run()
    assert [row["learning_rate"] for row in history] == pytest.approx([0.045, 0.045, 0.01, 0.01])
    trainer(own, tmp_path / "once", "power=0", "epochs=4").run()
    trainer(own, tmp_path / "twice", "power=0").run()
    trainer(own, tmp_path / "twice", "power=0", "epochs=4", resume=True).run()
    once, twice = ((tmp_path / name / "final.safetensors").read_bytes() for name in ("once", "twice"))
    assert once == twice, "a constant rate knows nothing of the last epoch"

    (own / "classes.yaml").write_text(
        "name: bands\nclasses: {green: [0, 200, 0], red: [200, 0, 0], blue: [0, 0, 200], grey: [90, 90, 90]}\n"
    )
    with pytest.raises(UsageError, match="trained on the classes red, green, blue, grey; now they are green, red"):
        trainer(own, tmp_path / "flat", "power=0", "epochs=4", "learning_rate=0.01", resume=True)


def test_the_resolution_stands_in_the_weights(own: Path, tmp_path: Path, command: Command) -> None:
    (own / "recipe.yaml").write_text("\n".join(text.replace("=", ": ", 1) for text in SMALL))
    done = command("fastscnn-train", "own/recipe.yaml", "epochs=1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("runs/own/best.safetensors: mean_iou "), "named after its data set, which it lies in"
    assert checkpoint.load(tmp_path / "runs" / "own" / "best.safetensors").resolution == (96, 96)
    done = command("fastscnn-export", "--head", "cls", "--checkpoint", "runs/own/best.safetensors")
    assert (done.returncode, done.stdout) == (0, "fastscnn-cls-96x96.onnx\n"), done.stderr
    done = command("fastscnn-train", "own/recipe.yaml", "epochs=1", "evaluate_at=64x80", "-o", "smaller")
    assert done.returncode == 0, done.stderr
    assert checkpoint.load(tmp_path / "smaller" / "best.safetensors").resolution == (64, 80)
    checkpoint.save(tmp_path / "plain.safetensors", checkpoint.untrained(checkpoint.CLASS_SETS["camvid"]))
    for arguments, says in (
        (["--checkpoint", "plain.safetensors"], "does not say at which resolution"),
        ([], "--res is missing"),
    ):
        done = command("fastscnn-export", "--head", "cls", *arguments)
        assert done.returncode == 2 and says in done.stderr


PIPES = """
import sys
import torch
from fastscnn.model.training import Recipe, samples
from fastscnn.model.training.task import SegmentationTask
views = SegmentationTask(Recipe.read("cityscapes", sys.argv[1:])).views
plain = list(samples.batches(views, range(2), 0, 1))
samples.shared_memory = lambda: 1 << 10
piped = list(samples.batches(views, range(2), 0, 1))
assert len(plain) == len(piped) == 6
for first, second in zip(plain, piped, strict=True):
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1]) and list(first[2]) == list(second[2])
    assert first[0].is_shared() and not second[0].is_shared()
alone = [batch for epoch in range(2) for batch in samples.batches(views, range(epoch, epoch + 1), 0, 1)]
assert [list(names) for _, _, names in alone] == [list(names) for _, _, names in plain]
assert all(torch.equal(one[0], other[0]) for one, other in zip(alone, plain, strict=True))
"""


def test_batches_through_pipes_are_the_same(own: Path) -> None:
    """Docker's small /dev/shm: what a worker lays there beyond its size kills it.

    In a process of its own: a worker is a fork, and a fork of this one has the threads' locks of every library here.
    """
    program = [sys.executable, "-c", PIPES, *SMALL, f"data={own}", "workers=1"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_killed_worker_is_one_sentence(own: Path, tmp_path: Path) -> None:
    program = [
        Path(sys.executable).with_name("fastscnn-train"),
        "cityscapes",
        *SMALL,
        f"data={own}",
        "workers=1",
        "epochs=5000",
    ]
    process = subprocess.Popen([*program, "-o", "run"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)

    def kill() -> None:
        """The first worker of the second epoch or later."""
        while process.poll() is None:
            if (tmp_path / "run" / "last.pt").exists():
                with suppress(psutil.NoSuchProcess):  # it ended meanwhile
                    for child in psutil.Process(process.pid).children():
                        child.send_signal(signal.SIGKILL)
            time.sleep(0.02)

    killer = threading.Thread(target=kill)
    killer.start()
    _, said = process.communicate(timeout=120)
    killer.join()
    assert process.returncode == 1
    (line,) = [line for line in said.splitlines() if line.startswith("fastscnn-train: ")]
    assert "a process that loads data was killed" in line and "/dev/shm" in line and "--resume and workers=0" in line
    assert "Traceback" not in said


def test_the_cause_of_a_distributed_failure_stands_last_and_once(own: Path, tmp_path: Path) -> None:
    (own / "images" / "train" / "3.png").write_bytes(b"no image")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    began = time.monotonic()
    done = subprocess.run(
        [*torchrun, "-m", "fastscnn.model.training.train", "cityscapes", *SMALL, f"data={own}", "batch=4", "-o", "run"],
        cwd=tmp_path, capture_output=True, text=True, timeout=200, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 1
    cause = "own/images/train/3.png is not an image that OpenCV can read, or is damaged"
    assert done.stderr.count(cause) == 1
    assert cause in "".join(done.stderr.strip().splitlines()[-2:]), "before torchrun's last line of signs"
    assert time.monotonic() - began < 100
    assert not (tmp_path / "run").exists()


def test_processes_without_torchrun_end_together(own: Path, tmp_path: Path) -> None:
    """One fails; the other, which waits for it, ends within a minute and leaves the word to it."""
    (own / "images" / "train" / "3.png").write_bytes(b"no image")
    program = [
        Path(sys.executable).with_name("fastscnn-train"),
        "cityscapes",
        *SMALL,
        f"data={own}",
        "batch=4",
        "-o",
        "run",
    ]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = []
    for rank in range(2):
        env = {**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        processes.append(subprocess.Popen(program, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True))
    said = "".join(process.communicate(timeout=100)[1] for process in processes)
    assert [process.returncode for process in processes] == [1, 1]
    assert said.count("fastscnn-train: ") == 1
    assert "3.png is not an image that OpenCV can read" in said and "fault of the program" not in said
