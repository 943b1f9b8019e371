"""A few slots for any number of threads: each call takes one that is free, or waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...errors import DeviceError, UsageError
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
        slot = self._taken()
        try:
            with self._context.active(doing):
                yield slot
        finally:  # after the context is popped, as closing waits for the slot, then releases the context
            self._give(slot)

    def add(self, slot: Slot) -> None:
        with self._changed:
            self._free.append(slot)
            self._count += 1

    def fill(self) -> None:
        """Make what is missing, as far as there is room, so that no later call has to."""
        while True:
            with self._changed:
                if self._closed or self._count >= self._limit:
                    return
                self._count += 1
            slot = self._another()
            if slot is not None:
                self._give(slot)

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
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._free or self._count < self._limit)
                if self._closed:
                    raise UsageError("this engine is closed; open it again")
                if self._free:
                    return self._free.pop(0)  # in turn, so that each has the graphs of the sizes that come
                self._count += 1
            slot = self._another()
            if slot is not None:
                return slot

    def _give(self, slot: Slot) -> None:
        with self._changed:
            self._free.append(slot)
            self._changed.notify_all()

    def _another(self) -> Slot | None:
        """A new one, counted by the caller; None, and a lower limit, where there is room only for those that are there."""
        try:
            with self._context.active("making room for another frame in flight"):
                return self._make()
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
            return None
