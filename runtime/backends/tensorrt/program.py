"""What one frame size makes the GPU do, in order: copy in, resize, network, decode, copy out; recorded as a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .context import Context, RefusedError
from .driver import DriverError
from .memory import Buffer

Step = Callable[[], None]
STAGES = ("upload", "prepare", "forward", "decode", "download")


class Program:
    """Steps by stage, and the buffers whose `host` the caller fills before a run.

    The first run goes step by step, because TensorRT sets itself up then; afterwards a graph of all steps is replayed.
    """

    def __init__(
        self, context: Context, stream: Any, inputs: list[Buffer], stages: dict[str, list[Step]], replayed: bool
    ) -> None:
        self.inputs = inputs
        self._context, self._stages = context, stages
        self._stream: Any = stream
        self._graph: int | None = None
        self._replayed = self._to_capture = replayed
        self._events: list[Any] = []

    @property
    def replays(self) -> bool:
        return self._graph is not None

    def run(self) -> str | None:
        """Run and wait → why there will be no graph, told once where there should have been one."""
        if self._graph is not None:
            assert self._context.driver is not None
            self._context.driver.launch(self._graph, self._stream.handle)
            self._stream.synchronize()
            return None
        self._enqueue()
        self._stream.synchronize()
        return self._capture() if self._to_capture else None

    def enqueue(self) -> None:
        """Run without waiting; the inputs may not be touched until the stream has been waited for."""
        if self._graph is not None:
            assert self._context.driver is not None
            self._context.driver.launch(self._graph, self._stream.handle)
        else:
            self._enqueue()

    def part(self, *stages: str) -> Program:
        """Those stages alone, on the same buffers, for as long as this program lives; for benchmarks."""
        chosen = {stage: list(self._stages.get(stage, ())) for stage in stages}
        return Program(self._context, self._stream, [], chosen, self._replayed)

    def time_whole(self) -> float:
        """Run and wait → milliseconds on the device from the first step's begin to the last one's end."""
        first, *_, last = self._marks()
        first.record(self._stream)
        self.enqueue()
        last.record(self._stream)
        self._stream.synchronize()
        return float(last.time_since(first))

    def time(self) -> dict[str, float]:
        """Run step by step and wait → milliseconds of each stage, by CUDA events."""
        first, *rest = self._marks()
        first.record(self._stream)
        for stage, event in zip(STAGES, rest, strict=True):
            for step in self._stages.get(stage, ()):
                step()
            event.record(self._stream)
        self._stream.synchronize()
        times: dict[str, float] = {}
        before = first
        for stage, event in zip(STAGES, rest, strict=True):
            times[stage] = float(event.time_since(before))
            before = event
        return times

    def free(self) -> None:
        if self._graph is not None and self._context.driver is not None:
            self._context.driver.destroy(self._graph)
        self._graph = None
        self._events.clear()
        self._stages.clear()
        for buffer in self.inputs:
            buffer.free()
        self.inputs, self._stream = [], None

    def _marks(self) -> list[Any]:
        if not self._events:
            self._events = [self._context.cuda.Event() for _ in range(len(STAGES) + 1)]
        return self._events

    def _enqueue(self) -> None:
        for stage in STAGES:
            for step in self._stages.get(stage, ()):
                step()

    def _capture(self) -> str | None:
        self._to_capture = False
        if self._context.driver is None:
            return "this driver has no CUDA graphs (libcuda.so.1 is older than CUDA 11.4)"
        try:
            self._graph = self._context.driver.capture(self._stream.handle, self._enqueue)
        except (DriverError, self._context.cuda.Error, RefusedError) as error:
            return str(error)
        return None
