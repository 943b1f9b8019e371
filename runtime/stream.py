"""Results of frames as they come: all of them in order, or always the freshest; of one camera or several."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any

from .errors import StalledError, UsageError
from .feed import items, live, named
from .flow import Camera, Flow, Segment
from .placement import BGR, Framing
from .result import Result
from .threads import borrowed, start

if TYPE_CHECKING:
    from typing_extensions import Self

DROPS = ("auto", None, "oldest")
ON_ERROR = ("raise", "skip")
_SLICE = 0.25  # seconds: before Python 3.11 a lock's timeout follows the system's clock, which may be set back while it waits

OnError = str | Callable[[Exception], object]


class Stream(Iterator[Result], AsyncIterator[Result]):
    """Iterates over results, with `for` or `async for`; see `Segmenter.stream`. For one thread or task at a time.

        with segmenter.stream(camera, drop="oldest") as results:
            for result in results:
                picture = result.overlay(results.frame)

    As a context manager, `with` or `async with`, it stops reading when the block is left, also by an exception; otherwise
    when nobody refers to it any more. `close` may be called from any thread, also while another waits for a result: there the
    iteration ends. So it does when the Segmenter is closed.

    Attributes:
        cameras: by name, each with its own counts; see `Camera`. A stream of one source has it by the name None.
    """

    def __init__(
        self,
        frames: Any,
        segment: Segment,
        batch: int,
        drop: str | None = "auto",
        *,
        timeout: float | None = None,
        on_error: OnError = "raise",
        framings: Mapping[Any, Framing] | None = None,
        count: Callable[[float], None] | None = None,
    ) -> None:
        if drop not in DROPS:
            known = ", ".join(repr(one) for one in DROPS)
            raise UsageError(f"drop {drop!r} is unknown; expected one of {known}")
        if not callable(on_error) and on_error not in ON_ERROR:
            raise UsageError(f"on_error {on_error!r} is unknown; expected {', '.join(ON_ERROR)} or a function")
        if timeout is not None and not timeout > 0:
            raise UsageError(f"a timeout of {timeout} s; expected seconds above 0, or None for no limit")
        sources = named(frames)
        if drop == "auto":
            drop = "oldest" if isinstance(frames, dict) or live(frames) else None
        self._timeout, self._process = timeout, os.getpid()
        self._flow = Flow(
            {name: items(source) for name, source in sources.items()},
            segment,
            batch,
            newest=drop == "oldest",
            on_error=on_error,
            framings=framings or dict.fromkeys(sources, BGR),
            count=count,
        )
        self.cameras: Mapping[Any, Camera] = MappingProxyType(self._flow.cameras)
        self._let_go = weakref.finalize(self, _abandon, self._flow, self._process)
        self._let_go.atexit = False

    def __next__(self) -> Result:
        return self.get(self._timeout)

    def get(self, timeout: float | None = None) -> Result:
        """The next result, waited for at most `timeout` seconds; None waits for as long as it takes.

        Raises:
            StalledError: none came in this time. The stream goes on: ask again, or close it.
            StopIteration: the sources have ended, or the stream is closed.
            FrameError: a frame that cannot be segmented, where `on_error` is "raise".
        """
        flow, asked = self._here(), time.monotonic()
        with self._ending(), flow.changed:
            flow.release()
            while (result := flow.outcome()) is None:
                left = None if timeout is None else asked + timeout - time.monotonic()
                if left is not None and left <= 0:
                    raise self._stalled(timeout)
                flow.changed.wait(left if left is None else min(left, _SLICE))
            return result

    def latest(self, camera: Any = None, *, max_age: float | None = None) -> Result | None:
        """The last result that is ready, without waiting; None before the first. For loops with a pace of their own.

        From the first call on, a stream that drops segments all the time; otherwise it works only when a result is asked for.

        Args:
            camera: of several, the one whose result is wanted; None takes the freshest of all.
            max_age: seconds since the frame's arrival, beyond which None is given: of a camera that hangs, the last result
                stays the last.

        Raises:
            FrameError, SourceError and others: what ended the stream, at each call.
            UsageError: an unknown camera.
        """
        flow = self._here()
        if camera is not None and camera not in flow.cameras:
            raise UsageError(f"camera {camera!r} is unknown; expected one of {', '.join(map(repr, flow.cameras))}")
        with self._ending(), flow.changed:
            found = flow.latest(camera)
        if found is None or (max_age is not None and time.perf_counter() - found[0] > max_age):
            return None
        return found[1]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Result:
        """As `next`, while other tasks run."""
        import asyncio

        flow, loop = self._here(), asyncio.get_running_loop()
        until = None if self._timeout is None else loop.time() + self._timeout
        try:
            with self._ending():
                with flow.changed:
                    flow.release()
                while True:
                    with flow.changed:
                        result = flow.outcome()
                        if result is not None:
                            return result
                        woken: asyncio.Future[None] = loop.create_future()
                        flow.waiting_tasks.append((loop, woken))
                    left = None if until is None else until - loop.time()
                    done, _ = await asyncio.wait([woken], timeout=left)
                    if not done:
                        raise self._stalled(self._timeout)
        except StopIteration:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Stop reading, wait for frames under way, and hold no frame any more. Any thread may, also while another waits for a
        result. A source that hangs is not waited for beyond a second. Calling it twice is harmless.
        """
        if os.getpid() == self._process:
            # The finalizer holds the flow, that an error, and its traceback this stream, which would so live for ever.
            self._let_go.detach()
            self._flow.stop()

    async def aclose(self) -> None:
        """As `close`, while other tasks run."""
        import asyncio

        await asyncio.get_running_loop().run_in_executor(None, self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def read(self) -> int:
        """Frames that the sources have given so far."""
        return sum(camera.read for camera in self.cameras.values())

    @property
    def dropped(self) -> int:
        """Of them, those that were never handed over because a newer one had come."""
        return sum(camera.dropped for camera in self.cameras.values())

    @property
    def refused(self) -> int:
        """Of them, those that could not be segmented and were passed over (`on_error`)."""
        return sum(camera.refused for camera in self.cameras.values())

    @property
    def ended(self) -> bool:
        """Whether no more results will come: the sources have ended, or the stream is closed."""
        return self._flow.ended

    @property
    def frame(self) -> Any:
        """The frame of the last result, a copy; None before the first and after the end."""
        last = self._flow.last
        return None if last is None else last.frame

    @property
    def index(self) -> int | None:
        """Its place in the source, from 0: where frames are dropped, the gaps show which."""
        last = self._flow.last
        return None if last is None else last.index

    def _here(self) -> Flow:
        if os.getpid() != self._process:
            raise UsageError("this stream was opened before a fork, in another process; open one after the fork")
        self._flow.start()
        return self._flow

    def _stalled(self, timeout: float | None) -> StalledError:
        silent = "; ".join(
            f"{camera.title} gave no frame for {camera.silent:.1f} s"
            for camera in self.cameras.values()
            if not camera.ended
        )
        return StalledError(
            f"no result for {timeout:g} s ({silent or 'the last frames are still being segmented'}); expected one in that "
            "time. Check the camera, or allow more with timeout="
        )

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        """Whatever ends the iteration ends its threads, too; but for a result that is late, or a task that is cancelled."""
        try:
            yield
        except BaseException as error:
            # Who has not imported asyncio, which takes a while, has no tasks.
            cancelled = isinstance(error, getattr(sys.modules.get("asyncio"), "CancelledError", ()))
            if not cancelled and not isinstance(error, (StalledError, KeyboardInterrupt)):
                self.close()
            raise


def _abandon(flow: Flow, process: int) -> None:
    """A stream that nobody refers to any more. The garbage collector may find it on any thread, also on one that holds the
    flow's lock, so another one stops it."""
    if os.getpid() == process:
        flow.stopped = True
        with contextlib.suppress(RuntimeError):  # no new threads while the interpreter ends
            stopping = start(flow.stop)
            if not borrowed():  # or it would wait for one that waits for it
                stopping.wait()
