"""Who is timed: this runtime as it is, the same with other options of its engines, and the engines alone."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime import Segmenter
from ...runtime.backends import onnxruntime as onnxruntime_backend
from ...runtime.backends import openvino as openvino_backend
from ...runtime.frame import Frame
from ..peers.competitors import OURS, Competitor, Run, competitors
from ..protocol import Pipeline

LAST = "OpenVINO bf16 in-graph"  # of the competitors that are asked for; behind it are PyTorch's
UNTOUCHED = "ONNX Runtime, all defaults"
_ENDLESS = "spinning without end"
SPINNING = (UNTOUCHED, f"{OURS}, cpu: {_ENDLESS}")  # whose threads stay busy for a while when they have answered

# Device → what is tried in place of its defaults, by a name for reports. None removes an option.
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "cpu": {
        _ENDLESS: {"session.intra_op.spin_duration_us": None},
        "spinning 100 µs": {"session.intra_op.spin_duration_us": "100"},
        "no spinning": {"session.intra_op.spin_duration_us": None, "session.intra_op.allow_spinning": "0"},
        "even shares": {"session.dynamic_block_base": "0"},
    },
    "openvino": {
        "pinned": {"ENABLE_CPU_PINNING": True},
        "throughput": {"PERFORMANCE_HINT": "THROUGHPUT"},
        "shares as threads come free": {"TBB_PARTITIONER": "AUTO"},
    },
}
_TABLES: dict[str, dict[str, Any]] = {"cpu": onnxruntime_backend.THREADING, "openvino": openvino_backend.THREADING}


@dataclass(frozen=True)
class Timed:
    """One that takes part, with a model or several that it runs in turn."""

    name: str
    kind: str  # "default", "option" or "peer"
    device: str  # of this runtime; "" of peers
    competitors: tuple[Competitor, ...]

    @property
    def absent(self) -> str:
        return next((one.absent for one in self.competitors if one.run is None), "")

    def pipeline(self) -> Pipeline:
        """Times all models, each on the frame; beside the time what it cost, a frame of one model."""
        runs: list[Run] = [one.run for one in self.competitors if one.run is not None]

        def run(frame: Frame) -> dict[str, float]:
            before, processor = resource.getrusage(resource.RUSAGE_SELF), time.process_time()
            for each in runs:
                each(frame)
            after = resource.getrusage(resource.RUSAGE_SELF)
            return {
                "processor": (time.process_time() - processor) * 1e3 / len(runs),
                "faults": (after.ru_minflt - before.ru_minflt) / len(runs),
                "switches": (after.ru_nivcsw - before.ru_nivcsw) / len(runs),
            }

        return run


def field(model: Path, threads: int, models: int, options: bool, held: contextlib.ExitStack) -> Iterator[Timed]:
    """Open everybody.

    Args:
        models: how many each runs in turn: the same file, opened as often.
        options: also this runtime with other options of its engines.
        held: closes what is opened.
    """
    rows = [list(_defaults(model, threads, held)) for _ in range(models)]
    for together in zip(*rows, strict=True):
        name, ours = together[0].name, together[0].ours
        yield Timed(name, "default" if ours else "peer", name.removeprefix(f"{OURS}, ") if ours else "", together)
    for device, variants in OPTIONS.items() if options else ():
        if device == "openvino" and not openvino_backend.installed():
            continue
        for variant, changes in variants.items():
            name = f"{OURS}, {device}: {variant}"
            with changed(_TABLES[device], changes):
                opened = [Competitor(name, True, _segmenter(model, device, threads, held)) for _ in range(models)]
            yield Timed(name, "option", device, tuple(opened))
    untouched = tuple(Competitor(UNTOUCHED, False, _untouched(model, threads)) for _ in range(models))
    yield Timed(UNTOUCHED, "peer", "", untouched)


def _segmenter(model: Path, device: str, threads: int, held: contextlib.ExitStack) -> Run:
    segmenter = held.enter_context(Segmenter(model, device, threads=threads))
    return lambda frame: (segmenter(frame).labels, {})


def _untouched(model: Path, threads: int) -> Run:
    """ONNX Runtime with nothing set but the threads: what a program has that was written by its documentation."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def run(frame: Frame) -> tuple[NDArray[Any], dict[str, float]]:
        return np.asarray(session.run(None, {"image": frame[None]})[0][0]), {}

    return run


def _defaults(model: Path, threads: int, held: contextlib.ExitStack) -> Iterator[Competitor]:
    for one in competitors(model, None, None, threads, held):
        yield one
        if one.name == LAST:
            return


@contextlib.contextmanager
def changed(table: dict[str, Any], changes: Mapping[str, Any]) -> Iterator[None]:
    """A table of options with these in place of its own; those that are None are left out."""
    before = dict(table)
    kept = {name: value for name, value in {**before, **changes}.items() if value is not None}
    table.clear()
    table.update(kept)
    try:
        yield
    finally:
        table.clear()
        table.update(before)
