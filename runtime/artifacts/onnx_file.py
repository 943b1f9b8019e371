"""Read an ONNX file's description, cut its head off, make its integers unsigned; with nothing but the standard library.

A robot has no `onnx` package, and ONNX Runtime tells a file's metadata only after minutes of memory have gone into a session.
The wire format and the field numbers are those of `onnx_wire`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..errors import ArtifactError
from .artifact import Artifact
from .files import there, whole
from .onnx_graph import MODEL_FIELDS, elements
from .onnx_wire import MalformedError, field, fields, name_of, texts

HEAD = "head."  # the exporter's names for the head's nodes and constants begin so
LOGITS = "logits"  # the tensor that enters the head

MAXIMUM_BYTES = 1 << 30  # the largest network of this project has a few MB
# Elements that a graph may have in all tensors together: for each pixel, for each pixel and class, and in weights. An export
# with every result quantised and taken back has 170 and 5 of them.
_EACH, _EACH_CLASS, _CONSTANTS = 256, 8, 1 << 24


def read(path: str | Path) -> bytes:
    """The file's bytes.

    Raises:
        ArtifactError: missing, unreadable, or too large to be a model of this project.
    """
    if not there(path):
        raise ArtifactError(f"{path} does not exist; expected an ONNX file. Write one with: fastscnn-export -o {path}")
    return whole(path, MAXIMUM_BYTES, "an ONNX file of this project, which has a few million")


def artifact(model: bytes, source: str) -> Artifact:
    """The description inside an ONNX file's bytes; `source` names the file in messages.

    Raises:
        ArtifactError: truncated, not ONNX, or not from this project.
    """
    with _explained(source):
        parts = list(fields(model))
        graphs = [value for number, value in parts if number == 7 and isinstance(value, memoryview)]
        if len(graphs) != 1:
            raise MalformedError("no graph in it" if not graphs else f"{len(graphs)} graphs in it")
        properties = [texts(value) for number, value in parts if number == 14 and isinstance(value, memoryview)]
    described = Artifact.from_metadata({entry[1]: entry.get(2, "") for entry in properties if 1 in entry}, source)
    with _explained(source):
        if strange := {number for number, _ in parts} - MODEL_FIELDS:
            raise MalformedError(f"a part that no export has (model field {min(strange)})")
        _check_size(elements(graphs[0]), described)
    return described


def _check_size(found: int, described: Artifact) -> None:
    """Refuse a graph that would take memory out of all proportion to the pictures that it says it is for."""
    pixels = described.batch * described.height * described.width
    most = pixels * (_EACH + _EACH_CLASS * len(described.classes)) + _CONSTANTS
    if found > most:
        raise MalformedError(
            f"its tensors have {found:,} elements together; expected at most {most:,} for {described.batch} of {described.resolution}"
        )


def outputs(model: bytes) -> list[str]:
    """Names of the graph's results; for bytes that `artifact` has accepted."""
    graphs = [value for number, value in fields(model) if number == 7 and isinstance(value, memoryview)]
    return [name_of(value, 1) for graph in graphs for number, value in fields(graph) if number == 12]


def nodes(model: bytes) -> list[tuple[str, str]]:
    """Name and operator of the graph's nodes, in order; for bytes that `artifact` has accepted."""
    graphs = [value for number, value in fields(model) if number == 7 and isinstance(value, memoryview)]
    return [
        (name_of(value, 3), name_of(value, 4)) for graph in graphs for number, value in fields(graph) if number == 1
    ]


def without_head(model: bytes, source: str) -> bytes:
    """The same network ending at the low-resolution logits: output `logits` (N, C, ~H/8, ~W/8).

    Raises:
        ArtifactError: damaged, or a graph without such a tensor.
    """
    with _explained(source):
        return b"".join(
            field(number, _cut_graph(value) if number == 7 and isinstance(value, memoryview) else value)
            for number, value in fields(model)
        )


def unsigned(model: bytes) -> bytes:
    """A quantised graph with uint8 activations in place of int8; for bytes that `artifact` has accepted.

    The files have int8 with the zero point 0, because TensorRT takes nothing else. ONNX Runtime's CPU kernels multiply
    unsigned by signed, and keep a ReLU between int8 tensors as a float operation of its own. Here 128 stands for zero;
    behind a ReLU 0 does, which makes the ReLU a part of the rounding and lets the same steps reach twice as far.
    """
    return b"".join(
        field(number, _unsigned_graph(value) if number == 7 and isinstance(value, memoryview) else value)
        for number, value in fields(model)
    )


def _unsigned_graph(graph: memoryview) -> bytes:
    nodes = [value for number, value in fields(graph) if number == 1 and isinstance(value, memoryview)]
    operators = {name_of(node, 2): name_of(node, 4) for node in nodes}
    zeros: dict[str, int] = {}  # by the name of the tensor that holds it
    for node in nodes:
        if name_of(node, 4) == "QuantizeLinear":
            source, _, zero = (bytes(value).decode() for number, value in fields(node) if number == 1)  # type: ignore[arg-type]
            zeros[zero] = 0 if operators.get(source) == "Relu" else 128
    return b"".join(
        field(number, _unsigned_zero(value, zeros) if number == 5 and isinstance(value, memoryview) else value)
        for number, value in fields(graph)
    )


def _unsigned_zero(tensor: memoryview, zeros: dict[str, int]) -> bytes | memoryview:
    name = name_of(tensor, 8)
    if name not in zeros:
        return tensor
    return field(2, 2) + field(8, name.encode()) + field(9, bytes([zeros[name]]))


def _cut_graph(graph: memoryview) -> bytes:
    kept: list[bytes] = []
    logits: memoryview | None = None
    for number, value in fields(graph):
        if (
            number == 12
            or (number == 1 and name_of(value, 3).startswith(HEAD))
            or (number == 5 and name_of(value, 8).startswith(HEAD))
        ):
            if number == 12 and name_of(value, 1) == LOGITS:
                logits = value if isinstance(value, memoryview) else None
            continue
        if number == 13 and name_of(value, 1) == LOGITS and isinstance(value, memoryview):
            logits = value
            continue
        kept.append(field(number, value))
    if logits is None:
        raise MalformedError(f"no tensor named {LOGITS!r}, where the head begins")
    return b"".join([*kept, field(12, logits)])


@contextlib.contextmanager
def _explained(source: str) -> Iterator[None]:
    try:
        yield
    except MalformedError as error:
        raise ArtifactError(
            f"{source} is truncated or not an ONNX file of this project ({error}). Copy it again, or export it again with fastscnn-export"
        ) from None
