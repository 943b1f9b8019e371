"""The first slot: warmed up, and in the memory mode that is fastest here where the choice is left open."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from ...errors import FastSCNNError
from .context import Context
from .memory import MODES, shares_memory
from .slot import Slot

log = logging.getLogger(__name__)
_RUNS = 10


def slot(context: Context, make: Callable[[str], Slot], memory: str, path: str | Path) -> Slot:
    """With the context current. A mode that fails is left out, unless it was asked for or is the last."""
    if memory == "auto" and not shares_memory(context):
        memory = "pinned"  # with memory of its own, a GPU that reaches across the bus for each pixel is slower
    if memory != "auto":
        return _warm(make(memory))
    best: Slot | None = None
    least = 0.0
    times: dict[str, float] = {}
    for mode in MODES:
        try:
            with context.active(f"trying {mode} memory"):
                tried = _warm(make(mode))
        except FastSCNNError as error:
            if best is None and mode == MODES[-1]:
                raise
            log.info("%s memory is left out: %s", mode, error)
            continue
        times[mode] = _time(tried)
        if best is not None and times[mode] >= least:
            tried.close()
            continue
        if best is not None:
            best.close()
        best, least = tried, times[mode]
    assert best is not None
    log.info("%s: %s memory, of %s", path, best.mode, ", ".join(f"{m} {t:.2f} ms" for m, t in times.items()))
    return best


def _warm(slot: Slot) -> Slot:
    """TensorRT sets itself up at the first run; better here than at the first frame."""
    try:
        slot.run(slot.program(None))
    except BaseException:
        slot.close()
        raise
    return slot


def _time(slot: Slot) -> float:
    """Milliseconds of a run, the CPU's reading and writing of the buffers included."""
    program = slot.program(None)
    best = float("inf")
    for _ in range(_RUNS):
        started = time.perf_counter()
        program.inputs[0].host.fill(0)
        slot.run(program)
        slot.output.host.copy()
        best = min(best, (time.perf_counter() - started) * 1e3)
    return best
