"""How far an INT8 graph's results lie from the FP32 graph's on the same frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...model.metrics import Confusion
from ...runtime.artifacts import onnx_file
from ...runtime.artifacts.artifact import Artifact
from ...runtime.backends.cores import usable_cores
from ...runtime.backends.onnxruntime import open_session
from ...runtime.decode.decoder import Decoder

Run = Callable[[NDArray[Any]], NDArray[np.float32]]  # a batch as the graph takes it → logits (N, C, h, w)


@dataclass(frozen=True)
class Agreement:
    """Of one INT8 graph with the FP32 graph."""

    pixels: float  # share of pixels with the same label, at the model's resolution
    classes: float  # mean IoU of the labels with the FP32 graph's, over the classes that occur
    logits: float  # root mean square of the logits' difference, as a share of their range

    def __str__(self) -> str:
        return (
            f"labels equal on {self.pixels:.2%} of pixels, mean IoU {self.classes:.2%}, logits within "
            f"{self.logits:.2%} of their range (RMS)"
        )


def runner(network: bytes, source: str) -> Run:
    """Run a graph that ends at its logits on the CPU."""
    session = open_session(network, source, "cpu", usable_cores())
    return lambda image: np.asarray(session.run([onnx_file.LOGITS], {"image": image})[0], np.float32)


def compare(
    artifact: Artifact,
    reference: Run,
    others: Sequence[Run],
    images: Sequence[NDArray[Any]],
    advance: Callable[[int], object],
) -> list[Agreement]:
    """The agreement of each of `others` with the reference, over all images."""
    scores = [Confusion(len(artifact.classes)) for _ in others]
    squares, low, high = np.zeros(len(others)), np.inf, -np.inf
    with closing(Decoder.of(artifact, usable_cores())) as decoder:
        for image in images:
            expected = reference(image)
            low, high = min(low, float(expected.min())), max(high, float(expected.max()))
            truths = [decoder.labels(one) for one in expected]
            for index, run in enumerate(others):
                found = run(image)
                squares[index] += float(np.mean(np.square(found - expected))) / len(images)
                for truth, logits in zip(truths, found, strict=True):
                    scores[index].add(truth, decoder.labels(logits))
            advance(1)
    spread = max(high - low, 1e-12)
    return [
        Agreement(score.pixel_accuracy(), score.mean_iou(), float(np.sqrt(square)) / spread)
        for score, square in zip(scores, squares, strict=True)
    ]
