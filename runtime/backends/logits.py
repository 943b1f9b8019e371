"""What backends share that compute low-resolution logits on the CPU: taking turns, the exact decode, the clock."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifacts.artifact import OUTPUTS, Artifact
from ..artifacts.onnx_file import LOGITS
from ..decode.decoder import Decoder
from ..decode.memory import Recycler
from ..errors import ArtifactError
from .protocol import Raw

Tensor = tuple[str, str, list[int]]  # name, type, shape


class LogitsBackend:
    """A `Backend` but for the network itself, which a subclass runs in `forward`.

    Args:
        alone: one run takes all threads, and two at once would only wait for each other.
    """

    device = ""
    precision = "fp32"
    why = ""
    unknown_below: float | None = None

    def __init__(self, artifact: Artifact, threads: int, alone: bool) -> None:
        self.artifact = artifact
        self._turn: AbstractContextManager[Any] = threading.Lock() if alone else nullcontext()
        self._decoder = Decoder.of(artifact, threads)
        # Engines write into these, so that logits are never copied, and results keep theirs for as long as they like.
        shape = (artifact.batch, len(artifact.classes), artifact.logits_height, artifact.logits_width)
        self.rooms = Recycler(shape, element(artifact))

    def forward(self, image: NDArray[Any], turn: AbstractContextManager[Any]) -> NDArray[Any]:
        """Run the network within `turn`; gives the logits (N, C, h, w), in an array of `rooms`."""
        raise NotImplementedError

    def run(self, image: NDArray[Any]) -> Raw:
        clock = _Clock(self._turn)
        logits = self.forward(image, clock)
        labels = probabilities = None
        if self.artifact.head == "cls":
            labels = _stacked([self.labels(one) for one in logits])
        elif self.artifact.head == "prob":
            probabilities = _stacked([self._decoder.probabilities(one) for one in logits])
        decoded = time.perf_counter()
        return Raw(
            labels,
            probabilities,
            logits,
            forward=(clock.ended - clock.started) * 1e3,
            decode=(decoded - clock.ended) * 1e3,
        )

    def logits(self, image: NDArray[Any]) -> NDArray[Any]:
        """The network's own result, (N, C, h, w), whatever the head."""
        return self.forward(image, self._turn)

    def labels(self, logits: NDArray[Any]) -> NDArray[np.uint8]:
        return self._decoder.labels(logits, self.unknown_below or 0.0)

    def confidence(self, logits: NDArray[Any]) -> NDArray[np.uint8]:
        return self._decoder.confidence(logits)

    def region(self, logits: NDArray[Any], rows: slice, columns: slice) -> NDArray[np.float32]:
        return self._decoder.region(logits, rows, columns)

    def close(self) -> None:
        self.rooms.clear()
        self._decoder.close()


class _Clock:
    """A turn, and when it began and ended: waiting for it is not the network's time."""

    def __init__(self, turn: AbstractContextManager[Any]) -> None:
        self._turn = turn
        self.started = self.ended = 0.0

    def __enter__(self) -> None:
        self._turn.__enter__()
        self.started = time.perf_counter()

    def __exit__(self, *details: Any) -> None:
        self.ended = time.perf_counter()
        self._turn.__exit__(*details)


def check_graph(found: list[Tensor], outputs: list[str], artifact: Artifact, source: str) -> None:
    """Does the graph take and give what its description says? Found here, not at the first frame.

    Args:
        found: the input and the result of the network without its head.
        outputs: the results of the file as it is.
    """
    a = artifact
    image = ("uint8", [a.batch, a.height, a.width, 3])
    if a.input == "float":
        image = ("float32", [a.batch, 3, a.height, a.width])
    expected = [("image", *image), (LOGITS, element(a), [a.batch, len(a.classes), a.logits_height, a.logits_width])]
    if found != expected or outputs != [OUTPUTS[a.head]]:
        raise ArtifactError(
            f"{source} does not match its own description: the graph has {found} and ends in {', '.join(outputs)}; "
            f"expected {expected} and {OUTPUTS[a.head]}. It was edited; export it again with fastscnn-export"
        )


def element(artifact: Artifact) -> str:
    """Type of the network's logits, as NumPy names it."""
    return "float16" if artifact.precision == "fp16" else "float32"


def _stacked(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return parts[0][None] if len(parts) == 1 else np.stack(parts)
