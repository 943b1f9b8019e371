"""README: the loop that a robot would run shows what it says, extras and length are right. Its commands: test_docs.py."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn.model import Street
from fastscnn.runtime.media.sinks import VideoSink

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PROJECT = (ROOT / "pyproject.toml").read_text()


def test_robot_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block as printed, with a video file for the camera and without the window."""
    monkeypatch.chdir(tmp_path)
    with VideoSink(Path("camera.avi"), 25) as sink:
        sink.write("", Street(96, 128).frame(0)[0])
    shown: list[np.ndarray] = []
    monkeypatch.setattr(cv2, "imshow", lambda name, image: shown.append(image))
    monkeypatch.setattr(cv2, "waitKey", lambda delay: -1)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 13
    exec(code.replace("VideoCapture(0)", 'VideoCapture("camera.avi")'), {})
    assert [image.shape for image in shown] == [(96, 128, 3)]


def test_extras_are_those_of_the_project() -> None:
    section = PROJECT.split("[project.optional-dependencies]")[1].split("[project.scripts]")[0]
    extras = set(re.findall(r"^(\w+) = \[", section, re.MULTILINE))
    (table,) = re.findall(r"\| extra \| for \|\n(.*?)\n\n", README, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in table.splitlines()[1:]))) == extras


def test_it_is_short_and_shows() -> None:
    assert len(README.splitlines()) < 150
    assert len(re.findall(r"!\[[^]]{10,}\]\(docs/pictures/", README)) >= 3  # each with words for who does not see it
