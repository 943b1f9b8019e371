"""Signs of life during a build: the phase and the seconds, because TensorRT's own callbacks stay silent for minutes."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any, TextIO

log = logging.getLogger("fastscnn.tensorrt")
_BEAT = 1.0  # seconds between two looks at the clock on a terminal
_LINE = 30.0  # and between two lines of a log
_COLUMNS = 80  # of a terminal that does not tell


class Progress:
    """Shows which phase a build is in and for how long.

    Args:
        terminal: a terminal to keep one line on; None writes log lines, one a phase and one every 30 s.
    """

    def __init__(self, terminal: TextIO | None = None) -> None:
        self._terminal = terminal
        self._started = time.monotonic()
        self._phase = "starting"
        self._detail = ""  # TensorRT's own phase, where it tells
        self._said = self._started
        self.cancelled = threading.Event()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def phase(self, name: str) -> None:
        """A new phase begins."""
        self._phase, self._detail = name, ""
        self._said = time.monotonic()
        if self._terminal is None:
            log.info("%s", name)
        self._draw()

    def detail(self, text: str) -> None:
        self._detail = text

    def beat(self) -> None:
        """Call it every second or so while something long runs."""
        self._draw()
        if self._terminal is None and time.monotonic() - self._said > _LINE:
            self._said = time.monotonic()
            log.info("still %s after %.0f s%s", self._phase, self.seconds, f" ({self._detail})" if self._detail else "")

    def wait(self, worker: threading.Thread) -> None:
        """Keep the display alive until `worker` ends. Runs in the main thread, so that Ctrl-C is heard at once."""
        while worker.is_alive():
            worker.join(_BEAT)
            self.beat()

    def clear(self) -> None:
        """Take the line off the terminal."""
        if self._terminal is not None:
            self._terminal.write("\r\033[K")
            self._terminal.flush()

    def make_room(self, record: logging.LogRecord) -> bool:
        """A filter for a handler that writes to the same terminal: the record gets a line of its own."""
        self.clear()
        return True

    def _draw(self) -> None:
        if self._terminal is not None:
            detail = f": {self._detail}" if self._detail else ""
            line = f"{self.seconds:5.0f} s  {self._phase}{detail}"
            self._terminal.write("\r\033[K" + line[: _width(self._terminal) - 1])  # a full line would wrap
            self._terminal.flush()


def _width(terminal: TextIO) -> int:
    """Columns; `shutil.get_terminal_size` would ask stdout, which may be a file."""
    try:
        return os.get_terminal_size(terminal.fileno()).columns or _COLUMNS
    except (OSError, ValueError):
        return _COLUMNS


def monitor(module: Any, progress: Progress) -> Any:
    """An `IProgressMonitor` that names TensorRT's phases, and ends the build once `progress` is cancelled."""

    class Monitor(module.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            progress.detail(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress.detail(f"{phase_name}, step {step + 1} of {self._steps.get(phase_name, step + 1)}")
            return not progress.cancelled.is_set()

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()
