"""A training killed again and again and resumed ends with the very bytes of one that nobody disturbed."""

import csv
import random
import signal
import subprocess
import sys
import time
from pathlib import Path


def losses(folder: Path) -> list[str]:
    with (folder / "log.csv").open() as file:
        return [row["loss"] for row in csv.DictReader(file)]


def test_killed_at_any_moment_and_resumed_it_ends_bit_for_bit_the_same(rectangles: Path, tmp_path: Path) -> None:
    recipe = (
        "epochs=8 batch=2 crop=64x64 device=cpu threads=1 evaluate_every=4 learning_rate=0.02 workers=0 ema=0.9 closing=0.25 "
        "closing_crop=96x128"
    )
    program = [Path(sys.executable).with_name("fastscnn-train"), "cityscapes", f"data={rectangles}", *recipe.split()]

    def start(folder: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "stderr").open("w") as said:
            return subprocess.Popen([*program, "-o", folder, "--resume"], cwd=tmp_path, stderr=said)

    whole = start("whole")
    assert whole.wait(120) == 0, (tmp_path / "stderr").read_text()
    choice = random.Random(5)
    kills = 0
    for _ in range(3):
        process = start("killed")
        seen = (tmp_path / "killed" / "last.pt").stat().st_mtime_ns if kills else 0
        deadline = time.monotonic() + 60
        state = tmp_path / "killed" / "last.pt"
        while process.poll() is None and time.monotonic() < deadline:  # at least one epoch further, then any moment
            if state.exists() and state.stat().st_mtime_ns != seen:
                time.sleep(choice.random() * 0.3)
                break
            time.sleep(0.002)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills >= 2
    last = start("killed")
    assert last.wait(120) == 0
    assert "going on after epoch" in (tmp_path / "stderr").read_text()
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    assert len(losses(tmp_path / "whole")) == 8
    for name in ("final.safetensors", "best.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
