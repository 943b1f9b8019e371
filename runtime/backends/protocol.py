"""What an inference engine must offer to stand behind a Segmenter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..artifacts.artifact import Artifact
from ..frame import Frame, restored

# Labels (H, W), probabilities (C, H, W), logits (C, ~H/8, ~W/8) of one frame; each where there are any.
Share = tuple[NDArray[np.uint8] | None, NDArray[np.float32] | None, NDArray[Any] | None]


@dataclass(frozen=True)
class Raw:
    """One batch's results at the model's resolution: the one that the head gives, and the time that each stage took."""

    labels: NDArray[np.uint8] | None  # (N, H, W)
    probabilities: NDArray[np.float32] | None  # (N, C, H, W)
    # (N, C, ~H/8, ~W/8), float32 or float16; whatever the head, where the engine gives them
    logits: NDArray[Any] | None
    forward: float  # milliseconds
    decode: float  # milliseconds
    prepare: float = 0.0  # milliseconds; where the backend was given frames

    def one(self, index: int, size: tuple[int, int]) -> Share:
        """A frame's share: labels and probabilities brought to the frame's size (height, width), logits as they are."""
        labels = None if self.labels is None else restored(self.labels[index], *size)
        probabilities = None if self.probabilities is None else self.probabilities[index]
        if probabilities is not None and probabilities.shape[1:] != size:
            probabilities = np.stack([restored(plane, *size) for plane in probabilities])
        return labels, probabilities, None if self.logits is None else self.logits[index]


class Backend(Protocol):
    """Runs one artefact on one device. `run` may be called from several threads at once."""

    artifact: Artifact
    device: str  # what it runs on, in words that a report can print
    precision: str  # that it computes in: "fp32", "fp16", "bf16"
    why: str  # how "auto" came to choose it, a sentence; empty where the caller named it

    def run(self, image: NDArray[Any]) -> Raw:
        """`image`: what the artefact's `input` tells, of its batch and resolution, contiguous."""
        ...

    def labels(self, logits: NDArray[Any]) -> NDArray[np.uint8]:
        """(C, h, w) logits → (H, W) labels, for results of a logits head."""
        ...

    def region(self, logits: NDArray[Any], rows: slice, columns: slice) -> NDArray[np.float32]:
        """(C, h, w) logits → (C, rows, columns) probabilities of a part of the model's resolution."""
        ...

    def close(self) -> None:
        """Release everything; twice is harmless."""
        ...


class TakesFrames(Protocol):
    """Runs frames as a camera gives them."""

    def run_frames(self, frames: Sequence[Frame]) -> Raw:
        """Up to a batch of frames (see `frame.checked`), of any size; results at the model's resolution."""
        ...

    def fill_slots(self) -> None:
        """Make what several calls at once need; calls that follow one another then take it in turn."""
        ...


@runtime_checkable
class FrameBackend(Backend, TakesFrames, Protocol):
    """A backend that resizes and lays out frames by itself, where that is cheaper than on the CPU."""
