"""What an engine takes on the GPU: each stage by CUDA events, the whole by the clock, and what bounds it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime import Segmenter
from ...runtime.backends.tensorrt import TensorRTBackend
from ...runtime.backends.tensorrt.program import STAGES, Program
from ...runtime.backends.tensorrt.slot import Slot
from ...runtime.errors import UsageError
from ...runtime.frame import Frame
from ..power import Energy
from ..protocol import Summary
from ..traffic import activation_bytes

_COPIED = 256 << 20  # bytes; far more than any cache holds
_COPIES = 20
FORWARD, DECODE, COMPUTE = "forward, one graph", "decode, one graph", "forward + decode, one graph"
_PARTS = {FORWARD: ("forward",), DECODE: ("decode",), COMPUTE: ("prepare", "forward", "decode")}
WHOLE = "frame in page-locked memory to result, one graph"


def backend_of(segmenter: Segmenter) -> TensorRTBackend:
    """
    Raises:
        UsageError: another engine stands behind it.
    """
    backend = segmenter.backend
    if not isinstance(backend, TensorRTBackend):
        raise UsageError(f"{backend.device} runs this model; expected an engine on a GPU. Use --device cuda to see why")
    return backend


def stage_times(backend: TensorRTBackend, frame: Frame, burn_in: int, count: int) -> dict[str, Summary]:
    """Milliseconds by CUDA events, one frame at a time: each stage launched step by step, then graphs.

    Launching step by step separates the stages and leaves gaps between kernels where the CPU is slower than the GPU. A graph
    has none, so the graphs' times are those of the GPU's own work.
    """
    with backend.slot("timing") as slot:
        program = _filled(backend, slot, frame)
        parts = {name: program.part(*stages) for name, stages in _PARTS.items()}
        try:
            for part in (program, *parts.values()):
                slot.run(part)
            stages = _repeated(program.time, burn_in, count)
            samples = {name: [sample[name] for sample in stages] for name in STAGES}
            samples |= {name: _repeated(part.time_whole, burn_in, count) for name, part in parts.items()}
            samples[WHOLE] = _repeated(program.time_whole, burn_in, count)
        finally:
            for part in parts.values():
                part.free()
    return {name: Summary.of(np.array(values)) for name, values in samples.items()}


def device_rate(backend: TensorRTBackend, frame: Frame, count: int) -> float:
    """Frames per second that the GPU computes, forward and decode, when the next always waits in its stream."""
    with backend.slot("timing") as slot:
        compute = _filled(backend, slot, frame).part("prepare", "forward", "decode")
        try:
            slot.run(compute)
            slot.run(compute)
            started = time.perf_counter()
            for _ in range(count):
                compute.enqueue()
            slot.stream.synchronize()
            return count * backend.artifact.batch / (time.perf_counter() - started)
        finally:
            compute.free()


def pipelined_rate(segmenter: Segmenter, frames: Sequence[Frame], count: int) -> float:
    """Frames per second through `stream`: copies of one frame beside the computing of another."""
    list(segmenter.stream(islice(cycle(frames), 20)))
    started = time.perf_counter()
    for _ in segmenter.stream(islice(cycle(frames), count)):
        pass
    return count / (time.perf_counter() - started)


def wall_times(
    segment: Callable[[Frame], Any], frames: Sequence[Frame], burn_in: int, count: int
) -> NDArray[np.float64]:
    """Milliseconds from the frame in the caller's hands to the result in the caller's hands."""
    taken: list[float] = []
    for index, frame in zip(range(burn_in + count), cycle(frames), strict=False):
        started = time.perf_counter()
        segment(frame)
        if index >= burn_in:
            taken.append((time.perf_counter() - started) * 1e3)
    return np.array(taken)


def copy_rate(backend: TensorRTBackend, size: int = _COPIED) -> float:
    """Bytes per second that the device's memory moves in a plain copy, read and written bytes both counted."""
    with backend.slot("measuring a copy") as slot:
        cuda = backend.context.cuda
        blocks = [cuda.mem_alloc(size), cuda.mem_alloc(size)]
        begun, ended = cuda.Event(), cuda.Event()
        try:
            best = float("inf")
            for _ in range(_COPIES):
                begun.record(slot.stream)
                cuda.memcpy_dtod_async(int(blocks[1]), int(blocks[0]), size, slot.stream)
                ended.record(slot.stream)
                slot.stream.synchronize()
                best = min(best, float(ended.time_since(begun)) / 1e3)
            return 2 * size / best
        finally:
            for block in blocks:
                block.free()


def floor(backend: TensorRTBackend, rate: float) -> dict[str, float]:
    """The least time of a frame's forward run, were it to move the network's own activations as fast as a copy does."""
    moved = activation_bytes(backend.artifact, backend.description.precision)
    return {"bytes": moved, "copy_bytes_per_second": rate, "milliseconds": moved / rate * 1e3}


def energy_per_frame(segmenter: Segmenter, frames: Sequence[Frame], seconds: float) -> dict[str, Any] | None:
    """Joules of a frame under full load, idle power included; None where nothing tells."""
    energy = Energy()
    if not energy.source:
        return None
    count = 0
    with energy.spent() as joules:
        ends = time.perf_counter() + seconds
        for _ in segmenter.stream(_until(ends, frames)):
            count += 1
    if not joules or not count or not joules[0] > 0:
        return None
    return {"joules_per_frame": joules[0] / count, "watts": joules[0] / seconds, "source": energy.source}


def layer_times(backend: TensorRTBackend, frame: Frame, count: int) -> dict[str, float]:
    """Mean milliseconds of each of the engine's layers, as TensorRT's profiler tells them; slower in sum than without it."""
    module = backend.engine.binding.module
    times: dict[str, list[float]] = {}

    class Profiler(module.IProfiler):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            module.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times.setdefault(layer_name, []).append(ms)

    with backend.slot("profiling") as slot:
        program = _filled(backend, slot, frame)
        slot.execution.profiler = profiler = Profiler()
        try:
            for _ in range(count):
                program.time()
        finally:
            slot.execution.profiler = None
        del profiler
    return {name: float(np.mean(values)) for name, values in times.items()}


def _filled(backend: TensorRTBackend, slot: Slot, frame: Frame) -> Program:
    """A program for frames of that size, with the frame in place and one run behind it."""
    sizes, arrays = backend.arranged(slot, [frame])
    program = slot.program(sizes)
    backend.fill(program, arrays)
    slot.run(program)
    return program


def _repeated(run: Callable[[], Any], burn_in: int, count: int) -> list[Any]:
    for _ in range(burn_in):
        run()
    return [run() for _ in range(count)]


def _until(ends: float, frames: Sequence[NDArray[np.uint8]]) -> Any:
    for frame in cycle(frames):
        if time.perf_counter() > ends:
            return
        yield frame
