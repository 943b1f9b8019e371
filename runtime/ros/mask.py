"""A frame's mask at the size that its reader wants, and what is made of it; each part is computed when it is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from ..artifacts.artifact import IGNORE, Artifact
from ..decode.decoder import argmax
from ..errors import UsageError
from ..frame import Frame, fitted, restored
from ..result import painted
from ..segmenter import Segmenter

Mask = NDArray[np.uint8]

KINDS = ("input", "model", "grid", "cloud")
_MOST = 16384  # pixels a side


@dataclass(frozen=True)
class MaskSize:
    """What `mask_size` asks for."""

    kind: str  # one of KINDS, or "fixed"
    size: tuple[int, int] | None = None  # (height, width) where it is fixed

    @classmethod
    def parse(cls, text: str) -> MaskSize:
        """`input`, `model`, `grid`, `cloud`, or HEIGHTxWIDTH in pixels.

        Raises:
            UsageError: anything else.
        """
        if text in KINDS:
            return cls(text)
        match = re.fullmatch(r"(\d{1,5})[xX×](\d{1,5})", text)
        if match and all(1 <= int(side) <= _MOST for side in match.groups()):
            return cls("fixed", (int(match[1]), int(match[2])))
        raise UsageError(
            f"mask_size {text!r:.40} is unknown; expected {', '.join(KINDS)}, or HEIGHTxWIDTH of at most {_MOST} pixels a side"
        )

    def pixels(self, frame: tuple[int, int], artifact: Artifact, cloud: tuple[int, int] | None) -> tuple[int, int]:
        """(height, width) of the mask of a frame of that size.

        Args:
            cloud: size of the point cloud, where it is known.
        """
        if self.kind == "cloud":
            assert cloud is not None
            return cloud
        sizes = {
            "input": frame,
            "model": (artifact.height, artifact.width),
            "grid": (artifact.logits_height, artifact.logits_width),
        }
        return self.size or sizes[self.kind]


class Segmented:
    """One frame, segmented.

    The mask of `input` are the labels that the Segmenter gives. That of `grid` is the arg-max of the logits, without
    interpolation. Other sizes take labels at the model's resolution, resized once, by nearest neighbour.

    Args:
        size: (height, width) of the mask.
        kind: of `MaskSize`.
        unknown_below: confidence, 0 to 1, below which a pixel becomes 255, unknown; 0 leaves all as they are.
    """

    def __init__(
        self, segmenter: Segmenter, frame: Frame, size: tuple[int, int], kind: str = "input", unknown_below: float = 0.0
    ) -> None:
        artifact = segmenter.artifact
        self.frame, self.size = frame, size
        self._palette, self._kind, self._unknown_below = artifact.palette, kind, unknown_below
        whole = kind == "input"
        self._result = segmenter(frame if whole else fitted(frame, artifact.height, artifact.width))

    @cached_property
    def labels(self) -> Mask:
        """uint8 (H, W) train ids at the mask's size, before `unknown_below`."""
        logits = self._result.grid if self._kind == "grid" else None
        if logits is not None and logits.shape[1:] == self.size:
            return argmax(np.asarray(logits, np.float32))
        return restored(self._result.labels, *self.size)

    @cached_property
    def mask(self) -> Mask:
        """uint8 (H, W) train ids, 255 where nobody knows."""
        if self._unknown_below <= 0 or self.confidence is None:
            return self.labels
        return np.where(self.confidence < self._unknown_below * 255, np.uint8(IGNORE), self.labels)

    @cached_property
    def confidence(self) -> Mask | None:
        """uint8 (H, W): the winner's probability, 255 for 1; None where the engine keeps its logits."""
        try:
            grid = self._result.confidence
        except UsageError:
            return None
        return np.asarray(cv2.resize(grid, self.size[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)

    @cached_property
    def colour(self) -> Frame:
        """uint8 (H, W, 3) BGR at the mask's size; unknown pixels are black."""
        return painted(self.mask, self._palette)

    def overlay(self, opacity: float) -> Frame:
        """The colours laid over the frame, at the frame's size."""
        height, width = self.frame.shape[:2]
        colour = cv2.resize(self.colour, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        return np.asarray(cv2.addWeighted(colour, opacity, self.frame, 1 - opacity, 0), np.uint8)
