"""Read an ONNX file's description, cut its head off, make its integers unsigned; with nothing but the standard library.

A robot has no `onnx` package, and ONNX Runtime tells a file's metadata only after minutes of memory have gone into a session.
The Protocol Buffers wire format is simple enough: a message is a run of (field number, wire type, value).
Field numbers are those of onnx.proto3: ModelProto 7 graph, 14 metadata_props; GraphProto 1 node, 5 initializer,
12 output, 13 value_info; NodeProto 1 input, 2 output, 3 name, 4 op_type; ValueInfoProto 1 name; TensorProto 2 data_type
(2 is uint8), 8 name, 9 raw_data; StringStringEntryProto 1 key, 2 value.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from .artifact import Artifact
from .errors import ArtifactError

HEAD = "head."  # the exporter's names for the head's nodes and constants begin so
LOGITS = "logits"  # the tensor that enters the head

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_TEXT = 1 << 16
MAXIMUM_BYTES = 1 << 30  # the largest network of this project has a few MB


def read(path: str | Path) -> bytes:
    """The file's bytes.

    Raises:
        ArtifactError: missing, unreadable, or too large to be a model of this project.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAXIMUM_BYTES:
            raise ArtifactError(f"{path} has {size:,} bytes; a model of this project has a few million. Check the path")
        return path.read_bytes()
    except FileNotFoundError:
        raise ArtifactError(
            f"{path} does not exist; expected an ONNX file. Write one with: fastscnn-export -o {path}"
        ) from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror}); expected an ONNX file") from error


def artifact(model: bytes, source: str) -> Artifact:
    """The description inside an ONNX file's bytes; `source` names the file in messages.

    Raises:
        ArtifactError: truncated, not ONNX, or not from this project.
    """
    with _explained(source):
        fields = list(_fields(model))
        if not any(number == 7 for number, _ in fields):
            raise _MalformedError("no graph in it")
        properties = [_texts(value) for number, value in fields if number == 14 and isinstance(value, memoryview)]
    metadata = {entry[1]: entry.get(2, "") for entry in properties if 1 in entry}
    return Artifact.from_metadata(metadata, source)


def outputs(model: bytes) -> list[str]:
    """Names of the graph's results; for bytes that `artifact` has accepted."""
    graphs = [value for number, value in _fields(model) if number == 7 and isinstance(value, memoryview)]
    return [_name(value, 1) for graph in graphs for number, value in _fields(graph) if number == 12]


def nodes(model: bytes) -> list[tuple[str, str]]:
    """Name and operator of the graph's nodes, in order; for bytes that `artifact` has accepted."""
    graphs = [value for number, value in _fields(model) if number == 7 and isinstance(value, memoryview)]
    return [(_name(value, 3), _name(value, 4)) for graph in graphs for number, value in _fields(graph) if number == 1]


def without_head(model: bytes, source: str) -> bytes:
    """The same network ending at the low-resolution logits: output `logits` (N, C, ~H/8, ~W/8).

    Raises:
        ArtifactError: damaged, or a graph without such a tensor.
    """
    with _explained(source):
        return b"".join(
            _field(number, _cut_graph(value) if number == 7 and isinstance(value, memoryview) else value)
            for number, value in _fields(model)
        )


def unsigned(model: bytes) -> bytes:
    """A quantised graph with uint8 activations in place of int8; for bytes that `artifact` has accepted.

    The files have int8 with the zero point 0, because TensorRT takes nothing else. ONNX Runtime's CPU kernels multiply
    unsigned by signed, and keep a ReLU between int8 tensors as a float operation of its own. Here 128 stands for zero;
    behind a ReLU 0 does, which makes the ReLU a part of the rounding and lets the same steps reach twice as far.
    """
    return b"".join(
        _field(number, _unsigned_graph(value) if number == 7 and isinstance(value, memoryview) else value)
        for number, value in _fields(model)
    )


def _unsigned_graph(graph: memoryview) -> bytes:
    nodes = [value for number, value in _fields(graph) if number == 1 and isinstance(value, memoryview)]
    operators = {_name(node, 2): _name(node, 4) for node in nodes}
    zeros: dict[str, int] = {}  # by the name of the tensor that holds it
    for node in nodes:
        if _name(node, 4) == "QuantizeLinear":
            source, _, zero = (bytes(value).decode() for number, value in _fields(node) if number == 1)  # type: ignore[arg-type]
            zeros[zero] = 0 if operators.get(source) == "Relu" else 128
    return b"".join(
        _field(number, _unsigned_zero(value, zeros) if number == 5 and isinstance(value, memoryview) else value)
        for number, value in _fields(graph)
    )


def _unsigned_zero(tensor: memoryview, zeros: dict[str, int]) -> bytes | memoryview:
    name = _name(tensor, 8)
    if name not in zeros:
        return tensor
    return _field(2, 2) + _field(8, name.encode()) + _field(9, bytes([zeros[name]]))


def _cut_graph(graph: memoryview) -> bytes:
    kept: list[bytes] = []
    logits: memoryview | None = None
    for number, value in _fields(graph):
        if (
            number == 12
            or (number == 1 and _name(value, 3).startswith(HEAD))
            or (number == 5 and _name(value, 8).startswith(HEAD))
        ):
            if number == 12 and _name(value, 1) == LOGITS:
                logits = value if isinstance(value, memoryview) else None
            continue
        if number == 13 and _name(value, 1) == LOGITS and isinstance(value, memoryview):
            logits = value
            continue
        kept.append(_field(number, value))
    if logits is None:
        raise _MalformedError(f"no tensor named {LOGITS!r}, where the head begins")
    return b"".join([*kept, _field(12, logits)])


class _MalformedError(Exception):
    pass


@contextlib.contextmanager
def _explained(source: str) -> Iterator[None]:
    try:
        yield
    except _MalformedError as error:
        raise ArtifactError(
            f"{source} is truncated or not an ONNX file of this project ({error}). Copy it again, or export it again with fastscnn-export"
        ) from None


def _name(message: int | memoryview, number: int) -> str:
    return _texts(message).get(number, "") if isinstance(message, memoryview) else ""


def _texts(message: memoryview) -> dict[int, str]:
    """The short length-delimited fields of a message that are text, by number (names; never weights)."""
    texts: dict[int, str] = {}
    for number, value in _fields(message):
        if isinstance(value, memoryview) and len(value) <= _LONGEST_TEXT and number not in texts:
            with contextlib.suppress(UnicodeDecodeError):
                texts[number] = bytes(value).decode()
    return texts


def _fields(message: bytes | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Walk one message: (field number, number or the bytes of a nested value)."""
    view = memoryview(message)
    at = 0
    while at < len(view):
        tag, at = _varint(view, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise _MalformedError(f"field number 0 at byte {at}")
        if kind == _VARINT:
            value, at = _varint(view, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _varint(view, at)
        elif kind in (_FIXED32, _FIXED64):  # only in messages that are read for their names
            at += 4 if kind == _FIXED32 else 8
            continue
        else:
            raise _MalformedError(f"wire type {kind} at byte {at}")
        if at + length > len(view):
            raise _MalformedError(f"{at + length - len(view):,} bytes are missing at the end")
        yield number, view[at : at + length]
        at += length


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(view) or shift > 63:
            raise _MalformedError(f"a number without an end at byte {at}")
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _field(number: int, value: int | memoryview | bytes) -> bytes:
    if isinstance(value, int):
        return _encoded(number << 3 | _VARINT) + _encoded(value)
    return _encoded(number << 3 | _BYTES) + _encoded(len(value)) + bytes(value)


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
