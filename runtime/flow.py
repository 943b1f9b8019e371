"""The inside of a stream: threads that read the cameras, threads that segment, and what waits between them.

Apart from the `Stream` that its user holds, so that no thread keeps an abandoned one alive.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import FrameError
from .feed import Arrived, captured
from .frame import expect_frame
from .placement import Framing
from .result import Result
from .threads import Job, start

if TYPE_CHECKING:
    import asyncio

log = logging.getLogger(__name__)

IN_FLIGHT = 2  # batches that a stream works on at once, where it segments every frame
_FAREWELL = 1.0  # seconds that a closed stream waits for a source that does not return
_QUIET = 10.0  # seconds between two warnings

Segment = Callable[[list[Arrived]], list[Result]]


class Camera:
    """One source of a stream: what it gave, and what became of it.

    Attributes:
        name: that it has in the stream, None where there is only one.
        read: frames that it has given so far.
        results: of them, those whose results were handed over.
        dropped: those that were not, because a newer one had come.
        refused: those that could not be segmented and were passed over (`on_error`).
        ended: whether it gives no more.
        error: what ended it, where that was not its own end.
    """

    def __init__(self, name: Any, source: Iterator[Any], capacity: int, framing: Framing) -> None:
        self.name = name
        self.read = self.results = self.dropped = self.refused = 0
        self.ended = False
        self.error: BaseException | None = None
        self._source: Iterator[Any] | None = source
        self._waiting: deque[Arrived] = deque()
        self._framing = framing
        self._capacity = capacity  # frames that may wait, or be in flight
        self._in_flight = 0  # from arrival until the caller asks for the next result
        self._turn = 0  # when it was last taken from
        self._latest: tuple[float, Result] | None = None  # when its frame arrived
        self._heard = time.monotonic()
        self._told = -math.inf

    @property
    def silent(self) -> float:
        """Seconds since its last frame, or since the stream was made."""
        return time.monotonic() - self._heard

    @property
    def title(self) -> str:
        """What messages call it."""
        return "the source" if self.name is None else f"camera {self.name!r}"


@dataclass
class _Batch:
    arrived: list[Arrived]
    results: list[Result] = field(default_factory=list)
    error: BaseException | None = None
    done: bool = False


class Flow:
    """Everything but `start` and `stop` is called with `changed` held.

    Args:
        sources: by the name of the camera.
        segment: up to `batch` frames at a time.
        newest: keep the newest frames only, and segment when asked.
        on_error: "raise", "skip", or a function that is given the error.
        framings: how the frames of each camera are to be read.
        count: takes the milliseconds from a frame's arrival until its result is handed over.
    """

    def __init__(
        self,
        sources: Mapping[Any, Iterator[Any]],
        segment: Segment,
        batch: int,
        *,
        newest: bool,
        framings: Mapping[Any, Framing],
        on_error: str | Callable[[Exception], object] = "raise",
        count: Callable[[float], None] | None = None,
    ) -> None:
        several = len(sources) > 1
        most = max(IN_FLIGHT, -(-IN_FLIGHT * batch // len(sources)))  # a camera, and of all two batches
        capacity = most if not newest else 1 if several else batch
        self.cameras = {name: Camera(name, source, capacity, framings[name]) for name, source in sources.items()}
        self.changed = threading.Condition()
        self.stopped = False
        self.last: Arrived | None = None  # in the caller's hands
        self.waiting_tasks: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._segment, self._batch, self._newest = segment, batch, newest
        self._on_error, self._count = on_error, count
        self._jobs: tuple[list[Job], list[Job]] | None = None  # readers, workers
        self._failure: BaseException | None = None
        self._asked = self._always = False
        self._computing = self._turns = 0
        self._batches: deque[_Batch] = deque()  # in the order in which they were taken
        self._ready: deque[tuple[Arrived, Result]] = deque()
        self._latest: tuple[float, Result] | None = None
        self._held: Camera | None = None
        self._left = False

    def start(self) -> None:
        """Begin to read and to segment; once."""
        if self._jobs is None:
            with self.changed:
                if self._jobs is None and not self.stopped:
                    readers = [start(_reader(self, camera)) for camera in self.cameras.values()]
                    workers = [start(self._work) for _ in range(1 if self._newest else IN_FLIGHT)]
                    self._jobs = readers, workers

    def stop(self) -> None:
        """Stop reading, wait for what is under way, let go of every frame."""
        with self.changed:
            self.stopped = True
            self._clear()
            self._ready.clear()
            self.last = self._held = None
            readers, workers = self._jobs or ([], [])
            if self._left:  # whoever stopped it first waits for the cameras
                readers = []
            self._left = True
            self._wake()
        for job in workers:
            job.wait()
        until = time.monotonic() + _FAREWELL
        if not all(job.wait(max(until - time.monotonic(), 0)) for job in readers):
            log.warning(
                "the source of a closed stream has not returned for %g s; its thread ends when it does", _FAREWELL
            )

    @property
    def ended(self) -> bool:
        return self.stopped or (self._dry and not self._ready)

    def release(self) -> None:
        """The caller is done with the frame in its hands."""
        if self._held is not None:
            self._held._in_flight -= 1
            self._held = None
            self._wake()

    def outcome(self) -> Result | None:
        """The next result, taken; None where there is none yet.

        Raises:
            StopIteration: there will be none.
            BaseException: what went wrong, after all results before it.
        """
        if self.stopped:
            raise StopIteration
        if self._ready:
            return self._hand()
        if self._dry:
            if self._failure is not None:
                raise self._failure
            raise StopIteration
        if self._newest and not self._batches and not self._asked:
            self._asked = True
            self._wake()
        return None

    def latest(self, camera: Any) -> tuple[float, Result] | None:
        """Takes all that is ready; the last of one camera or of all, and when its frame arrived."""
        if self._newest and not self._always:
            self._always = True
            self._wake()
        while self._ready and not self.stopped:
            self.release()
            self._hand()
        if self._failure is not None and self._dry:
            raise self._failure
        return self._latest if camera is None else self.cameras[camera]._latest

    def _hand(self) -> Result:
        arrived, result = self._ready.popleft()
        camera = self.cameras[arrived.camera]
        camera.results += 1
        self.last, self._held = arrived, camera
        self._latest = camera._latest = arrived.at, result
        if self._count is not None:
            self._count((time.perf_counter() - arrived.at) * 1e3)
        return result

    @property
    def _closing(self) -> bool:
        """No frame will come any more that is not here already."""
        return self._failure is not None or all(camera.ended for camera in self.cameras.values())

    @property
    def _waiting(self) -> int:
        return sum(len(camera._waiting) for camera in self.cameras.values())

    @property
    def _dry(self) -> bool:
        """Nothing is under way, and nothing more will come."""
        return self._closing and not self._computing and not self._batches and not self._waiting

    def _wake(self) -> None:
        self.changed.notify_all()
        if self.waiting_tasks and (self._ready or self.stopped or self._dry):
            tasks, self.waiting_tasks = self.waiting_tasks, []
            for loop, woken in tasks:
                with contextlib.suppress(RuntimeError):  # a loop that is closed waits for nothing
                    loop.call_soon_threadsafe(_set, woken)

    def _clear(self) -> None:
        self._batches.clear()
        for camera in self.cameras.values():
            camera._waiting.clear()

    # Reading: on one thread a camera.

    def _may_read(self, camera: Camera) -> bool:
        """Wait until a frame of this camera is wanted; whether one still is."""
        with self.changed:
            self.changed.wait_for(
                lambda: self._over or self._newest or camera._in_flight < camera._capacity,
            )
            return not self._over

    @property
    def _over(self) -> bool:
        return self.stopped or self._failure is not None

    def _arrive(self, camera: Camera, item: Any) -> None:
        index, at = camera.read, time.perf_counter()
        camera.read += 1
        camera._heard = time.monotonic()
        try:
            one = captured(item)
            expect_frame(one.frame, camera._framing.pixel_format)
        except FrameError as error:
            whose = "" if camera.name is None else f" of {camera.title}"
            self._refuse(camera, FrameError(f"frame {index}{whose}: {error}"))
            return
        # A copy, because a camera may fill the same buffer again while this frame still waits.
        frame = one.frame.copy() if isinstance(one.frame, np.ndarray) else one.frame
        arrived = Arrived(frame, index, at, one.stamp, one.tag, camera.name, camera._framing)
        with self.changed:
            if self._over:
                return
            if self._newest and len(camera._waiting) == camera._capacity:
                camera._waiting.popleft()
                camera.dropped += 1
            camera._waiting.append(arrived)
            camera._in_flight += 1
            self._wake()

    def _refuse(self, camera: Camera, error: FrameError) -> None:
        if self._on_error == "raise":
            raise error
        camera.refused += 1
        self._tell(camera, error)

    def _tell(self, camera: Camera, error: Exception) -> None:
        if callable(self._on_error):
            self._on_error(error)
        elif time.monotonic() - camera._told >= _QUIET:
            camera._told = time.monotonic()
            log.warning("%s (passed over, %d so far)", error, camera.refused)

    def _end(self, camera: Camera, error: BaseException | None) -> None:
        others = len(self.cameras) > 1 and self._on_error != "raise" and isinstance(error, Exception)
        if isinstance(error, Exception) and others:
            try:
                self._tell(camera, error)
            except Exception as fault:
                error, others = fault, False
        with self.changed:
            camera.ended, camera.error = True, error
            fatal = all(one.error is not None for one in self.cameras.values()) or not others
            if error is not None and fatal and self._failure is None:
                self._failure = error
            self._wake()

    # Segmenting: on one thread or two.

    def _work(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self._due() or self.stopped or (self._closing and not self._waiting))
                if not self._due():
                    return
                batch = _Batch(self._take())
                self._batches.append(batch)
                self._computing += 1
                self._asked = False
            try:
                batch.results = self._segment(batch.arrived)
            except BaseException as error:
                batch.error = error
            with self.changed:
                batch.done = True
                self._computing -= 1
                self._settle()
                self._wake()
            del batch  # or its frames would live until the next one

    def _due(self) -> bool:
        """Whether to segment now. A batch that is not full starts only where nothing else is computed meanwhile."""
        waiting = self._waiting
        if self.stopped or not waiting:
            return False
        if self._newest:
            return not self._computing and (self._always or self._asked)
        return waiting >= self._batch or not self._computing or self._closing

    def _take(self) -> list[Arrived]:
        """All that waits of a single camera, one frame of each of several that newest only counts for; else as they came."""
        taken: list[Arrived] = []
        while len(taken) < self._batch:
            heads = [camera for camera in self.cameras.values() if camera._waiting]
            if self._newest and len(self.cameras) > 1:
                heads = [camera for camera in heads if all(one.camera != camera.name for one in taken)]
            if not heads:
                break
            # Fair: whoever has waited for its turn the longest; or the frame that has.
            first = min(heads, key=lambda camera: camera._turn if self._newest else camera._waiting[0].at)
            self._turns += 1
            first._turn = self._turns
            taken.append(first._waiting.popleft())
        return taken

    def _settle(self) -> None:
        """Results go on in the order in which their frames were taken."""
        while self._batches and self._batches[0].done:
            batch = self._batches.popleft()
            if batch.error is not None:
                self._clear()
                self._failure = self._failure or batch.error
                return
            if not self.stopped:
                self._ready.extend(zip(batch.arrived, batch.results, strict=True))
        if self._always:
            newest = {arrived.camera: arrived for arrived, _ in self._ready}
            for arrived, _ in self._ready:
                self.cameras[arrived.camera].dropped += newest[arrived.camera] is not arrived
            self._ready = deque(pair for pair in self._ready if newest[pair[0].camera] is pair[0])


def _reader(flow: Flow, camera: Camera) -> Callable[[], None]:
    def read() -> None:
        source, failure = camera._source, None
        camera._source = None
        assert source is not None
        try:
            while flow._may_read(camera):
                try:
                    item = next(source)
                except StopIteration:
                    break
                flow._arrive(camera, item)
                del item
        except BaseException as error:
            failure = error
        del source  # a generator ends here, on the thread that it ran on
        flow._end(camera, failure)

    return read


def _set(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
