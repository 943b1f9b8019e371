"""What an inference engine must offer to stand behind a Segmenter."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..artifacts.artifact import Artifact
from ..decode.decoder import UNKNOWN
from ..frame import Frame
from ..pixels import PixelFormat
from ..placement import Placement


@dataclass(frozen=True)
class Share:
    """What a backend gives for one frame; each where there is any."""

    labels: NDArray[np.uint8] | None  # (H, W) at the frame's size
    probabilities: NDArray[np.float32] | None  # (C, H, W), too
    logits: NDArray[Any] | None  # (C, ~h/8, ~w/8) of the model's resolution
    confidence: NDArray[np.uint8] | None  # (~h/8, ~w/8)


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
    confidence: NDArray[np.uint8] | None = None  # (N, ~H/8, ~W/8); where the logits stay on a GPU

    def one(self, index: int, place: Placement) -> Share:
        """A frame's share: labels and probabilities brought to where they lie in the frame, the others as they are."""
        return Share(
            None if self.labels is None else place.restored(self.labels[index], UNKNOWN),
            None if self.probabilities is None else place.restored(self.probabilities[index], 0),
            None if self.logits is None else self.logits[index],
            None if self.confidence is None else self.confidence[index],
        )


class Backend(Protocol):
    """Runs one artefact on one device. `run` may be called from several threads at once."""

    artifact: Artifact
    device: str  # what it runs on, in words that a report can print
    precision: str  # that it computes in: "fp32", "fp16", "bf16"
    why: str  # how "auto" came to choose it, a sentence; empty where the caller named it
    unknown_below: float | None  # probability of the best class below which a pixel's label is 255

    def run(self, image: NDArray[Any]) -> Raw:
        """`image`: what the artefact's `input` tells, of its batch and resolution, contiguous."""
        ...

    def labels(self, logits: NDArray[Any]) -> NDArray[np.uint8]:
        """(C, h, w) logits → (H, W) labels, for results of a logits head; 255 where they are unknown."""
        ...

    def confidence(self, logits: NDArray[Any]) -> NDArray[np.uint8]:
        """(C, h, w) logits → (h, w), the best class's probability from 0 to 255."""
        ...

    def region(self, logits: NDArray[Any], rows: slice, columns: slice) -> NDArray[np.float32]:
        """(C, h, w) logits → (C, rows, columns) probabilities of a part of the model's resolution."""
        ...

    def close(self) -> None:
        """Release everything; twice is harmless."""
        ...


class TakesFrames(Protocol):
    """Runs frames as a camera gives them."""

    @property
    def converts(self) -> Collection[str]:
        """Names of pixel formats that `run_frames` takes as they are."""
        ...

    def run_frames(self, frames: Sequence[Frame], forms: Sequence[PixelFormat] | None = None) -> Raw:
        """Up to a batch of frames, of any size; results at the model's resolution.

        Args:
            forms: the format of each, BGR or one that it converts; None where all are BGR.
        """
        ...

    def fill_slots(self) -> None:
        """Make what several calls at once need; calls that follow one another then take it in turn."""
        ...


@runtime_checkable
class FrameBackend(Backend, TakesFrames, Protocol):
    """A backend that resizes and lays out frames by itself, where that is cheaper than on the CPU."""
