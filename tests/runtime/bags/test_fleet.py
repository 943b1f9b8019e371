"""Many logs on many processes: one manifest, whoever did the work and whoever was killed meanwhile."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from recordings import record

from fastscnn.runtime import Segmenter, UsageError
from fastscnn.runtime.bags import Labeller
from fastscnn.runtime.bags.fleet import MANIFEST

Exported = Callable[..., Path]
Frames = list[np.ndarray]
PROGRAM = str(Path(sys.executable).with_name("fastscnn-bag"))


@pytest.fixture
def logs(tmp_path: Path, frames: Frames) -> Path:
    """Four logs in three formats, one of them deeper, and one that is damaged."""
    folder = tmp_path / "logs"
    for name, kind, part in (
        ("monday", "mcap", 1),
        ("noon", "ros1", 2),
        ("old/tuesday", "sqlite3", 3),
        ("late", "mcap", 4),
    ):
        record(folder / name, frames[:part], kind)
    record(folder / "torn", frames, "mcap")
    torn = folder / "torn/torn.mcap"
    torn.write_bytes(torn.read_bytes()[:40_000])
    return folder


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *map(str, words), "--device", "cpu"], capture_output=True, text=True, timeout=120)


def test_a_folder_of_logs_by_several_processes(logs: Path, tmp_path: Path, exported: Exported) -> None:
    done = run(logs, "-o", tmp_path / "labels", "-m", exported(), "--workers", 2, "--threads", 1)
    assert done.returncode == 1  # for the damaged one
    assert "1 of 5 bags could not be labelled" in done.stderr.splitlines()[-1]
    assert "torn is damaged or no bag" in done.stderr
    manifest = json.loads((tmp_path / "labels" / MANIFEST).read_text())
    assert [entry["source"] for entry in manifest["logs"]] == ["late", "monday", "noon.bag", "old/tuesday", "torn"]
    assert [entry.get("masks") for entry in manifest["logs"]] == [4, 1, 2, 3, None]
    assert (tmp_path / "labels/old/tuesday/metadata.yaml").is_file()
    again = run(logs, "-o", tmp_path / "labels", "-m", exported(), "--threads", 1)
    assert json.loads((tmp_path / "labels" / MANIFEST).read_text()) == manifest
    assert again.returncode == 1
    inside = run(logs, "-o", logs / "labels", "-m", exported(), "--threads", 1)
    rerun = run(logs, "-o", logs / "labels", "-m", exported(), "--threads", 1)
    assert inside.returncode == rerun.returncode == 1
    assert json.loads((logs / "labels" / MANIFEST).read_text()) == manifest  # results among the logs are no logs


def test_a_killed_worker_costs_nothing_but_time(tmp_path: Path, frames: Frames, exported: Exported) -> None:
    for name in ("a", "b", "c"):
        record(tmp_path / "logs" / name, frames * 20, "mcap")
    whole = run(tmp_path / "logs", "-o", tmp_path / "expected", "-m", exported(), "--threads", 1)
    assert whole.returncode == 0, whole.stderr
    words = [
        tmp_path / "logs",
        "-o",
        tmp_path / "labels",
        "-m",
        exported(),
        "--workers",
        2,
        "--threads",
        1,
        "--device",
        "cpu",
    ]
    with subprocess.Popen([PROGRAM, *map(str, words)], stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while not list((tmp_path).glob("labels/.*.part/*/*.mcap")):
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.02)
        workers = [one for one in psutil.Process(process.pid).children() if "spawn_main" in " ".join(one.cmdline())]
        os.kill(workers[0].pid, signal.SIGKILL)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "a worker was killed; " in said
    assert "Traceback" not in said
    assert not list(tmp_path.glob("labels/.*"))
    assert (tmp_path / "labels" / MANIFEST).read_bytes() == (tmp_path / "expected" / MANIFEST).read_bytes()


def test_a_labeller_takes_and_gives_dicts_of_arrays(frames: Frames, exported: Exported) -> None:
    labeller = pickle.loads(pickle.dumps(Labeller(exported(), "cpu", 1)))
    with Segmenter(exported(), "cpu") as segmenter:
        expected = [segmenter(frame).labels for frame in frames]
    batch = {"image": np.stack(frames), "stamp": np.arange(len(frames))}
    found = labeller(batch)
    np.testing.assert_array_equal(found["labels"], np.stack(expected))
    assert found["labels"].dtype == np.uint8
    assert found["stamp"] is batch["stamp"]
    np.testing.assert_array_equal(labeller({"image": frames[0]})["labels"], expected[0])
    ragged = labeller({"image": [frames[0], frames[1][:64]]})["labels"]
    assert [labels.shape for labels in ragged] == [(128, 256), (64, 256)]
    assert labeller.segmenter is pickle.loads(pickle.dumps(labeller)).segmenter  # one a process
    with pytest.raises(UsageError, match="a batch of stamp; expected 'image' in it"):
        labeller({"stamp": 1})
