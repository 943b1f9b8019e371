"""Programs that just end: threads that still read, segment or serve then say nothing and hold nothing up."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

OPENED = """
import sys, time
import numpy as np
from fastscnn.runtime import Segmenter, Source
frame = np.zeros((96, 128, 3), np.uint8)
def camera(period=0.002):
    while True:
        time.sleep(period)
        yield frame
segmenter = Segmenter(sys.argv[1], "cpu", threads=1)
"""
PROGRAMS = {
    "the newest frame": "stream = segmenter.stream(camera(), drop='oldest'); next(stream)",
    "every frame": "stream = segmenter.stream(camera()); next(stream)",
    "a camera that hangs": "stream = segmenter.stream(camera(60), drop='oldest', timeout=0.2)\ntry: next(stream)\nexcept Exception: pass",
    "several cameras": "stream = segmenter.stream({'a': camera(), 'b': camera()}, drop='oldest'); next(stream)",
    "a thread of the user's": (
        "import threading\n"
        "def work():\n"
        "    for result in segmenter.stream(camera()): pass\n"
        "threading.Thread(target=work, daemon=True).start(); time.sleep(0.2)"
    ),
    "asyncio": (
        "import asyncio\n"
        "async def main():\n"
        "    async for result in segmenter.stream(camera(), drop='oldest'):\n"
        "        break\n"
        "asyncio.run(main())"
    ),
    "a view": (
        "from fastscnn.runtime.view import View\n"
        "view = View('127.0.0.1', 0).__enter__(); view.show(frame, segmenter(frame)); time.sleep(0.1)"
    ),
    "an exit": "stream = segmenter.stream(camera(), drop='oldest'); next(stream); sys.exit(0)",
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_closes_nothing_ends_quietly(exported: Callable[..., Path], program: str) -> None:
    code = [sys.executable, "-c", OPENED + PROGRAMS[program], exported("cls", (64, 96))]
    running = [subprocess.Popen(code, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in running:
        said = process.communicate(timeout=60)[1]
        assert (process.returncode, said) == (0, "")
