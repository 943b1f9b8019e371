"""How much of the processors other programs take, as Linux counts it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from .cores import usable_cores

MUCH = 0.25  # of a core, from which a measurement is not one of an idle machine

_IDLE = (3, 4)  # of a line's numbers: idle, and waiting for a disk
_COUNTED = 8  # those behind are contained in the first


class _Moment(NamedTuple):
    total: int  # ticks of all processors that this process may run on
    working: int  # those of them in which somebody worked
    processors: int
    own: float  # seconds of processor time of this process
    clock: float  # seconds


class Busy:
    """What others do from now on: everybody but this process, its children too."""

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self._stat = stat
        self._before = _moment(stat)

    def cores(self) -> float | None:
        """How many of the cores that this process counts on others had meanwhile; None where nothing tells."""
        before, now = self._before, _moment(self._stat)
        if before is None or now is None or now.total <= before.total or now.clock <= before.clock:
            return None
        working = (now.working - before.working) / (now.total - before.total) * now.processors
        others = working - (now.own - before.own) / (now.clock - before.clock)
        spare = now.processors - usable_cores()  # of a machine of which a quota leaves a part
        return max(0.0, others - spare)


def _moment(stat: Path) -> _Moment | None:
    try:
        allowed = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        lines = [line.split() for line in stat.read_text().splitlines()]
        rows = [[int(n) for n in words[1 : _COUNTED + 1]] for words in lines if words and words[0] in allowed]
    except (OSError, AttributeError, ValueError):  # not on macOS and Windows
        return None
    if not rows or any(len(row) <= max(_IDLE) for row in rows):
        return None
    total = sum(map(sum, rows))
    idle = sum(row[column] for row in rows for column in _IDLE)
    return _Moment(total, total - idle, len(rows), time.process_time(), time.perf_counter())
