import gc
import os

import numpy as np

from fastscnn.runtime.decode.memory import Recycler


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_comes_back_only_when_no_view_is_left() -> None:
    recycler = Recycler((3, 1000))
    first = recycler.array()
    assert (first.shape, first.dtype, first.flags.writeable, first.flags.c_contiguous) == (
        (3, 1000),
        np.float32,
        True,
        True,
    )
    first[:] = 7
    place, row = address(first), first[1, ::2]
    del first
    gc.collect()
    other = recycler.array()
    other[:] = 1
    assert address(other) != place, "a view was still alive"
    assert np.all(row == 7)
    del row
    gc.collect()
    again = recycler.array()
    assert address(again) == place


def test_no_more_blocks_are_kept_than_frames_are_in_flight() -> None:
    recycler = Recycler((10,))
    arrays = [recycler.array() for _ in range(5)]
    assert len({address(a) for a in arrays}) == 5
    arrays.clear()
    assert len(recycler._free) == 2


def test_arrays_outlive_the_recycler() -> None:
    recycler = Recycler((10,))
    array = recycler.array()
    array[:] = 3
    recycler.clear()
    del recycler
    gc.collect()
    assert array.sum() == 30
    del array


def test_a_forked_child_keeps_its_own_copy() -> None:
    recycler = Recycler((1000,))
    array = recycler.array()
    array[:] = 1
    told, tell = os.pipe()
    go, start = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(go, 1)
        os.write(tell, b"same" if np.all(array == 1) else b"overwritten")
        os._exit(0)
    array[:] = 7
    os.write(start, b"!")
    assert os.read(told, 20) == b"same"
    os.waitpid(child, 0)
    for end in (told, tell, go, start):
        os.close(end)


def test_the_garbage_collector_may_strike_anywhere() -> None:
    """A block given back while another is being taken must not wait for itself."""
    recycler = Recycler((10,))

    class Strike(type(recycler._free)):  # type: ignore[misc]
        def pop(self) -> object:
            gc.collect()
            return super().pop()

    recycler._free = Strike(maxlen=2)
    cycle: list[object] = [recycler.array()]
    cycle.append(cycle)
    del cycle
    assert recycler.array().shape == (10,)


def test_cleared_while_in_use_keeps_nothing_afterwards() -> None:
    recycler = Recycler((10,))
    arrays = [recycler.array(), recycler.array()]
    recycler.clear()
    arrays.clear()
    gc.collect()
    assert len(recycler._free) == 0
