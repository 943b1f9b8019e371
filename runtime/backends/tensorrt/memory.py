"""Buffers that CPU and GPU both reach, in three modes: which is fastest depends on the board, so it is measured."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DeviceError
from .context import Context

MODES = ("pinned", "mapped", "managed")
MEMORY = ("auto", *MODES)


class Buffer:
    """One array in memory that the CPU writes or reads as `host` and the GPU at the address `device`.

    pinned: page-locked, with a twin on the device; `upload` and `download` copy.
    mapped: page-locked, the GPU works in it across the bus, or in the memory that a Jetson's CPU and GPU share.
    managed: the driver moves pages as they are touched, or on a Jetson keeps caches coherent.

    Made, used and freed with the context current; one that could not be made whole frees itself (see Context.active).
    """

    def __init__(self, context: Context, mode: str, shape: tuple[int, ...], dtype: str, stream: Any) -> None:
        cuda = context.cuda
        self._cuda, self._twin = cuda, None
        self._stream: Any = stream
        if mode == "managed":
            self.host: NDArray[Any] = cuda.managed_empty(shape, dtype, mem_flags=cuda.mem_attach_flags.GLOBAL)
            self._owner = self.host.base
            self.device = int(self._owner)
            if not concurrent(context):
                # Else the CPU may touch no managed memory at all while any stream works.
                self._owner.attach(cuda.mem_attach_flags.SINGLE, stream)
                stream.synchronize()
            return
        flags = cuda.host_alloc_flags.DEVICEMAP if mode == "mapped" else 0
        self.host = cuda.pagelocked_empty(shape, dtype, mem_flags=flags)
        self._owner = self.host.base
        if mode == "mapped":
            self.device = int(self._owner.get_device_pointer())
        else:
            self._twin = cuda.mem_alloc(self.host.nbytes)
            self.device = int(self._twin)

    def upload(self) -> None:
        if self._twin is not None:
            self._cuda.memcpy_htod_async(self.device, self.host, self._stream)

    def download(self) -> None:
        if self._twin is not None:
            self._cuda.memcpy_dtoh_async(self.host, self.device, self._stream)

    def free(self) -> None:
        self.host = np.empty(0, np.uint8)  # whoever still looks sees nothing rather than freed memory
        self._stream = None
        if self._twin is not None:
            self._twin.free()
        self._owner.free()


def concurrent(context: Context) -> bool:
    """Whether the CPU may touch managed memory while the GPU works; not on Jetsons."""
    return bool(context.attribute("CONCURRENT_MANAGED_ACCESS"))


def shares_memory(context: Context) -> bool:
    """Whether CPU and GPU use the same DRAM, as on a Jetson."""
    return bool(context.attribute("INTEGRATED"))


def check_mode(context: Context, mode: str) -> None:
    """
    Raises:
        DeviceError: a mode that this device does not have.
    """
    needed = {"mapped": "CAN_MAP_HOST_MEMORY", "managed": "MANAGED_MEMORY"}.get(mode)
    if needed and not context.attribute(needed):
        raise DeviceError(
            f"this GPU, {context.device.name()}, has no {mode} memory ({needed} is 0). Use --memory pinned"
        )
