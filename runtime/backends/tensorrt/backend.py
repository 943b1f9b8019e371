"""TensorRT and TensorRT for RTX behind a Segmenter: frames go to the GPU as they are, labels come back."""

from __future__ import annotations

import logging
import time
import warnings
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...artifacts import engine_file
from ...artifacts.artifact import OUTPUTS
from ...artifacts.engine_fit import misfits
from ...artifacts.gpu import gpus
from ...artifacts.trust import expect_trust
from ...decode import kernels
from ...decode.decoder import Decoder
from ...decode.memory import Recycler
from ...errors import DeviceError, UsageError
from ...frame import Frame, InputLayout, fitted
from ...pixels import BGR8, PixelFormat
from ..cores import usable_cores
from ..protocol import Raw
from . import fastest
from .context import Context
from .engine import Engine
from .memory import MEMORY, check_mode
from .module import Module, binary
from .pool import Pool
from .program import Program
from .slot import Slot, Sources

log = logging.getLogger(__name__)
IN_FLIGHT = 2


class TensorRTBackend:
    """Runs a `.plan` that fastscnn-trt built, on the first GPU. Any number of threads may call it.

    At most `in_flight` calls run at once, each with an execution context, stream and buffers of its own; others wait.
    A frame is copied once into page-locked memory; results are copies, the caller's for as long as they are held.
    Of the timings, `prepare` is the copy into page-locked memory, after a wait for a free slot; `forward` is all that the GPU
    does, from copying the frame in to copying the result out, and `decode` the copy out of page-locked memory.

    Args:
        memory: one of MEMORY. "auto" takes pinned, or on a device that shares the CPU's memory whichever is fastest there.
        threads: of the CPU, where it decodes; None takes all.
        graphs: replay a CUDA graph for each frame size; false launches step by step.
        decode: false gives the engine's own outputs, logits as a rule, whatever the head.
        trust: open version-compatible engines, too, which bring native code of their own.
        unknown_below: probability of the best class below which labels are 255; if it is a number, confidence is computed, too.

    Raises:
        ArtifactError: the plan or its description is missing, damaged, or of another origin.
        DeviceError: the engine, or what runs it, does not fit this machine.
        UsageError: an unknown memory mode, or `unknown_below` for an engine that has its head inside.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        memory: str = "auto",
        threads: int | None = None,
        graphs: bool = True,
        decode: bool = True,
        in_flight: int = IN_FLIGHT,
        trust: bool = False,
        unknown_below: float | None = None,
    ) -> None:
        if memory not in MEMORY:
            raise UsageError(f"memory {memory!r} is unknown; expected one of {', '.join(MEMORY)}")
        plan, description = engine_file.read(path)
        expect_trust(description, str(path), trust)
        reasons = misfits(description)
        if reasons:
            raise DeviceError(
                f"{path} does not fit this machine: {'; '.join(reasons)}. Build it here from {description.source} "
                "with fastscnn-trt build"
            )
        self.description, self.artifact = description, description.artifact
        self.precision, self.why = description.precision, ""
        self.unknown_below = unknown_below
        if unknown_below is not None and description.head_inside:
            raise UsageError(
                f"unknown_below needs logits, and {path} ends in {OUTPUTS[self.artifact.head]}. Build it again without --head-in-engine"
            )
        self._resources = resources = _Resources(Context(description.flavour))
        self._forgotten = weakref.finalize(self, _forgotten, resources, str(path))
        try:
            gpu = gpus()[0]
            with resources.context.active(f"opening {path}"):
                resources.engine = engine = Engine(plan, description, str(path))
                cubin = binary(description, gpu.target)
                if isinstance(cubin, bytes):
                    cubin = resources.load(cubin)
                if cubin and not description.head_inside:
                    log.warning("%s, so the CPU resizes and decodes, which is slower. Build it again with fastscnn-trt build", cubin)  # fmt: skip
                self._layout = InputLayout(self.artifact)
                self._decode = decode

                def make(mode: str) -> Slot:
                    check_mode(resources.context, mode)
                    return Slot(
                        resources.context,
                        engine,
                        resources.module,
                        mode,
                        decode=decode,
                        graphs=graphs,
                        unknown_below=unknown_below,
                    )

                slot = fastest.slot(resources.context, make, memory, path)
                mode = slot.mode
                resources.pool = Pool(resources.context, lambda: make(mode), in_flight)
                resources.pool.add(slot)
            self.memory, self.notes = mode, slot.notes
            for note in slot.notes:
                log.info("no CUDA graph, so each frame is launched step by step: %s", note)
            how = "CUDA graph" if slot.replays else "stream"
            self.device = f"{gpu.name} ({gpu.target}), {engine.binding.name}, {mode} memory, {how}"
            self._result = slot.result
            self.converts = kernels.FORMS if slot.resizes else ("bgr8",)
            self._results = Recycler(slot.output.host.shape, slot.output.host.dtype.name)
            self._decoder = resources.decoder = Decoder.of(self.artifact, threads or usable_cores())
        except BaseException:
            self.close()
            raise

    def run(self, image: NDArray[Any]) -> Raw:
        with self.slot("segmenting") as slot:
            return self._run(slot, None, [image])

    def run_frames(self, frames: Sequence[Frame], forms: Sequence[PixelFormat] | None = None) -> Raw:
        """A batch of frames of any size, padded with its last; the GPU converts and resizes where it can."""
        started = time.perf_counter()
        with self.slot("segmenting") as slot:
            return self._run(slot, *self.arranged(slot, frames, forms), started)

    def fill_slots(self) -> None:
        """Make all slots, as many as there is room for; else the second is made when two calls first meet."""
        pool = self._resources.pool
        if pool is not None:
            pool.fill()

    def arranged(
        self, slot: Slot, frames: Sequence[Frame], forms: Sequence[PixelFormat] | None = None
    ) -> tuple[Sources | None, list[NDArray[Any]]]:
        """What a slot's program is made for and filled with: the frames, or the engine's input where the CPU makes it."""
        missing = self.artifact.batch - len(frames)
        batch = [*frames, *[frames[-1]] * missing]
        if slot.resizes:
            named = [BGR8] * len(frames) if forms is None else [*forms]
            return tuple(
                (form.name, frame.shape) for form, frame in zip(named + named[-1:] * missing, batch, strict=True)
            ), batch
        return None, [self._layout([fitted(frame, self.artifact.height, self.artifact.width) for frame in batch])]

    def labels(self, logits: NDArray[Any]) -> NDArray[np.uint8]:
        return self._decoder.labels(logits, self.unknown_below or 0.0)

    def confidence(self, logits: NDArray[Any]) -> NDArray[np.uint8]:
        return self._decoder.confidence(logits)

    def region(self, logits: NDArray[Any], rows: slice, columns: slice) -> NDArray[np.float32]:
        return self._decoder.region(logits, rows, columns)

    @contextmanager
    def slot(self, doing: str) -> Iterator[Slot]:
        """The inside, for benchmarks: one slot, with the CUDA context current.

        Raises:
            UsageError: the backend is closed.
        """
        pool = self._resources.pool
        if pool is None:
            raise UsageError("this engine is closed; open it again")
        with pool.slot(doing) as slot:
            yield slot

    @property
    def context(self) -> Context:
        return self._resources.context

    @property
    def engine(self) -> Engine:
        assert self._resources.engine is not None
        return self._resources.engine

    def close(self) -> None:
        """Wait for calls under way, then free everything. Twice is harmless."""
        self._forgotten.detach()
        self._resources.close()

    @staticmethod
    def fill(program: Program, arrays: Sequence[NDArray[Any]]) -> None:
        """Copy a batch's frames, or its input tensor, to where a program takes them from."""
        hosts = [buffer.host for buffer in program.inputs]
        if hosts[0].ndim > arrays[0].ndim:  # one buffer for a batch of frames
            hosts = list(hosts[0])
        for host, array in zip(hosts, arrays, strict=True):
            np.copyto(host, array)

    def _run(
        self, slot: Slot, sources: Sources | None, arrays: Sequence[NDArray[Any]], started: float | None = None
    ) -> Raw:
        started = time.perf_counter() if started is None else started
        program = slot.program(sources)
        self.fill(program, arrays)
        filled = time.perf_counter()
        slot.run(program)
        ran = time.perf_counter()
        labels = probabilities = logits = confidence = None
        if slot.confidence is not None:
            confidence = slot.confidence.host.copy()
        if self._result == "labels":
            labels = self._copied(slot)
        elif self._result == "probabilities":
            probabilities = self._copied(slot)
        elif self.artifact.head == "logits" or not self._decode:
            logits = self._copied(slot)
        else:
            labels, probabilities = self._decoded(slot.output.host)
            if self.unknown_below is not None:
                confidence = np.stack([self._decoder.confidence(one) for one in slot.output.host])
        done = time.perf_counter()
        return Raw(
            labels, probabilities, logits, forward=(ran - filled) * 1e3, decode=(done - ran) * 1e3, prepare=(filled - started) * 1e3,
            confidence=confidence,
        )  # fmt: skip

    def _copied(self, slot: Slot) -> NDArray[Any]:
        """The result in memory of its own: uint8 labels, whatever the engine's own arg-max gives."""
        host = slot.output.host
        if self._result == "labels" and host.dtype != np.uint8:
            return host.astype(np.uint8)
        if self._result == "probabilities" and host.dtype != np.float32:
            return host.astype(np.float32)
        copy = self._results.array()
        np.copyto(copy, host)
        return copy

    def _decoded(self, logits: NDArray[Any]) -> tuple[NDArray[np.uint8] | None, NDArray[np.float32] | None]:
        """On the CPU, where there are no kernels for this GPU."""
        if self.artifact.head == "cls":
            return np.stack([self.labels(one) for one in logits]), None
        return None, np.stack([self._decoder.probabilities(one) for one in logits])


