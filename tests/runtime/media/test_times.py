"""Videos in, videos out: as many seconds, true ends, and what a killed recording keeps. Real files, real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fastscnn.benchmarks.live import clips, durations
from fastscnn.runtime import SourceError, UsageError, install
from fastscnn.runtime.media import encoders
from fastscnn.runtime.media.encoders import Pace
from fastscnn.runtime.media.sinks import VideoSink, open_sink
from fastscnn.runtime.media.sources import Source

av = pytest.importorskip("av", reason="time stamps of videos need the video extra")

Command = Callable[..., subprocess.CompletedProcess[str]]
Exported = Callable[..., Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    for name, write in clips.kinds().items():
        write(folder / name)
    return {name: folder / name for name in clips.kinds()}


def copied(path: Path, output: Path, **options: Any) -> clips.Clip:
    with Source(str(path)) as source, open_sink(output, many=True, rate=source.rate, lossless=False, **options) as sink:
        for named in source:
            sink.write(named.name, named.frame, named.stamp)
    return clips.read(output)


@pytest.mark.parametrize("kind", clips.kinds())
def test_a_healthy_file_ends_soundly_and_lasts_as_long(files: dict[str, Path], kind: str, tmp_path: Path) -> None:
    truth = clips.read(files[kind])
    with Source(str(files[kind])) as source:
        stamps = [named.stamp for named in source]  # raises nothing at the end, whatever was announced
    assert stamps == pytest.approx(list(truth.times), abs=1e-6)
    made = copied(files[kind], tmp_path / "out.mp4")
    assert made.times == pytest.approx(truth.times, abs=2e-5)
    longest = max(np.diff(truth.times))
    assert abs(made.seconds - truth.seconds) <= longest
    constant = copied(files[kind], tmp_path / "out.avi")
    assert abs(constant.seconds - truth.seconds) <= longest
    thirty = copied(files[kind], tmp_path / "thirty.mkv", fps=30)
    assert abs(thirty.seconds - truth.seconds) <= longest
    assert np.diff(thirty.times) == pytest.approx(1 / 30, abs=1.1e-3), "Matroska counts milliseconds"


def test_the_bench_and_the_command(
    command: Command, exported: Exported, files: dict[str, Path], tmp_path: Path
) -> None:
    row = durations.measured(exported(resolution=(64, 64)), "longer-sound.mkv", tmp_path)
    assert (row.frames, row.announced) == (50, 151)
    assert row.written == {".mp4": 2.0, ".avi": 2.0} and row.stamps_differ < 1e-6
    assert "| longer-sound.mkv | 50 | 151 | 2.000 |" in durations.table([row])
    done = command("fastscnn-segment", files["variable.webm"], "-m", exported(), "-o", "o.mp4", "--fps", 10)
    assert done.returncode == 0, done.stderr
    assert clips.read(tmp_path / "o.mp4").times == pytest.approx([i / 10 for i in range(65)], abs=1e-4)


def test_a_recording_is_as_long_as_it_took(mjpeg: Any, tmp_path: Path) -> None:
    with (
        mjpeg(10) as server,
        Source(server.url) as source,
        open_sink(tmp_path / "out.mp4", many=True, rate=source.rate, lossless=False, recording=True) as sink,
    ):
        frames = iter(source)
        first = last = next(frames)
        sink.write(first.name, first.frame, first.stamp)
        while (last.stamp or 0) - (first.stamp or 0) < 1.5:
            last = next(frames)
            sink.write(last.name, last.frame, last.stamp)
    made = clips.read(tmp_path / "out.mp4")
    assert made.times[-1] == pytest.approx((last.stamp or 0) - (first.stamp or 0), abs=1e-3)
    capture = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == made.frames, "an ordinary file, not fragments, when it is complete"


def test_h264_that_browsers_play(files: dict[str, Path], tmp_path: Path) -> None:
    copied(files["regular.mp4"], tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        video = container.streams.video[0]
        assert (video.codec_context.name, video.pix_fmt) == ("h264", "yuv420p")
        frame = next(container.decode(video)).to_ndarray(format="bgr24", src_colorspace="itu709")
    assert np.abs(frame.astype(int) - clips.picture(0)).mean() < 4, "the colours are those that went in"
    data = (tmp_path / "out.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat"), "a browser needs the index first"


def test_without_the_extra_mpeg4_said_once(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "fastscnn")
    monkeypatch.setattr(encoders, "find_spec", lambda name: None)
    monkeypatch.setattr(encoders, "_told", set())
    for name in ("a.mp4", "b.mp4"):
        made = copied(files["variable.mp4"], tmp_path / name)
        assert abs(made.seconds - clips.read(files["variable.mp4"]).seconds) < 0.3
    copied(files["regular.mp4"], tmp_path / "b.mkv", recording=True)
    assert [
        message for message in caplog.messages if f"H.264 comes with {install.command('video')}" in message
    ] == caplog.messages
    assert len(caplog.messages) == 1
    copied(files["regular.mp4"], tmp_path / "c.mp4", recording=True)
    assert "is lost without the extra; one that ends in .mkv is not" in caplog.messages[-1]


@pytest.mark.parametrize("kind", ["intra.avi", "longer-sound.mkv", "variable.webm", "fragmented.mp4"])
def test_damage_is_told_where_it_is_seen(files: dict[str, Path], kind: str, tmp_path: Path) -> None:
    whole = files[kind].read_bytes()
    broken = tmp_path / kind
    broken.write_bytes(whole[: len(whole) * 6 // 10])
    with Source(str(broken)) as source, pytest.raises(SourceError, match=r"ends after \d+.* it is truncated: [\d,]+ bytes are missing"):  # fmt: skip
        assert len(list(source)) > 10
    with broken.open("ab") as file:  # what follows the end is nobody's business
        file.write(whole[len(whole) * 6 // 10 :] + b"\0" * 999)
    with Source(str(broken)) as source:
        assert len(list(source)) == clips.read(files[kind]).frames


def test_garbage_does_not_confuse_the_look_at_the_end(tmp_path: Path) -> None:
    from fastscnn.runtime.media.truncation import missing

    noise = np.random.default_rng(0)
    for head in (
        b"",
        b"\0\0\0\x18ftyp",
        b"RIFF",
        b"\x1a\x45\xdf\xa3",
        b"\0\0\0\1ftyp\0\0\0\0\0\0\0\1",
        b"\0\0\0\0mdat",
    ):
        for length in (0, 1, 7, 200):
            path = tmp_path / "clip"
            path.write_bytes(head + noise.bytes(length))
            missing(path)
    assert missing(tmp_path / "absent") == ""


def test_a_video_is_not_one_picture_whatever_it_announces(
    command: Command, exported: Exported, files: dict[str, Path], tmp_path: Path
) -> None:
    done = command("fastscnn-segment", files["fragmented.mp4"], "-m", exported(), "-o", "o.png")
    assert done.returncode == 2 and "several frames will come" in done.stderr and "--frames 1" in done.stderr
    done = command("fastscnn-segment", files["fragmented.mp4"], "-m", exported(), "-o", "o.png", "--frames", 1)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("place", ["-", "rtsp://host/out", "https://host/upload.mp4"])
def test_addresses_are_no_folders(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is no place for results"):
        open_sink(Path(place), many=True, rate=None, lossless=False)
    assert list(tmp_path.iterdir()) == []


def test_pace_fills_slots_with_the_newest_and_leaves_out_jumps() -> None:
    pace = Pace(10, 25)
    assert [pace.times(stamp) for stamp in (5.0, 5.04, 5.1, 5.42)] == [[0.0], [], [0.1], pytest.approx([0.2, 0.3, 0.4])]
    assert len(pace.times(4000.0)) <= 1, "a clock that was set"
    free = Pace(None, 25)
    assert [free.times(stamp) for stamp in (2.0, 2.5, 2.5)] == [[0.0], [0.5], pytest.approx([0.501])]
    counted = Pace(None, 25)
    assert [counted.times(None) for _ in range(3)] == [[0.0], pytest.approx([0.04]), pytest.approx([0.08])]


@pytest.fixture
def camera(mjpeg: Any) -> Iterator[str]:
    with mjpeg(30) as server:
        yield server.url


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_a_killed_recording_keeps_what_it_had(camera: str, exported: Exported, name: str, tmp_path: Path) -> None:
    program = [
        Path(sys.executable).with_name("fastscnn-segment"),
        camera,
        "-m",
        exported(resolution=(64, 64)),
        "-o",
        name,
    ]
    running = subprocess.Popen(program, cwd=tmp_path, env=os.environ, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / name).exists() or (tmp_path / name).stat().st_size < 3000:
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(2)
    running.send_signal(signal.SIGKILL)
    running.wait()
    kept = clips.read(tmp_path / name)
    assert kept.seconds > 0.8, "all but the last half second"
    with Source(str(tmp_path / name)) as source:
        assert len(list(source)) == kept.frames


def test_a_recording_without_frames_leaves_nothing(tmp_path: Path) -> None:
    VideoSink(tmp_path / "out.mp4", 25, recording=True).close()
    assert list(tmp_path.iterdir()) == []
