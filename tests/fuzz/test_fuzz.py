"""A fixed seed of the fuzzing that `make fuzz` runs for 12,000 cases, the fuzzer's own eyesight, and files that claim too much."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fastscnn.runtime import ArtifactError

HERE = Path(__file__).parent


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(HERE)
    spec = importlib.util.spec_from_file_location("fuzz_run", HERE / "run.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("targets", "mutate"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return module


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    program = [sys.executable, HERE / "run.py", "--cases", "400", "--seed", "7", "--json", tmp_path / "report.json"]
    done = subprocess.run(program, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["cases"] == 400
    assert len(report["targets"]) > 10
    for outcome in ("read", "refused"):  # damage that is never noticed, or always, would prove little
        assert sum(outcome in counts for counts in report["targets"].values()) > 6, report["targets"]


def _abort(path: Path) -> None:
    os.abort()


def _hang(path: Path) -> None:
    time.sleep(60)


def _undocumented(path: Path) -> None:
    raise KeyError(path.name)


def _greedy(path: Path) -> None:
    bytearray(1 << 34)


def _escape(path: Path) -> None:
    raise ArtifactError("\x1b[2J")


@pytest.mark.parametrize(
    ("read", "kind", "what"),
    [
        (_abort, "CRASH", "a crash, exit code -"),
        (_hang, "CRASH", "a hang"),
        (_undocumented, "FAULT", "KeyError"),
        (_greedy, "FAULT", "MemoryError"),
        (_escape, "unprintable", ""),
    ],
)
def test_the_fuzzer_notices(
    fuzz: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, read: Callable[[Path], Any], kind: str, what: str
) -> None:
    import targets

    made = [targets.Target("x", ".x", (b"seed",), read, (ArtifactError,))]
    monkeypatch.setattr(targets, "targets", lambda folder: made)
    monkeypatch.setattr(fuzz, "PATIENCE", 2.0)
    report = fuzz.run(2, 0, None, tmp_path / "kept")
    assert report["targets"]["x"] == {kind: 2}
    assert what in report["found"][0]["what"]
    assert bool(list((tmp_path).glob("kept/*"))) == (kind == "CRASH")


def test_files_that_claim_too_much_are_refused_before_memory_is_touched(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, HERE / "bombs.py", tmp_path], capture_output=True, text=True)
    cases = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0 and len(cases) > 25, done.stderr
    wrong = [case for case in cases if case["outcome"] != "refused" or case["megabytes"] > 50]
    assert not wrong
