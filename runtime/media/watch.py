"""Calls that may never return, such as a camera's, made on a thread of their own and given up after a while."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class _Answer(Generic[T]):
    value: T
    error: Exception | None = None
    there = False


class ClosedError(Exception):
    """What was waited for was closed meanwhile, on another thread."""


class Watched:
    """One thread that makes one call after the other. A daemon, because a stuck one must not keep the program from ending.

    It waits on a socket: before Python 3.11 a lock's timeout follows the system's clock, and an hour that the clock is set
    back would be an hour more to wait.
    """

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._ours, self._its = socket.socketpair()
        self._thread = threading.Thread(target=_work, args=(self._jobs, self._its), name=name, daemon=True)
        self._thread.start()
        weakref.finalize(self, self._jobs.put, None)  # ends the thread of one that nobody closed

    def call(self, function: Callable[[], T], patience: float | None) -> T:
        """What `function` gives, or raises.

        Raises:
            TimeoutError: it has not returned for `patience` seconds. Other calls would wait for it, too.
            ClosedError: another thread has called `close`.
        """
        answer: _Answer[T] = _Answer()

        def work() -> None:
            try:
                answer.value = function()
            except Exception as error:
                answer.error = error
            answer.there = True

        self._jobs.put(work)
        try:
            self._ours.settimeout(patience)
            while not answer.there:  # the first word may be of an earlier call, that Ctrl-C or patience gave up
                if not self._ours.recv(1) and not answer.there:
                    raise ClosedError
        except TimeoutError:
            raise
        except OSError:  # of a socket that is closed
            raise ClosedError from None
        if answer.error:
            raise answer.error
        return answer.value

    def close(self, last: Callable[[], Any], patience: float) -> None:
        """Make the `last` call after all others and end; a stuck thread does so when it returns, waited for or not."""
        self._jobs.put(lambda: last() and None)
        self._jobs.put(None)
        with contextlib.suppress(OSError):  # closed before
            self._ours.shutdown(socket.SHUT_RDWR)  # wakes whoever waits in `call`
        self._thread.join(patience)
        self._ours.close()


def _work(jobs: queue.SimpleQueue[Callable[[], None] | None], its: socket.socket) -> None:
    with its:
        while job := jobs.get():
            job()
            with contextlib.suppress(OSError):  # nobody waits any more
                its.send(b".")
