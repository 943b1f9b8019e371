"""The comparison beside busy neighbours, as a user runs it: real processes, that are gone afterwards."""

import json
import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn.benchmarks.neighbours import cli, field
from fastscnn.benchmarks.neighbours.field import UNTOUCHED, Timed
from fastscnn.benchmarks.neighbours.load import neighbours
from fastscnn.benchmarks.neighbours.report import as_text
from fastscnn.benchmarks.peers.competitors import OURS, Competitor
from fastscnn.runtime.backends import onnxruntime as onnxruntime_backend


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_everybody_beside_neighbours(tmp_path: Path) -> None:
    threads = cv2.getNumThreads()
    words = ["--res", "64x96", "--neighbours", "1", "--models", "1", "2", "--threads", "1", "--rounds", "2"]
    assert cli.main([*words, "-o", str(tmp_path)]) == 0
    cv2.setNumThreads(threads)
    found = json.loads((tmp_path / "neighbours.json").read_text())
    assert [(s["models"], s["neighbours"]) for s in found["settings"]] == [(1, 1), (2, 1)]
    for setting in found["settings"]:
        names = {entry["name"] for entry in setting["entries"]}
        assert {f"{OURS}, cpu", "ONNX Runtime in-graph", UNTOUCHED, f"{OURS}, cpu: no spinning"} <= names
        assert setting["neighbours_cores"] > 0.1
        for entry in setting["entries"]:
            assert 0 < entry["min"] <= entry["median"] <= entry["p99"] <= entry["worst"]
            assert entry["jitter"] == pytest.approx(entry["p99"] - entry["median"], abs=2e-3)
            assert entry["processor"] > 0
    page = (tmp_path / "neighbours.md").read_text()
    assert "### 64x96, 1 thread, 2 models in turn" in page
    assert "cpu's defaults take at most " in page
    assert "--models 1 2" in page


def test_jitter_is_its_own_page(tmp_path: Path) -> None:
    threads = cv2.getNumThreads()
    assert cli.main(["--jitter", "--res", "64x96", "--rounds", "3", "--neighbours", "0", "-o", str(tmp_path)]) == 0
    cv2.setNumThreads(threads)
    page = (tmp_path / "jitter.md").read_text()
    assert "| p99 − p50 |" in page and "most even peer" in page
    assert "spinning" not in page
    (setting,) = json.loads((tmp_path / "jitter.json").read_text())["settings"]
    assert (setting["models"], setting["neighbours"], setting["neighbours_cores"]) == (1, 0, 0)


def test_neighbours_are_busy_and_leave() -> None:
    with neighbours(2) as busy:
        time.sleep(0.5)
        assert busy.cores() > 0.3
        identities = [process.pid for process in busy.processes]
    for identity in identities:
        with pytest.raises(ProcessLookupError):
            os.kill(identity, 0)
    with neighbours(0) as nobody:
        assert nobody.cores() == 0


def test_options_are_only_changed_while_others_are_opened() -> None:
    before = dict(onnxruntime_backend.THREADING)
    with field.changed(onnxruntime_backend.THREADING, {"session.dynamic_block_base": None, "session.x": "1"}):
        assert "session.dynamic_block_base" not in onnxruntime_backend.THREADING
        assert onnxruntime_backend.THREADING["session.x"] == "1"
    assert before == onnxruntime_backend.THREADING


def test_who_gives_other_labels_or_does_not_run_is_named_and_not_timed() -> None:
    def answers(value: int) -> Competitor:
        return Competitor(str(value), value == 2, lambda frame: (np.full((4, 4), value), {}))

    timed = [Timed("1", "peer", "", (answers(1),)), Timed("2", "default", "cpu", (answers(2),))]
    timed.append(Timed("gone", "peer", "", (Competitor("gone", False, None, "it is not installed"),)))
    absent = cli.expect_equal(timed, [np.zeros((4, 4, 3), np.uint8)])
    assert absent == {"gone": "it is not installed", "2": "gives other labels on 100.00% of pixels"}
    assert [one.name for one in timed] == ["1"]


def test_defaults_that_fall_behind_are_told() -> None:
    entry = {"kind": "default", "device": "cpu", "p99": 1.0, "processor": 1.0}
    entries = [
        {**entry, "name": f"{OURS}, cpu", "median": 15.0},
        {**entry, "name": f"{OURS}, cpu: other", "kind": "option", "median": 10.0},
        {**entry, "name": UNTOUCHED, "kind": "peer", "device": "", "median": 30.0},
    ]
    setting = {"resolution": "8x8", "threads": 2, "models": 1, "neighbours": 1, "neighbours_cores": 1.0, "absent": {}}
    text = as_text({"settings": [{**setting, "entries": entries}]}, jitter=False)
    assert "cpu's defaults take at most 1.50 times as long as the best of the other options" in text
    assert "NOT within 10%" in text
    assert "geometric mean and most: the defaults 1.50, 1.50; other 1.00, 1.00." in text
    assert "| 8x8, 2 threads, 1 neighbours | 2.00 | – | – | 2.00 |" in text
