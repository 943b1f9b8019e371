"""pycuda and the device's primary context, which torch, cupy and other threads share; its errors in words."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ... import install
from ...artifacts.tensorrt_binding import lacking_tools
from ...errors import DeviceError, FastSCNNError, UsageError
from ...text import first_line
from .driver import Driver, DriverError

_EXTRA = {"tensorrt": "trt", "rtx": "rtx"}


class RefusedError(Exception):
    """TensorRT did not take a call."""


class Context:
    """The first device's primary context: retained here, current only inside `with context.active(...)`.

    pycuda's objects must be made and freed inside; left to the garbage collector in another thread, they would leak.

    Args:
        flavour: of TensorRT, for the words that tell how to install pycuda.

    Raises:
        DeviceError: no pycuda, no driver, no GPU.
    """

    def __init__(self, flavour: str) -> None:
        try:
            import pycuda.driver as cuda
        except Exception as error:  # one for another NumPy or CUDA raises what it likes
            tools = lacking_tools()
            raise DeviceError(
                f"running an engine needs pycuda, which cannot be imported ({first_line(error)}). Install: "
                f"{install.command(_EXTRA[flavour])}{f' ({tools})' * bool(tools)}; "
                "where libcuda.so.1 is missing, a driver (`nvidia-smi`)"
            ) from None
        self.cuda: Any = cuda
        with self._explained("starting CUDA"):
            cuda.init()
            self.device = cuda.Device(0)
            self._primary: Any = self.device.retain_primary_context()
        try:
            self.driver: Driver | None = Driver()
        except DriverError:  # then there are no graphs; see slot.py
            self.driver = None

    @contextmanager
    def active(self, doing: str) -> Iterator[None]:
        """Current in this thread meanwhile; whatever was current before is so again afterwards.

        Raises:
            DeviceError: out of memory, a GPU that stopped; `doing` tells during what.
            UsageError: it was released.
        """
        primary = self._primary
        if primary is None:
            raise UsageError("this engine is closed; open it again")
        with self._explained(doing):
            primary.push()
        try:
            with self._explained(doing):  # before the pop, as it asks for the free memory
                try:
                    yield
                except BaseException as error:
                    # The frames that failed hold streams and engines, which must go now, while the context is current.
                    traceback.clear_frames(error.__traceback__)
                    raise
        finally:
            self.cuda.Context.pop()

    def attribute(self, name: str) -> int:
        """One of `pycuda.driver.device_attribute`."""
        return int(self.device.get_attribute(getattr(self.cuda.device_attribute, name)))

    def release(self) -> None:
        """Give the primary context back, from any thread; others that retain it keep it."""
        primary, self._primary = self._primary, None
        if primary is None:
            return
        primary.push()
        primary.detach()
        # pycuda takes it for popped now, as a context of its own would be; a primary one stays current.
        if self.driver is not None and self.cuda.Context.get_current() is None:
            self.driver.pop_context()

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except self.cuda.MemoryError as error:
            raise DeviceError(
                f"the GPU ran out of memory while {doing} ({error}){self._free()}. Close other programs that use it, or "
                "export at a lower resolution or a smaller batch"
            ) from error
        except RefusedError as error:
            raise FastSCNNError(
                f"{error} (while {doing}). --debug shows TensorRT's log; build the engine again"
            ) from error
        except (self.cuda.Error, DriverError) as error:
            raise FastSCNNError(
                f"CUDA failed while {doing}: {error}. Look at `nvidia-smi` and the kernel's log (dmesg, Xid), and start the program again"
            ) from error

    def _free(self) -> str:
        try:
            free, total = self.cuda.mem_get_info()
        except self.cuda.Error:
            return ""
        return f"; {free / 1e6:,.0f} of its {total / 1e6:,.0f} MB are free"
