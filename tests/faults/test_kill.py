"""SIGKILL at any moment: the old files are there or the new ones, whole, and the next run sweeps up what the dead left.

Every other kill falls at a moment drawn at random, the rest within the first milliseconds of a file being written, where
chance would seldom look. CI kills twice; `make faults` kills each command 20 times.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn.model import checkpoint
from fastscnn.model.street import Street
from fastscnn.runtime.artifacts import engine_file, onnx_file
from fastscnn.runtime.media.sinks import VideoSink

Exported = Callable[..., Path]
KILLS = int(os.environ.get("FASTSCNN_KILLS", "2"))
WORKER = Path(__file__).with_name("worker.py")
LONGEST = 2.0  # seconds into the work; every command here writes several times in it


def started(module: str, jobs: list[list[str]], folder: Path, *rounds: str) -> subprocess.Popen[str]:
    program = [sys.executable, WORKER, module, json.dumps(jobs), *rounds]
    return subprocess.Popen(
        program, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if ".fastscnn." in path.name]


def kill(module: str, jobs: list[list[str]], folder: Path, dice: random.Random, within_a_write: bool) -> bool:
    """Start, kill; gives whether the dead left anything."""
    with started(module, jobs, folder) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line == "ready\n":
                break
        else:
            pytest.fail(f"the worker ended by itself: {''.join(said)}")
        if within_a_write:
            until = time.monotonic() + 30
            while not leftovers(folder):
                assert time.monotonic() < until, "nothing was written for 30 s"
            time.sleep(dice.uniform(0, 0.01))
        else:
            time.sleep(dice.uniform(0, LONGEST))
        assert process.poll() is None, process.stderr.read()
        os.killpg(process.pid, signal.SIGKILL)
    return bool(leftovers(folder))


def survive(module: str, jobs: list[list[str]], folder: Path, check: Callable[[], object], names: set[str]) -> None:
    """Kill again and again, look at the files each time; at last let one round live and see that it left nothing else."""
    dice = random.Random(7)
    left = 0
    for index in range(KILLS):
        left += kill(module, jobs, folder, dice, index % 2 == 0)
        check()
        check()  # what the first look mended stays so
    print(f"{module}: {KILLS} kills, after {left} of which something was left")
    with started(module, jobs, folder, "1") as last:
        assert last.stderr is not None
        said = last.stderr.read()
    assert last.returncode == 0, said
    check()
    assert {path.name for path in folder.iterdir()} == names


def test_export(tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    jobs = [
        ["--head", head, "--res", "64x64", "--classes", "cityscapes", "-o", str(target)] for head in ("cls", "logits")
    ]
    seen: set[str] = set()

    def check() -> None:
        data = target.read_bytes()
        onnx_file.artifact(data, "m.onnx")
        seen.add(hashlib.sha256(data).hexdigest())

    survive("fastscnn.export.exporter", jobs, tmp_path, check, {"m.onnx"})
    assert len(seen) <= 2, "an export is the same byte for byte, so there are two files that may be found"


def test_build(exported: Exported, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="it builds without a GPU")
    target = tmp_path / "e.plan"
    common = ["-o", str(target), "--flavour", "rtx", "--target", "sm86", "--head-in-engine", "--force"]
    jobs = [["build", str(exported(head, (64, 96), precision="fp16")), *common] for head in ("cls", "prob")]

    def check() -> None:
        plan, description = engine_file.read(target)
        assert engine_file.digest(plan) == description.sha256

    survive("fastscnn.export.tensorrt.cli", jobs, tmp_path, check, {"e.plan", "e.plan.json"})


def test_training(rectangles: Path, tmp_path: Path) -> None:
    """One run without an end, killed and resumed; that it goes on bit for bit is tested in test_resume."""
    run = tmp_path / "run"
    recipe = ["batch=2", "crop=[64, 64]", "device=cpu", "threads=1", "workers=0", "evaluate_every=1", "epochs=100000"]
    job = ["cityscapes", f"data={rectangles}", *recipe, "-o", str(run), "--resume"]
    dice = random.Random(7)
    finished = 0
    for index in range(KILLS + 1):
        last = index == KILLS
        with started("fastscnn.model.training.train", [job], tmp_path) as process:
            await_epoch(process, run, finished)
            if index % 2 == 0 and not last:
                until = time.monotonic() + 30
                while not leftovers(run):
                    assert time.monotonic() < until
                time.sleep(dice.uniform(0, 0.01))
            else:
                time.sleep(dice.uniform(0, LONGEST))
            assert process.poll() is None
            os.killpg(process.pid, signal.SIGTERM if last else signal.SIGKILL)
        state = checkpoint.unpickled(run / "last.pt")
        assert state["epoch"] > finished, "an epoch that was finished is never lost"
        finished = state["epoch"]
        assert checkpoint.load(run / "best.safetensors").classes.name == "bands"
        with (run / "log.csv").open() as file:
            assert len(list(csv.DictReader(file))) in (finished, finished - 1), (
                "the next start brings it up to the state"
            )
        assert cv2.imread(str(run / "curves.png")) is not None
    assert leftovers(run) == []


def await_epoch(process: subprocess.Popen[str], run: Path, finished: int) -> None:
    """Until a run has finished an epoch of its own and written down what belongs to it."""
    until = time.monotonic() + 60
    while len((run / "log.csv").read_text().splitlines()) < finished + 2 if (run / "log.csv").exists() else True:
        assert process.poll() is None and process.stderr is not None, process.stderr.read()
        assert time.monotonic() < until, "no epoch was finished in a minute"
        time.sleep(0.01)
    while not (run / "curves.png").exists():
        time.sleep(0.01)


def test_video(exported: Exported, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    street = Street(64, 96)
    for name, count in (("short", 10), ("long", 20)):
        with VideoSink(tmp_path / "in" / f"{name}.avi", 25) as sink:
            for index in range(count):
                sink.write("", street.frame(index)[0])
    target = tmp_path / "out" / "clip.mp4"
    jobs = [
        [str(tmp_path / "in" / f"{name}.avi"), "-m", str(exported("cls", (64, 96))), "-o", str(target)]
        for name in ("short", "long")
    ]

    def check() -> None:
        capture = cv2.VideoCapture(str(target))
        frames = 0
        while capture.read()[0]:
            frames += 1
        capture.release()
        assert frames in (10, 20)

    survive("fastscnn.runtime.commands.segment", jobs, tmp_path / "out", check, {"clip.mp4"})


def test_images(exported: Exported, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    names = {f"{index}.png" for index in range(8)}
    for name in names:
        cv2.imwrite(str(tmp_path / "in" / name), np.full((64, 96, 3), 90, np.uint8))
    job = [str(tmp_path / "in"), "-m", str(exported("cls", (64, 96))), "-o", str(tmp_path / "out"), "--as", "labels"]

    def check() -> None:
        for name in names:
            assert cv2.imread(str(tmp_path / "out" / name), cv2.IMREAD_UNCHANGED).shape == (64, 96)

    survive("fastscnn.runtime.commands.segment", [job], tmp_path / "out", check, names | {"legend.json"})
