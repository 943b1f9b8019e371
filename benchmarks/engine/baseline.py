"""What a user would otherwise have: float32 input, the head inside the engine, pageable memory, no graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.artifacts import engine_file
from ...runtime.backends.tensorrt.context import Context, RefusedError
from ...runtime.backends.tensorrt.engine import Engine
from ...runtime.errors import UsageError
from ...runtime.frame import Frame, InputLayout, checked, fitted


class PlainEngine:
    """An engine as TensorRT's samples run it: prepared on the CPU, copied, run, copied, each waited for.

    Args:
        path: an engine of the same network that takes floats and ends in its head.

    Raises:
        UsageError: another kind of engine.
        ArtifactError, DeviceError: see TensorRTBackend.
    """

    name = "plain TensorRT: float32 input, the head in the engine, pageable memory, no graph"

    def __init__(self, path: str | Path, context: Context) -> None:
        plan, description = engine_file.read(path)
        self.artifact = description.artifact
        if self.artifact.input != "float" or not description.head_inside:
            raise UsageError(f"{path} is no baseline; expected one of {HOW}")
        self._context, self._layout = context, InputLayout(self.artifact)
        (self._entry,) = (tensor for tensor in description.tensors if not tensor.output)
        (self._result,) = (tensor for tensor in description.tensors if tensor.output)
        self._memory: dict[str, Any] = {}
        self._engine: Engine | None = None
        self._execution: Any = None
        self._stream: Any = None
        try:
            with context.active(f"opening {path}"):
                self._engine = Engine(plan, description, str(path))
                self._execution = self._engine.context()
                self._stream = context.cuda.Stream()
                for tensor in description.tensors:
                    size = int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize
                    self._memory[tensor.name] = context.cuda.mem_alloc(size)
                    self._execution.set_tensor_address(tensor.name, int(self._memory[tensor.name]))
        except BaseException:
            self.close()
            raise

    def __call__(self, frame: Frame) -> NDArray[Any]:
        """(H, W) labels or (C, H, W) probabilities, in the types that the engine gives them."""
        image = self._layout([fitted(checked(frame), self.artifact.height, self.artifact.width)] * self.artifact.batch)
        with self._context.active("running the baseline"):
            cuda = self._context.cuda
            cuda.memcpy_htod(int(self._memory[self._entry.name]), image)
            if not self._execution.execute_async_v3(self._stream.handle):
                raise RefusedError("TensorRT refuses to run the baseline")
            self._stream.synchronize()
            result = np.empty(self._result.shape, self._result.dtype)
            cuda.memcpy_dtoh(result, int(self._memory[self._result.name]))
        return np.asarray(result[0])

    def close(self) -> None:
        with self._context.active("closing the baseline"):
            while self._memory:
                self._memory.popitem()[1].free()
            self._execution = self._stream = None
            if self._engine is not None:
                self._engine.close()


HOW = "fastscnn-export --input float, then fastscnn-trt build --head-in-engine"
