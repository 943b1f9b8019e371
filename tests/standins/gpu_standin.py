"""A GPU that is none: memory, streams, events, modules, graphs and contexts as the driver keeps them, on the CPU.

It is harsher than a real one. What is put into a stream runs only when somebody waits for it, so that a result that is read
too early, or an input that is overwritten too early, is wrong each time. Memory begins as garbage, and every pointer that
the device is given must be its own. What is not given back is counted.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Operation = Callable[[], None]
INVALID_CONTEXT, INVALID_VALUE, OUT_OF_MEMORY, CAPTURE_INVALIDATED = 201, 1, 2, 901
CUBIN = b"the kernels, compiled by the host's own compiler"


class RefusalError(Exception):
    """A CUresult other than success; the two APIs above it turn it into what theirs is."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass
class Stream:
    handle: int
    queue: list[Operation] = field(default_factory=list)
    capturing: list[Operation] | None = None
    spoilt: bool = False
    owner: int = 0  # thread that captures
    lock: Any = field(default_factory=threading.RLock)

    def put(self, operation: Operation) -> None:
        (self.queue if self.capturing is None else self.capturing).append(operation)

    def wait(self) -> None:
        if self.capturing is not None:
            self.spoilt = True
            raise RefusalError(900, "operation not permitted when stream is capturing")
        with self.lock:
            while self.queue:
                self.queue.pop(0)()


@dataclass
class Machine:
    """One device and its driver."""

    library: ctypes.CDLL | None  # kernels_on_cpu.cpp, compiled
    name: str = "Orin"
    capability: tuple[int, int] = (8, 7)
    memory: int = 8 << 30
    devices: int = 1
    attributes: dict[str, int] = field(default_factory=dict)
    refuses_capture: bool = False
    fails: dict[str, RefusalError] = field(default_factory=dict)  # call → what it answers from now on

    def __post_init__(self) -> None:
        self.attributes = {
            "INTEGRATED": 0, "CAN_MAP_HOST_MEMORY": 1, "MANAGED_MEMORY": 1, "CONCURRENT_MANAGED_ACCESS": 1,
            "CLOCK_RATE": 1_000_000, "MULTIPROCESSOR_COUNT": 8, **self.attributes,
        }  # fmt: skip
        self.streams: dict[int, Stream] = {}
        self.graphs: dict[int, list[Operation]] = {}
        self.executables: dict[int, list[Operation]] = {}
        self.ranges: dict[int, tuple[int, Any]] = {}  # address → size and owner of all that the device may touch
        self.host: dict[int, Any] = {}  # page-locked
        self.problems: list[str] = []
        self.launched: list[str] = []  # kernels, each time that one runs
        self.replays = 0
        self.retained = 0
        self.allocated = 0
        self.current = threading.local()  # the driver's own stack of contexts, of each thread
        self._numbers = iter(range(0x1000, 1 << 30, 16))
        self._one_kernel = threading.Lock()  # the library keeps its indices in globals

    def number(self) -> int:
        return next(self._numbers)

    @property
    def contexts(self) -> list[int]:
        if not hasattr(self.current, "stack"):
            self.current.stack = []
        return self.current.stack

    def enter(self, call: str) -> None:
        """What every call checks first."""
        if call in self.fails:
            raise self.fails[call]
        if not self.contexts:
            raise RefusalError(INVALID_CONTEXT, "invalid device context")

    def allocate(self, size: int, call: str, visible: bool = True) -> np.ndarray:
        self.enter(call)
        for stream in self.streams.values():
            if stream.capturing is not None and stream.owner == threading.get_ident():
                stream.spoilt = True
                raise RefusalError(900, "operation not permitted when stream is capturing")
        if self.allocated + size > self.memory:
            raise RefusalError(OUT_OF_MEMORY, "out of memory")
        block = np.full(size + 512, 0xCD, np.uint8)
        block = block[-block.ctypes.data % 256 :][:size]
        self.allocated += size
        (self.ranges if visible else self.host)[block.ctypes.data] = (size, block)
        return block

    def give_back(self, address: int) -> None:
        owner = self.ranges if address in self.ranges else self.host
        size, block = owner.pop(address)
        block[:] = 0xDD
        self.allocated -= size

    def visible(self, address: int, size: int, what: str) -> None:
        for start, (length, _) in self.ranges.items():
            if start <= address and address + size <= start + length:
                return
        raise AssertionError(f"{what}: the device reaches for {size} bytes at {address:#x}, which it does not have")

    def run_kernel(self, entry: str, grid: Any, block: Any, arguments: list[np.generic]) -> None:
        assert self.library is not None
        for argument in arguments:
            if isinstance(argument, np.uintp):
                self.visible(int(argument), 1, entry)
        held = [np.ctypeslib.as_ctypes(np.atleast_1d(a)) for a in arguments]
        packed = (ctypes.c_void_p * len(held))(*(ctypes.cast(each, ctypes.c_void_p) for each in held))
        with self._one_kernel:
            self.launched.append(entry)
            assert self.library.launch(
                entry.encode(), (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block), 0, packed
            )

    def assert_clean(self) -> None:
        """Everything was given back, and nothing was lost in a wrong thread."""
        assert not self.problems, "; ".join(self.problems)
        assert not self.ranges and not self.host, f"{self.allocated} bytes were not freed"
        assert not self.streams and not self.executables and not self.graphs, (
            f"{len(self.streams)} streams, {len(self.executables)} graphs"
        )
        assert self.retained == 0, "the primary context is still held"
        assert self.contexts == [], "a context is still current"
