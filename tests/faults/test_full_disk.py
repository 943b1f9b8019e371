"""A disk that is really full: one sentence and exit code 1, the old files whole, nothing half-written left."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn.model import checkpoint
from fastscnn.runtime.media.sinks import VideoSink

Exported = Callable[..., Path]
Disk = Callable[[str], Path]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mount a small one."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True)
        if done.returncode:
            pytest.skip("mounting a small disk needs root")
        mounted.append(place)
        return place

    try:
        yield mount
    finally:
        for place in mounted:
            subprocess.run(["umount", "--lazy", place], check=True)


def run(name: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    program = [Path(sys.executable).with_name(name), *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True, **options)  # type: ignore[call-overload]


def assert_told(done: subprocess.CompletedProcess[str], *says: str) -> None:
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr and "fault of the program" not in done.stderr
    *_, last = done.stderr.strip().splitlines()
    assert all(text in last for text in (*says, "Free some space")), last


def filled(place: Path, free: int) -> None:
    """All of the disk but `free` bytes is taken by a file called ballast."""
    (place / "ballast").unlink(missing_ok=True)
    status = os.statvfs(place)
    (place / "ballast").write_bytes(bytes(max(0, status.f_bavail * status.f_frsize - free)))


EXPORT = ("--head", "cls", "--res", "64x64", "--classes", "cityscapes")


def test_export(disk: Disk) -> None:
    place = disk("2m")
    (place / "m.onnx").write_bytes(b"old")
    assert_told(run("fastscnn-export", *EXPORT, "-o", place / "m.onnx"), "m.onnx cannot be written", "No space left")
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {"m.onnx": b"old"}


def test_export_beyond_a_limit_of_file_sizes(tmp_path: Path) -> None:
    """Where nobody may mount: quotas and limits of the process come the same way."""
    limit = (1 << 20, 1 << 20)
    done = run(
        "fastscnn-export", *EXPORT, "-o", tmp_path / "m.onnx", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    )  # fmt: skip
    assert_told(done, "File too large")
    assert list(tmp_path.iterdir()) == []


def test_build(disk: Disk, exported: Exported) -> None:
    pytest.importorskip("tensorrt_rtx", reason="it builds without a GPU")
    place = disk("1m")
    model = exported("cls", (64, 96), precision="fp16")
    done = run("fastscnn-trt", "build", model, "-o", place / "e.plan", "--flavour", "rtx", "--target", "sm86")
    assert_told(done, "e.plan cannot be written", "No space left")
    assert list(place.iterdir()) == []


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Noise, which no codec makes small."""
    dice = np.random.default_rng(0)
    with VideoSink(tmp_path / "clip.avi", 25) as sink:
        for _ in range(40):
            sink.write("", dice.integers(0, 256, (240, 320, 3)).astype(np.uint8))
    return tmp_path / "clip.avi"


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_video(disk: Disk, exported: Exported, clip: Path, suffix: str) -> None:
    """The video ends where the disk does, and plays."""
    place = disk("1600k")
    done = run("fastscnn-segment", clip, "-m", exported("cls", (64, 96)), "-o", place / f"out{suffix}")
    assert_told(done, "the disk is full after")
    said = int(done.stderr.rpartition("the disk is full after ")[2].split()[0])
    capture = cv2.VideoCapture(str(place / f"out{suffix}"))
    frames = 0
    while capture.read()[0]:
        frames += 1
    capture.release()
    assert 0 < frames == said < 40
    assert [path.name for path in place.iterdir()] == [f"out{suffix}"]


def test_video_without_room_for_a_frame(disk: Disk, exported: Exported, clip: Path) -> None:
    place = disk("1m")
    (place / "out.mp4").write_bytes(b"old")
    filled(place, 8192)
    done = run("fastscnn-segment", clip, "-m", exported("cls", (64, 96)), "-o", place / "out.mp4")
    assert_told(done, "out.mp4")
    assert (place / "out.mp4").read_bytes() == b"old"
    assert sorted(path.name for path in place.iterdir()) == ["ballast", "out.mp4"]


def test_images(disk: Disk, exported: Exported, clip: Path) -> None:
    place = disk("1m")
    assert_told(run("fastscnn-segment", clip, "-m", exported("cls", (64, 96)), "-o", place / "out"), "No space left")
    names = sorted(path.name for path in (place / "out").glob("*.jpg"))
    assert names == [f"{index:06d}.jpg" for index in range(len(names))] and names
    assert all(cv2.imread(str(place / "out" / name)).shape == (240, 320, 3) for name in names)


def test_training(disk: Disk, rectangles: Path) -> None:
    """What the last epoch left is whole, and with room again the run goes on."""
    place = disk("48m")
    recipe = ["batch=2", "crop=[64, 64]", "device=cpu", "threads=1", "workers=0", "evaluate_every=1", "epochs=3"]
    job = ["fastscnn-train", "cityscapes", f"data={rectangles}", *recipe, "-o", place / "run", "--resume"]
    filled(place, 16 << 20)  # the first state fits; beside it the second does not
    done = run(*job)
    assert_told(done, "No space left")
    state = checkpoint.unpickled(place / "run" / "last.pt")
    assert 0 < state["epoch"] < 3
    assert not [path.name for path in (place / "run").iterdir() if ".fastscnn." in path.name]
    (place / "ballast").unlink()
    done = run(*job)
    assert done.returncode == 0, done.stderr
    assert f"going on after epoch {state['epoch']} of 3" in done.stderr
