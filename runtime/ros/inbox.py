"""Between the thread that receives images and the one that segments them: one place, and the newest wins."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Arrived:
    """A serialised message, and when it came."""

    message: bytes
    at: float  # time.perf_counter()


class Inbox:
    """Holds at most one message; a newer one takes its place, and the older counts as dropped."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: Arrived | None = None
        self._shut = False
        self.received = 0
        self.dropped = 0
        self.last = time.monotonic()  # when a message came, or the inbox was made

    def put(self, message: bytes) -> None:
        with self._changed:
            self.received += 1
            self.dropped += self._waiting is not None
            self._waiting = Arrived(message, time.perf_counter())
            self.last = time.monotonic()
            self._changed.notify()

    def take(self) -> Arrived | None:
        """Wait for a message; None once it is shut."""
        with self._changed:
            self._changed.wait_for(lambda: self._shut or self._waiting is not None)
            taken, self._waiting = self._waiting, None
            return None if self._shut else taken

    def shut(self) -> None:
        with self._changed:
            self._shut = True
            self._changed.notify_all()
