"""The soak finds what grows, and finds nothing in this project. `make soak` runs it for an hour."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastscnn.benchmarks.soak.cli import Rounds, soak
from fastscnn.benchmarks.soak.leaks import Sample, Verdict, theil_sen, verdicts

MINUTES = os.environ.get("FASTSCNN_SOAK_MINUTES", "")
MB = 1_000_000
Series = Callable[[int], float]


def samples(memory: Series, files: Series = lambda i: 20, threads: Series = lambda i: 5) -> list[Sample]:
    """Ten minutes, a sample a second, with an allocator's noise."""
    noise = np.random.default_rng(0).normal(0, 2 * MB, 600)
    return [Sample(i, int(memory(i) + noise[i]), int(files(i)), int(threads(i))) for i in range(600)]


@pytest.mark.parametrize(
    "memory",
    [
        lambda i: 150 * MB,
        lambda i: 150 * MB + min(i, 100) * MB,  # caches that fill
        lambda i: 150 * MB + (i % 40) * MB,  # a collector's saw
        lambda i: 150 * MB + (80 * MB if i % 7 == 0 else 0),  # peaks
        lambda i: 150 * MB + 10 * MB * math.sin(i / 20),
        lambda i: 250 * MB - i * MB / 10,
    ],
)
def test_what_does_not_grow_is_flat(memory: Series) -> None:
    assert [verdict.flat for verdict in verdicts(samples(memory))] == [True] * 3


@pytest.mark.parametrize("leak", [0.02 * MB, 0.1 * MB, 1 * MB])
@pytest.mark.parametrize("saw", [0, 10 * MB])
def test_a_leak_is_found_under_noise(leak: float, saw: float) -> None:
    memory, *others = verdicts(samples(lambda i: 150 * MB + leak * i + saw * (i % 9) / 9))
    assert not memory.flat
    assert memory.slope == pytest.approx(leak * 3600 / MB, rel=0.3)
    assert all(verdict.flat for verdict in others)


def test_a_handle_now_and_then_is_found() -> None:
    _, files, threads = verdicts(
        samples(lambda i: 150 * MB, files=lambda i: 20 + i // 100, threads=lambda i: 5 + i // 50)
    )
    assert not files.flat and not threads.flat
    assert "file descriptors GREW" in str(files)
    for once in (lambda i: 20 + (i > 50), lambda i: 20 + (i % 3)):
        assert all(verdict.flat for verdict in verdicts(samples(lambda i: 150 * MB, files=once)))


def test_the_slope_is_exact_without_noise_and_deaf_to_outliers() -> None:
    x = np.arange(50.0)
    y = 3 * x + 7
    assert theil_sen(x, y) == pytest.approx(3)
    y[::5] = 1e6
    assert theil_sen(x, y) == pytest.approx(3, rel=0.5)


def test_a_sample_sees_this_process() -> None:
    before = Sample.now(0)
    block = np.ones(50 * MB, np.uint8)
    with Path(os.devnull).open() as held:
        after = Sample.now(1)
    assert after.memory - before.memory > 40 * MB
    assert (after.files - before.files, after.threads) == (1, before.threads)
    del block, held


def test_what_rounds_leave_behind_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    honest = Rounds.next

    def leaking(self: Rounds) -> None:
        honest(self)
        kept.append((np.ones(MB, np.uint8), os.dup(1)))

    monkeypatch.setattr(Rounds, "next", leaking)
    report = soak(0.05, tmp_path)
    assert report.rounds >= Verdict.FEWEST
    memory, files, threads = report.verdicts
    assert not memory.flat and not files.flat and threads.flat, report.verdicts
    for _, handle in kept:
        os.close(handle)


@pytest.mark.skipif(not MINUTES, reason="`make soak` is the same, and CI runs it beside other tests")
def test_nothing_grows() -> None:
    program = [sys.executable, "-W", "error", "-m", "fastscnn.benchmarks.soak", "--minutes", MINUTES, "--json", "-"]
    done = subprocess.run(program, capture_output=True, text=True, env={**os.environ, "MALLOC_ARENA_MAX": "1"})
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["frames"] > 20 * report["rounds"] > 0
    assert report["hours"] * 60 >= float(MINUTES) - 0.01
