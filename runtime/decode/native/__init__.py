"""The decode as compiled C, where installing found a compiler. `in_numpy` is its reference, and stands in for it."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import UsageError
from ..axis import Axis, Floats
from ..crew import Crew, parts

CHOICE = "FASTSCNN_DECODE"  # environment variable: "native", "numpy", or "auto", which takes what is there
_CHOICES = ("auto", "native", "numpy")
_INTERFACE = 1  # of decode.c
_LEVELS = ("plain C", "AVX2", "AVX-512")  # instruction sets, by decode.c's numbers
# Bytes of a result from which it is written past the caches: those keep the network's weights then, and writes take half the time.
_STREAMED = 4_000_000
_SHARED = 100_000  # result positions from which labels that may be unknown are worth a second thread
_PARTS = 4  # a thread, so that all end together

Labels = NDArray[np.uint8]


class _Axis(ctypes.Structure):
    _fields_ = (
        ("samples", ctypes.c_ssize_t),
        ("size", ctypes.c_ssize_t),
        ("starts", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
    )


class _Geometry(ctypes.Structure):
    _fields_ = (
        ("y", _Axis),
        ("x", _Axis),
        ("classes", ctypes.c_ssize_t),
        ("sigmoid", ctypes.c_int32),
        ("level", ctypes.c_int32),
        ("stream", ctypes.c_int32),
    )


@dataclass(frozen=True)
class Library:
    """The compiled functions.

    Attributes:
        level: the instruction set that is used, one of those up to the processor's best.
    """

    functions: Any
    level: int

    @property
    def name(self) -> str:
        return _LEVELS[self.level]


def found() -> tuple[Library | None, str]:
    """The library that is to be used, or why there is none.

    Raises:
        UsageError: FASTSCNN_DECODE asks for what is unknown or not there.
    """
    choice = os.environ.get(CHOICE) or "auto"
    if choice not in _CHOICES:
        raise UsageError(f"{CHOICE}={choice!r} is unknown; expected one of {', '.join(_CHOICES)}")
    if choice == "numpy":
        return None, f"{CHOICE} says so"
    library, why = _loaded()
    if library is None and choice == "native":
        raise UsageError(
            f"{CHOICE}=native asks for the compiled decode, which is not there: {why}. Install a C compiler, then this package again"
        )
    return library, why


@cache
def _loaded() -> tuple[Library | None, str]:
    folder = Path(__file__).parent
    path = next(folder.glob("_decode.*"), None)
    if path is None:
        return None, "the install found no C compiler"
    try:
        functions = ctypes.CDLL(str(path))
        version = functions.fastscnn_interface()
    except (OSError, AttributeError) as error:
        return None, f"what was compiled does not load: {error}"
    if version != _INTERFACE:
        return None, "what was compiled is of another version"
    about, where, count = ctypes.POINTER(_Geometry), ctypes.c_void_p, ctypes.c_ssize_t
    functions.fastscnn_labels.argtypes = (about, where, ctypes.c_float, where, count, count)
    functions.fastscnn_probabilities.argtypes = (about, where, where, count, count)
    functions.fastscnn_certainty.argtypes = (about, where, where)
    return Library(functions, functions.fastscnn_level()), ""


class Native:
    """The steps of a `Decoder`; logits are float32 (C, h, w), contiguous."""

    def __init__(self, library: Library, y: Axis, x: Axis, probability: str) -> None:
        self._level, self._sigmoid = library.level, probability == "sigmoid"
        self._labels = library.functions.fastscnn_labels
        self._probabilities = library.functions.fastscnn_probabilities
        self._certainty = library.functions.fastscnn_certainty
        self._cells, self._size = len(y.near), len(y.cell) * len(x.cell)
        self._axes, self._kept = zip(*(_laid_out(axis) for axis in (y, x)), strict=True)
        self._known: dict[int, Any] = {}  # by the number of classes

    def labels(self, logits: Floats, unknown_below: float, result: Labels, crew: Crew) -> None:
        about = self._about(len(logits))

        def decide(first: int, last: int) -> None:  # which holds on to both arrays until all threads are done
            _check(self._labels(about, _address(logits), unknown_below, _address(result), first, last))

        # Otherwise they are done before a helper, which another program may hold up, has come.
        if crew.threads == 1 or unknown_below == 0 or self._size < _SHARED:
            decide(0, self._cells)
        else:
            crew.share(decide, self._parts(crew.threads))

    def probabilities(self, logits: Floats, result: Floats, crew: Crew) -> None:
        about = self._about(len(logits))

        def weigh(first: int, last: int) -> None:
            _check(self._probabilities(about, _address(logits), _address(result), first, last))

        crew.share(weigh, self._parts(crew.threads))

    def certainty(self, logits: Floats) -> Floats:
        result = np.empty(logits.shape[1:], np.float32)
        _check(self._certainty(self._about(len(logits)), _address(logits), _address(result)))
        return result

    def _about(self, classes: int) -> Any:
        """A pointer to the geometry."""
        if classes not in self._known:
            stream = 4 * classes * self._size >= _STREAMED
            self._known[classes] = ctypes.byref(_Geometry(*self._axes, classes, self._sigmoid, self._level, stream))
        return self._known[classes]

    def _parts(self, threads: int) -> list[tuple[int, int]]:
        wanted = 1 if threads == 1 else _PARTS * threads
        return parts(0, self._cells, -(-self._cells // wanted))


def _laid_out(axis: Axis) -> tuple[_Axis, list[NDArray[Any]]]:
    """An axis as C has it, and the arrays that must live as long."""
    starts = np.searchsorted(axis.cell, np.arange(len(axis.near) + 1)).astype(np.int32)
    weights = np.ascontiguousarray(axis.weight, np.float32)
    of_c = _Axis(len(axis.near) - 1, len(axis.cell), _address(starts), _address(weights))
    return of_c, [starts, weights]


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _check(code: int) -> None:
    if code:
        raise MemoryError("no memory for the decode of a frame")
