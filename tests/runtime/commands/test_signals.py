"""Ctrl-C and SIGTERM at any moment: the command ends, says so by its exit code, and its video plays."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

Exported = Callable[..., Path]
TIMES = int(os.environ.get("FASTSCNN_INTERRUPTS", "10"))
WITHIN = float(
    os.environ.get("FASTSCNN_INTERRUPT_SECONDS", "10")
)  # 2 where nothing else runs; a test machine is shared
# Python itself was not up yet, and calls that a fatal error; or none of our lines had run yet, and its import machinery, in
# a callback that must not fail, lost what Python's own handler had raised (1 of 400).
NOT_UP = (
    "Failed to import the site module",
    "Python runtime state: core initialized",
    "Exception ignored in: <function _get_module_lock",
)
CODES = {
    signal.SIGINT: (130, -signal.SIGINT),
    signal.SIGTERM: (143, -signal.SIGTERM),
}  # by exit, or before the command has begun


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "in.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 64))
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for index in range(20_000):
        writer.write(np.roll(frame, index % 64, 0) if index < 64 else frame)
    writer.release()
    return path


def frames_of(video: Path) -> int:
    capture = cv2.VideoCapture(str(video))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def test_interruptions_at_random_moments(exported: Exported, clip: Path, tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    longest, cut = 0.0, 0
    program = [Path(sys.executable).with_name("fastscnn-segment"), "-m", exported("cls", (64, 64)), "--threads", "1"]
    for index in range(TIMES):
        number = (signal.SIGINT, signal.SIGTERM)[index % 2]
        folder = tmp_path / str(index)
        folder.mkdir()
        one = index % 3 > 0
        inputs, out = ([clip], folder / "in.mp4") if one else ([clip, clip], folder)
        process = subprocess.Popen([*program, *inputs, "-o", out], stderr=subprocess.PIPE, text=True)
        time.sleep(chance.choice((0.3, 1.5, 3.0)) * chance.random())
        process.send_signal(number)
        sent = time.monotonic()
        try:
            said = process.communicate(timeout=60)[1]
        finally:
            process.kill()
        longest = max(longest, time.monotonic() - sent)
        if any(word in said for word in NOT_UP):
            continue
        assert process.returncode in CODES[number], f"seed {seed}, run {index}: {process.returncode}, {said}"
        assert "Exception ignored" not in said, said
        assert "Traceback" not in said or "in _enter" not in said, said  # before, Python itself is still being loaded
        videos = sorted(folder.glob("*.mp4"))
        assert {path.name for path in folder.iterdir()} - {"in.mp4", "in-2.mp4", "legend.json"} == set(), (
            "half a video was left behind"
        )
        cut += bool(videos)
        for video in videos:
            assert frames_of(video) > 0
            video.unlink()
    print(f"{TIMES} interruptions, {cut} in the middle of a video; the longest took {longest:.2f} s to end")
    assert longest < WITHIN


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(("name", "expected"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_one_that_lands_in_a_finalizer_is_not_lost(name: str, expected: int) -> None:
    code = (
        "import signal, sys, time, weakref\n"
        "from fastscnn.runtime.commands import command\n"
        "class Thing: ...\n"
        "def work(options):\n"
        "    thing = Thing()\n"
        "    weakref.finalize(thing, signal.raise_signal, getattr(signal, sys.argv[1]))\n"
        "    del thing\n"
        "    for _ in range(500):\n"
        "        time.sleep(0.01)\n"
        "    print('nobody heard')\n"
        "sys.exit(command.run(command.parser('x', 'x'), work, []))"
    )
    done = run(code, name)
    assert (done.returncode, done.stdout) == (expected, ""), done.stderr
    assert "ignored" not in done.stderr


def test_one_that_somebody_swallows_ends_the_frames(tmp_path: Path) -> None:
    """A library that catches everything at import, for one."""
    code = (
        "import signal, sys\n"
        "from fastscnn.runtime.commands import command, signals\n"
        "def frames():\n"
        "    for index in range(100):\n"
        "        if index == 3:\n"
        "            try:\n"
        "                signal.raise_signal(signal.SIGINT)\n"
        "            except BaseException:\n"
        "                pass\n"
        "        yield index\n"
        "def work(options):\n"
        "    with signals.held():\n"
        "        for index in signals.interruptible(frames()):\n"
        "            print(index)\n"
        "sys.exit(command.run(command.parser('x', 'x'), work, []))"
    )
    done = run(code)
    assert (done.returncode, done.stdout.split()) == (130, ["0", "1", "2", "3"])


@pytest.mark.parametrize(("name", "expected"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_one_that_comes_while_the_video_is_completed(
    exported: Exported, clip: Path, tmp_path: Path, name: str, expected: int
) -> None:
    code = (
        "import signal, sys\n"
        "from fastscnn.runtime.commands import segment\n"
        "from fastscnn.runtime.media import video_sink as sinks\n"
        "plays = sinks._plays\n"
        "def disturbed(path):\n"
        "    signal.raise_signal(getattr(signal, sys.argv[1]))\n"
        "    return plays(path)\n"
        "sinks._plays = disturbed\n"
        "sys.exit(segment.main([*sys.argv[2:], '--frames', '5']))"
    )
    out = tmp_path / "out.mp4"
    done = run(code, name, clip, "-m", exported("cls", (64, 64)), "-o", out)
    assert done.returncode == expected, done.stderr
    assert frames_of(out) == 5


def test_colours_under_a_storm_of_signals(exported: Exported) -> None:
    """cv2.applyColorMap crashed: a signal's exception got into its choice among overloads."""
    code = (
        "import signal, sys\n"
        "import numpy as np\n"
        "from fastscnn import Segmenter\n"
        "with Segmenter(sys.argv[1], 'cpu', threads=1) as segmenter:\n"
        "    result = segmenter(np.zeros((64, 64, 3), np.uint8))\n"
        "expected, heard = result.colour().tobytes(), 0\n"
        "class Heard(BaseException): ...\n"
        "def hear(*_):\n"
        "    raise Heard\n"
        "signal.signal(signal.SIGALRM, hear)\n"
        "while heard < 3000:\n"
        "    try:\n"
        "        signal.setitimer(signal.ITIMER_REAL, 0.0002 + heard % 7 * 0.00003)\n"
        "        while True:\n"
        "            result.colour()\n"
        "    except Heard:\n"
        "        heard += 1\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "assert result.colour().tobytes() == expected\n"
    )
    done = run(code, exported("cls", (64, 64)))
    assert done.returncode == 0, (done.returncode, done.stderr)
