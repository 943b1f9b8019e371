"""Signs of life: one line that is kept alive on a terminal, lines in a log otherwise."""

import logging
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fastscnn.export.tensorrt import progress
from fastscnn.export.tensorrt.progress import Progress


def test_a_log_gets_a_line_a_phase_and_one_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_BEAT", 0.02)
    monkeypatch.setattr(progress, "_LINE", 0.1)
    shown = Progress()
    with caplog.at_level(logging.INFO, "fastscnn.tensorrt"):
        shown.phase("building the engine")
        shown.detail("timing, step 3 of 9")
        worker = threading.Thread(target=time.sleep, args=(0.4,))
        worker.start()
        shown.wait(worker)
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0] == "building the engine"
    assert 1 <= len(messages[1:]) <= 4
    assert "still building the engine after 0 s (timing, step 3 of 9)" in messages[1:]


def test_log_lines_stand_alone_and_the_line_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    monkeypatch.setattr(os, "get_terminal_size", lambda handle: os.terminal_size((40, 24)))
    with os.fdopen(theirs, "w") as terminal:
        shown = Progress(terminal)
        handler = logging.StreamHandler(terminal)
        handler.addFilter(shown.make_room)
        shown.phase("compiling the decode kernels")
        shown.detail("x" * 100)
        shown.beat()
        handler.handle(logging.makeLogRecord({"msg": "no decode kernels"}))
        text = ""
        while not text.endswith("\n"):  # a terminal hands on its bytes in pieces
            text += os.read(ours, 4096).decode()
    os.close(ours)
    drawn = text.split("\r\x1b[K")
    assert drawn[-1].strip() == "no decode kernels"
    assert max(map(len, drawn)) == 39


def test_a_terminal_shows_phase_and_seconds(exported: Callable[..., Path], tmp_path: Path) -> None:
    model = exported("cls", (64, 96))
    program = Path(sys.executable).with_name("fastscnn-trt")
    ours, theirs = pty.openpty()
    arguments = [program, "build", model, "-o", tmp_path / "e.plan", "--flavour", "rtx", "--target", "sm86"]  # fmt: skip
    running = subprocess.Popen(arguments, stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # how a pseudo-terminal ends
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert running.wait() == 0, shown
    assert b" s  reading the graph" in shown
    assert b"\x1b[Kconverting the FP32 graph to FP16;" in shown, "a log line stands alone"
    assert b" s  building the engine" in shown
    assert b" s  compiling the decode kernels" in shown
    assert shown.count(b"\r\x1b[K") > 3, "one line, drawn again"