class _Resources:
    """All that must be freed, apart from the backend, so that a forgotten one can be."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.engine: Engine | None = None
        self.module: Module | None = None
        self.pool: Pool | None = None
        self.decoder: Decoder | None = None

    def load(self, cubin: bytes) -> str:
        """The kernels, with the context current → why not, in words, where a cubin of another CUDA does not load."""
        cuda = self.context.cuda
        try:
            self.module = Module(self.context, cubin)
        except cuda.MemoryError:
            raise
        except cuda.Error as error:
            return f"the engine's kernels do not load with this driver ({error})"
        return ""

    def close(self) -> None:
        pool, self.pool = self.pool, None
        if pool is not None and not pool.close():
            log.warning("a call is still under way; its GPU memory is given back when the process ends")
            return
        engine, self.engine = self.engine, None
        module, self.module = self.module, None
        decoder, self.decoder = self.decoder, None
        if decoder is not None:
            decoder.close()
        if engine is not None or module is not None:
            with self.context.active("closing"):
                if engine is not None:
                    engine.close()
                if module is not None:
                    module.close()
        self.context.release()


def _forgotten(resources: _Resources, path: str) -> None:
    """Called where the garbage collector takes an open backend, and at exit before the interpreter is torn down."""
    try:
        warnings.warn(
            f"{path} was not closed; use `with Segmenter(...)`, or call close()", ResourceWarning, stacklevel=2
        )
    finally:
        resources.close()
