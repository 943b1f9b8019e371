"""Live sources: the time stamps, the loss and the return, the newest frame. Real servers on the loopback address."""

import contextlib
import logging
import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fastscnn.benchmarks.live import cameras, stamp
from fastscnn.runtime import SourceError, UsageError
from fastscnn.runtime.media.sources import Source

Serve = Callable[..., Any]


def ages(source: Source, count: int) -> list[float]:
    """Seconds between the painted stamp and the frame's own."""
    found = []
    for named in source:
        painted = stamp.read(named.frame)
        if painted is not None and named.stamp is not None:
            found.append(stamp.age(named.stamp, painted))
        if len(found) == count:
            return found
    return found


def test_a_stamp_survives_jpeg_and_noise() -> None:
    for milliseconds in (0, 1, 123456789, (1 << 32) - 1):
        picture = np.full((64, 400), 128, np.uint8)
        for row, line in enumerate(stamp.rows(milliseconds)):
            picture[row * 16 : row * 16 + 16, : stamp.WIDTH] = np.frombuffer(line, np.uint8)
        noisy = np.clip(picture + np.random.default_rng(0).normal(0, 12, picture.shape), 0, 255).astype(np.uint8)
        again = cv2.imdecode(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_GRAYSCALE)
        assert stamp.read(again) == milliseconds
        picture[4:12, 4:12] = 255 - picture[4:12, 4:12]
        assert stamp.read(picture) is None, "one wrong block is noticed"
    assert stamp.read(np.full((64, 400), 128, np.uint8)) is None
    assert stamp.read(np.zeros((8, 8), np.uint8)) is None


def test_a_stream_is_live_and_stamped_as_it_arrives(mjpeg: Serve) -> None:
    with mjpeg(50) as server, Source(server.url) as source:
        assert source.live and source.video and source.frames is None
        found = ages(source, 20)
    assert len(found) == 20 and 0 <= np.median(found) < 0.5


