"""`libcuda.so.1` over the stand-in GPU: functions of C, with the prototypes of cuda.h, that ctypes calls for real."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from ctypes import c_char_p, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from typing import Any

from gpu_standin import CAPTURE_INVALIDATED, INVALID_VALUE, Machine

# As they stand in cuda.h of CUDA 13.0; the exported name where a macro renames it.
PROTOTYPES = {
    "cuInit": "(unsigned int Flags)",
    "cuDeviceGetCount": "(int *count)",
    "cuDeviceGetName": "(char *name, int len, CUdevice dev)",
    "cuDeviceTotalMem_v2": "(size_t *bytes, CUdevice dev)",
    "cuDeviceGetAttribute": "(int *pi, CUdevice_attribute attrib, CUdevice dev)",
    "cuGetErrorName": "(CUresult error, const char **pStr)",
    "cuCtxPopCurrent_v2": "(CUcontext *pctx)",
    "cuStreamBeginCapture_v2": "(CUstream hStream, CUstreamCaptureMode mode)",
    "cuStreamEndCapture": "(CUstream hStream, CUgraph *phGraph)",
    "cuGraphInstantiateWithFlags": "(CUgraphExec *phGraphExec, CUgraph hGraph, unsigned long long flags)",
    "cuGraphLaunch": "(CUgraphExec hGraphExec, CUstream hStream)",
    "cuGraphExecDestroy": "(CUgraphExec hGraphExec)",
    "cuGraphDestroy": "(CUgraph hGraph)",
}
_TYPES: dict[str, Any] = {
    "unsigned int": c_uint, "int": c_int, "CUdevice": c_int, "CUresult": c_int, "CUdevice_attribute": c_int,
    "CUstreamCaptureMode": c_int, "unsigned long long": c_ulonglong, "CUstream": c_void_p, "CUgraph": c_void_p,
    "CUgraphExec": c_void_p, "char *": c_void_p, "size_t *": ctypes.POINTER(c_size_t), "int *": ctypes.POINTER(c_int),
    "CUcontext *": ctypes.POINTER(c_void_p), "CUgraph *": ctypes.POINTER(c_void_p),
    "CUgraphExec *": ctypes.POINTER(c_void_p), "const char **": ctypes.POINTER(c_char_p),
}  # fmt: skip
_NAMES = {901: b"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", 900: b"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"}


def types(name: str) -> list[Any]:
    """ctypes of a prototype's parameters."""
    found = []
    for parameter in PROTOTYPES[name].strip("()").split(", "):
        words = parameter.rpartition(" ")
        stars = len(words[2]) - len(words[2].lstrip("*"))
        found.append(_TYPES[words[0] + (" " + "*" * stars if stars else "")])
    return found


class Library:
    """What `ctypes.CDLL("libcuda.so.1")` gives."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        for name in PROTOTYPES:
            # A pointer to a function of C, reached through its address, as in a loaded library.
            setattr(self, f"_{name}", ctypes.CFUNCTYPE(c_int, *types(name))(self._guarded(getattr(self, name + "_"))))
            address = ctypes.cast(getattr(self, f"_{name}"), c_void_p).value
            setattr(self, name, ctypes.CFUNCTYPE(c_int, *types(name))(address))

    def _guarded(self, function: Callable[..., int]) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            try:
                return function(*arguments)
            except Exception as error:  # would be lost in ctypes
                self._machine.problems.append(repr(error))
                return 999

        return call

    def cuInit_(self, flags: int) -> int:  # noqa: N802
        return self._machine.fails["cuInit"].code if "cuInit" in self._machine.fails else 0

    def cuDeviceGetCount_(self, count: Any) -> int:  # noqa: N802
        count[0] = self._machine.devices
        return 0

    def cuDeviceGetName_(self, name: int, size: int, device: int) -> int:  # noqa: N802
        data = self._machine.name.encode()[: size - 1] + b"\0"
        ctypes.memmove(name, data, len(data))
        return 0

    def cuDeviceTotalMem_v2_(self, size: Any, device: int) -> int:  # noqa: N802
        size[0] = self._machine.memory
        return 0

    def cuDeviceGetAttribute_(self, value: Any, attribute: int, device: int) -> int:  # noqa: N802
        value[0] = dict(zip((75, 76), self._machine.capability, strict=True))[attribute]
        return 0

    def cuGetErrorName_(self, code: int, text: Any) -> int:  # noqa: N802
        if code not in _NAMES:
            return INVALID_VALUE
        text[0] = _NAMES[code]
        return 0

    def cuCtxPopCurrent_v2_(self, context: Any) -> int:  # noqa: N802
        context[0] = self._machine.contexts.pop()
        return 0

    def cuStreamBeginCapture_v2_(self, handle: int, mode: int) -> int:  # noqa: N802
        stream = self._machine.streams[handle]
        assert mode == 1 and not stream.queue and self._machine.contexts
        stream.capturing, stream.spoilt, stream.owner = [], False, threading.get_ident()
        return 0

    def cuStreamEndCapture_(self, handle: int, graph: Any) -> int:  # noqa: N802
        stream = self._machine.streams[handle]
        assert stream.capturing is not None
        operations, stream.capturing = stream.capturing, None
        graph[0] = None
        if stream.spoilt or self._machine.refuses_capture:
            return CAPTURE_INVALIDATED
        graph[0] = number = self._machine.number()
        self._machine.graphs[number] = operations
        return 0

    def cuGraphInstantiateWithFlags_(self, executable: Any, graph: int, flags: int) -> int:  # noqa: N802
        executable[0] = number = self._machine.number()
        self._machine.executables[number] = list(self._machine.graphs[graph])
        return 0

    def cuGraphLaunch_(self, executable: int, handle: int) -> int:  # noqa: N802
        assert self._machine.contexts
        self._machine.replays += 1
        self._machine.streams[handle].queue.extend(self._machine.executables[executable])
        return 0

    def cuGraphExecDestroy_(self, executable: int) -> int:  # noqa: N802
        del self._machine.executables[executable]
        return 0

    def cuGraphDestroy_(self, graph: int) -> int:  # noqa: N802
        del self._machine.graphs[graph]
        return 0
