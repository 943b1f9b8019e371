"""What one frame size makes the GPU do, in order: copy in, resize, network, decode, copy out; recorded as a graph."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from .context import Context, RefusedError
from .driver import DriverError
from .memory import Buffer

log = logging.getLogger(__name__)

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
        self._to_capture = replayed
        self._owned: list[Any] = []  # of `time`

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

    def time(self) -> dict[str, float]:
        """Run step by step and wait → milliseconds of each stage, by CUDA events."""
        if not self._owned:
            self._owned = [self._context.cuda.Event() for _ in range(len(STAGES) + 1)]
        first, *rest = self._owned
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
        self._owned.clear()
        self._stages.clear()
        for buffer in self.inputs:
            buffer.free()
        self.inputs, self._stream = [], None

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
