"""Checkpoints whose pickle names more than tensors, read without calling anything that they name.

Training frameworks leave loggers, NumPy scalars and configurations beside the weights, for which PyTorch's own safe reader
refuses the whole file. Here the few names that build tensors stand for code of this module, and every other name for an
inert object, which takes whatever is done to it and does nothing.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

_DTYPES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32, "ShortStorage": torch.int16,
    "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip
_MOST_DIMENSIONS = 16


class Inert:
    """Stands for an object of a class that the file names; nothing of that class exists here."""

    name = "an unknown object"  # module.Class, by the file

    def __init__(self, *_: object, **__: object) -> None: ...

    def __call__(self, *_: object, **__: object) -> Inert:
        return Inert()

    def __setstate__(self, state: object) -> None: ...

    def __setitem__(self, key: object, value: object) -> None: ...

    def append(self, value: object) -> None: ...

    def extend(self, values: object) -> None: ...

    def add(self, value: object) -> None: ...


class _Storage:
    """Numbers without a shape: a view of the file's bytes."""

    __slots__ = ("numbers",)

    def __init__(self, numbers: Tensor) -> None:
        self.numbers = numbers


class _Reader(pickle._Unpickler):
    """Python's own reader, not the one in C, which gives a memo of any size that a file of ten bytes asks for."""

    dispatch: ClassVar[dict[int, Any]] = {
        code: read
        for code, read in pickle._Unpickler.dispatch.items()
        if code not in (pickle.BYTEARRAY8[0], pickle.NEXT_BUFFER[0])
    }

    def __init__(self, data: bytes, storage: Callable[[str], bytes]) -> None:
        super().__init__(io.BytesIO(data))
        self._storage = storage
        self._read: dict[str, bytearray] = {}

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in made for this once: a pickle can set attributes of what it is given."""
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_tensor"):
            return lambda *arguments: _tensor(*arguments[:4])
        if module == "torch._utils" and name == "_rebuild_parameter":
            return lambda tensor, *_: tensor if isinstance(tensor, Tensor) else Inert()
        if (module, name) == ("collections", "OrderedDict"):
            return lambda *pairs: OrderedDict(*pairs)
        return type("Inert", (Inert,), {"name": f"{module}.{name}"[:120]})

    def persistent_load(self, identity: Any) -> Any:
        kind, dtype, key, _, count = identity
        if kind != "storage" or not isinstance(dtype, torch.dtype) or type(key) is not str or type(count) is not int:
            raise pickle.UnpicklingError("a storage of another kind")
        if key not in self._read:
            self._read[key] = bytearray(self._storage(key))
        data = self._read[key]
        if count < 0 or count * dtype.itemsize > len(data):
            raise pickle.UnpicklingError(f"storage {key!r:.40} is shorter than it claims")
        return _Storage(torch.frombuffer(data, dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype))


def read(data: bytes) -> Any:
    """What `torch.save` wrote into a zip archive: tensors, plain values, and `Inert` for all else.

    Raises:
        pickle.UnpicklingError, or whatever damaged bytes happen to mean.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        root = pickled.removesuffix("data.pkl")
        order = f"{root}byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise pickle.UnpicklingError("its numbers are in big-endian order")
        return _Reader(archive.read(pickled), lambda key: archive.read(f"{root}data/{key}")).load()


def _tensor(storage: Any, offset: Any, size: Any, stride: Any) -> Tensor:
    """A view of what the storage holds there; shapes that repeat it, which can be of any size, are refused."""
    numbers = [offset, *size, *stride]
    if not isinstance(storage, _Storage) or len(size) != len(stride) or len(size) > _MOST_DIMENSIONS:
        raise pickle.UnpicklingError("a tensor without plain numbers")
    if not all(type(n) is int and 0 <= n < 2**40 for n in numbers):
        raise pickle.UnpicklingError("a tensor whose shape is none")
    held, wanted, last = storage.numbers.numel(), 1, offset
    for side, step in zip(size, stride, strict=True):
        wanted *= side
        last += (side - 1) * step
        if wanted > held:
            raise pickle.UnpicklingError("a tensor that is larger than its storage")
    if wanted and last >= held:
        raise pickle.UnpicklingError("a tensor that ends outside its storage")
    return (
        storage.numbers.as_strided(size, stride, offset) if wanted else torch.empty(size, dtype=storage.numbers.dtype)
    )
