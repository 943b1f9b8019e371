"""Read `.pdparams` without Paddle and without running what is in it.

The file is a pickle, a small program that may call anything. Paddle's own hold a dict of NumPy arrays, for which ten
names suffice. Each of them stands for code of this module; NumPy's own reconstruction is never called, and any other
name ends the reading before anything is made.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...runtime.artifacts.files import whole
from ...runtime.errors import ArtifactError
from ...runtime.text import shown

_NAMES = "StructuredToParameterName@@"  # an entry that maps names to other names
_MAXIMUM_BYTES = 4 << 30
_CODES = ("f2", "f4", "f8", "i4", "i8")


class _DType:
    """What a pickle says of an array's element type."""

    def __init__(self, code: str, *_: object) -> None:
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def made(self) -> np.dtype[Any]:
        if self.code not in _CODES or self.order not in "<>=|":
            raise pickle.UnpicklingError(f"elements of type {self.order}{self.code}")
        return np.dtype(self.order + self.code)


class _Array:
    """What a pickle says of an array: shape, element type, order and bytes."""

    state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def made(self) -> NDArray[Any]:
        _, shape, dtype, fortran, data = self.state
        if not isinstance(dtype, _DType) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("an array without plain numbers")
        array: NDArray[Any] = np.frombuffer(data, dtype.made()).reshape(shape, order="F" if fortran else "C")
        return np.array(array, dtype.made().newbyteorder("="), order="C")


class _Reader(pickle._Unpickler):
    """Python's own reader, not the one in C, which gives a memo of any size that a file of ten bytes asks for."""

    dispatch: ClassVar[dict[int, Any]] = {
        code: read
        for code, read in pickle._Unpickler.dispatch.items()
        if code not in (pickle.BYTEARRAY8[0], pickle.NEXT_BUFFER[0])
    }

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._admitted: dict[tuple[str, str], Any] = {  # functions of this reading alone: a pickle can set attributes
            ("numpy", "ndarray"): _Array,
            ("numpy", "dtype"): _DType,
            **dict.fromkeys(
                [(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")], lambda *_: _Array()
            ),
            ("_codecs", "encode"): lambda text, *_: text.encode("latin1"),  # bytes, in pickles of protocol 2
            ("collections", "OrderedDict"): OrderedDict,
            ("builtins", "tuple"): tuple,  # (name, array), as Paddle pickles a tensor by itself
            ("__builtin__", "tuple"): tuple,
        }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._admitted[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def read(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a `.pdparams` file by name.

    Raises:
        ArtifactError: no such file, damaged, or holding anything but arrays; nothing in it is run.
    """
    data = whole(path, _MAXIMUM_BYTES, "a .pdparams file")
    try:
        content = _Reader(io.BytesIO(data)).load()
        if not isinstance(content, dict):
            raise pickle.UnpicklingError(f"it holds a {type(content).__name__}")
        arrays = {name: _array(name, value) for name, value in content.items() if name != _NAMES}
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean
        raise ArtifactError(
            f"{path} is not a state dict of plain arrays ({shown(error):.200}); nothing in it was run. Where it comes from a source that "
            "you trust, load it there with paddle.load, and write paddle.save(network.state_dict(), path)"
        ) from error
    return arrays


def _array(name: object, value: object) -> NDArray[Any]:
    if isinstance(value, tuple) and len(value) == 2:
        value = value[1]
    if not isinstance(name, str) or not isinstance(value, _Array):
        raise pickle.UnpicklingError(
            f"{name if isinstance(name, str) else type(name).__name__!r:.80} is a {type(value).__name__}"
        )
    return value.made()
