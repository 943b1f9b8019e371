"""The class that robot code embeds: a model file in, labels out."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backend import Backend, FrameBackend, open_backend
from .decode import argmax
from .errors import FrameError, UsageError
from .frame import Frame, InputLayout, checked, fitted, restored
from .result import Result, Timings

IN_FLIGHT = 2  # frames that `stream` works on at once


class Segmenter:
    """Segments camera frames with an exported model.

        with Segmenter("model.onnx") as segmenter:
            result = segmenter(frame)

    Safe to call from several threads. Use it as a context manager, or call `close`.

    Args:
        path: a file that fastscnn-export wrote.
        device: "auto" takes a GPU where the installed engine has one, "cpu", or "cuda".
        threads: CPU threads for network and decode; None takes all that this process may use.
        memory: of an engine's frames and results: "pinned", "mapped" or "managed"; "auto" takes the fastest. See
            `runtime/tensorrt/memory.py`.

    Raises:
        ArtifactError: the file is missing, damaged or not this project's.
        DeviceError: this machine or an installed package cannot run it.
        UsageError: an unknown device or a thread count below 1.
    """

    def __init__(
        self, path: str | Path, device: str = "auto", *, threads: int | None = None, memory: str = "auto"
    ) -> None:
        self._closed = False
        self._idle = threading.Condition()
        self._calls = 0
        self._backend = open_backend(path, device, threads, memory)
        self.artifact = self._backend.artifact
        self.device = self._backend.device
        self._layout = InputLayout(self.artifact)
        self._takes_frames = self._backend if isinstance(self._backend, FrameBackend) else None

    def __call__(self, frame: Any) -> Result:
        """Segment one frame: uint8 (H, W, 3) BGR of any size (or grey; see `frame.checked`).

        The frame is resized to the model's resolution, the labels back to the frame's by nearest neighbour.

        Raises:
            FrameError: for what is not such a frame.
        """
        return self.batch([frame])[0]

    def batch(self, frames: Sequence[Any]) -> list[Result]:
        """Segment up to as many frames as the model's batch in one run; a smaller number costs as much as a full batch.

        Timings are the run's, divided by the number of frames.
        """
        size = self.artifact.batch
        if not 1 <= len(frames) <= size:
            raise FrameError(
                f"{len(frames)} frames; this model takes 1 to {size} at a time. Export with --batch {len(frames)} for more"
            )
        with self._in_use():
            started = time.perf_counter()
            whole = [checked(frame) for frame in frames]
            prepared = time.perf_counter()
            if self._takes_frames is not None:
                raw = self._takes_frames.run_frames(whole)
            else:
                fit = [fitted(frame, self.artifact.height, self.artifact.width) for frame in whole]
                image = self._layout(fit + fit[-1:] * (size - len(fit)))
                prepared = time.perf_counter()
                raw = self._backend.run(image)
            ran = time.perf_counter()
            parts = [self._restored(raw.labels, raw.probabilities, i, frame) for i, frame in enumerate(whole)]
            restoring = (time.perf_counter() - ran) * 1e3
        share = 1 / len(frames)
        timings = Timings(
            ((prepared - started) * 1e3 + raw.prepare) * share, raw.forward * share, (raw.decode + restoring) * share
        )
        return [
            self._result(timings, labels, probabilities, None if raw.logits is None else raw.logits[i], frame.shape)
            for i, ((labels, probabilities), frame) in enumerate(zip(parts, whole, strict=True))
        ]

    def stream(self, frames: Iterable[Any]) -> Iterator[Result]:
        """Segment frames as they come, in order, reading the next while the last is computed.

        At most two batches are in flight; a slow consumer holds the source back. Closing the generator stops reading.
        When the source fails, the frames that it gave before are yielded first.
        """
        source = iter(frames)
        failure: Exception | None = None
        with ThreadPoolExecutor(IN_FLIGHT, "fastscnn-stream") as workers:
            waiting: deque[Future[list[Result]]] = deque()
            try:
                ended = False
                while not ended:
                    batch: list[Any] = []
                    try:
                        while len(batch) < self.artifact.batch:
                            batch.append(_own(next(source)))
                    except StopIteration:
                        ended = True
                    except Exception as error:
                        ended, failure = True, error
                    if batch:
                        waiting.append(workers.submit(self.batch, batch))
                    while waiting and (ended or len(waiting) == IN_FLIGHT):
                        yield from waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
        if failure:
            raise failure

    def close(self) -> None:
        """Wait for calls under way, then release the engine. Calling it twice is harmless."""
        with self._idle:
            self._closed = True
            self._idle.wait_for(lambda: self._calls == 0)
        self._backend.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def backend(self) -> Backend:
        """What runs the model, for benchmarks and tests."""
        return self._backend

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Count a call under way, so that `close` can wait for it."""
        with self._idle:
            if self._closed:
                raise UsageError("this Segmenter is closed; open a new one")
            self._calls += 1
        try:
            yield
        finally:
            with self._idle:
                self._calls -= 1
                self._idle.notify_all()

    def _restored(
        self, labels: NDArray[np.uint8] | None, probabilities: NDArray[np.float32] | None, index: int, frame: Frame
    ) -> tuple[NDArray[np.uint8] | None, NDArray[np.float32] | None]:
        size = frame.shape[0], frame.shape[1]
        if probabilities is None:
            return None if labels is None else restored(labels[index], *size), None
        one = probabilities[index]
        return None, one if one.shape[1:] == size else np.stack([restored(plane, *size) for plane in one])

    def _result(
        self,
        timings: Timings,
        labels: NDArray[np.uint8] | None,
        probabilities: NDArray[np.float32] | None,
        logits: NDArray[Any] | None,
        shape: tuple[int, ...],
    ) -> Result:
        def find() -> NDArray[np.uint8]:
            if labels is not None:
                return labels
            if probabilities is not None:
                return argmax(probabilities)
            assert logits is not None
            return restored(self._backend.labels(logits), shape[0], shape[1])

        return Result(self.artifact, timings, find, probabilities, logits)


def _own(frame: Any) -> Any:
    """A copy, because a camera may fill the same buffer again while this frame still waits."""
    return frame.copy() if isinstance(frame, np.ndarray) else frame
