"""Open an engine: TensorRT's runtime, whose answer to every failure is `None` and a line in its log."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ...artifacts.engine_file import EngineDescription
from ...artifacts.tensorrt_binding import Binding, find
from ...errors import ArtifactError, DeviceError
from .log import gathered, logger

_DTYPES = {"UINT8": "uint8", "HALF": "float16", "FLOAT": "float32", "INT32": "int32", "INT64": "int64"}
_CAUSES = (
    (r"out of memory|OutOfMemory|bad_alloc|cudaErrorMemoryAllocation|FAILED_ALLOCATION",
     "the GPU ran out of memory. Close other programs that use it, or export at a lower resolution or a smaller batch"),
    (r"no CUDA-capable device|CUDA initialization failure|cudaError(NoDevice|InsufficientDriver)|driver version is insufficient",
     "no working CUDA driver or GPU, or one too old. Look at `nvidia-smi`"),
    (r"[Vv]ersion tag|serialization|[Ss]erializ|magic|incompatible|different (version|device|platform)|compute capability",
     "it was built for another TensorRT or GPU. Build it here again with fastscnn-trt build"),
)  # fmt: skip


class Engine:
    """A deserialised plan and what makes execution contexts of it; with the CUDA context current.

    Raises:
        DeviceError: TensorRT is not there, or does not open the plan.
        ArtifactError: the engine's inputs and outputs are not those of its description.
    """

    def __init__(self, plan: bytes, description: EngineDescription, source: str) -> None:
        self.description, self._source = description, source
        self.binding = find(description.flavour)
        self._runtime: Any = None
        self._engine: Any = None
        try:
            with gathered() as said:
                self._open(plan)
                if self._engine is None:
                    raise refusal(f"open {source}", said.errors, self.binding)
            self._check()
        except BaseException:
            self.close()  # now, with the context current, and not when the exception is forgotten
            raise

    def context(self) -> Any:
        """A new `IExecutionContext`, with activations of its own."""
        with gathered() as said:
            made = self._engine.create_execution_context()
            if made is None:
                raise refusal(f"make room for {self._source}", said.errors, self.binding)
        return made

    def close(self) -> None:
        """After its execution contexts are gone."""
        self._engine = self._runtime = None

    def _open(self, plan: bytes) -> None:
        self._runtime = self.binding.module.Runtime(logger(self.binding.module))
        if self.description.version_compatible:
            # Such plans carry code; the backend has asked whether they are trusted.
            self._runtime.engine_host_code_allowed = True
        if self.description.dla is not None:
            self._runtime.DLA_core = self.description.dla
        self._engine = self._runtime.deserialize_cuda_engine(plan)

    def _check(self) -> None:
        engine, output = self._engine, self.binding.module.TensorIOMode.OUTPUT
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        found = {
            (
                name,
                engine.get_tensor_mode(name) == output,
                _DTYPES.get(engine.get_tensor_dtype(name).name),
                tuple(engine.get_tensor_shape(name)),
            )
            for name in names
        }
        expected = {(t.name, t.output, t.dtype, t.shape) for t in self.description.tensors}
        if found != expected:
            raise ArtifactError(
                f"{self._source} does not match its own description: it has {sorted(found)}, expected {sorted(expected)}. "
                "Build it again with fastscnn-trt build"
            )


def refusal(what: str, messages: Sequence[str], binding: Binding) -> DeviceError:
    """The exception for a step that gave nothing, from what TensorRT logged meanwhile."""
    for pattern, meaning in _CAUSES:
        for message in messages:
            if re.search(pattern, message):
                return DeviceError(f"{binding.name} does not {what}: {meaning}. It said: {_short(message)}")
    said = "; ".join(map(_short, messages[:3])) or "it logged no reason"
    return DeviceError(
        f"{binding.name} does not {what}: {said}. Build the engine again here with fastscnn-trt build; --debug shows the whole log"
    )


def _short(message: str) -> str:
    text = " ".join(message.split())
    return text if len(text) <= 300 else text[:297] + "..."
