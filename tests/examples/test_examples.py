"""Every example as a user starts it: a process of its own with the model that ships, on a short drawn clip."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn.model import Street
from fastscnn.runtime.media.sinks import VideoSink

FOLDER = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clip.mp4 of five frames and street.png."""
    root = tmp_path_factory.mktemp("drive")
    street = Street(180, 320, classes="camvid")
    with VideoSink(root / "clip.mp4", 25) as sink:
        for index in range(5):
            sink.write("", street.frame(index)[0])
    cv2.imwrite(str(root / "street.png"), street.frame(0)[0])
    return root


def run(place: Path, name: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, FOLDER / name, *words], cwd=place, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_is_under_sixty_lines() -> None:
    for path in FOLDER.rglob("*.py"):
        assert len(path.read_text().splitlines()) < 60, path


def test_robot_loop_sees_every_frame_of_a_recording(place: Path) -> None:
    told = run(place, "robot_loop.py", "clip.mp4")
    assert len(re.findall(r"^car ahead: [\d.]+%, \d+ ms, dropped 0$", told, re.MULTILINE)) == 5
    assert re.search(r"^p99 \d+ ms, \d+ frames after 100 ms$", told, re.MULTILINE)


def test_robot_loop_ends_with_the_errors_code(place: Path) -> None:
    words = [sys.executable, FOLDER / "robot_loop.py", "clip.mp4", "absent.onnx"]
    done = subprocess.run(words, cwd=place, capture_output=True, text=True, timeout=120)
    assert done.returncode == 4 and done.stderr.startswith("stopped: absent.onnx does not exist")


def test_asyncio_robot_sees_every_frame_and_its_heart_goes_on(place: Path) -> None:
    told = run(place, "asyncio_robot.py", "clip.mp4")
    assert len(re.findall(r"^frame \d: \d+% road$", told, re.MULTILINE)) == 5
    (beats,) = re.findall(r"^5 frames; (\d+) beats meanwhile, at most \d+ ms apart$", told, re.MULTILINE)
    assert int(beats) >= 5


def test_several_cameras_are_all_seen(place: Path) -> None:
    told = run(place, "several_cameras.py", "front=clip.mp4", "left=clip.mp4")
    assert {line.partition(":")[0] for line in told.splitlines()} == {"front", "left"}
    assert re.match(r"(front|left): frame \d, \d+% road, \d+ ms\n", told)


def test_free_road_points_down_a_straight_street(place: Path) -> None:
    told = run(place, "free_road.py", "street.png")
    assert abs(float(told.removeprefix("steer "))) < 0.4
    assert cv2.imread(str(place / "free_road.png")).shape == (180, 320, 3)


def test_the_corridor_is_the_widest_run_of_road() -> None:
    example = runpy.run_path(str(FOLDER / "free_road.py"))
    labels = np.zeros((100, 200), np.uint8)
    labels[50:, 120:180] = 3  # the widest; its middle lies at 150 of 200
    labels[50:, 20:60] = 3
    hint, spans = example["corridor"](labels, 3)
    assert hint == pytest.approx(0.5)
    assert {span[1:] for span in spans[:-1]} == {(120, 180)}
    assert example["corridor"](labels, 4)[0] is None
    assert example["widest"](np.array([True])) == (0, 1)
