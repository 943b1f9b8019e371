"""An execution context with its stream, its buffers and its programs: all that one thread at a time needs for a frame."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np

from ...artifacts.artifact import OUTPUTS
from ...artifacts.engine_file import EngineTensor
from ...artifacts.onnx_file import LOGITS
from ...decode import kernels
from ...pixels import BGR8, FORMATS
from .context import Context, RefusedError
from .engine import Engine
from .memory import Buffer, concurrent
from .module import Module
from .program import Program, Step

Sources = tuple[tuple[str, tuple[int, ...]], ...]  # pixel format and array's shape of each frame of a batch
_NON_BLOCKING = (
    1  # CU_STREAM_NON_BLOCKING: work of others on the default stream neither waits for this one nor delays it
)
_KEPT = 4  # programs; a camera has one size, a folder of pictures may have many
_PRECISION = {"float32": "fp32", "float16": "fp16"}


class Slot:
    """Made, used and closed with the CUDA context current, by one thread at a time.

    Args:
        module: the kernels, or None where the CPU resizes and decodes.
        decode: false leaves the engine's own outputs as they are, for comparisons.
        graphs: replay CUDA graphs where they can be had.

    Attributes:
        result: what the frames become: "labels", "probabilities" or "logits"; or what an engine with its head inside gives.
        output: the buffer whose `host` holds it after a run.
    """

    def __init__(
        self,
        context: Context,
        engine: Engine,
        module: Module | None,
        mode: str,
        *,
        decode: bool,
        graphs: bool,
        unknown_below: float | None = None,
    ) -> None:
        self.mode = mode
        self._context, self._module = context, module
        self._artifact = engine.description.artifact
        self._rtx = engine.binding.flavour == "rtx"
        self._below = unknown_below
        self.confidence: Buffer | None = None  # whose `host` holds it after a run, where the GPU computes it
        self._graphs = graphs and (mode != "managed" or concurrent(context))
        self.notes: list[str] = []
        if graphs and not self._graphs:
            self.notes.append("no CUDA graphs with managed memory on this device")
        self._programs: OrderedDict[Sources | None, Program] = OrderedDict()
        self._freed: list[Any] = []  # device memory of this slot's own, and buffers
        tensors = engine.description.tensors
        (self.entry,) = (tensor for tensor in tensors if not tensor.output)
        (self._given,) = (tensor for tensor in tensors if tensor.output)
        self._entry_memory: int | None = None
        self._bound: int | None = None  # the input's address that TensorRT knows
        self.stream = context.cuda.Stream(_NON_BLOCKING)
        self._execution: Any = None
        try:
            self._execution = engine.context()
            self._decoding: list[Step] = []
            on_gpu = decode and module is not None and self._given.name == LOGITS and self._artifact.head != "logits"
            self.result = OUTPUTS[self._artifact.head] if on_gpu else self._given.name
            if on_gpu:
                self.output = self._decoded()
            else:
                self.output = self._buffer(self._given.shape, self._given.dtype)
                self._bind(self._given.name, self.output.device)
            if self._rtx and self._graphs and not self._execution.is_stream_capturable(self.stream.handle):
                self._graphs = False
                self.notes.append("TensorRT for RTX does not let this engine be captured")
        except BaseException:
            self.close()
            raise

    @property
    def replays(self) -> bool:
        """Whether every program that has run is a graph."""
        return bool(self._programs) and all(program.replays for program in self._programs.values())

    @property
    def resizes(self) -> bool:
        """Whether frames of any size may come, to be resized and normalised here."""
        return self._module is not None

    def program(self, sources: Sources | None) -> Program:
        """For frames of these formats and shapes, or with None for an input that is ready as the engine takes it."""
        if sources is not None and self.entry.dtype == "uint8" and self._fits(sources):
            sources = None  # nothing to convert, resize or normalise
        program = self._programs.get(sources)
        if program is None:
            while len(self._programs) >= _KEPT:
                self._programs.popitem(last=False)[1].free()
            program = self._programs[sources] = self._made(sources)
        self._programs.move_to_end(sources)
        return program

    def run(self, program: Program) -> None:
        note = program.run()
        if note is not None:
            self._graphs = False  # what one size is refused, others would be
            self.notes.append(note)

    @property
    def execution(self) -> Any:
        """TensorRT's `IExecutionContext`, for a profiler."""
        return self._execution

    def close(self) -> None:
        """Free everything; twice is harmless."""
        for program in self._programs.values():
            program.free()
        self._programs.clear()
        self._decoding = []
        while self._freed:
            self._freed.pop().free()
        self._execution = self.stream = self._module = None

    def _fits(self, sources: Sources) -> bool:
        return all(source == (BGR8.name, (self._artifact.height, self._artifact.width, 3)) for source in sources)

    def _made(self, sources: Sources | None) -> Program:
        prepare: list[Step] = []
        inputs: list[Buffer] = []
        if sources is None:
            inputs.append(Buffer(self._context, self.mode, self.entry.shape, self.entry.dtype, self.stream))
            address = inputs[0].device
        else:
            address = self._entry()
            step = _bytes(self.entry) // self._artifact.batch
            for index, (form, shape) in enumerate(sources):
                buffer = Buffer(self._context, self.mode, shape, "uint8", self.stream)
                inputs.append(buffer)
                prepare.append(self._resized(form, shape, buffer, address + index * step))
        stages = {"upload": [buffer.upload for buffer in inputs], "prepare": prepare}
        stages |= {
            "forward": [self._forward(address)],
            "decode": list(self._decoding),
            "download": [self.output.download, *([self.confidence.download] if self.confidence else [])],
        }
        return Program(self._context, self.stream, inputs, stages, self._graphs)

    def _resized(self, form: str, shape: tuple[int, ...], source: Buffer, target: int) -> Step:
        a, module, stream = self._artifact, self._module, self.stream
        assert module is not None
        precision = _PRECISION.get(self.entry.dtype)  # None for uint8
        size = (shape[0] * 2 // 3 if FORMATS[form].planar else shape[0], shape[1])
        launch = kernels.frame(size, (a.height, a.width), form=form, precision=precision, mean=a.mean, std=a.std)
        return lambda: module.launch(launch, (source.device, target), stream)

    def _forward(self, address: int) -> Step:
        def forward() -> None:
            if self._bound != address:
                self._bind(self.entry.name, address)
                self._bound = address
            if not self._execution.execute_async_v3(self.stream.handle):
                raise RefusedError("TensorRT refuses to run the engine")

        return forward

    def _decoded(self) -> Buffer:
        """Room for the result and its decode's steps; the logits stay on the device."""
        a, given, module, stream = self._artifact, self._given, self._module, self.stream
        assert module is not None
        precision, low, full = _PRECISION[given.dtype], (a.logits_height, a.logits_width), (a.height, a.width)
        classes = len(a.classes)
        logits = self._device(_bytes(given))
        self._bind(given.name, logits)
        common: dict[str, Any] = {"precision": precision, "align_corners": a.align_corners, "batch": a.batch}
        steps: list[Step] = []
        if self._below is not None:
            self.confidence = confidence = self._buffer((a.batch, *low), "uint8")
            how: dict[str, Any] = {"precision": precision, "probability": a.probability, "batch": a.batch}
            zeroth = kernels.confidence(classes, low, **how)
            steps.append(lambda: module.launch(zeroth, (logits, confidence.device), stream))
        if a.head == "prob":
            output = self._buffer((a.batch, classes, *full), "float32")
            launch = kernels.probabilities(classes, low, full, probability=a.probability, **common)
            self._decoding = [*steps, lambda: module.launch(launch, (logits, output.device), stream)]
            return output
        output = self._buffer((a.batch, *full), "uint8")
        winners = self._device(a.batch * low[0] * low[1])
        first = kernels.winners(classes, low, precision=precision, batch=a.batch)
        steps.append(lambda: module.launch(first, (logits, winners), stream))
        if self._below:
            known = kernels.known_labels(classes, low, full, self._below, probability=a.probability, **common)
            between = logits, winners, confidence.device, output.device
            self._decoding = [*steps, lambda: module.launch(known, between, stream)]
        else:
            second = kernels.labels(classes, low, full, **common)
            self._decoding = [*steps, lambda: module.launch(second, (logits, winners, output.device), stream)]
        return output

    def _entry(self) -> int:
        """Device memory that holds the engine's input where the GPU makes it."""
        if self._entry_memory is None:
            self._entry_memory = self._device(_bytes(self.entry))
        return self._entry_memory

    def _buffer(self, shape: tuple[int, ...], dtype: str) -> Buffer:
        buffer = Buffer(self._context, self.mode, shape, dtype, self.stream)
        self._freed.append(buffer)
        return buffer

    def _device(self, size: int) -> int:
        allocation = self._context.cuda.mem_alloc(size)
        self._freed.append(allocation)
        return int(allocation)

    def _bind(self, name: str, address: int) -> None:
        if not self._execution.set_tensor_address(name, address):
            raise RefusedError(f"TensorRT refuses the address of {name}")


def _bytes(tensor: EngineTensor) -> int:
    return int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize
