"""Ctrl-C and SIGTERM end a command, are never lost, and spoil no file that is being completed.

A handler can only raise, wherever the program is. In the callback of a `weakref.finalize`, in a `__del__` and in callbacks
from C the interpreter prints what was raised and goes on: such a signal is sent once more. Within `held` a signal is only
noted, and raises when the hold ends.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_AGAIN = 0.05  # seconds after which a lost signal comes once more: what swallowed it has ended by then


class _State:
    asked: int | None = None  # the last signal that came
    holds = 0


@contextmanager
def handled() -> Iterator[None]:
    """Within, Ctrl-C raises KeyboardInterrupt and other requests to end SystemExit; what the caller ignores stays ignored."""
    _State.asked, _State.holds = None, 0
    asking = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    previous = {number: signal.getsignal(number) for number in asking}
    hook = sys.unraisablehook
    sys.unraisablehook = lambda lost: _sent_again() if _ours(lost.exc_value) else hook(lost)
    try:
        for number, handler in previous.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, _noted)
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook


@contextmanager
def held() -> Iterator[None]:
    """Within, signals wait, because a file is written or completed."""
    _State.holds += 1
    try:
        yield
    finally:
        _State.holds -= 1
        go_on()


def interruptible(items: Iterable[T]) -> Iterator[T]:
    """Within `held`: the items, for whose coming no signal waits."""
    iterator = iter(items)
    while True:
        holds = _State.holds
        try:
            _State.holds = 0
            go_on()
            item = next(iterator)
        except StopIteration:
            return
        finally:
            _State.holds = holds
        yield item


def go_on() -> None:
    """Raise for a signal that came and has not ended the command: it was held, or somebody swallowed what it raised."""
    if _State.asked is not None and not _State.holds:
        _obey(_State.asked)


def asked() -> int | None:
    """The exit code of the signal that came, 130 after Ctrl-C; None where none did."""
    return None if _State.asked is None else 128 + _State.asked


def _noted(number: int, _: object) -> None:
    _State.asked = number
    go_on()


def _obey(number: int) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)  # unwinds through every `finally`


def _ours(error: Any) -> bool:
    return _State.asked is not None and isinstance(error, (KeyboardInterrupt, SystemExit))


def _sent_again() -> None:
    again = threading.Timer(_AGAIN, os.kill, (os.getpid(), _State.asked))
    again.daemon = True
    again.start()
