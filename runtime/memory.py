"""Large result buffers that come back for the next frame."""

from __future__ import annotations

import ctypes
import mmap
import threading
import weakref

import numpy as np
from numpy.typing import NDArray

_KEPT = 2  # free blocks: as many as frames are in flight


class Recycler:
    """Gives float32 arrays of one shape, reusing the memory of those that nobody refers to any more.

    A full-resolution probability map has 160 MB. The C library returns so large a block to the system each time, and
    faulting its pages in again takes longer than computing what goes into them. Arrays, and views of them, stay valid for
    as long as somebody holds them, also after `clear`.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._bytes = int(np.prod(shape)) * 4
        self._free: list[mmap.mmap] = []
        self._lock = threading.Lock()
        self._kept = _KEPT

    def array(self) -> NDArray[np.float32]:
        """Uninitialised, writable, contiguous."""
        with self._lock:
            block = self._free.pop() if self._free else None
        if block is None:
            block = mmap.mmap(-1, self._bytes)
            if hasattr(mmap, "MADV_HUGEPAGE"):
                block.madvise(mmap.MADV_HUGEPAGE)
        # Every NumPy view keeps the object that it was made from; when the last one goes, the block is free.
        lease = (ctypes.c_char * self._bytes).from_buffer(block)
        weakref.finalize(lease, self._give_back, block).atexit = False
        return np.frombuffer(memoryview(lease), np.float32).reshape(self._shape)

    def clear(self) -> None:
        """Keep no block from now on."""
        with self._lock:
            self._kept = 0
            self._free.clear()

    def _give_back(self, block: mmap.mmap) -> None:
        with self._lock:
            if len(self._free) < self._kept:
                self._free.append(block)
