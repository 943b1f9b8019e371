"""Another way to run a network, for the time when other programs want the cores, too."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from .busy import MUCH, Busy

_GLANCE = 0.5  # seconds, of which Linux counts hundredths


class Beside:
    """Makes it when others are seen for the first time, on a thread of its own: no start waits for it, and no frame.

    Args:
        make: gives it, in some tenths of a second.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: Any = None
        self._maker: threading.Thread | None = None
        self._there = False
        self._since, self._busy = time.monotonic(), Busy()

    def now(self) -> Any | None:
        """What `make` gave, while others are busy; None while they are not or it is not ready."""
        if not self._company():
            return None
        if self._maker is None:
            self._maker = threading.Thread(target=self._work, name="fastscnn-beside")
            with contextlib.suppress(RuntimeError):  # no thread is to be had
                self._maker.start()
        return self._made

    def close(self) -> None:
        if self._maker is not None and self._maker.ident is not None:
            self._maker.join()
        self._made = None

    def _work(self) -> None:
        with contextlib.suppress(RuntimeError):  # what was compiled once compiles again, if memory is left
            self._made = self._make()

    def _company(self) -> bool:
        """Whether others had a part of the cores in the last half second, or since the last frame."""
        now = time.monotonic()
        if now - self._since >= _GLANCE:
            self._there = (self._busy.cores() or 0.0) >= MUCH
            self._since, self._busy = now, Busy()
        return self._there
