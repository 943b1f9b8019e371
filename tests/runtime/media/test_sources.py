"""Cameras and streams that misbehave: stall, change their size, are pulled out. A real server, real processes."""

import gc
import importlib.util
import os
import socketserver
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from emulation import in_time

from fastscnn.runtime import SourceError, UsageError
from fastscnn.runtime.media.sources import Source, for_opencv, read_image
from fastscnn.runtime.media.watch import Watched

Command = Callable[..., subprocess.CompletedProcess[str]]
Exported = Callable[..., Path]

STAMPS = importlib.util.find_spec("av") is not None  # without the video extra videos have a constant rate

CHANGED = {"/resized": lambda index: (96, 128) if index < 15 else (64, 160)}


class Camera(BaseHTTPRequestHandler):
    """Motion JPEG: `/stalled` goes silent after 20 frames, `/mute` never gives one, `/resized` changes its size."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for index in range(0 if self.path == "/mute" else 20 if self.path == "/stalled" else 30):
            height, width = CHANGED.get(self.path, lambda _: (96, 128))(index)
            data = cv2.imencode(".jpg", np.full((height, width, 3), index * 8, np.uint8))[1].tobytes()
            head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
            self.wfile.write(head + data + b"\r\n")
        if self.path != "/resized":
            self.server.over.wait(60)  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None: ...


@contextmanager
def served() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    server.over = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.over.set()  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def deaf() -> Iterator[str]:
    """Takes connections and never answers."""
    over = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            over.wait(60)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/camera"
        finally:
            over.set()
            server.shutdown()
            thread.join()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "fastscnn-source"]


@in_time
def test_a_camera_that_stalls_is_given_up(command: Command, exported: Exported, tmp_path: Path) -> None:
    started = time.monotonic()
    with served() as address:
        done = command(
            "fastscnn-segment",
            f"{address}/stalled",
            "-m",
            exported(),
            "--every-frame",
            "-o",
            "out.mkv",
            "--patience",
            1,
        )
    assert done.returncode == 1, done.stderr
    assert (
        "gave no frame after 19 of them, for 1 s. Check its cable" in done.stderr or "after 20 of them" in done.stderr
    )
    assert "Traceback" not in done.stderr
    assert time.monotonic() - started < 30
    capture = cv2.VideoCapture(str(tmp_path / "out.mkv"))
    whole = 19 if STAMPS else 1  # at a constant rate frames that came together are one
    assert sum(1 for _ in iter(lambda: capture.read()[0], False)) >= whole, "what came before is complete"


def test_a_camera_that_gives_nothing_and_one_that_does_not_open() -> None:
    with served() as address, pytest.raises(SourceError, match=r"(did not open|cannot be opened)"):
        Source(f"{address}/mute", patience=0.3)
    with deaf() as address, pytest.raises(SourceError, match=r"did not open, for 0\.9 s"):
        Source(address, patience=0.3)
    deadline = time.monotonic() + 20
    while threads():  # they end when FFmpeg does
        time.sleep(0.05)
        assert time.monotonic() < deadline


def test_a_camera_that_changes_its_size(command: Command, exported: Exported, tmp_path: Path) -> None:
    with served() as address:
        done = command("fastscnn-segment", f"{address}/resized", "-m", exported(), "--every-frame", "-o", "out.mkv")
    assert done.returncode == 1, done.stderr  # a stream that ends is one that broke off
    assert "out.mkv: 30 frames" in done.stderr
    capture = cv2.VideoCapture(str(tmp_path / "out.mkv"))
    shapes = {frame.shape for _, frame in iter(capture.read, (False, None))}
    assert shapes == {(96, 128, 3)}, "FFmpeg goes on in the first size"


class Device:
    """What OpenCV makes of a camera, for one that hangs in the driver as no server here can make it."""

    def __init__(self, hang: threading.Event, give: int) -> None:
        self.hang, self.give, self.released = hang, give, 0

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, _: int) -> float:
        return 0.0

    def set(self, _: int, __: float) -> bool:
        return False

    def getBackendName(self) -> str:  # noqa: N802
        return "V4L2"

    def read(self) -> tuple[bool, Any]:
        if self.give == 0:
            self.hang.wait(30)
            return False, None
        self.give -= 1
        return True, np.zeros((4 if self.give else 6, 4, 3), np.uint8)

    def release(self) -> None:
        assert self.hang.is_set(), "released under a call that uses it"
        self.released += 1


def test_a_device_that_changes_its_size_and_hangs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hang = threading.Event()
    device = Device(hang, give=3)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: device)
    seen = 0
    with (
        pytest.raises(SourceError, match=r"camera 0 gave no frame after 3 of them, for 0\.2 s"),
        Source("0", patience=0.2) as source,
    ):
        for _ in source:
            seen += 1
    assert seen == 3
    assert caplog.messages == ["camera 0 changed its frames from (4, 4) to (6, 4) after 2"]
    assert device.released == 0
    hang.set()
    deadline = time.monotonic() + 20
    while threads():
        time.sleep(0.01)
        assert time.monotonic() < deadline
    assert device.released == 1


def test_watched_calls_give_what_they_give() -> None:
    watched = Watched("test-watched")
    assert [watched.call(lambda n=n: n * 2, 5) for n in range(3)] == [0, 2, 4]
    with pytest.raises(KeyError):
        watched.call(lambda: {}["absent"], 5)
    assert watched.call(lambda: "after an error", 5) == "after an error"
    with pytest.raises(TimeoutError):
        watched.call(lambda: time.sleep(0.3), 0.05)
    assert watched.call(lambda: "not the answer of the call before", 5) == "not the answer of the call before"
    ended: list[int] = []
    watched.close(lambda: ended.append(1), 5)
    assert ended == [1]
    assert "test-watched" not in [thread.name for thread in threading.enumerate()]


def test_a_watched_that_nobody_closed_ends_its_thread() -> None:
    watched = Watched("test-forgotten")
    assert watched.call(lambda: 1, 5) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of its socket
        del watched
        gc.collect()
    deadline = time.monotonic() + 20
    while "test-forgotten" in [thread.name for thread in threading.enumerate()]:
        assert time.monotonic() < deadline


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    assert for_opencv("clip ü.avi") == "clip ü.avi"
    name = tmp_path / "clip \udcff.avi"
    name.write_bytes(b"RIFF")
    with pytest.raises(UsageError, match=r"not UTF-8.*Rename it"):
        Source(str(name))


def test_an_image_that_is_a_pipe_or_endless_is_refused(tmp_path: Path) -> None:
    (endless := tmp_path / "endless.png").symlink_to("/dev/zero")
    os.mkfifo(pipe := tmp_path / "pipe.png")
    for path in (endless, pipe):
        with pytest.raises(SourceError, match="no regular file"):
            read_image(path)


def test_a_camera_number_that_none_has() -> None:
    with pytest.raises(SourceError, match="does not exist"):
        Source("99999999999999999999")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_more_than_8_bits_are_refused_with_their_range(tmp_path: Path, suffix: str) -> None:
    """A thermal camera's 12 bits would be nearly black."""
    for shape in ((20, 30), (20, 30, 3)):
        deep = np.random.default_rng(0).integers(1000, 4000, shape).astype(np.uint16)
        cv2.imwrite(str(tmp_path / f"a{suffix}"), deep)
        with pytest.raises(SourceError, match=rf"holds uint16 from {deep.min()} to {deep.max()}; expected 8 bits"):
            read_image(tmp_path / f"a{suffix}")


def test_jpegs_that_are_cut_are_refused_whatever_the_decoder_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8))[1].tobytes()
    path = tmp_path / "a.jpg"
    for whole in (sound, sound + b"a clip that a phone appends"):
        path.write_bytes(whole)
        assert read_image(path).shape == (40, 60, 3)
    old = np.zeros((40, 60, 3), np.uint8)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: old)  # as OpenCV 4.8, which fills what is missing with grey
    for cut in (sound[: len(sound) * 6 // 10], sound[:-2]):
        path.write_bytes(cut)
        with pytest.raises(SourceError, match="or is damaged"):
            read_image(path)
