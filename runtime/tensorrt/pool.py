"""A few slots for any number of threads: each call takes one that is free, or waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import DeviceError, UsageError
from .context import Context
from .slot import Slot

log = logging.getLogger(__name__)
_PATIENCE = 10.0  # seconds that closing waits for calls under way


class Pool:
    """Slots made when they are first needed, so that one thread alone pays for one.

    Args:
        make: a new slot, with the context current.
        limit: how many may run at once; two overlap one frame's copies with the other's network.
    """

    def __init__(self, context: Context, make: Callable[[], Slot], limit: int) -> None:
        self._context, self._make, self._limit = context, make, limit
        self._changed = threading.Condition()
        self._free: list[Slot] = []
        self._count = 0
        self._closed = False

    @contextmanager
    def slot(self, doing: str) -> Iterator[Slot]:
        """One for this thread alone, with the context current.

        Raises:
            UsageError: the pool is closed.
            DeviceError: no room on the device for the first slot.
        """
        with self._context.active(doing):
            slot = self._taken()
            try:
                yield slot
            finally:
                with self._changed:
                    self._free.append(slot)
                    self._changed.notify_all()

    def add(self, slot: Slot) -> None:
        with self._changed:
            self._free.append(slot)
            self._count += 1

    def close(self) -> bool:
        """Free every slot once its call has ended → whether all could be; twice is harmless."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: len(self._free) == self._count, _PATIENCE)
            slots, self._free = self._free, []
            self._count -= len(slots)
        if slots:
            with self._context.active("closing"):
                while slots:
                    slots.pop().close()
        return done

    def _taken(self) -> Slot:
        with self._changed:
            while not self._free:
                if self._closed:
                    break
                if self._count < self._limit:
                    self._count += 1
                    break
                self._changed.wait()
            if self._closed:
                raise UsageError("this engine is closed; open it again")
            if self._free:
                return self._free.pop()
        try:
            return self._another()
        except BaseException as error:
            with self._changed:
                self._count -= 1
                alone = self._count == 0
                if not alone and isinstance(error, DeviceError):
                    self._limit = self._count
                self._changed.notify_all()
            if alone or not isinstance(error, DeviceError):
                raise
            log.warning("no room for another frame in flight, so each waits for the last: %s", error)
            return self._taken()

    def _another(self) -> Slot:
        with self._context.active("making room for another frame in flight"):
            return self._make()
