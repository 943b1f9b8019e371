"""Threads that share the parts of one piece of work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor


class Crew:
    """The caller and its helpers; after `close` the caller alone.

    Args:
        threads: how many they are together.
    """

    def __init__(self, threads: int) -> None:
        self._helpers = threads - 1
        self._pool = ThreadPoolExecutor(self._helpers, "fastscnn-decode") if self._helpers > 0 else None

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
        helping = [pool.submit(take) for _ in range(min(self._helpers, len(waiting) - 1))] if pool else []
        try:
            take()
        finally:
            for helper in helping:
                if not helper.cancel():  # one that has not begun is not waited for
                    helper.result()

    def close(self) -> None:
        """End the helpers. Nothing may be shared meanwhile."""
        if self._pool:
            self._pool.shutdown()
            self._pool = None


def parts(first: int, last: int, step: int) -> list[tuple[int, int]]:
    """`first` to `last` in steps."""
    return [(start, min(start + step, last)) for start in range(first, last, step)]
