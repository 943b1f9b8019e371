"""One opened video or camera whose calls may hang, and what happens when it is lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import FastSCNNError, SourceError
from ..frame import Frame
from .reader import Reader, open_reader
from .uri import Place
from .watch import ClosedError, Watched

log = logging.getLogger(__name__)
T = TypeVar("T")

FIRST = 3  # times as much patience for opening it, and for its first frame
GONE = (
    2.0  # seconds that a device may answer at once that it has no frame; and that a stuck one is waited for at the end
)
_ENDED = 0.5  # the same of a stream, of which FFmpeg knows that it is over
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)  # seconds between attempts, the last again and again
_LONG = 60.0  # seconds between two words about attempts that go on failing
_SLICE = 0.05


class Connection:
    """An opened reader, called on a thread of its own where it hangs on a cable. Of a lost one nothing is kept.

    Raises:
        SourceError: it does not open.
    """

    def __init__(self, place: Place, patience: float) -> None:
        self._place, self._patience = place, patience
        self.what = {"camera": f"camera {place.shown}", "network": f"the stream {place.shown}"}.get(
            place.kind, place.shown
        )
        self._watched = None if place.local else Watched("fastscnn-source")
        self._reader: Reader | None = None
        try:
            patiently = None if place.kind == "pipe" else patience * FIRST
            self._within(patiently, "did not open", self._open)
        except BaseException:
            self.close()
            raise
        assert self._reader is not None
        self.live: bool = self._reader.live
        self.announced: int | None = self._reader.announced
        self.rate: float | None = self._reader.rate
        self.about: str = self._reader.about

    def _open(self) -> None:
        # On its thread to the end: one that opens after it was given up is closed there.
        self._reader = open_reader(self._place, self._patience)

    def next(self, index: int) -> tuple[Frame, float] | None:
        """A frame and its stamp; None at the end. `index` counts those before it.

        Raises:
            SourceError: a live source that gives none any more.
        """
        assert self._reader is not None
        patience = None if self._place.kind == "pipe" else self._patience * (1 if index else FIRST)
        since = time.monotonic()
        while True:
            shot = self._within(patience, f"gave no frame after {index} of them", self._reader.read)
            if shot is not None or not self.live:
                return shot
            if time.monotonic() - since > (GONE if self._place.kind == "camera" else _ENDED):
                raise SourceError(
                    f"{self.what} stopped giving frames after {index}. Check its cable, power and network"
                )
            time.sleep(0.02)  # a missing device fails at once, again and again

    def close(self) -> None:
        if self._watched is None:
            self._release()
        else:  # by its own thread, because one that stalls is still in use there
            self._watched.close(self._release, GONE)

    def _within(self, seconds: float | None, what: str, function: Callable[[], T]) -> T:
        """Files answer; whatever hangs on a cable may not."""
        if self._watched is None:
            return function()
        try:
            return self._watched.call(function, seconds)
        except TimeoutError:
            raise SourceError(
                f"{self.what} {what}, for {seconds:g} s. Check its cable, power and network, or have more patience (--patience)"
            ) from None

    def _release(self) -> None:
        if self._reader is not None:
            self._reader.close()


class Reconnector:
    """Opens a lost live source again, with growing pauses.

    Args:
        within: seconds after which it is given up.
        closed: asked now and then whether to stop.

    Attributes:
        gaps: how often the source was lost and came back.
        lost: seconds that were lost in all of them.
    """

    def __init__(self, place: Place, patience: float, within: float, closed: Callable[[], bool]) -> None:
        self._place, self._patience, self._within, self._closed = place, patience, within, closed
        self.gaps = 0
        self.lost = 0.0

    def again(self, why: SourceError) -> tuple[Connection, tuple[Frame, float]]:
        """A new connection, and its first frame.

        Raises:
            SourceError: given up.
            ClosedError: closed meanwhile.
        """
        since = told = time.monotonic()
        log.warning("%s; trying again", str(why).partition(". ")[0])
        attempt = 0
        while True:
            self._pause(_PAUSES[min(attempt, len(_PAUSES) - 1)])
            attempt += 1
            connection = None
            try:
                connection = Connection(self._place, self._patience)
                shot = connection.next(0)
                if shot is None:
                    raise SourceError(f"{self._place.shown} holds no frame")
                self._back(time.monotonic() - since)
                return connection, shot
            except FastSCNNError as error:
                if connection is not None:
                    connection.close()
                now = time.monotonic()
                if now - since > self._within:
                    raise SourceError(
                        f"{self._place.shown} did not come back for {now - since:.0f} s and {attempt} attempts. Check its cable, power and network"
                    ) from error
                if now - told > _LONG:
                    told = now
                    log.warning("%s has been away for %.0f s (%d attempts)", self._place.shown, now - since, attempt)

    def _back(self, seconds: float) -> None:
        self.gaps += 1
        self.lost += seconds
        log.warning("%s is back after %.1f s (gap %d)", self._place.shown, seconds, self.gaps)

    def _pause(self, seconds: float) -> None:
        # In slices: before Python 3.11 a lock's timeout follows the system's clock, which may be set.
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._closed():
                raise ClosedError
            time.sleep(min(left, _SLICE))
