"""fastscnn-segment as users meet it: real files, a real camera server, full disks, interrupted processes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn.model import Street
from fastscnn.runtime import OutputError, Segmenter, SourceError
from fastscnn.runtime.media.sinks import VideoSink
from fastscnn.runtime.media.sources import Source

Command = Callable[..., subprocess.CompletedProcess[str]]
Exported = Callable[..., Path]
Frames = list[np.ndarray]


def video_of(path: Path, frames: Frames, repeat: int = 1) -> Path:
    with VideoSink(path, 25) as sink:
        for _ in range(repeat):
            for frame in frames:
                sink.write("", frame)
    return path


def frames_in(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        read, frame = capture.read()
        if not read:
            return frames
        frames.append(frame)


@pytest.fixture
def folder(tmp_path: Path, frames: Frames) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    for index, frame in enumerate(frames):
        cv2.imwrite(str(images / f"frame{index + 5}.png"), frame)
    return images


def test_image_to_overlay_colours_and_labels(
    command: Command, exported: Exported, folder: Path, frames: Frames, tmp_path: Path
) -> None:
    with Segmenter(exported()) as segmenter:
        result = segmenter(frames[0])
    for style, expected in (
        ("overlay", result.overlay(frames[0])),
        ("colour", result.colour()),
        ("labels", result.labels),
    ):
        done = command("fastscnn-segment", folder / "frame5.png", "-m", exported(), "--as", style, "-o", f"{style}.png")
        assert done.returncode == 0, done.stderr
        assert "the colours mean nothing yet" in done.stderr
        assert np.array_equal(cv2.imread(str(tmp_path / f"{style}.png"), cv2.IMREAD_UNCHANGED), expected)


def test_folder_in_natural_order_with_a_report(
    command: Command, exported: Exported, folder: Path, tmp_path: Path
) -> None:
    done = command("fastscnn-segment", folder, "-m", exported(), "--as", "labels", "-o", "out", "--json", "-")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["frames"] == 6
    assert sum(report["class_share"].values()) == pytest.approx(1)
    assert report["model"] == {"head": "cls", "resolution": "128x256", "trained": False}
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == sorted(f"frame{i}.png" for i in range(5, 11))
    with Source(str(folder)) as source:
        assert [named.name for named in source] == [f"frame{i}" for i in range(5, 11)]


def test_video_in_video_out(command: Command, exported: Exported, frames: Frames, tmp_path: Path) -> None:
    clip = video_of(tmp_path / "clip with spaces ü.mp4", frames, 3)
    done = command("fastscnn-segment", clip, "-m", exported(), "-o", "out.mp4")
    assert done.returncode == 0, done.stderr
    assert "18 frames" in done.stderr
    written = frames_in(tmp_path / "out.mp4")
    assert len(written) == 18
    assert written[0].shape == frames[0].shape
    done = command("fastscnn-segment", clip, "-m", exported(), "-o", "some.avi", "--frames", 4)
    assert len(frames_in(tmp_path / "some.avi")) == 4, done.stderr


def test_a_file_that_is_no_image_costs_only_itself(
    command: Command, exported: Exported, folder: Path, tmp_path: Path
) -> None:
    (folder / "frame7.png").write_text("not an image")
    (folder / "frame8.png").write_bytes(b"")
    done = command("fastscnn-segment", folder, "-m", exported(), "-o", "out")
    assert done.returncode == 1
    assert "2 of 6 images were passed over" in done.stderr
    assert "frame7.png is not an image" in done.stderr
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 4


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["absent.mp4", "-o", "o.mp4"], 1, "absent.mp4 does not exist"),
        (["text.mp4", "-o", "o.mp4"], 1, "text.mp4 is not an image or a video"),
        (["text.png", "-o", "o.png"], 1, "text.png is not an image"),
        (["empty", "-o", "o"], 1, "empty holds no images"),
        (["77", "-o", "o.mp4"], 1, "camera 77 cannot be opened"),
        (["clip.mp4", "-o", "o.txt"], 2, "ends in .txt; expected a folder, an image"),
        (["clip.mp4", "-o", "o.png"], 2, "is one image, but several frames will come"),
        (["clip.mp4", "-o", "o.mp4", "--as", "labels"], 2, "would change label numbers"),
        (["clip.mp4", "-o", "no/o.mp4"], 1, "no/o.mp4 cannot be written (No such file or directory)"),
        (["clip.mp4", "-o", "o.mp4", "--opacity", "2"], 2, "'2' is not a share"),
        (["clip.mp4", "-o", "o.mp4", "-m", "clip.mp4"], 4, "clip.mp4 is truncated or not an ONNX file"),
        (["clip.mp4", "-o", "o.mp4", "-m", "absent.onnx"], 4, "absent.onnx does not exist"),
        (["clip.mp4", "-o", "o.mp4", "--device", "cuda"], 4, "device 'cuda' was asked for"),
    ],
)
def test_errors_are_one_sentence_and_leave_nothing(
    command: Command, exported: Exported, frames: Frames, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    video_of(tmp_path / "clip.mp4", frames)
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = command("fastscnn-segment", *(["-m", exported()] if "-m" not in arguments else []), *arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if "fastscnn-segment" in line or "usage" in line] != []
    assert sorted(tmp_path.rglob("*")) == before


def test_truncated_video_keeps_what_could_be_read(
    command: Command, exported: Exported, frames: Frames, tmp_path: Path
) -> None:
    clip = video_of(tmp_path / "clip.avi", frames, 10)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    done = command("fastscnn-segment", clip, "-m", exported(), "-o", "out.mp4")
    written = len(frames_in(tmp_path / "out.mp4"))
    assert 10 < written < 50
    assert done.returncode == 1
    assert f"ends after {written} of" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_video_plays_up_to_there(
    exported: Exported, frames: Frames, tmp_path: Path, number: int, code: int
) -> None:
    clip = video_of(tmp_path / "clip.avi", frames, 500)
    program = Path(sys.executable).with_name("fastscnn-segment")
    running = subprocess.Popen(
        [program, clip, "-m", exported(), "-o", "out.mp4"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    while not list(tmp_path.glob(".out.*")) or next(iter(tmp_path.glob(".out.*"))).stat().st_size < 50_000:
        time.sleep(0.05)
        assert running.poll() is None, running.communicate()
    assert not (tmp_path / "out.mp4").exists(), "an unfinished video stood under its final name"
    running.send_signal(number)
    _, told = running.communicate(timeout=30)
    assert running.returncode == code, told
    assert "Traceback" not in told
    written = len(frames_in(tmp_path / "out.mp4"))
    assert 0 < written < 3000
    (said,) = re.findall(r"out\.mp4: (\d+) frames", told)
    assert abs(int(said) - written) <= 1, "the signal may fall between writing a frame and counting it"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.avi", "out.mp4"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 4 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    if (
        os.geteuid() != 0
        or shutil.which("mount") is None
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True).returncode
    ):
        pytest.skip("mounting a small tmpfs needs root")
    yield place
    subprocess.run(["umount", place], check=True)


def test_full_disk_keeps_what_was_finished(
    command: Command, exported: Exported, small_disk: Path, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 240, 320, 3)).astype(np.uint8)
    clip = video_of(tmp_path / "clip.avi", list(noise), 3)
    done = command("fastscnn-segment", clip, "-m", exported(), "-o", small_disk / "out.avi", "--opacity", 0)
    assert done.returncode == 1, done.stderr
    assert "the disk is full after" in done.stderr
    assert 10 < len(frames_in(small_disk / "out.avi")) < 120
    (small_disk / "out.avi").unlink()

    done = command("fastscnn-segment", clip, "-m", exported(), "-o", small_disk / "images", "--opacity", 0)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    kept = sorted((small_disk / "images").glob("*.jpg"))
    assert len(kept) > 10
    assert all(cv2.imread(str(path)) is not None for path in kept)


@contextmanager
def served(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """A web server on this machine; gives its address."""
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Camera(BaseHTTPRequestHandler):
    """A network camera: motion JPEG over HTTP, whose cable is pulled after some frames."""

    frames = 30

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        street = Street(96, 128)
        for index in range(self.frames):
            data = cv2.imencode(".jpg", street.frame(index)[0])[1].tobytes()
            self.wfile.write(
                b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(data), data)
            )

    def log_message(self, *_: object) -> None: ...


def test_a_camera_that_drops_out(command: Command, exported: Exported, tmp_path: Path) -> None:
    with served(Camera) as address:
        done = command("fastscnn-segment", f"{address}/stream.mjpg", "-m", exported(), "--every-frame", "-o", "out.mp4")
    assert done.returncode == 1, done.stderr
    assert "stopped giving frames after" in done.stderr
    assert len(frames_in(tmp_path / "out.mp4")) >= Camera.frames - 2


def test_frames_that_change_size_are_fitted_not_lost(frames: Frames, tmp_path: Path) -> None:
    with VideoSink(tmp_path / "out.mp4", 25) as sink:
        for frame in (frames[0], frames[1][:64], frames[2]):
            sink.write("", frame)
    assert [frame.shape for frame in frames_in(tmp_path / "out.mp4")] == [frames[0].shape] * 3


def test_video_sink_without_frames_leaves_nothing(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "out.mp4", 25):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="cannot be written"):
        VideoSink(tmp_path / "absent" / "out.mp4", 25)


def test_rotated_and_grey_images_are_read(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((10, 20), 7, np.uint8))
    with Source(str(tmp_path / "grey.png")) as source:
        assert [named.frame.shape for named in source] == [(10, 20, 3)]
    with pytest.raises(SourceError, match="does not exist"):
        Source(str(tmp_path / "absent"))


def test_real_dashcam_clip(command: Command, exported: Exported, shared: Path, tmp_path: Path) -> None:
    clip = shared / "data" / "video" / "solidWhiteRight.mp4"
    done = command("fastscnn-segment", clip, "-m", exported(), "-o", "out.mp4", "--frames", 20)
    assert done.returncode == 0, done.stderr
    assert [frame.shape for frame in frames_in(tmp_path / "out.mp4")] == [(540, 960, 3)] * 20


def test_the_input_is_never_overwritten(
    command: Command, exported: Exported, folder: Path, frames: Frames, tmp_path: Path
) -> None:
    clip = video_of(tmp_path / "clip.mp4", frames)
    (tmp_path / "link.mp4").symlink_to(clip)
    for place, output in (
        (clip, "clip.mp4"),
        (clip, "link.mp4"),
        (folder, folder),
        (folder / "frame5.png", folder / "frame5.png"),
    ):
        before = clip.read_bytes(), (folder / "frame5.png").read_bytes()
        done = command("fastscnn-segment", place, "-m", exported(), "-o", output)
        assert (done.returncode, "is the input itself" in done.stderr) == (2, True), done.stderr
        assert (clip.read_bytes(), (folder / "frame5.png").read_bytes()) == before


def test_images_of_one_stem_do_not_share_a_result(
    command: Command, exported: Exported, folder: Path, frames: Frames, tmp_path: Path
) -> None:
    cv2.imwrite(str(folder / "frame5.jpg"), frames[1])
    (folder / "odd.png").mkdir()
    done = command("fastscnn-segment", folder, "-m", exported(), "-o", "out_1.0")
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "out_1.0").iterdir()}
    assert names == {"legend.json", "frame5_png.jpg", "frame5_jpg.jpg", *(f"frame{i}.jpg" for i in range(6, 11))}


def test_one_image_into_a_folder_keeps_its_name(
    command: Command, exported: Exported, folder: Path, tmp_path: Path
) -> None:
    for name in ("frame5", "frame6"):
        assert command("fastscnn-segment", folder / f"{name}.png", "-m", exported(), "-o", "out").returncode == 0
    assert {path.name for path in (tmp_path / "out").glob("*.jpg")} == {"frame5.jpg", "frame6.jpg"}


def test_odd_sizes_lose_no_row(frames: Frames, tmp_path: Path) -> None:
    with VideoSink(tmp_path / "out.mp4", 25) as sink:
        sink.write("", frames[0][:65, :101])
        sink.write("", frames[1][:65, :101])
    assert [frame.shape for frame in frames_in(tmp_path / "out.mp4")] == [(66, 102, 3)] * 2


def test_an_encoder_that_refuses_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="no encoder for height=2 width=40000"),
        VideoSink(tmp_path / "out.mp4", 25) as sink,
    ):
        sink.write("", np.zeros((2, 40000, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_still_reports(command: Command, exported: Exported, folder: Path, tmp_path: Path) -> None:
    (folder / "frame7.png").write_text("not an image")
    done = command("fastscnn-segment", folder, "-m", exported(), "-o", "out", "--json", "report.json")
    assert done.returncode == 1
    assert json.loads((tmp_path / "report.json").read_text())["frames"] == 5


def test_a_clip_at_an_address_is_no_camera(
    command: Command, exported: Exported, frames: Frames, tmp_path: Path
) -> None:
    video_of(tmp_path / "clip.avi", frames)
    with served(partial(SimpleHTTPRequestHandler, directory=str(tmp_path))) as address:
        done = command("fastscnn-segment", f"{address}/clip.avi", "-m", exported(), "-o", "out.mp4")
    assert done.returncode == 0, done.stderr
    assert len(frames_in(tmp_path / "out.mp4")) == 6
