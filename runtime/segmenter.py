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

from .backend import open_backend
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
        device: "cpu" is ONNX Runtime, "openvino" OpenVINO in float32, "openvino-bf16" and "openvino-gpu" in what their names
            say, "cuda" ONNX Runtime on the GPU. "auto" takes CUDA where it is installed, else what a short trial finds fastest
            on this machine; the environment variable FASTSCNN_DEVICE can name what it takes.
        threads: CPU threads for network and decode; None takes all that this process may use.

    Raises:
        ArtifactError: the file is missing, damaged or not this project's.
        DeviceError: this machine or an installed package cannot run it.
        UsageError: an unknown device or a thread count below 1.
        ParityError: a device of reduced precision was named whose results part from float32's.
    """

    def __init__(self, path: str | Path, device: str = "auto", *, threads: int | None = None) -> None:
        self._closed = False
        self._idle = threading.Condition()
        self._calls = 0
        self._backend = open_backend(path, device, threads)
        self.artifact = self._backend.artifact
        self.device = self._backend.device
        self.precision = self._backend.precision  # of the arithmetic: "fp32", "fp16", "bf16"
        self.why = self._backend.why  # how "auto" came to choose the device, a sentence; empty where it was named
        self._layout = InputLayout(self.artifact)

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
            fit = [fitted(frame, self.artifact.height, self.artifact.width) for frame in whole]
            image = self._layout(fit + fit[-1:] * (size - len(fit)))
            prepared = time.perf_counter()
            raw = self._backend.run(image)
            ran = time.perf_counter()
            parts = [self._restored(raw.labels, raw.probabilities, i, frame) for i, frame in enumerate(whole)]
            restoring = (time.perf_counter() - ran) * 1e3
        share = 1 / len(frames)
        timings = Timings((prepared - started) * 1e3 * share, raw.forward * share, (raw.decode + restoring) * share)
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

        def region(rows: slice, columns: slice) -> NDArray[np.float32]:
            assert logits is not None
            parts = [
                _nearest(part, size, full)
                for part, size, full in zip(
                    (rows, columns), shape[:2], (self.artifact.height, self.artifact.width), strict=True
                )
            ]
            (y, y_span), (x, x_span) = parts
            return self._backend.region(logits, y_span, x_span)[:, y[:, None] - y_span.start, x - x_span.start]

        shown = logits if self.artifact.head == "logits" else None
        return Result(self.artifact, timings, find, probabilities, shown, None if logits is None else region)


def _nearest(part: slice, size: int, full: int) -> tuple[NDArray[np.intp], slice]:
    """Where pixels of a part of the frame lie at the model's resolution, as `restored` has it, and what they span."""
    places = restored(np.arange(full, dtype=np.float32)[:, None], size, 1)[part, 0].astype(np.intp)
    return places, slice(int(places[0]), int(places[-1]) + 1)


def _own(frame: Any) -> Any:
    """A copy, because a camera may fill the same buffer again while this frame still waits."""
    return frame.copy() if isinstance(frame, np.ndarray) else frame
