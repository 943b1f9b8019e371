"""`pycuda.driver` over the stand-in GPU: only names that the real one has (test_standins.py compares them)."""

from __future__ import annotations

import ctypes
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from gpu_standin import CUBIN, INVALID_CONTEXT, OUT_OF_MEMORY, Machine, RefusalError, Stream

from fastscnn.runtime.decode.kernels import ENTRY_POINTS


def make(machine: Machine) -> tuple[ModuleType, ModuleType]:
    """The package and its driver module, as `sys.modules` is to have them."""
    package, driver = ModuleType("pycuda"), ModuleType("pycuda.driver")
    package.driver = driver  # type: ignore[attr-defined]
    for name, value in _names(machine).items():
        setattr(driver, name, value)
    return package, driver


def _names(machine: Machine) -> dict[str, Any]:
    class Error(Exception):
        pass

    class MemoryError(Error):
        pass

    class LogicError(Error):
        pass

    class LaunchError(Error):
        pass

    class RuntimeError(Error):
        pass

    kinds = {OUT_OF_MEMORY: MemoryError, 100: RuntimeError, 209: RuntimeError, 719: LaunchError}
    stacks = threading.local()  # pycuda's own stack of contexts, beside the driver's

    def stack() -> list[Any]:
        if not hasattr(stacks, "contexts"):
            stacks.contexts = []
        return stacks.contexts

    def asked(call: str, work: Any) -> Any:
        try:
            return work()
        except RefusalError as refusal:
            raise kinds.get(refusal.code, LogicError)(f"{call} failed: {refusal}") from None

    def entered(call: str) -> None:
        asked(call, lambda: machine.enter(call))

    class Owned:
        """Something of the context that was current when it was made."""

        def __init__(self, call: str) -> None:
            entered(call)
            self._made_in, self._thread, self._live = stack()[-1], threading.get_ident(), True

        def _ended(self) -> None:
            """May this thread free it? The real one warns, and leaks it."""
            if not self._live:
                raise LogicError("freed twice")
            self._live = False
            if not self._made_in._valid:
                machine.problems.append(f"{type(self).__name__} outlived its context")
            elif (not stack() or stack()[-1] is not self._made_in) and threading.get_ident() != self._thread:
                machine.problems.append(f"{type(self).__name__} in out-of-thread context could not be cleaned up")

    class Context:
        def __init__(self) -> None:
            self._valid, self.handle = True, machine.number()

        def push(self) -> None:
            if not self._valid:
                raise LogicError("dead context")
            if stack():
                machine.contexts.pop()
            machine.contexts.append(self.handle)
            stack().append(self)

        @staticmethod
        def pop() -> None:
            if not stack():
                raise LogicError("cannot pop non-current context")
            if Context.get_current() is None:  # that drops those that were detached meanwhile
                raise LogicError("cannot pop context from empty stack")
            machine.contexts.pop()
            stack().pop()
            if stack():
                machine.contexts.append(stack()[-1].handle)

        @staticmethod
        def get_current() -> Any:
            while stack() and not stack()[-1]._valid:
                stack().pop()
            return stack()[-1] if stack() else None

        def detach(self) -> None:
            active = Context.get_current() is self
            assert active, "the real one would leave the context current, or leak it"
            self._valid = False
            machine.retained -= 1
            if Context.get_current() is not None:
                machine.contexts.append(Context.get_current().handle)

    class Device:
        def __init__(self, index: int) -> None:
            if index >= machine.devices:
                raise LogicError("cuDeviceGet failed: invalid device ordinal")

        def retain_primary_context(self) -> Context:
            machine.retained += 1
            return Context()

        def get_attribute(self, attribute: str) -> int:
            return machine.attributes[attribute]

        def name(self) -> str:
            return machine.name

        def pci_bus_id(self) -> str:
            return "0000:65:00.0"

    class DeviceAllocation(Owned):
        def __init__(self, size: int, call: str = "cuMemAlloc") -> None:
            super().__init__(call)
            self._block = asked(call, lambda: machine.allocate(size, call))

        def __int__(self) -> int:
            return int(self._block.ctypes.data)

        def free(self) -> None:
            self._ended()
            machine.give_back(int(self))

        def __del__(self) -> None:
            if getattr(self, "_live", False) and hasattr(self, "_block"):
                self.free()

    class ManagedAllocation(DeviceAllocation):
        def __init__(self, size: int) -> None:
            super().__init__(size, "cuMemAllocManaged")

        def get_device_pointer(self) -> int:
            return int(self)

        def attach(self, mem_flags: int, stream: Any) -> None:
            machine.attached = stream  # type: ignore[attr-defined]

    class PagelockedHostAllocation(Owned):
        def __init__(self, size: int, flags: int) -> None:
            super().__init__("cuMemHostAlloc")
            self._flags = flags
            mapped = bool(flags & host_alloc_flags.DEVICEMAP)
            self._block = asked("cuMemHostAlloc", lambda: machine.allocate(size, "cuMemHostAlloc", mapped))

        def get_device_pointer(self) -> int:
            if not self._flags & host_alloc_flags.DEVICEMAP:
                raise LogicError("cuMemHostGetDevicePointer failed: invalid argument")
            return int(self._block.ctypes.data)

        def free(self) -> None:
            self._ended()
            machine.give_back(int(self._block.ctypes.data))

        def __del__(self) -> None:
            if getattr(self, "_live", False) and hasattr(self, "_block"):
                self.free()

    def array_over(allocation: Any, shape: Any, dtype: Any) -> np.ndarray:
        interface = {**allocation._block.__array_interface__, "typestr": np.dtype(dtype).str}
        allocation.__array_interface__ = {**interface, "shape": tuple(np.atleast_1d(shape).tolist())}
        array = np.asarray(allocation)
        assert array.base is allocation
        return array

    def size_of(shape: Any, dtype: Any) -> int:
        return int(np.prod(shape)) * np.dtype(dtype).itemsize

    def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> np.ndarray:
        return array_over(PagelockedHostAllocation(size_of(shape, dtype), mem_flags), shape, dtype)

    def managed_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> np.ndarray:
        assert mem_flags, "the real one refuses 0"
        return array_over(ManagedAllocation(size_of(shape, dtype)), shape, dtype)

    class FakeStream(Owned):
        def __init__(self, flags: int = 0) -> None:
            super().__init__("cuStreamCreate")
            self.handle = machine.number()
            machine.streams[self.handle] = self._stream = Stream(self.handle)

        def synchronize(self) -> None:
            entered("cuStreamSynchronize")
            asked("cuStreamSynchronize", self._stream.wait)

        def is_done(self) -> bool:
            return not self._stream.queue

        def __del__(self) -> None:
            if getattr(self, "_live", False):
                self._ended()
                machine.streams.pop(self.handle, None)

    class Event(Owned):
        def __init__(self, flags: int = 0) -> None:
            super().__init__("cuEventCreate")
            self._at: float | None = None
            self._stream: Any = None

        def record(self, stream: Any = None) -> Event:
            import time

            self._at, self._stream = None, stream

            def happened() -> None:
                self._at = time.perf_counter() * 1e3

            stream._stream.put(happened)
            return self

        def synchronize(self) -> Event:
            if self._at is None:
                asked("cuEventSynchronize", self._stream._stream.wait)
            return self

        def query(self) -> bool:
            return self._at is not None

        def time_since(self, start: Event) -> float:
            if self._at is None or start._at is None:
                raise LogicError("cuEventElapsedTime failed: device not ready")
            return self._at - start._at

        def __del__(self) -> None:
            if getattr(self, "_live", False):
                self._ended()

    class Function:
        def __init__(self, entry: str) -> None:
            self._entry = entry

        def __call__(self, *arguments: Any, grid: Any, block: Any, stream: Any) -> None:
            entered("cuLaunchKernel")
            assert all(isinstance(argument, np.number) for argument in arguments)
            assert len(grid) == len(block) == 3 and all(isinstance(side, int) for side in (*grid, *block))
            stream._stream.put(lambda: machine.run_kernel(self._entry, grid, block, list(arguments)))

    class Module(Owned):
        def __init__(self) -> None:
            super().__init__("cuModuleLoadDataEx")

        def get_function(self, name: str) -> Function:
            if name not in ENTRY_POINTS:
                raise LogicError("cuModuleGetFunction failed: named symbol not found")
            return Function(name)

        def __del__(self) -> None:
            if getattr(self, "_live", False):
                self._ended()

    def module_from_buffer(buffer: bytes) -> Module:
        if buffer != CUBIN:
            raise RuntimeError("cuModuleLoadDataEx failed: device kernel image is invalid")
        return Module()

    def memcpy_htod_async(dest: int, src: np.ndarray, stream: Any) -> None:
        entered("cuMemcpyHtoDAsync")
        assert src.flags.c_contiguous
        machine.visible(dest, src.nbytes, "a copy to the device")
        address, size = src.ctypes.data, src.nbytes
        assert address in machine.host, "the source is not page-locked, so the copy would not be asynchronous"
        stream._stream.put(lambda: ctypes.memmove(dest, address, size) and None)

    def memcpy_dtoh_async(dest: np.ndarray, src: int, stream: Any) -> None:
        entered("cuMemcpyDtoHAsync")
        assert dest.flags.c_contiguous
        machine.visible(src, dest.nbytes, "a copy from the device")
        address, size = dest.ctypes.data, dest.nbytes
        assert address in machine.host, "the destination is not page-locked, so the copy would not be asynchronous"
        stream._stream.put(lambda: ctypes.memmove(address, src, size) and None)

    def memcpy_dtod_async(dest: int, src: int, size: int, stream: Any) -> None:
        entered("cuMemcpyDtoDAsync")
        machine.visible(dest, size, "a copy")
        machine.visible(src, size, "a copy")
        stream._stream.put(lambda: ctypes.memmove(dest, src, size) and None)

    def copy_now(dest: Any, src: Any) -> None:
        """Pageable memory, as a user without page-locked buffers has it."""
        entered("cuMemcpy")
        to_device = isinstance(src, np.ndarray)
        host, device = (src, int(dest)) if to_device else (dest, int(src))
        machine.visible(device, host.nbytes, "a copy")
        ctypes.memmove(*((device, host.ctypes.data) if to_device else (host.ctypes.data, device)), host.nbytes)

    def init(flags: int = 0) -> None:
        if "cuInit" in machine.fails:
            raise kinds.get(machine.fails["cuInit"].code, LogicError)(f"cuInit failed: {machine.fails['cuInit']}")

    def mem_get_info() -> tuple[int, int]:
        if not stack():
            raise kinds.get(INVALID_CONTEXT, LogicError)("cuMemGetInfo failed: invalid device context")
        return machine.memory - machine.allocated, machine.memory

    host_alloc_flags = SimpleNamespace(PORTABLE=1, DEVICEMAP=2, WRITECOMBINED=4)
    return {
        "Error": Error, "MemoryError": MemoryError, "LogicError": LogicError, "LaunchError": LaunchError,
        "RuntimeError": RuntimeError, "init": init, "Device": Device, "Context": Context, "Stream": FakeStream,
        "Event": Event, "Module": Module, "Function": Function, "module_from_buffer": module_from_buffer,
        "mem_alloc": DeviceAllocation, "mem_get_info": mem_get_info, "pagelocked_empty": pagelocked_empty,
        "managed_empty": managed_empty, "memcpy_htod_async": memcpy_htod_async, "memcpy_dtoh_async": memcpy_dtoh_async,
        "memcpy_dtod_async": memcpy_dtod_async, "memcpy_htod": copy_now, "memcpy_dtoh": copy_now,
        "host_alloc_flags": host_alloc_flags, "mem_attach_flags": SimpleNamespace(GLOBAL=1, HOST=2, SINGLE=4),
        "device_attribute": SimpleNamespace(**{name: name for name in machine.attributes}),
        "DeviceAllocation": DeviceAllocation, "ManagedAllocation": ManagedAllocation,
        "PagelockedHostAllocation": PagelockedHostAllocation, "get_driver_version": lambda: 13000,
    }  # fmt: skip
