"""Results of frames as they come: all of them in order, or always the freshest."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import UsageError
from .result import Result

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger(__name__)

IN_FLIGHT = 2  # batches that a stream works on at once
DROPS = ("oldest",)
_WORKERS = "fastscnn-stream"  # name of its threads
_FAREWELL = 1.0  # seconds that a closed stream waits for a source that does not return


@dataclass(frozen=True)
class Arrived:
    """A frame from a source."""

    frame: Any
    index: int  # its place in the source, from 0
    at: float  # time.perf_counter()


Segment = Callable[[list[Arrived]], list[Result]]
Results = Generator[Result, None, None]


@dataclass
class _Tally:
    """What a stream has seen. Apart from the stream, so that no thread of it keeps an abandoned one alive."""

    read: int = 0
    dropped: int = 0
    last: Arrived | None = None

    def arrived(self, frame: Any) -> Arrived:
        self.read += 1
        # A copy, because a camera may fill the same buffer again while this frame still waits.
        own = frame.copy() if isinstance(frame, np.ndarray) else frame
        return Arrived(own, self.read - 1, time.perf_counter())


class Stream(Iterator[Result]):
    """Iterates over results; see `Segmenter.stream`. For one thread at a time.

        with segmenter.stream(camera, drop="oldest") as results:
            for result in results:
                picture = result.overlay(results.frame)

    As a context manager it stops reading when the block is left, also by an exception; otherwise when nobody refers to
    it any more.
    """

    def __init__(self, frames: Iterable[Any], segment: Segment, batch: int, drop: str | None) -> None:
        if drop is not None and drop not in DROPS:
            raise UsageError(f"drop {drop!r} is unknown; expected None, or one of {', '.join(DROPS)}")
        self._tally = _Tally()
        self._process = os.getpid()
        make = _every if drop is None else _freshest
        self._results = make(frames, segment, batch, self._tally)

    def __next__(self) -> Result:
        if os.getpid() != self._process:
            raise UsageError("this stream was opened before a fork, in another process; open one after the fork")
        try:
            return next(self._results)
        except BaseException:
            self._tally.last = None
            raise

    def close(self) -> None:
        """Stop reading, wait for frames under way, and hold no frame any more. Calling it twice is harmless."""
        self._results.close()
        self._tally.last = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def read(self) -> int:
        """Frames that the source has given so far."""
        return self._tally.read

    @property
    def dropped(self) -> int:
        """Of them, those that were never segmented because a newer one had come."""
        return self._tally.dropped

    @property
    def frame(self) -> Any:
        """The frame of the last result, a copy; None before the first and after the end."""
        return None if self._tally.last is None else self._tally.last.frame

    @property
    def index(self) -> int | None:
        """Its place in the source, from 0: where frames are dropped, the gaps show which."""
        return None if self._tally.last is None else self._tally.last.index


def _every(frames: Iterable[Any], segment: Segment, batch: int, tally: _Tally) -> Results:
    """All frames; the source is read on the caller's thread, and only while fewer than two batches are in flight."""
    source = iter(frames)
    failure: Exception | None = None
    workers = _borrowed()
    waiting: deque[tuple[list[Arrived], Future[list[Result]]]] = deque()
    try:
        ended = False
        while not ended:
            some: list[Arrived] = []
            try:
                while len(some) < batch:
                    some.append(tally.arrived(next(source)))
            except StopIteration:
                ended = True
            except Exception as error:
                ended, failure = True, error
            if some:
                waiting.append((some, workers.submit(segment, some)))
            while waiting and (ended or len(waiting) == IN_FLIGHT):
                some, future = waiting.popleft()
                yield from _told(tally, some, future.result())
    finally:
        under_way = [future for _, future in waiting if not future.cancel()]
        if workers in _lent:  # not so in a fork's child, whose futures nobody completes
            # The garbage collector may close a stream on any thread, and none can wait for itself.
            if not threading.current_thread().name.startswith(_WORKERS):
                wait(under_way)
            _returned(workers)
    if failure:
        raise failure


# Threads of streams that have ended serve the next ones: OpenCV loses 900 bytes with every thread that has resized a picture.
_idle: deque[ThreadPoolExecutor] = deque(maxlen=4)
# Those in use: else the garbage collector, when it finds a stream, would end their threads before the stream itself.
_lent: set[ThreadPoolExecutor] = set()
if hasattr(os, "register_at_fork"):  # a child has no threads but the one that forked
    os.register_at_fork(after_in_child=_idle.clear)
    os.register_at_fork(after_in_child=_lent.clear)


def _borrowed() -> ThreadPoolExecutor:
    try:
        workers = _idle.pop()
    except IndexError:
        workers = ThreadPoolExecutor(IN_FLIGHT, _WORKERS)
    _lent.add(workers)
    return workers


def _returned(workers: ThreadPoolExecutor) -> None:
    _idle.append(workers)  # the oldest ends where too many are idle
    _lent.discard(workers)


def _freshest(frames: Iterable[Any], segment: Segment, batch: int, tally: _Tally) -> Results:
    """The newest batch each time that the caller asks; what the source gives meanwhile waits or is dropped."""
    newest = _Newest(iter(frames), batch, tally)
    try:
        while some := newest.take():
            yield from _told(tally, some, segment(some))
    finally:
        newest.stop()
    if newest.failure:
        raise newest.failure


def _told(tally: _Tally, arrived: list[Arrived], results: list[Result]) -> Results:
    for tally.last, result in zip(arrived, results, strict=True):
        yield result


class _Newest:
    """Reads a source on a thread of its own, as fast as it gives, and keeps the newest frames."""

    def __init__(self, source: Iterator[Any], capacity: int, tally: _Tally) -> None:
        self._source, self._capacity, self._tally = source, capacity, tally
        self._waiting: deque[Arrived] = deque()
        self._changed = threading.Condition()
        self._ended = self._stopped = False
        self.failure: Exception | None = None
        # A daemon: a camera that never returns must not keep the program from ending.
        self._reader = threading.Thread(target=self._read, name="fastscnn-camera", daemon=True)
        self._reader.start()

    def take(self) -> list[Arrived]:
        """Wait for a frame; gives all that wait, oldest first, and nothing after the source's end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            taken = list(self._waiting)
            self._waiting.clear()
            return taken

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._waiting.clear()
        if threading.current_thread() is self._reader:  # the garbage collector may close a stream on any thread
            return
        self._reader.join(_FAREWELL)
        if self._reader.is_alive():
            log.warning(
                "the source of a closed stream has not returned for %g s; its thread ends when it does", _FAREWELL
            )

    def _read(self) -> None:
        try:
            while not self._stopped:
                arrived = self._tally.arrived(next(self._source))
                with self._changed:
                    if self._stopped:
                        break
                    if len(self._waiting) == self._capacity:
                        self._waiting.popleft()
                        self._tally.dropped += 1
                    self._waiting.append(arrived)
                    self._changed.notify()
        except StopIteration:
            pass
        except Exception as error:
            self.failure = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()
            del self._source
