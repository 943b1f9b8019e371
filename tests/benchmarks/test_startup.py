"""The measurement of start-up: real processes, and what makes a time worthless."""

import json
import sys
from pathlib import Path

import pytest

from fastscnn.benchmarks import startup
from fastscnn.runtime import FastSCNNError, ParityError


def test_fresh_processes_beside_the_engines_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTSCNN_DEVICE", raising=False)
    words = ["--res", "256x512", "--rounds", "1", "--devices", "cpu", "-o", str(tmp_path)]
    assert startup.main(words) == 0
    report = json.loads((tmp_path / "startup.json").read_text())
    times = report["milliseconds"]
    assert set(times) == {startup.KEPT, startup.COLD, f"{startup.OURS}, cpu", "ONNX Runtime alone"}
    assert times[startup.COLD]["median"] > times[startup.KEPT]["median"], "it holds a trial"
    (steps,) = report["steps"].values()
    assert steps["cutting the head off"] > 0 and steps["the first frame"] > 0
    assert sum(steps.values()) < 5 * times[f"{startup.OURS}, cpu"]["median"]
    assert report["imports"]["fastscnn"] > 0
    page = (tmp_path / "startup.md").read_text()
    assert "ours less the engine's shortest program" in page


def test_starts_that_fail_or_give_other_labels_do_not_count(tmp_path: Path) -> None:
    with pytest.raises(FastSCNNError, match="ValueError: no engine"):
        startup.first_labels([sys.executable, "-c", "raise ValueError('no engine')"], tmp_path, kept=True)
    with pytest.raises(ParityError, match="'s engine gives other labels on 50"):
        startup.expect_equal({"ours": [10, 10], "another's engine": [20, 0]})
