"""Busy neighbours: real processes that want a core each and are pinned to none."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ...runtime.errors import FastSCNNError

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class Neighbours:
    """Some that are busy.

    Attributes:
        processes: they, each of one thread.
    """

    def __init__(self, processes: list[subprocess.Popen[bytes]]) -> None:
        self.processes = processes
        self._began, self._had = time.perf_counter(), self._seconds()

    def cores(self) -> float:
        """How many cores' time they have had since they are watched; of two that share two cores with us, less than two."""
        return (self._seconds() - self._had) / max(time.perf_counter() - self._began, 1e-9)

    def _seconds(self) -> float:
        """Of processor time, all together."""
        total = 0
        for process in self.processes:
            with contextlib.suppress(OSError, IndexError, ValueError):
                # The name, in brackets, may hold anything; behind it, user and system time are the 12th and 13th.
                behind = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
                total += int(behind[11]) + int(behind[12])
        return total / _TICK


@contextlib.contextmanager
def neighbours(count: int) -> Iterator[Neighbours]:
    """Have so many while the block runs.

    Raises:
        FastSCNNError: one does not start.
    """
    words = [sys.executable, "-m", f"{__package__}.burner"]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            started.append(subprocess.Popen(words, stdout=subprocess.PIPE, env={**os.environ, **_ONE_THREAD}))
        for process in started:
            assert process.stdout
            if process.stdout.readline() != b"busy\n":
                raise FastSCNNError(f"a busy neighbour ended at once, with exit code {process.wait()}")
        yield Neighbours(started)
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()
            if process.stdout:
                process.stdout.close()
