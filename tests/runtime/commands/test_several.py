"""fastscnn-segment with several inputs: files of every kind together, one that is damaged, names that are alike."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn.runtime import Segmenter
from fastscnn.runtime.commands.several import named
from fastscnn.runtime.media.sinks import VideoSink

Command = Callable[..., subprocess.CompletedProcess[str]]
Exported = Callable[..., Path]
Frames = list[np.ndarray]


@pytest.fixture
def inputs(tmp_path: Path, frames: Frames) -> list[str]:
    for name, count in (("a/clip.avi", 6), ("b/clip.avi", 3)):
        (tmp_path / name).parent.mkdir()
        with VideoSink(tmp_path / name, 25) as sink:
            for frame in frames[:count]:
                sink.write("", frame)
    (tmp_path / "pictures").mkdir()
    for index in range(2):
        cv2.imwrite(str(tmp_path / f"pictures/{index}.png"), frames[index])
    cv2.imwrite(str(tmp_path / "street.png"), frames[2])
    return ["a/clip.avi", "b/clip.avi", "pictures", "street.png"]


def test_each_input_has_its_own_complete_output(
    command: Command, exported: Exported, frames: Frames, inputs: list[str], tmp_path: Path
) -> None:
    model = exported()
    done = command("fastscnn-segment", *inputs, "-m", model, "-o", "out", "--as", "labels", "--json", "-")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [(one["input"], one["frames"], one["dropped"]) for one in report["inputs"]] == [
        (place, count, 0) for place, count in zip(inputs, (6, 3, 2, 1), strict=True)
    ]
    assert "out/clip-2: 3 frames" in done.stderr
    legend = json.loads((tmp_path / "out/legend.json").read_text())
    assert legend["classes"][0]["name"] == "road" and legend["model"]["file"] == Path(model).name
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png"))
    expected = [f"clip/{i:06d}.png" for i in range(6)] + [f"clip-2/{i:06d}.png" for i in range(3)]
    assert found == sorted([*expected, "pictures/0.png", "pictures/1.png", "street.png"])
    with Segmenter(model, "cpu") as segmenter:
        for name, frame in (("pictures/0", frames[0]), ("pictures/1", frames[1]), ("street", frames[2])):
            written = cv2.imread(str(tmp_path / f"out/{name}.png"), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(written, segmenter(frame).labels)
    done = command("fastscnn-segment", inputs[0], "-m", model, "-o", "films", inputs[1])
    assert done.returncode == 0, done.stderr
    assert cv2.VideoCapture(str(tmp_path / "films/clip-2.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_a_damaged_input_leaves_the_others_complete(
    command: Command, exported: Exported, inputs: list[str], tmp_path: Path
) -> None:
    damaged = tmp_path / "pictures/0.png"
    damaged.write_bytes(damaged.read_bytes()[:50])
    done = command(
        "fastscnn-segment", *inputs, "-m", exported(), "-o", "out", "--as", "labels", "--json", "report.json"
    )
    assert done.returncode == 1
    assert "1 of 2 images were passed over" in done.stderr and "Traceback" not in done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert [one["frames"] for one in report["inputs"]] == [6, 3, 1, 1]
    assert [one["error"] is None for one in report["inputs"]] == [True, True, False, True]


def test_several_inputs_need_a_folder(command: Command, exported: Exported, inputs: list[str]) -> None:
    done = command("fastscnn-segment", *inputs, "-m", exported(), "-o", "out.mp4")
    assert done.returncode == 2
    assert "is one file, but 4 inputs were given; expected a folder" in done.stderr


def test_names_of_results() -> None:
    places = ["0", "/dev/video2", "rtsp://user:secret@host:554/live", "a/clip.mp4", "b/clip.mp4", "a/clip.avi"]
    assert named(places) == ["camera-0", "video2", "host-554-live", "clip", "clip-2", "clip-3"]
