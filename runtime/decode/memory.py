"""Large result buffers that come back for the next frame."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import weakref
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_KEPT = 2  # free blocks: as many as frames are in flight


class Recycler:
    """Gives arrays of one shape and type, reusing the memory of those that nobody refers to any more.

    A full-resolution probability map has 160 MB. The C library returns so large a block to the system each time, and
    faulting its pages in again takes longer than computing what goes into them. Arrays, and views of them, stay valid for
    as long as somebody holds them, also after `clear`.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> None:
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._bytes = int(np.prod(shape)) * self._dtype.itemsize
        # A deque's own operations are atomic. A lock would not do: the garbage collector may give a block back while
        # this very thread holds it.
        self._free: deque[mmap.mmap] = deque(maxlen=_KEPT)
        self._lent: dict[int, tuple[weakref.ref[Any], mmap.mmap]] = {}

    def array(self) -> NDArray[Any]:
        """Uninitialised, writable, contiguous."""
        try:
            block = self._free.pop()
        except IndexError:
            block = _mapped(self._bytes)
        # Every NumPy view keeps the object that it was made from; when the last one goes, the block is free.
        lease = (ctypes.c_char * self._bytes).from_buffer(block)
        watch = weakref.ref(lease, self._give_back)  # a third of what `weakref.finalize` costs
        self._lent[id(watch)] = watch, block
        return np.ndarray(self._shape, self._dtype, lease)  # type: ignore[arg-type]  # its stubs do not know ctypes

    def clear(self) -> None:
        """Keep no block from now on; those still in use go when their arrays do."""
        self._free = deque(maxlen=0)

    def _give_back(self, watch: weakref.ref[Any]) -> None:
        self._free.append(self._lent.pop(id(watch))[1])  # a full deque lets the oldest go


def _mapped(size: int) -> mmap.mmap:
    """Anonymous memory of this process alone: a forked child must not see the parent's next frame in its own result."""
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows, which does not fork
        return mmap.mmap(-1, size)
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # kernels without huge pages
            block.madvise(mmap.MADV_HUGEPAGE)
    return block
