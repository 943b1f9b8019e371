"""What an inference engine must offer to stand behind a Segmenter, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .artifact import Artifact
from .errors import UsageError
from .frame import Frame

DEVICES = ("auto", "cpu", "cuda")
SUFFIX = ".plan"  # of engines


@dataclass(frozen=True)
class Raw:
    """One batch's results at the model's resolution: the one that the head gives, and the time that each stage took."""

    labels: NDArray[np.uint8] | None  # (N, H, W)
    probabilities: NDArray[np.float32] | None  # (N, C, H, W)
    logits: NDArray[Any] | None  # (N, C, ~H/8, ~W/8), float32 or float16
    forward: float  # milliseconds
    decode: float  # milliseconds
    prepare: float = 0.0  # milliseconds; of backends that take frames as they are


class Backend(Protocol):
    """Runs one artefact on one device. `run` may be called from several threads at once."""

    artifact: Artifact
    device: str  # what it runs on, in words that a report can print

    def run(self, image: NDArray[Any]) -> Raw:
        """`image`: what the artefact's `input` tells, of its batch and resolution, contiguous."""
        ...

    def labels(self, logits: NDArray[Any]) -> NDArray[np.uint8]:
        """(C, h, w) logits → (H, W) labels, for results of a logits head."""
        ...

    def close(self) -> None:
        """Release everything; twice is harmless."""
        ...


@runtime_checkable
class FrameBackend(Backend, Protocol):
    """One that resizes and lays out frames by itself, where that is cheaper than on the CPU."""

    def run_frames(self, frames: Sequence[Frame]) -> Raw:
        """Up to a batch of frames (see `frame.checked`), of any size; results at the model's resolution."""
        ...


def open_backend(
    path: str | Path, device: str, threads: int | None, memory: str = "auto", trust: bool = False
) -> Backend:
    """Open the engine that fits the file and the device.

    Raises:
        UsageError: unknown device or thread count.
        ArtifactError, DeviceError: see the engine's own module.
    """
    if device not in DEVICES:
        raise UsageError(f"device {device!r} is unknown; expected one of {', '.join(DEVICES)}")
    if threads is not None and threads < 1:
        raise UsageError(f"{threads} threads; expected at least 1, or none for all cores")
    if Path(path).suffix == SUFFIX or Path(f"{path}.json").exists():
        from .tensorrt import open_engine

        return open_engine(path, device, threads, memory, trust)
    if memory != "auto":
        raise UsageError(f"memory {memory!r} is for engines ({SUFFIX}); {path} is none")
    from .onnxruntime_backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend(path, device, threads)
