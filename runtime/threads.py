"""Threads that streams borrow: what may hang in a camera or an engine must hold up neither the caller nor the program's end."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable

_KEPT = 8  # idle ones

# Threads of streams that have ended serve the next ones: OpenCV loses 900 bytes with every thread that has resized a picture.
_idle: deque[_Thread] = deque()
if hasattr(os, "register_at_fork"):  # a child has no threads but the one that forked
    os.register_at_fork(after_in_child=_idle.clear)


class Job:
    """Something that one of the threads does."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work: Callable[[], None] | None = work
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        self._thread = threading.current_thread()
        work, self._work = self._work, None  # nobody who keeps the job keeps what it worked on
        if work is not None:
            work()

    def finish(self) -> None:
        self._done.set()

    def wait(self, patience: float | None = None) -> bool:
        """Until it is done, at most for `patience` seconds → whether it is. It does not wait for itself."""
        return self._thread is threading.current_thread() or self._done.wait(patience)


def start(work: Callable[[], None]) -> Job:
    """Do it on a thread of its own, an idle one where there is one. It should not raise."""
    job = Job(work)
    try:
        thread = _idle.pop()
    except IndexError:
        thread = _Thread()
    thread.jobs.put(job)
    return job


def borrowed() -> bool:
    """Whether the caller runs on one of these threads."""
    return isinstance(threading.current_thread(), _Thread)


class _Thread(threading.Thread):
    """A daemon, because a camera that never returns must not keep the program from ending."""

    def __init__(self) -> None:
        super().__init__(name="fastscnn-stream", daemon=True)
        self.jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.start()

    def run(self) -> None:
        while job := self.jobs.get():
            try:
                job.run()
            finally:
                keep = len(_idle) < _KEPT
                if keep:
                    _idle.append(self)  # before it counts as done, so that who waits for it can borrow this one
                job.finish()
                del job  # or what it refers to would live until the next one
            if not keep:
                return
