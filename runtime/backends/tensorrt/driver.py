"""CUDA graphs, asked of the driver itself, as pycuda has no calls for them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import POINTER, byref, c_char_p, c_int, c_ulonglong, c_void_p
from typing import Any

_LIBRARY = "libcuda.so.1"
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do meanwhile does not spoil a capture

# Of cuda.h since CUDA 11.4, which JetPack 5 has. Each gives a CUresult.
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_ulonglong),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphDestroy": (c_void_p,),
    "cuCtxPopCurrent_v2": (POINTER(c_void_p),),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
}


class DriverError(Exception):
    """A call that the driver refused, by its name and the driver's for the reason."""


class Driver:
    """The calls above. The context must be current in the calling thread; every handle is a number.

    Raises:
        DriverError: the library is missing, older than CUDA 11.4, or refuses.
    """

    def __init__(self) -> None:
        try:
            library = ctypes.CDLL(_LIBRARY)
            self._calls = {name: getattr(library, name) for name in SIGNATURES}
        except (OSError, AttributeError) as error:
            raise DriverError(str(error)) from None
        for name, arguments in SIGNATURES.items():
            self._calls[name].argtypes, self._calls[name].restype = arguments, c_int

    def capture(self, stream: int, enqueue: Callable[[], None]) -> int:
        """Record what `enqueue` puts into the stream, without running it → an executable graph.

        The stream can be used as before, whatever happens.
        """
        graph, executable = c_void_p(), c_void_p()
        self._call("cuStreamBeginCapture_v2", stream, _THREAD_LOCAL)
        try:
            enqueue()
        except BaseException:
            self._calls["cuStreamEndCapture"](stream, byref(graph))
            if graph:
                self._calls["cuGraphDestroy"](graph)
            raise
        self._call("cuStreamEndCapture", stream, byref(graph))
        try:
            self._call("cuGraphInstantiateWithFlags", byref(executable), graph, 0)
        finally:
            self._calls["cuGraphDestroy"](graph)
        assert executable.value is not None
        return executable.value

    def launch(self, graph: int, stream: int) -> None:
        self._call("cuGraphLaunch", graph, stream)

    def destroy(self, graph: int) -> None:
        """At the end, where nothing can be done about a refusal."""
        self._calls["cuGraphExecDestroy"](graph)

    def pop_context(self) -> None:
        self._calls["cuCtxPopCurrent_v2"](byref(c_void_p()))

    def _call(self, name: str, *arguments: Any) -> None:
        code = self._calls[name](*arguments)
        if code:
            reason = c_char_p()
            self._calls["cuGetErrorName"](code, byref(reason))
            raise DriverError(f"{name}: {(reason.value or b'error %d' % code).decode()}")
