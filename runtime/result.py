"""What a Segmenter gives back for one frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from .artifacts.artifact import Artifact
from .decode.decoder import UNKNOWN, argmax
from .errors import FrameError, UsageError
from .frame import checked
from .pixels import BGR8, PixelFormat
from .pixels import pixel_format as named_format
from .placement import Placement


@dataclass(frozen=True)
class Timings:
    """Milliseconds that one frame spent in each stage."""

    prepare: float  # check, resize, layout
    forward: float  # the network
    decode: float  # logits to the result, and back to the frame's size
    convert: float = 0.0  # another pixel format to BGR

    @property
    def total(self) -> float:
        return self.convert + self.prepare + self.forward + self.decode


class Decodes(Protocol):
    """What a result asks of the engine that gave its logits, as long as that is open; see `backends.Backend`."""

    unknown_below: float | None

    def labels(self, logits: NDArray[Any]) -> NDArray[np.uint8]: ...

    def confidence(self, logits: NDArray[Any]) -> NDArray[np.uint8]: ...

    def region(self, logits: NDArray[Any], rows: slice, columns: slice) -> NDArray[np.float32]: ...


class Result:
    """One frame's segmentation.

    Attributes:
        labels: uint8 (H, W) train ids at the frame's own size; 255 where they are unknown (`unknown_below`) or not segmented
            (`roi`). Computed when first asked for where the head gives no labels.
        probabilities: float32 (C, H, W) at the frame's own size with a prob head, else None; 0 where it is not segmented.
        logits: float32 or float16 (C, ~h/8, ~w/8) at 1/8 of the model's resolution with a logits head, else None.
        timings: milliseconds by stage.
        artifact: the description of the model: class names, palette and the rest.
        stamp, tag: that came with the frame.
        index: the frame's place in its source, from 0.
        camera: the name of the source, where a stream has several.
    """

    def __init__(
        self,
        artifact: Artifact,
        timings: Timings,
        place: Placement,
        labels: NDArray[np.uint8] | None,
        probabilities: NDArray[np.float32] | None,
        logits: NDArray[Any] | None,
        confidence: NDArray[np.uint8] | None,
        decoder: Decodes | None,
        *,
        pixel_format: PixelFormat = BGR8,
        stamp: Any = None,
        tag: Any = None,
        index: int = 0,
        camera: Any = None,
    ) -> None:
        self.artifact = artifact
        self.timings = timings
        self.probabilities = probabilities
        self.logits = logits if artifact.head == "logits" else None
        self.stamp, self.tag, self.index, self.camera = stamp, tag, index, camera
        self._place = place
        self._pixel_format = pixel_format
        self._labels = labels
        self._low = logits
        self._confidence = confidence
        self._decoder = decoder

    def __reduce__(self) -> tuple[Any, ...]:
        """To pickle or copy it, labels and confidence are computed; the engine stays behind."""
        confidence = self.confidence if self._low is not None and self._decoder is not None else self._confidence
        origin = {name: getattr(self, name) for name in ("stamp", "tag", "index", "camera")}
        of = self.artifact, self.timings, self._place
        return _again, (*of, self.labels, self.probabilities, self.logits, confidence, self._pixel_format.name, origin)

    @property
    def grid(self) -> NDArray[Any] | None:
        """float32 or float16 (C, ~h/8, ~w/8): the network's own logits whatever the head; None where the engine keeps them."""
        return self._low

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        if self._labels is not None:
            return self._labels
        assert self._decoder is not None
        if self.probabilities is not None:
            labels, below = argmax(self.probabilities), self._decoder.unknown_below or 0.0
            if below > 0 or self._place.cropped:
                labels[self.probabilities.max(axis=0) < max(below, np.finfo(np.float32).tiny)] = UNKNOWN
            return labels
        assert self._low is not None
        return np.asarray(self._place.restored(self._decoder.labels(self._low), UNKNOWN), np.uint8)

    @cached_property
    def confidence(self) -> NDArray[np.uint8]:
        """The probability of the best class, 0 to 255 for 0 to 1: uint8 (~h/8, ~w/8), on the grid of the model's logits.

        Exact there, and cheap. `confidence_map` is the same at the frame's size.

        Raises:
            UsageError: an engine that keeps its logits.
        """
        if self._confidence is not None:
            return self._confidence
        if self._low is None or self._decoder is None:
            raise UsageError(
                "this result has no confidence: its engine keeps the logits to itself. Open it with "
                "Segmenter(…, unknown_below=0), which has the GPU compute it and labels nothing unknown"
            )
        return self._decoder.confidence(self._low)

    def confidence_map(self) -> NDArray[np.uint8]:
        """`confidence` where the labels are: uint8 (H, W) of the frame, bilinear between the grid's samples; 0 where nothing
        was segmented. Errors as for `confidence`."""
        return self._place.smooth(self.confidence)

    def region(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Probabilities of a part of the frame, whatever the head: float32 (C, rows, columns), for the cost of that part.

            person = result.region(slice(200, 260), slice(400, 440))[train_id]

        Raises:
            UsageError: a part that is empty, reaches outside the frame or steps over pixels, or an engine that keeps its logits.
        """
        for name, part, size in zip(("rows", "columns"), (rows, columns), self._place.size, strict=True):
            if not isinstance(part, slice):
                raise UsageError(f"{name} {part!r} is no slice; expected such as slice(200, 260)")
            if (
                part.step not in (None, 1)
                or not 0 <= (part.start or 0) < (size if part.stop is None else part.stop) <= size
            ):
                raise UsageError(
                    f"{name} {part.start} to {part.stop} are no part of a frame; expected some of 0 to {size}"
                )
        rows, columns = (
            slice(*part.indices(size)) for part, size in zip((rows, columns), self._place.size, strict=True)
        )
        (y, y_span), (x, x_span) = self._place.nearest(rows, columns)
        if self.probabilities is not None:
            return self.probabilities[:, rows, columns]
        if self._low is None or self._decoder is None:
            raise UsageError(
                "this result has no logits: its engine ends in labels, or it comes from another process. "
                "Use a model with --head prob, or ask for the region before sending the result"
            )
        found = self._decoder.region(self._low, y_span, x_span)
        return found[:, y[:, None] - y_span.start, x - x_span.start]

    def colour(self) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) BGR: each label in its class's colour, ignored pixels black."""
        return painted(self.labels, self.artifact.palette)

    def overlay(
        self, frame: NDArray[Any], opacity: float = 0.5, *, pixel_format: str | None = None
    ) -> NDArray[np.uint8]:
        """The colours laid over the frame that was segmented: uint8 (H, W, 3) BGR. What is unknown is darkened; what lies outside
        the region of interest stays as it is.

        Args:
            opacity: of the colours, 0 to 1.
            pixel_format: of the frame; None takes that in which it was segmented.

        Raises:
            FrameError: for a frame of another size or format.
            UsageError: for another opacity.
        """
        if not 0 <= opacity <= 1:
            raise UsageError(f"opacity {opacity} is out of range; expected 0 to 1")
        frame = checked(frame, self._pixel_format if pixel_format is None else named_format(pixel_format))
        if frame.shape[:2] != self.labels.shape:
            raise FrameError(
                f"the frame is height={frame.shape[0]} width={frame.shape[1]}, but the labels are "
                f"height={self.labels.shape[0]} width={self.labels.shape[1]}. Pass the frame that was segmented"
            )
        laid = np.asarray(cv2.addWeighted(self.colour(), opacity, frame, 1 - opacity, 0), np.uint8)
        if not self._place.cropped:
            return laid
        out, part = frame.copy(), (self._place.rows, self._place.columns)
        out[part] = laid[part]
        return out


def _again(
    artifact: Artifact,
    timings: Timings,
    place: Placement,
    labels: NDArray[np.uint8],
    probabilities: NDArray[np.float32] | None,
    logits: NDArray[Any] | None,
    confidence: NDArray[np.uint8] | None,
    name: str,
    origin: dict[str, Any],
) -> Result:
    """A result from its pickle."""
    return Result(
        artifact,
        timings,
        place,
        labels,
        probabilities,
        logits,
        confidence,
        None,
        pixel_format=named_format(name),
        **origin,
    )


def painted(labels: NDArray[np.uint8], palette: Sequence[tuple[int, int, int]]) -> NDArray[np.uint8]:
    """Labels (H, W) in the colours of their classes: uint8 (H, W, 3) BGR. The palette is RGB; ids beyond it are black."""
    tables = np.zeros((3, 256), np.uint8)
    tables[:, : len(palette)] = np.array(palette, np.uint8)[:, ::-1].T
    # Not cv2.applyColorMap: a signal that comes while that chooses among its overloads crashes the process.
    return np.asarray(cv2.merge([cv2.LUT(labels, table) for table in tables]), np.uint8)