def test_a_lost_stream_comes_back(mjpeg: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with mjpeg(100, after=12) as server, Source(server.url, reconnect=math.inf) as source:
        frames = iter(source)
        seen = [next(frames) for _ in range(30)]
        assert source.gaps >= 2 and source.lost > 0.5
    assert [named.name for named in seen] == [f"{index:06d}" for index in range(30)]
    times = [named.stamp for named in seen]
    assert times == sorted(times)
    text = "\n".join(caplog.messages)
    assert "stopped giving frames after" in text and "; trying again" in text
    assert "is back after" in text and "(gap 1)" in text and "(gap 2)" in text


def test_it_comes_back_in_another_size(mjpeg: Serve) -> None:
    with mjpeg(100, after=10, height=64) as server:
        port = server.server_address[1]
        source = Source(server.url, reconnect=math.inf)
        shapes = [named.frame.shape for named, _ in zip(source, range(8), strict=False)]
    with mjpeg(100, port=port), source:
        shapes += [named.frame.shape for named, _ in zip(source, range(12), strict=False)]
    assert {shape[0] for shape in shapes} == {64, 96}


def test_it_is_given_up_in_the_end_and_told_at_once_without(mjpeg: Serve) -> None:
    with mjpeg(100, after=10) as server:
        source = Source(server.url, reconnect=0.6, patience=1)
        frames = iter(source)
        next(frames)
    with pytest.raises(SourceError, match=r"did not come back for \d+ s and \d attempts"), source:
        list(frames)
    with pytest.raises(SourceError, match="cannot be opened"):
        Source(server.url, reconnect=math.inf, patience=1)


def test_it_can_be_closed_while_it_hangs_or_waits(mjpeg: Serve) -> None:
    for reconnect, after, rate in ((None, -1, 0.05), (math.inf, 10, 200)):
        with mjpeg(200 if reconnect else 20, after=after) as server:
            source = Source(server.url, reconnect=reconnect, patience=20)
            server.rate = rate  # one frame in 20 seconds: it hangs
            seen: list[Any] = []
            reader = threading.Thread(target=lambda source=source, seen=seen: seen.extend(source))
            reader.start()
            time.sleep(1.0)
            server.over.set()
            closing = time.monotonic()
            source.close()
            reader.join(10)
            assert not reader.is_alive()
            assert time.monotonic() - closing < 5


def test_rtsp_with_a_password_is_read_fresh(rtsp_server: None) -> None:
    with cameras.rtsp(30, (240, 400)) as url:
        address = url.replace("rtsp://", "rtsp://user:secret@")
        with Source(f"{address}?latency=0&transport=tcp") as source:
            assert source.live and "secret" not in source.shown
            assert "height=240 width=400" in source.about
            found = ages(source, 30)
    assert len(found) == 30
    assert np.median(found) < 1.0


def test_rtsp_comes_back_when_the_camera_starts_again(rtsp_server: None) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with cameras.rtsp(30, (240, 400), port) as url:
        source = Source(url, reconnect=30, patience=2)
        frames = iter(source)
        for _ in range(5):
            next(frames)
    with source, cameras.rtsp(30, (240, 400), port):
        while source.gaps == 0:
            next(frames)
        assert next(frames).frame.shape == (240, 400, 3)


def test_a_pipeline_is_read_through_gstreamer(gi: Any) -> None:
    size = "video/x-raw,width=130,height=96,framerate=25/1"  # rows of 390 bytes are padded to 392
    with Source(f"gst://videotestsrc num-buffers=12 pattern=red ! {size}") as source:
        assert not source.live and source.rate == 25
        seen = list(source)
    assert [round(named.stamp or 0, 2) for named in seen] == [round(index / 25, 2) for index in range(12)]
    assert seen[0].frame.shape == (96, 130, 3) and seen[0].frame[50, 50].tolist() == [0, 0, 255]
    with Source(f"videotestsrc is-live=true ! {size} ! videoconvert ! video/x-raw,format=BGR ! appsink") as source:
        assert source.live
        named = next(iter(source))
        assert 0 <= time.monotonic() - (named.stamp or 0) < 1


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        ("gst://nosuch ! videoconvert", SourceError, 'cannot be built .no element "nosuch"'),
        ("filesrc location=/absent ! decodebin", SourceError, "failed in filesrc0 .Resource not found"),
        ("gst://videotestsrc ! tee name=t ! appsink t. ! appsink", UsageError, "has 2 appsinks"),
        ("gst://videotestsrc ! video/x-raw,format=RGB ! appsink", UsageError, "gives RGB; expected BGR"),
        ("csi://0", SourceError, "needs nvarguscamerasrc"),
    ],
)
def test_pipelines_that_do_not_run_say_why(gi: Any, place: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Source(place, patience=1)


SENDER = """
import gi, sys, time
gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
encoder = "x264enc tune=zerolatency key-int-max=10" if Gst.ElementFactory.find("x264enc") else "openh264enc gop-size=10"
source = "videotestsrc is-live=true pattern=blue ! video/x-raw,format=I420,width=320,height=240"
Gst.parse_launch(f"{source} ! {encoder} ! rtph264pay config-interval=1 ! udpsink host=127.0.0.1 port={sys.argv[1]}").set_state(Gst.State.PLAYING)
time.sleep(60)
"""


def test_rtp_is_read_through_gstreamer(gi: Any, rtsp_server: None) -> None:
    python = cameras.system_python()
    assert python
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sender = subprocess.Popen([python, "-c", SENDER, str(port)])
    try:
        with Source(f"rtp://127.0.0.1:{port}", patience=10) as source:
            named = next(iter(source))
            assert source.live
        assert named.frame.shape == (240, 320, 3)
        assert named.frame[120, 160, 0] > 200 and named.frame[120, 160, 2] < 60
    finally:
        sender.kill()
        sender.wait()


def test_without_gstreamer_the_line_that_installs_it() -> None:
    code = "import sys; sys.modules['gi'] = None\nfrom fastscnn.runtime.media import Source\nSource('csi://0')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "SourceError: csi://0 needs GStreamer through PyGObject" in done.stderr
    assert "sudo apt install python3-gi python3-gst-1.0" in done.stderr


def test_a_pipe_ends_when_it_ends(tmp_path: Path, command: Callable[..., Any], exported: Callable[..., Path]) -> None:
    from fastscnn.runtime.media.sinks import VideoSink

    with VideoSink(tmp_path / "clip.mkv", 25) as sink:
        for index in range(10):
            sink.write("", np.full((96, 128, 3), index * 20, np.uint8))
    with (tmp_path / "clip.mkv").open("rb") as pipe:
        done = command("fastscnn-segment", "-", "-m", exported(), "-o", "out.mkv", stdin=pipe)
    assert done.returncode == 0, done.stderr
    assert "10 frames" in done.stderr and "dropped" not in done.stderr
    done = command("fastscnn-segment", "-", "-m", exported(), "-o", "out.mkv", input="no video")
    assert done.returncode == 1
    assert "standard input holds no video" in done.stderr


class Usb:
    """What OpenCV makes of a USB camera, as no machine of the tests has one: takes some settings, not others."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, float]] = []
        self.now = {cv2.CAP_PROP_FPS: 30.0, cv2.CAP_PROP_FRAME_WIDTH: 640.0, cv2.CAP_PROP_FRAME_HEIGHT: 480.0}

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, name: int, value: float) -> bool:
        self.asked.append((name, value))
        if name != cv2.CAP_PROP_FPS:
            self.now[name] = value
        return True

    def get(self, name: int) -> float:
        if name == cv2.CAP_PROP_POS_MSEC:
            return (time.monotonic() - 0.05) * 1e3
        return self.now.get(name, 0.0)

    def getBackendName(self) -> str:  # noqa: N802
        return "V4L2"

    def read(self) -> tuple[bool, Any]:
        return True, np.zeros((48, 64, 3), np.uint8)

    def release(self) -> None: ...


def test_a_usb_camera_is_asked_for_mjpg_and_read_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    device = Usb()
    opened: list[Any] = []
    monkeypatch.setattr(cv2, "VideoCapture", lambda *arguments: opened.append(arguments) or device)
    with Source("v4l2:///dev/video9?width=1280&height=720&fps=60") as source:
        named = next(iter(source))
        assert source.about == "height=720 width=1280 MJPG, through OpenCV's V4L2"
    assert opened == [("/dev/video9", cv2.CAP_V4L2)]
    first, *rest = device.asked
    assert first == (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
    assert rest == [(cv2.CAP_PROP_FRAME_WIDTH, 1280), (cv2.CAP_PROP_FRAME_HEIGHT, 720), (cv2.CAP_PROP_FPS, 60)]
    assert caplog.messages == ["camera /dev/video9 gives fps=30 instead of what was asked for"]
    assert 0.04 < time.monotonic() - (named.stamp or 0) < 1, "the driver's own stamp"
    with contextlib.closing(Source("0?format=yuyv")):
        assert device.asked[-1] == (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"YUYV"))
    assert opened[-1] == (0, cv2.CAP_V4L2)
