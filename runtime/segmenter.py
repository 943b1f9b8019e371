"""The class that robot code embeds: a model file in, labels out."""

from __future__ import annotations

import time
import warnings
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from .backends import Backend, open_backend
from .backends.fitting import takes_frames
from .errors import FrameError, UsageError
from .frame import checked, restored
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
        self._network = takes_frames(self._backend)

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
        """Check, prepare and run, restore, hand over: a batch's way, in the order in which it is walked."""
        if not 1 <= len(arrived) <= self.artifact.batch:
            remedy = f" Export with --batch {len(arrived)} for more" if arrived else ""
            raise FrameError(f"{len(arrived)} frames; this model takes 1 to {self.artifact.batch} at a time.{remedy}")
        with self._gate.passing():
            started = time.perf_counter()
            frames = [checked(one.frame) for one in arrived]
            seen = time.perf_counter()
            raw = self._network.run_frames(frames)
            ran = time.perf_counter()
            sizes = [(frame.shape[0], frame.shape[1]) for frame in frames]
            shares = [raw.one(index, size) for index, size in enumerate(sizes)]
            ended = time.perf_counter()
        if latency:
            for one in arrived:
                latency.count((ended - one.at) * 1e3)
        prepare, decode = (seen - started) * 1e3 + raw.prepare, raw.decode + (ended - ran) * 1e3
        timings = Timings(*(stage / len(frames) for stage in (prepare, raw.forward, decode)))
        return [
            Result(self.artifact, timings, size, *share, decoder=self._backend)
            for size, share in zip(sizes, shares, strict=True)
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
        with self._gate.passing():
            self._network.fill_slots()
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


def _close_unclosed(gate: Gate, backend: Backend, message: str) -> None:
    """What happens when nobody refers to an unclosed Segmenter any more, or the process ends."""
    if gate.forked:  # the engine is the parent's
        return
    try:
        warnings.warn(message, ResourceWarning, stacklevel=2)
    finally:
        if gate.shut(_LAST_CALLS):
            backend.close()
