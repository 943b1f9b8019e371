"""Threads, forks and spawned processes around one Segmenter; what happens to one that nobody closes."""

import gc
import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from emulation import in_time

from fastscnn.runtime import Segmenter, UsageError
from fastscnn.runtime.gate import Gate

Exported = Callable[..., Path]
Frames = list[np.ndarray]

SMALL = (64, 64)
COUNT = 10_000


def test_eight_threads_and_ten_thousand_frames(exported: Exported, frames: Frames) -> None:
    own = [frame[:64, x : x + 64] for frame in frames for x in range(0, 192, 8)]  # 144 distinct frames
    with Segmenter(exported(resolution=SMALL), threads=1) as segmenter:
        expected = [segmenter(frame).labels for frame in own]
        assert len({labels.tobytes() for labels in expected}) > 100, "equal results would hide a mix-up"

        def work(thread: int) -> int:
            wrong = 0
            for index in range(thread, COUNT, 8):
                place = index * 7 % len(own)
                wrong += not np.array_equal(segmenter(own[place]).labels, expected[place])
            return wrong

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(work, range(8))) == 0
        assert segmenter.latency.frames == len(own) + COUNT


def in_fork(work: Callable[[], object]) -> str:
    """What `work` tells in a forked child; whatever hangs there ends after a minute."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later warn of any fork among threads
        child = os.fork()
    if child == 0:
        import signal

        signal.alarm(60)
        try:
            told = str(work())
        except BaseException as error:
            told = f"{type(error).__name__}: {error}"
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    assert os.waitpid(child, 0)[1] == 0, "the child hung or crashed"
    return told


@pytest.mark.parametrize("head", ["cls", "prob"])
def test_a_fork_is_told_and_does_not_hang(exported: Exported, frames: Frames, head: str) -> None:
    with Segmenter(exported(head), threads=2) as segmenter:
        before = segmenter(frames[0]).labels
        stream = segmenter.stream(iter(frames))
        next(stream)
        told = in_fork(lambda: segmenter(frames[0]))
        assert told.startswith(f"UsageError: this Segmenter was opened in process {os.getpid()}, and process")
        assert "open a Segmenter in each process after the fork" in told
        assert "opened before a fork" in in_fork(lambda: next(stream))
        assert in_fork(segmenter.close) == "None"

        def anew() -> object:
            with Segmenter(exported(head), threads=2) as own:
                return np.array_equal(own(frames[0]).labels, before)

        assert in_fork(anew) == "True"
        assert np.array_equal(segmenter(frames[0]).labels, before), "a child's close reached its parent"
        stream.close()


def test_a_fork_in_the_middle_of_a_call_can_close(exported: Exported) -> None:
    """The child has the count of a call, and maybe a held lock, but not the thread that would end it."""
    gate = Gate()
    with gate.passing(), gate._idle:
        assert in_fork(gate.shut) == "False"


@in_time
def test_spawned_processes_open_their_own(exported: Exported, frames: Frames, tmp_path: Path) -> None:
    """As a user writes it: a script with a pool of spawned workers that send whole results back."""
    script = tmp_path / "robot.py"
    script.write_text(
        "import multiprocessing, sys\n"
        "import numpy as np\n"
        "from fastscnn import Segmenter\n"
        "def work(frame):\n"
        "    with Segmenter(sys.argv[1], threads=1) as segmenter:\n"
        "        return segmenter(frame)\n"
        "if __name__ == '__main__':\n"
        "    frames = list(np.load(sys.argv[2]))\n"
        "    with Segmenter(sys.argv[1], threads=1) as segmenter:\n"
        "        expected = [segmenter(frame).labels for frame in frames]\n"
        "        with multiprocessing.get_context('spawn').Pool(2) as pool:\n"
        "            found = pool.map(work, frames)\n"
        "    print(all(np.array_equal(f.labels, e) for f, e in zip(found, expected, strict=True)))\n"
    )
    np.save(tmp_path / "frames.npy", np.stack(frames[:3]))
    done = subprocess.run(
        [sys.executable, script, exported(), tmp_path / "frames.npy"], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize("head", ["cls", "prob", "logits"])
def test_results_pickle(exported: Exported, frames: Frames, head: str) -> None:
    with Segmenter(exported(head)) as segmenter:
        result = segmenter(frames[0])
    again = pickle.loads(pickle.dumps(result))
    assert np.array_equal(again.labels, result.labels)
    for name in ("probabilities", "logits"):
        assert np.array_equal(getattr(again, name), getattr(result, name))
    assert (again.artifact, again.timings) == (result.artifact, result.timings)
    assert np.array_equal(again.overlay(frames[0]), result.overlay(frames[0]))


def test_a_segmenter_does_not_pickle_and_says_what_to_do(exported: Exported) -> None:
    with Segmenter(exported()) as segmenter, pytest.raises(UsageError, match="send the model's path"):
        pickle.dumps(segmenter)


def decode_threads() -> list[threading.Thread]:
    return [
        thread for thread in threading.enumerate() if thread.name.startswith("fastscnn") and "stream" not in thread.name
    ]


def test_an_unclosed_segmenter_warns_and_releases_its_threads(exported: Exported, frames: Frames) -> None:
    segmenter = Segmenter(exported("prob"), threads=2)
    segmenter(frames[0])
    assert decode_threads()
    backend = segmenter._backend  # as somebody may still hold the engine
    with pytest.warns(ResourceWarning, match=r"unclosed Segmenter of .*\.onnx"):
        del segmenter
        gc.collect()
    assert not decode_threads()
    assert backend.artifact


def test_a_closed_segmenter_does_not_warn(exported: Exported, frames: Frames) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        segmenter = Segmenter(exported())
        segmenter(frames[0])
        segmenter.close()
        del segmenter
        with pytest.raises(UsageError):
            Segmenter(exported(), threads=0)
        gc.collect()
    assert not [w for w in caught if w.category is ResourceWarning]


def test_a_program_that_forgets_to_close_ends_cleanly(exported: Exported) -> None:
    code = (
        "import sys, threading, numpy as np\n"
        "from fastscnn import Segmenter\n"
        "segmenter = Segmenter(sys.argv[1], threads=2)\n"
        "frame = np.zeros((128, 256, 3), np.uint8)\n"
        "segmenter(frame)\n"
        "def work():\n"
        "    while True: segmenter(frame)\n"
        "threading.Thread(target=work, daemon=True).start()\n"  # still in a call when the interpreter ends
        "print(segmenter(frame).labels.shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code, exported("prob")], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "(128, 256)\n"), done.stderr
    assert "ResourceWarning: unclosed Segmenter" in done.stderr


def endless(frame: np.ndarray) -> Iterator[np.ndarray]:
    while True:
        yield frame


def test_close_ends_a_stream(exported: Exported, frames: Frames) -> None:
    segmenter = Segmenter(exported())
    stream = segmenter.stream(endless(frames[0]))
    next(stream)
    segmenter.close()
    assert list(stream) == []
    with pytest.raises(UsageError, match="closed; open a new one"):
        next(segmenter.stream(endless(frames[0])))
