"""Counts the calls under way in an engine, so that it is never released under one, nor used in a forked process."""

from __future__ import annotations

import os
import threading

from .errors import UsageError


class Gate:
    """Lets calls of any thread pass until it is shut."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._idle = threading.Condition()
        self._calls = 0
        self._shut = False

    def expect_this_process(self) -> None:
        """A fork copies the engine's memory but none of its threads, and no GPU context; calling it would hang or crash.

        Raises:
            UsageError: this is a fork of the process that made the gate.
        """
        if self.forked:
            raise UsageError(
                f"this Segmenter was opened in process {self._process}, and process {os.getpid()} is a fork of it, which has "
                "none of its threads; open a Segmenter in each process after the fork, or start processes with "
                "multiprocessing.get_context('spawn')"
            )

    @property
    def forked(self) -> bool:
        return os.getpid() != self._process

    def passing(self) -> Gate:
        """Count a call under way, as a context.

        A daemon thread that comes when the interpreter ends and all is closed waits for that end.

        Raises:
            UsageError: the gate is shut, or this is a fork.
        """
        return self

    def __enter__(self) -> None:
        self.expect_this_process()
        with self._idle:
            if not self._shut:
                self._calls += 1
            elif not _ending():
                raise UsageError("this Segmenter is closed; open a new one")
            else:
                self._idle.wait_for(lambda: False)  # nobody is left to hear of it: a traceback would be the last words

    def __exit__(self, *_: object) -> None:
        with self._idle:
            self._calls -= 1
            if self._shut:
                self._idle.notify_all()

    def shut(self, patience: float | None = None) -> bool:
        """Let nobody pass from now on and wait for those under way; tells whether all have left.

        Args:
            patience: seconds to wait at most; None waits for as long as it takes.
        """
        if self.forked:  # a lock may have been held at the fork, by a thread that is not here to let go
            return False
        with self._idle:
            self._shut = True
            return self._idle.wait_for(lambda: self._calls == 0, patience)


def _ending() -> bool:
    """Whether this thread is one of those that the interpreter's end does not wait for, and it has begun."""
    return threading.current_thread().daemon and not threading.main_thread().is_alive()
