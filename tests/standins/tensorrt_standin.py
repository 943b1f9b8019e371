"""TensorRT's runtime over the stand-in GPU. A plan is an ONNX file, and ONNX Runtime computes what it says."""

from __future__ import annotations

import ctypes
import enum
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
from gpu_standin import Machine

_TYPES = {
    "tensor(uint8)": "UINT8", "tensor(float)": "FLOAT", "tensor(float16)": "HALF", "tensor(int32)": "INT32", "tensor(int64)": "INT64",
}  # fmt: skip
NUMPY = {"UINT8": "uint8", "FLOAT": "float32", "HALF": "float16", "INT32": "int32", "INT64": "int64"}


class Severity(enum.Enum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ILogger:
    Severity = Severity

    def log(self, severity: Severity, message: str) -> None: ...


class IProfiler:
    def report_layer_time(self, layer_name: str, ms: float) -> None: ...


class DataType(enum.Enum):
    FLOAT, HALF, INT8, INT32, BOOL, UINT8, INT64 = range(7)


class TensorIOMode(enum.Enum):
    NONE, INPUT, OUTPUT = range(3)


def make(machine: Machine, version: str, rtx: bool) -> Any:
    """The module; `complains` makes it refuse plans with that message, `no_context` contexts."""
    module = SimpleNamespace(__version__=version, ILogger=ILogger, IProfiler=IProfiler, DataType=DataType, TensorIOMode=TensorIOMode)  # fmt: skip
    module.complains, module.no_context, module.refuses, module.capturable = "", "", False, True
    module.refuses_in_capture = False
    module.alive = 0

    class Alive:
        def __init__(self) -> None:
            module.alive += 1
            assert machine.contexts, "TensorRT was called without a context"

        def __del__(self) -> None:
            module.alive -= 1
            if not machine.contexts:
                machine.problems.append(f"{type(self).__name__} was dropped without a context")

    class Runtime(Alive):
        def __init__(self, logger: ILogger) -> None:
            super().__init__()
            self._logger = logger
            self.engine_host_code_allowed, self.DLA_core = False, -1

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
            if module.complains:
                self._logger.log(Severity.ERROR, module.complains)
                return None
            return ICudaEngine(serialized_engine, self._logger)

    class ICudaEngine(Alive):
        def __init__(self, plan: bytes, logger: ILogger) -> None:
            super().__init__()
            self._logger = logger
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self._session = onnxruntime.InferenceSession(plan, options)
            self._tensors = [(t, TensorIOMode.INPUT) for t in self._session.get_inputs()]
            self._tensors += [(t, TensorIOMode.OUTPUT) for t in self._session.get_outputs()]
            self._by_name = {tensor.name: (tensor, mode) for tensor, mode in self._tensors}

        @property
        def num_io_tensors(self) -> int:
            return len(self._tensors)

        def get_tensor_name(self, index: int) -> str:
            return self._tensors[index][0].name

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return tuple(self._by_name[name][0].shape)

        def get_tensor_dtype(self, name: str) -> DataType:
            return DataType[_TYPES[self._by_name[name][0].type]]

        def get_tensor_mode(self, name: str) -> TensorIOMode:
            return self._by_name[name][1]

        def create_execution_context(self) -> IExecutionContext | None:
            if module.no_context:
                self._logger.log(Severity.ERROR, module.no_context)
                return None
            return IExecutionContext(self)

    class IExecutionContext(Alive):
        def __init__(self, engine: ICudaEngine) -> None:
            super().__init__()
            self.engine = engine
            self.profiler: IProfiler | None = None
            self._addresses: dict[str, int] = {}
            self._settled: dict[str, int] | None = None  # the addresses of the last run outside a capture

        def set_tensor_address(self, name: str, memory: int) -> bool:
            shape, dtype = self.engine.get_tensor_shape(name), NUMPY[self.engine.get_tensor_dtype(name).name]
            machine.visible(memory, int(np.prod(shape)) * np.dtype(dtype).itemsize, name)
            self._addresses[name] = memory
            return True

        def execute_async_v3(self, stream_handle: int) -> bool:
            assert machine.contexts
            stream, addresses = machine.streams[stream_handle], dict(self._addresses)
            if module.refuses or set(addresses) != set(self.engine._by_name):
                return False
            if module.refuses_in_capture and stream.capturing is not None:
                return False
            if stream.capturing is None:
                self._settled = addresses
            elif self._settled != addresses:
                return False  # it allocates at the first run, which a capture forbids
            stream.put(lambda: self._run(addresses))
            return True

        def _run(self, addresses: dict[str, int]) -> None:
            started = time.perf_counter()

            def array(name: str) -> np.ndarray:
                shape, dtype = self.engine.get_tensor_shape(name), NUMPY[self.engine.get_tensor_dtype(name).name]
                size = int(np.prod(shape)) * np.dtype(dtype).itemsize
                machine.visible(addresses[name], size, name)
                return np.frombuffer((ctypes.c_char * size).from_address(addresses[name]), dtype).reshape(shape)

            modes = self.engine._by_name
            inputs = {n: array(n).copy() for n, (_, mode) in modes.items() if mode == TensorIOMode.INPUT}
            outputs = [n for n, (_, mode) in modes.items() if mode == TensorIOMode.OUTPUT]
            for name, value in zip(outputs, self.engine._session.run(outputs, inputs), strict=True):
                array(name)[...] = value
            if self.profiler is not None:
                self.profiler.report_layer_time("whole", (time.perf_counter() - started) * 1e3)

    if rtx:
        IExecutionContext.is_stream_capturable = lambda self, stream: module.capturable  # type: ignore[attr-defined]
    module.Runtime, module.ICudaEngine, module.IExecutionContext = Runtime, ICudaEngine, IExecutionContext
    return module
