"""What only a comparison shows: labels that lie on another picture's edges, and pictures that stand in two splits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ...runtime.artifacts.artifact import IGNORE
from ...runtime.frame import Frame
from .masks import Labels

_SIDE = 256  # pixels of the longer side that edges are compared at
# Pairs of neighbours, how many times better a neighbour's labels must fit, and in which share of the pairs: few pairs must
# tell clearly, and in a slow video all fit nearly alike. On CamVid's 468 frames as they are neither is ever met.
_RULES = ((5, 1.1, 0.8), (30, 1.03, 0.85))


@dataclass(frozen=True)
class Outline:
    """Where the picture changes and where its labels do, made small."""

    steepness: NDArray[np.float32]  # (h, w) of mean 1
    borders: NDArray[np.bool_]  # (h, w)

    @classmethod
    def of(cls, image: Frame, labels: Labels) -> Outline:
        scale = min(1.0, _SIDE / max(image.shape[:2]))
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        grey = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
        grey = cv2.GaussianBlur(grey, (3, 3), 0)
        across, down = (cv2.Sobel(grey, cv2.CV_32F, *way) for way in ((1, 0), (0, 1)))
        steep = cv2.magnitude(across, down)
        small = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
        borders = np.zeros(small.shape, np.uint8)
        for first, second, place in (
            (small[:, 1:], small[:, :-1], borders[:, 1:]),
            (small[1:], small[:-1], borders[1:]),
        ):
            place |= (first != second) & (first != IGNORE) & (second != IGNORE)
        return cls(
            np.asarray(steep, np.float32) / max(float(steep.mean()), 1e-6),
            cv2.dilate(borders, np.ones((3, 3), np.uint8)) > 0,
        )

    def fits(self, labels: Outline) -> float:
        """How steep this picture is where the other's labels have borders; 1 by chance."""
        if labels.borders.shape != self.steepness.shape or not labels.borders.any():
            return float("nan")
        return float(self.steepness[labels.borders].mean())


@dataclass
class Shift:
    """Whether each label fits the picture before or after its own; told neighbour by neighbour, in order."""

    _last: Outline | None = None
    _own: list[float] = field(default_factory=list)
    _with: dict[str, list[float]] = field(default_factory=lambda: {"before": [], "after": []})

    def add(self, outline: Outline | None) -> None:
        """The next sample's; None where it could not be read."""
        if self._last is not None and outline is not None:
            found = outline.fits(outline), self._last.fits(outline), outline.fits(self._last)
            if not np.isnan(found).any():
                for values, value in zip((self._own, *self._with.values()), found, strict=True):
                    values.append(value)
        self._last = outline

    def suspicion(self) -> str:
        """In words, or nothing."""
        own = np.array(self._own)
        for place, values in self._with.items():
            other = np.array(values)
            if any(
                len(own) >= least and other.mean() > better * own.mean() and (other > own).mean() >= mostly
                for least, better, mostly in _RULES
            ):
                return (
                    f"suspicion: the labels fit the picture {place} their own better than their own (edges {other.mean():.2f} "
                    f"against {own.mean():.2f}, in {(other > own).mean():.0%} of {len(own)} files); expected labels in the order "
                    "of the pictures. Look whether they are shifted by one file"
                )
        return ""


@dataclass
class Twins:
    """Pictures with the same pixels, by split."""

    _first: dict[bytes, tuple[str, Path]] = field(default_factory=dict)

    def add(self, split: str, path: Path, digest: bytes) -> str:
        """A problem in words where another split has the same picture, or nothing."""
        other, there = self._first.setdefault(digest, (split, path))
        if other == split:
            return ""
        return f"{path} is the same picture as {there} of {other}; expected each in one split, or the score tells nothing. Remove one"


def fingerprint(image: Frame) -> bytes:
    """Of the pixels, so that a copy in another lossless format is known again."""
    return hashlib.blake2b(
        np.ascontiguousarray(image).data, digest_size=16, salt=str(image.shape).encode()[:16]
    ).digest()
