"""Labels for batches of arrays, in whatever process they lie: what Ray Data, multiprocessing and loops can all call."""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError
from ..segmenter import Segmenter

_opened: dict[tuple[int, str, str, int | None], Segmenter] = {}  # of this process, and those that a fork copied


class Labeller:
    """A dict of arrays in, the same dict with labels out. The model is opened once a process, when it is first needed.

        rows.map_batches(Labeller("model.onnx"), batch_size=8)

    Only the path and the options are pickled, so a Labeller can be sent to any process or machine that has the file.

    Args:
        model: a file that fastscnn-export or fastscnn-trt wrote.
        device, threads: as a Segmenter takes them.
        image: name of the frames: uint8 (N, H, W, 3) BGR, one (H, W, 3), or N frames of different sizes.
        labels: name that the result gets: uint8 (N, H, W) train ids, or as the frames are.
    """

    def __init__(
        self,
        model: str | Path,
        device: str = "auto",
        threads: int | None = None,
        *,
        image: str = "image",
        labels: str = "labels",
    ) -> None:
        self.model, self.device, self.threads = str(model), device, threads
        self.image, self.labels = image, labels

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Segment the batch's frames.

        Raises:
            UsageError: no such entry in the batch.
            FrameError: frames that are none; and what opening a Segmenter raises.
        """
        if self.image not in batch:
            raise UsageError(f"a batch of {', '.join(batch) or 'nothing'}; expected {self.image!r} in it")
        frames = batch[self.image]
        if isinstance(frames, np.ndarray) and frames.dtype == np.uint8 and frames.ndim == 3 and frames.shape[2] == 3:
            return {**batch, self.labels: self.segmenter(frames).labels}
        found = [self.segmenter(frame).labels for frame in frames]
        if len({labels.shape for labels in found}) == 1:
            return {**batch, self.labels: np.stack(found)}
        ragged = np.empty(len(found), object)
        ragged[:] = found
        return {**batch, self.labels: ragged}

    @property
    def segmenter(self) -> Segmenter:
        """This process's Segmenter for the model."""
        key = (os.getpid(), self.model, self.device, self.threads)
        if key not in _opened:
            _opened[key] = Segmenter(self.model, self.device, threads=self.threads)
        return _opened[key]


def close_all() -> None:
    """Let go of the models that Labellers opened in this process."""
    for key in [key for key in _opened if key[0] == os.getpid()]:
        _opened.pop(key).close()


atexit.register(close_all)
