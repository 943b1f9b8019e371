"""The measurement of live sources measures: a lag that is made is found, and sources without stamps are refused."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fastscnn.benchmarks.live import cameras, cli, glass, stamp
from fastscnn.benchmarks.live.glass import measured
from fastscnn.runtime import Result, Segmenter, SourceError

Exported = Callable[..., Path]


def test_both_ways_beside_each_other(exported: Exported, tmp_path: Path) -> None:
    program = [sys.executable, "-m", "fastscnn.benchmarks.live", exported(resolution=(64, 64)), "--device", "cpu"]
    with cameras.mjpeg(20, (96, 400)) as url:
        words = ["--source", url, "--rate", "20", "--seconds", "2", "--json", "live.json", "--markdown", "live.md"]
        done = subprocess.run([*program, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = {run["way"]: run["ages"] for run in json.loads((tmp_path / "live.json").read_text())["runs"]}
    assert set(runs) == {"usual loop", "newest frame"}
    for ages in runs.values():
        assert ages["frames"] > 10 and ages["unread"] == 0
        assert 0 < ages["label"][0] <= ages["written"][0] < 2000
    assert "| newest frame |" in (tmp_path / "live.md").read_text()


def test_a_loop_that_falls_behind_is_seen_to(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glass, "_SETTLING", 0.2)
    honest = Result.overlay

    def slow(*arguments: Any) -> Any:
        time.sleep(0.1)  # three times the source's period
        return honest(*arguments)

    monkeypatch.setattr(Result, "overlay", slow)
    with Segmenter(exported(resolution=(64, 64))) as segmenter, cameras.mjpeg(30, (96, 400)) as url:
        usual = measured("usual loop", segmenter, url, 3, 1 / 30, tmp_path / "a.mkv")
        newest = measured("newest frame", segmenter, url, 3, 1 / 30, tmp_path / "b.mkv")
    assert usual.last > 600 > newest.last
    assert newest.dropped > 20 and newest.written[0] < usual.written[0] / 2


def test_a_source_without_stamps_is_refused(exported: Exported, tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (400, 96))
    for _ in range(5):
        writer.write(np.full((96, 400, 3), 128, np.uint8))
    writer.release()
    with Segmenter(exported(resolution=(64, 64))) as segmenter, pytest.raises(SourceError, match="gave 0 frames with a stamp"):  # fmt: skip
        measured("newest frame", segmenter, str(tmp_path / "clip.avi"), 5, 0.04, tmp_path / "out.mkv")


def test_ages_survive_the_turn_of_the_counter() -> None:
    assert stamp.age(2**32 / 1000 + 0.25, 2**32 - 750) == pytest.approx(1.0, abs=0.002)


def test_a_pipeline_is_no_source_for_the_usual_loop() -> None:
    assert cli._ways("rtspsrc location=rtsp://127.0.0.1/camera ! decodebin") == ["newest frame"]
    assert cli._ways("rtsp://127.0.0.1/camera") == ["usual loop", "newest frame"]


def test_nothing_measured_is_no_success(exported: Exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cli, "system_python", lambda: None)
    assert cli.main([str(exported(resolution=(64, 64))), "--protocols", "rtsp", "gstreamer", "--device", "cpu"]) == 4
    monkeypatch.setattr(cli, "system_python", lambda: sys.executable)
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    assert cli.main([str(exported(resolution=(64, 64))), "--protocols", "gstreamer", "--device", "cpu"]) == 4
