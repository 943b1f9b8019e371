"""Frames for a backend that takes tensors: resized and laid out on the CPU."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from ..frame import Frame, InputLayout, fitted
from ..pixels import PixelFormat
from .protocol import Backend, FrameBackend, Raw, TakesFrames


def takes_frames(backend: Backend) -> TakesFrames:
    """The backend itself where it prepares frames, else one that prepares them for it."""
    return backend if isinstance(backend, FrameBackend) else _Fitting(backend)


class _Fitting:
    converts = ("bgr8",)

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._layout = InputLayout(backend.artifact)

    def run_frames(self, frames: Sequence[Frame], forms: Sequence[PixelFormat] | None = None) -> Raw:
        started = time.perf_counter()
        artifact = self._backend.artifact
        fit = [fitted(frame, artifact.height, artifact.width) for frame in frames]
        image = self._layout(fit + fit[-1:] * (artifact.batch - len(fit)))
        prepare = (time.perf_counter() - started) * 1e3
        return replace(self._backend.run(image), prepare=prepare)

    def fill_slots(self) -> None:
        """Nothing: calls share one buffer."""
