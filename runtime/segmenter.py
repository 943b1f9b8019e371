"""The class that robot code embeds: a model file in, labels out."""

from __future__ import annotations

import time
import warnings
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from .backends.choice import open_backend
from .backends.protocol import Backend, FrameBackend
from .decode.decoder import argmax
from .errors import FrameError, UsageError
from .frame import Frame, InputLayout, checked, fitted, restored
from .gate import Gate
from .latency import Latency
from .result import Result, Timings
from .stream import Arrived, Stream

_LAST_CALLS = 10.0  # seconds that the end of the process waits for threads in a Segmenter that nobody closed


class Segmenter:
    """Segments camera frames with an exported model.

        with Segmenter("model.onnx") as segmenter:
            result = segmenter(frame)

    Safe to call from several threads. Use it as a context manager, or call `close`; one that is let go unclosed warns
    (ResourceWarning) and is closed. After a fork only the process that opened it may call it.

    Args:
        path: a file that fastscnn-export wrote.
        device: "cpu" is ONNX Runtime, "openvino" OpenVINO in float32, "openvino-bf16" and "openvino-gpu" in what their names
            say, "cuda" ONNX Runtime on the GPU. "auto" takes CUDA where it is installed, else what a short trial finds fastest
            on this machine; the environment variable FASTSCNN_DEVICE can name what it takes.
        threads: CPU threads for network and decode; None takes all that this process may use.
        memory: of an engine's frames and results: "pinned", "mapped" or "managed"; "auto" takes the fastest. See
            `runtime/backends/tensorrt/memory.py`.
        trust: open a version-compatible engine, too, which brings native code of its own; see `trust.py`.
        deadline_ms: milliseconds that a frame may take; `latency` counts those that took longer.

    Attributes:
        artifact: the description of the model.
        device: what it runs on, in words.
        latency: percentiles of recent frames, and missed deadlines; see `Latency`.

    Raises:
        ArtifactError: the file is missing, damaged or not this project's.
        DeviceError: this machine or an installed package cannot run it.
        UsageError: an unknown device, a thread count that is none, or a deadline that is not above 0.
        ParityError: a device of reduced precision was named whose results part from float32's.
    """

    def __init__(
        self,
        path: str | Path,
        device: str = "auto",
        *,
        threads: int | None = None,
        memory: str = "auto",
        trust: bool = False,
        deadline_ms: float | None = None,
    ) -> None:
        self.latency = Latency(deadline_ms)
        self._gate = Gate()
        self._backend = open_backend(path, device, threads, memory, trust)
        self._let_go = weakref.finalize(
            self, _close_unclosed, self._gate, self._backend, f"unclosed Segmenter of {path}"
        )
        self.artifact = self._backend.artifact
        self.device = self._backend.device
        self.precision = self._backend.precision  # of the arithmetic: "fp32", "fp16", "bf16"
        self.why = self._backend.why  # how "auto" came to choose the device, a sentence; empty where it was named
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
        now = time.perf_counter()
        return self._segment([Arrived(frame, index, now) for index, frame in enumerate(frames)], self.latency)

    def _segment(self, arrived: list[Arrived], latency: Latency | None) -> list[Result]:
        frames = [one.frame for one in arrived]
        size = self.artifact.batch
        if not 1 <= len(frames) <= size:
            remedy = f" Export with --batch {len(frames)} for more" if frames else ""
            raise FrameError(f"{len(frames)} frames; this model takes 1 to {size} at a time.{remedy}")
        with self._gate.passing():
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
            ended = time.perf_counter()
            restoring = (ended - ran) * 1e3
        if latency:
            for one in arrived:
                latency.count((ended - one.at) * 1e3)
        share = 1 / len(frames)
        timings = Timings(
            ((prepared - started) * 1e3 + raw.prepare) * share, raw.forward * share, (raw.decode + restoring) * share
        )
        return [
            self._result(timings, labels, probabilities, None if raw.logits is None else raw.logits[i], frame.shape)
            for i, ((labels, probabilities), frame) in enumerate(zip(parts, whole, strict=True))
        ]

    def stream(self, frames: Iterable[Any], *, drop: str | None = None) -> Stream:
        """Segment frames as they come, in order, and iterate over their results.

        Args:
            frames: read when results are asked for. When it fails, the frames that it gave before are yielded first.
            drop: None segments every frame, reading the next while the last is computed: at most two batches are in
                flight, and a slow consumer holds the source back. "oldest" reads a camera on a thread of its own, as
                fast as it gives, and each time segments the newest frames (as many as the model's batch); the others
                are dropped and counted. At most one batch waits and one is under way.

        The stream's `frame`, `index`, `read` and `dropped` tell which frame the last result is of and what was left out.

        Raises:
            UsageError: another `drop`.
        """
        return Stream(frames, lambda arrived: self._segment(arrived, self.latency), self.artifact.batch, drop)

    def warm_up(self, size: tuple[int, int] | None = None, *, frames: int = 10) -> float:
        """Segment some drawn frames, uncounted, so that the first real one takes no longer than the rest.

        Args:
            size: (height, width) of the frames that will come; None takes the model's resolution.
            frames: how many.

        Returns:
            The median of their milliseconds.

        Raises:
            UsageError: no frames, or a size without pixels.
        """
        height, width = size or (self.artifact.height, self.artifact.width)
        if frames < 1 or min(height, width) < 1:
            raise UsageError(
                f"warm_up with {frames} frames of height={height} width={width}; expected at least 1 of each"
            )
        # Blobs of colour: like a street, a few classes with borders between them.
        blobs = np.random.default_rng(0).integers(0, 256, (8, 16, 3)).astype(np.uint8)
        frame = restored(blobs, height, width)
        took = []
        if self._takes_frames is not None:
            with self._gate.passing():
                self._takes_frames.fill_slots()
        for _ in range(frames):
            started = time.perf_counter()
            for result in self._segment([Arrived(frame, 0, started)] * self.artifact.batch, None):
                _ = result.labels
            took.append((time.perf_counter() - started) * 1e3)
        return float(np.median(took))

    def close(self) -> None:
        """Wait for calls under way, then release the engine. Calling it twice is harmless, as it is in a forked process."""
        if self._gate.shut():
            self._let_go.detach()
            self._backend.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise UsageError(
            "a Segmenter cannot be copied or sent to another process; send the model's path and open one there"
        )

    @property
    def backend(self) -> Backend:
        """What runs the model, for benchmarks and tests."""
        return self._backend

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
        return Result(
            self.artifact, timings, find, probabilities, shown, None if logits is None else region, (shape[0], shape[1])
        )


def _nearest(part: slice, size: int, full: int) -> tuple[NDArray[np.intp], slice]:
    """Where pixels of a part of the frame lie at the model's resolution, as `restored` has it, and what they span."""
    places = restored(np.arange(full, dtype=np.float32)[:, None], size, 1)[part, 0].astype(np.intp)
    return places, slice(int(places[0]), int(places[-1]) + 1)


def _close_unclosed(gate: Gate, backend: Backend, message: str) -> None:
    """What happens when nobody refers to an unclosed Segmenter any more, or the process ends."""
    if gate.forked:  # the engine is the parent's
        return
    try:
        warnings.warn(message, ResourceWarning, stacklevel=2)
    finally:
        if gate.shut(_LAST_CALLS):
            backend.close()
