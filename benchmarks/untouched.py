"""What the users of an adopted network would otherwise run: its own file in plain ONNX Runtime, behind a fast preparation."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime import install
from ..runtime.artifacts.artifact import Artifact
from ..runtime.backends.cores import usable_cores
from ..runtime.decode.decoder import argmax
from ..runtime.errors import DeviceError, UsageError
from ..runtime.frame import Frame, InputLayout, checked, fitted
from .baseline import plain_session


class Untouched:
    """The file that an adopted model was made from, run by ONNX Runtime as its documentation shows.

    Args:
        path: that file.
        artifact: the adopted model's description.

    Raises:
        UsageError: another file, one without a head, or one that gives labels where ours gives probabilities.
        DeviceError: a package that reading it needs is missing.
    """

    def __init__(self, path: Path, artifact: Artifact, threads: int | None) -> None:
        try:
            from ..export.adopt import ending, gate, reading, still
        except ImportError as error:
            raise DeviceError(
                f"reading {path} needs {error.name}, which cannot be imported. Install: {install.command('convert')}"
            ) from None
        foreign = reading.read(path, (artifact.height, artifact.width), artifact.batch)
        if foreign.digest != artifact.checkpoint:
            raise UsageError(
                f"{path} has the sha256 {foreign.digest[:12]}… and the model was adopted from {artifact.checkpoint[:12]}…; expected that file"
            )
        found = still.still(reading.modern(foreign.model, str(path)), str(path))
        self._end = ending.find(found, foreign.input, str(path), artifact.adopted_output, artifact.align_corners)
        decided = self._end.kind in ("softmax", "sigmoid", "log-softmax")
        if not self._end.upsampled or (artifact.head != "cls" and not decided):
            raise UsageError(
                f"{path} gives {self._end.kind if self._end.upsampled else 'low-resolution logits'} and the model has the {artifact.head} "
                "head; --baseline-file compares labels, or probabilities with probabilities"
            )
        self.name = f"ONNX Runtime, {path.name} untouched"
        self._artifact, self._input, self._canonical = artifact, foreign.input, gate.canonical
        self._layout = InputLayout(dataclasses.replace(artifact, input="float"))
        self._session = plain_session(foreign.model.SerializeToString(), threads or usable_cores())

    def __call__(self, frame: Frame) -> NDArray[Any]:
        """(H, W) labels or (C, H, W) probabilities of one frame, at the model's resolution."""
        a, end = self._artifact, self._end
        image = self._prepared([fitted(checked(frame), a.height, a.width)] * a.batch)
        (values,) = self._session.run([end.output], {self._input.name: image})
        result = self._canonical(values, end, end.kind, end.axes)
        if a.head == "prob":
            return result.probabilities(sigmoid=False)[0]
        return np.asarray(result.values[0] if result.kind == "labels" else argmax(result.values[0]))

    def _prepared(self, frames: list[Frame]) -> NDArray[Any]:
        if self._input.dtype == "uint8":
            turned = [frame[..., ::-1] if self._artifact.order == "rgb" else frame for frame in frames]
            image = np.stack(turned)
            return np.ascontiguousarray(image.transpose(0, 3, 1, 2) if self._input.layout == "NCHW" else image)
        image = self._layout(frames)
        if self._input.layout == "NHWC":
            image = image.transpose(0, 2, 3, 1)
        return np.ascontiguousarray(image, np.dtype(self._input.dtype))
