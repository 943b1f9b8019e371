"""What backends share that compute low-resolution logits on the CPU: taking turns, the exact decode, the clock."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from .artifact import OUTPUTS, Artifact
from .backend import Raw
from .decode import Decoder
from .errors import ArtifactError
from .onnx_file import LOGITS

Tensor = tuple[str, str, list[int]]  # name, type, shape


class LogitsBackend:
    """A `Backend` but for the network itself, which a subclass runs in `forward`.

    Args:
        alone: one run takes all threads, and two at once would only wait for each other.
    """

    device = ""
    precision = "fp32"
    why = ""

    def __init__(self, artifact: Artifact, threads: int, alone: bool) -> None:
        self.artifact = artifact
        self._turn: AbstractContextManager[Any] = threading.Lock() if alone else nullcontext()
        self._decoder = Decoder.of(artifact, threads)

    @contextmanager
    def forward(self, image: NDArray[Any], turn: AbstractContextManager[Any]) -> Iterator[NDArray[Any]]:
        """Run the network within `turn`; the logits (N, C, h, w) are read until the context ends, and not after it."""
        raise NotImplementedError

    def run(self, image: NDArray[Any]) -> Raw:
        clock = _Clock(self._turn)
        with self.forward(image, clock) as logits:
            forwarded = clock.ended
            labels = probabilities = kept = None
            if self.artifact.head == "cls":
                labels = _stacked([self._decoder.labels(one) for one in logits])
            elif self.artifact.head == "prob":
                probabilities = _stacked([self._decoder.probabilities(one) for one in logits])
            else:
                kept = np.array(logits)
            decoded = time.perf_counter()
        return Raw(
            labels, probabilities, kept, forward=(forwarded - clock.started) * 1e3, decode=(decoded - forwarded) * 1e3
        )

    def logits(self, image: NDArray[Any]) -> NDArray[Any]:
        """The network's own result, (N, C, h, w), whatever the head; a copy."""
        with self.forward(image, self._turn) as logits:
            return np.array(logits)

    def labels(self, logits: NDArray[Any]) -> NDArray[np.uint8]:
        return self._decoder.labels(logits)

    def close(self) -> None:
        self._decoder.close()


Slot = TypeVar("Slot")


class Slots(Generic[Slot]):
    """What one run needs for itself, such as room for its logits: made on demand, then used again."""

    def __init__(self, make: Callable[[], Slot]) -> None:
        self._make = make
        self._free: deque[Slot] = deque()  # its own operations are atomic

    @contextmanager
    def one(self) -> Iterator[Slot]:
        try:
            slot = self._free.pop()
        except IndexError:
            slot = self._make()
        try:
            yield slot
        finally:
            self._free.append(slot)


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
    element = "float16" if a.precision == "fp16" else "float32"
    expected = [("image", *image), (LOGITS, element, [a.batch, len(a.classes), a.logits_height, a.logits_width])]
    if found != expected or outputs != [OUTPUTS[a.head]]:
        raise ArtifactError(
            f"{source} does not match its own description: the graph has {found} and ends in {', '.join(outputs)}; "
            f"expected {expected} and {OUTPUTS[a.head]}. It was edited; export it again with fastscnn-export"
        )


def first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _stacked(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return parts[0][None] if len(parts) == 1 else np.stack(parts)
