"""Run an engine on a GPU, frame by frame, for comparison: no speed is sought here."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.engine_file import EngineDescription
from ...runtime.errors import ArtifactError, DeviceError
from ...runtime.tensorrt_binding import find
from . import explain
from .log import gathered, logger


class EngineRunner:
    """Use it as a context manager, in one thread.

    Args:
        plan: the engine's bytes.
        source: names the file in messages.

    Raises:
        DeviceError: pycuda is missing, or TensorRT does not open the plan.
    """

    def __init__(self, plan: bytes, description: EngineDescription, source: str) -> None:
        try:
            import pycuda.driver as cuda
        except ImportError as error:
            raise DeviceError(
                f"running an engine needs pycuda, which cannot be imported ({error}). Install: pip install 'fastscnn[{_EXTRA[description.flavour]}]'"
            ) from None
        binding = find(description.flavour)
        self._cuda, self._tensors = cuda, description.tensors
        cuda.init()
        self._device = cuda.Device(0).retain_primary_context()  # shared with PyTorch
        self._device.push()
        try:
            with gathered() as said:
                self._runtime = binding.module.Runtime(logger(binding.module))
                if description.version_compatible:
                    # Such plans carry code. Their checksum tells damage, not origin: both come from the same two files.
                    self._runtime.engine_host_code_allowed = True
                if description.dla is not None:
                    self._runtime.DLA_core = description.dla
                self._engine = self._runtime.deserialize_cuda_engine(plan)
                self._context: Any = self._engine.create_execution_context() if self._engine is not None else None
                if self._context is None:
                    raise explain.failure(f"opening {source}", said.errors, binding)
            self._stream = cuda.Stream()
            self._buffers = {}
            for tensor in self._tensors:
                self._buffers[tensor.name] = cuda.mem_alloc(_bytes(tensor.shape, tensor.dtype))
                self._context.set_tensor_address(tensor.name, int(self._buffers[tensor.name]))
        except BaseException:
            self._device.pop()
            raise

    def __call__(self, image: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """`image` in the layout and batch of the artefact → each output by name.

        Raises:
            ArtifactError: the engine refuses to run.
        """
        results = {t.name: np.empty(t.shape, t.dtype) for t in self._tensors if t.output}
        (entry,) = (t for t in self._tensors if not t.output)
        self._cuda.memcpy_htod_async(self._buffers[entry.name], np.ascontiguousarray(image), self._stream)
        if not self._context.execute_async_v3(self._stream.handle):
            raise ArtifactError("the engine refuses to run; --debug shows TensorRT's log. Build it again")
        for name, result in results.items():
            self._cuda.memcpy_dtoh_async(result, self._buffers[name], self._stream)
        self._stream.synchronize()
        return results

    def __enter__(self) -> EngineRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for buffer in self._buffers.values():
            buffer.free()
        self._context = self._engine = self._runtime = None
        self._device.pop()


_EXTRA = {"tensorrt": "trt", "rtx": "rtx"}


def _bytes(shape: tuple[int, ...], dtype: str) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize
