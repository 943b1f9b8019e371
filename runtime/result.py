"""What a Segmenter gives back for one frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from .artifacts.artifact import Artifact
from .decode.decoder import argmax
from .errors import FrameError, UsageError
from .frame import checked, restored


@dataclass(frozen=True)
class Timings:
    """Milliseconds that one frame spent in each stage."""

    prepare: float  # check, resize, layout
    forward: float  # the network
    decode: float  # logits to the result, and back to the frame's size

    @property
    def total(self) -> float:
        return self.prepare + self.forward + self.decode


class Decodes(Protocol):
    """What a result asks of the engine that gave its logits, as long as that is open; see `backends.Backend`."""

    def labels(self, logits: NDArray[Any]) -> NDArray[np.uint8]: ...

    def region(self, logits: NDArray[Any], rows: slice, columns: slice) -> NDArray[np.float32]: ...


class Result:
    """One frame's segmentation.

    Attributes:
        labels: uint8 (H, W) train ids at the frame's own size; computed when first asked for where the head gives no labels.
        probabilities: float32 (C, H, W) at the frame's own size with a prob head, else None.
        logits: float32 or float16 (C, ~h/8, ~w/8) at 1/8 of the model's resolution with a logits head, else None.
        timings: milliseconds by stage.
        artifact: the description of the model: class names, palette and the rest.
    """

    def __init__(
        self,
        artifact: Artifact,
        timings: Timings,
        size: tuple[int, int],
        labels: NDArray[np.uint8] | None,
        probabilities: NDArray[np.float32] | None,
        logits: NDArray[Any] | None,
        decoder: Decodes | None,
    ) -> None:
        self.artifact = artifact
        self.timings = timings
        self.probabilities = probabilities
        self.logits = logits if artifact.head == "logits" else None
        self._size = size  # of the frame, known without its labels
        self._labels = labels
        self._low = logits
        self._decoder = decoder

    def __reduce__(self) -> tuple[Any, ...]:
        """To pickle or copy it, the labels are computed; the engine stays behind."""
        return Result, (self.artifact, self.timings, self._size, self.labels, self.probabilities, self.logits, None)

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        if self._labels is not None:
            return self._labels
        if self.probabilities is not None:
            return argmax(self.probabilities)
        assert self._low is not None and self._decoder is not None
        return restored(self._decoder.labels(self._low), *self._size)

    def region(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Probabilities of a part of the frame, whatever the head: float32 (C, rows, columns), for the cost of that part.

            person = result.region(slice(200, 260), slice(400, 440))[train_id]

        Raises:
            UsageError: a part that is empty, reaches outside the frame or steps over pixels, or an engine that keeps its logits.
        """
        for name, part, size in zip(("rows", "columns"), (rows, columns), self._size, strict=True):
            if not isinstance(part, slice):
                raise UsageError(f"{name} {part!r} is no slice; expected such as slice(200, 260)")
            if (
                part.step not in (None, 1)
                or not 0 <= (part.start or 0) < (size if part.stop is None else part.stop) <= size
            ):
                raise UsageError(
                    f"{name} {part.start} to {part.stop} are no part of a frame; expected some of 0 to {size}"
                )
        if self.probabilities is not None:
            return self.probabilities[:, rows, columns]
        if self._low is None or self._decoder is None:
            raise UsageError(
                "this result has no logits: its engine ends in labels, or it comes from another process. "
                "Use a model with --head prob, or ask for the region before sending the result"
            )
        (y, y_span), (x, x_span) = (
            _nearest(part, size, full)
            for part, size, full in zip(
                (rows, columns), self._size, (self.artifact.height, self.artifact.width), strict=True
            )
        )
        found = self._decoder.region(self._low, y_span, x_span)
        return found[:, y[:, None] - y_span.start, x - x_span.start]

    def colour(self) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) BGR: each label in its class's colour, ignored pixels black."""
        table = np.zeros((256, 1, 3), np.uint8)
        table[: len(self.artifact.palette), 0] = np.array(self.artifact.palette, np.uint8)[:, ::-1]
        return np.asarray(cv2.applyColorMap(self.labels, table), np.uint8)

    def overlay(self, frame: NDArray[np.uint8], opacity: float = 0.5) -> NDArray[np.uint8]:
        """The colours laid over the frame that was segmented: uint8 (H, W, 3) BGR.

        Args:
            opacity: of the colours, 0 to 1.

        Raises:
            FrameError: for a frame of another size.
            UsageError: for another opacity.
        """
        if not 0 <= opacity <= 1:
            raise UsageError(f"opacity {opacity} is out of range; expected 0 to 1")
        frame = checked(frame)
        if frame.shape[:2] != self.labels.shape:
            raise FrameError(
                f"the frame is height={frame.shape[0]} width={frame.shape[1]}, but the labels are "
                f"height={self.labels.shape[0]} width={self.labels.shape[1]}. Pass the frame that was segmented"
            )
        return np.asarray(cv2.addWeighted(self.colour(), opacity, frame, 1 - opacity, 0), np.uint8)


def _nearest(part: slice, size: int, full: int) -> tuple[NDArray[np.intp], slice]:
    """Where pixels of a part of the frame lie at the model's resolution, as `restored` has it, and what they span."""
    places = restored(np.arange(full, dtype=np.float32)[:, None], size, 1)[part, 0].astype(np.intp)
    return places, slice(int(places[0]), int(places[-1]) + 1)
