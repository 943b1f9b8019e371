"""Threads that share the parts of one piece of work, as long as they get cores to do so."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

_REST = (16, 1024)  # pieces of work that the caller does alone after it had to wait; twice as many each time, at most


class Crew:
    """The caller and its helpers; after `close` the caller alone.

    Where other programs want the cores, too, a helper may lie still in the middle of its part, for longer than the caller alone
    would have taken. After such a wait helpers rest for a while.

    Args:
        threads: how many they are together.
    """

    def __init__(self, threads: int) -> None:
        self._helpers = threads - 1
        self._pool = ThreadPoolExecutor(self._helpers, "fastscnn-decode") if self._helpers > 0 else None
        self._rest, self._next_rest = 0, _REST[0]

    @property
    def threads(self) -> int:
        return 1 + self._helpers if self._pool else 1

    def share(self, work: Callable[[int, int], None], parts: Iterable[tuple[int, int]]) -> None:
        """Call `work` with every part. Who is done takes the next, so that a thread whose core is busy holds up nobody."""
        waiting = deque(parts)

        def take() -> None:
            while True:
                try:
                    part = waiting.popleft()
                except IndexError:
                    return
                work(*part)

        pool = self._pool
        if pool is None or self._rest > 0:
            self._rest -= pool is not None
            take()
            return
        helping = [pool.submit(take) for _ in range(min(self._helpers, len(waiting) - 1))]
        started = time.perf_counter()
        try:
            take()
        finally:
            done = time.perf_counter()
            for helper in helping:
                if not helper.cancel():  # one that has not begun is not waited for
                    helper.result()
        if time.perf_counter() - done > done - started:
            self._rest, self._next_rest = self._next_rest, min(2 * self._next_rest, _REST[1])
        elif helping:
            self._next_rest = _REST[0]

    def close(self) -> None:
        """End the helpers. Nothing may be shared meanwhile."""
        if self._pool:
            self._pool.shutdown()
            self._pool = None


def parts(first: int, last: int, step: int) -> list[tuple[int, int]]:
    """`first` to `last` in steps."""
    return [(start, min(start + step, last)) for start in range(first, last, step)]
