"""Read an ONNX file's description and cut its head off, with nothing but the standard library.

A robot has no `onnx` package, and ONNX Runtime tells a file's metadata only after minutes of memory have gone into a session.
The wire format and the field numbers are those of `onnx_wire`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..errors import ArtifactError
from .artifact import OUTPUTS, PREFIX, Artifact
from .files import there, whole
from .onnx_graph import MODEL_FIELDS, Elements, Node, elements, read_node, read_nodes
from .onnx_operators import OPERATORS
from .onnx_wire import ChangedError, MalformedError, field, fields, name_of, pieces, tensor_info, texts

HEAD = "head."  # the exporter's names for the head's nodes and constants begin so
OPSET = 17  # that the exporter writes: JetPack 5's parser stops there
IR_VERSION = 8  # of the same age
LOGITS = "logits"  # the tensor that enters the head

_GIVE = "Give the file that fastscnn-export or fastscnn-quantize wrote"
_ONNX_RUNTIME = "com.microsoft.nchwc"  # operators of its own, which it names in every file that it saves
_FLOAT, _FLOAT16 = 1, 10  # TensorProto.DataType

MAXIMUM_BYTES = 1 << 30  # the largest network of this project has a few MB
# Elements that may live at once: for each pixel, for each pixel and class, and whatever the picture. PIDNet-S has 39 in all.
_EACH, _EACH_CLASS, _LEAST = 256, 8, 1 << 24
_TIMES = 64  # as many as those may all tensors together have; more would be minutes of work


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
    with _explained(source, model):
        parts = list(fields(model))
        graphs = [value for number, value in parts if number == 7 and isinstance(value, memoryview)]
        if len(graphs) != 1:
            raise MalformedError("no graph in it" if not graphs else f"{len(graphs)} graphs in it")
        properties = _properties(model)
        if not any(key.startswith(PREFIX) for key in properties) and _looks_like_an_export(graphs[0]):
            raise ArtifactError(
                f"{source} has lost this project's description: {_changed(model)}, or put the description back: fastscnn-export --describe ORIGINAL.onnx {source}"
            )
    told = Artifact.from_metadata(properties, source)
    with _explained(source, model):
        if strange := {number for number, _ in parts} - MODEL_FIELDS:
            raise ChangedError(f"a part that no export has (model field {min(strange)})")
        check_size(elements(graphs[0], OPERATORS), told.batch * told.height * told.width, len(told.classes))
        if told.precision == "int8" and _saved_by_onnx_runtime(model):  # other labels on 0.8% of pixels in OpenVINO
            raise ChangedError("its biases are rounded for ONNX Runtime alone")
    return told


def _properties(model: bytes) -> dict[str, str]:
    entries = [texts(value) for number, value in fields(model) if number == 14 and isinstance(value, memoryview)]
    return {entry[1]: entry.get(2, "") for entry in entries if 1 in entry}


def _looks_like_an_export(graph: memoryview) -> bool:
    names = {number: {name_of(value, 1) for n, value in fields(graph) if n == number} for number in (11, 12)}
    return "image" in names[11] and bool(names[12] & set(OUTPUTS.values()))


def described(model: bytes, artifact: Artifact) -> bytes:
    """The model with this description in place of what it has of one."""
    kept = b"".join(
        field(number, value)
        for number, value in fields(model)
        if not (number == 14 and name_of(value, 1).startswith(PREFIX))
    )
    return kept + b"".join(
        field(14, field(1, key.encode()) + field(2, value.encode())) for key, value in artifact.to_metadata().items()
    )


def check_size(found: Elements, pixels: int, classes: int) -> None:
    """Refuse a graph that would take memory, or time, out of all proportion to the pictures that it is for.

    Raises:
        ChangedError: with both numbers.
    """
    most = pixels * (_EACH + _EACH_CLASS * classes) + _LEAST
    if found.peak > most:
        raise ChangedError(
            f"its tensors have {found.peak:,} elements at once; expected at most {most:,} for {pixels:,} pixels"
        )
    if found.total > _TIMES * most:
        raise ChangedError(
            f"its tensors have {found.total:,} elements together; expected at most {_TIMES * most:,} for {pixels:,} pixels"
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


def newer(model: bytes) -> str:
    """In what a file is newer than the exporter's, which only another tool can have made it; empty where in nothing."""
    ages = {"ir_version": IR_VERSION, "opset": OPSET}
    found = dict.fromkeys(ages, 0)
    for number, value in fields(model):
        if number == 1 and isinstance(value, int):
            found["ir_version"] = value
        elif number == 8 and isinstance(value, memoryview) and name_of(value, 1) in ("", "ai.onnx"):
            found["opset"] = next((v for n, v in fields(value) if n == 2 and isinstance(v, int)), 0)
    return " and ".join(
        f"{what} {found[what]} (fastscnn-export writes {ours})" for what, ours in ages.items() if found[what] > ours
    )


def head(model: bytes) -> tuple[frozenset[str], frozenset[str]]:
    """What stands behind the logits: names of its nodes' results, and of the constants that they take.

    Found by what feeds what, because other tools rename nodes and merge constants. For bytes that `artifact` has accepted.
    """
    graph = _graph(model)
    nodes = read_nodes(graph)
    network = {output for node in _feeding(nodes) for output in node.outputs}
    behind = [node for node in nodes if not network.intersection(node.outputs)]
    constants = {name_of(value, 8) for number, value in fields(graph) if number == 5}
    taken = {name for node in behind for name in node.inputs}
    return frozenset(name for node in behind for name in node.outputs), frozenset(taken & constants)


def without_head(model: bytes, source: str) -> bytes:
    """The same network ending at the low-resolution logits: output `logits` (N, C, ~H/8, ~W/8).

    What other tools wrote down about types and shapes within the graph is left out: `unsigned` would make it untrue.

    Raises:
        ArtifactError: damaged, or a graph without such a tensor.
    """
    with _explained(source, model):
        parts: list[memoryview | bytes] = []
        for number, value in fields(model):
            graph = number == 7 and isinstance(value, memoryview)
            parts += pieces(number, *_cut_graph(value, model)) if graph else pieces(number, value)  # type: ignore[arg-type]
        return b"".join(parts)


def _graph(model: bytes) -> memoryview:
    return next(value for number, value in fields(model) if number == 7 and isinstance(value, memoryview))


def _feeding(nodes: list[Node]) -> list[Node]:
    """The nodes that the logits depend on, in order; none where no node gives the logits."""
    wanted = {LOGITS}
    found = []
    for node in reversed(nodes):  # a graph's nodes stand in the order in which they run
        if wanted.intersection(node.outputs):
            wanted.update(node.inputs)
            found.append(node)
    return found[::-1]


def _cut_graph(graph: memoryview, model: bytes) -> list[memoryview | bytes]:
    """Parts of the graph that are yet to be joined: weights are copied once."""
    nodes = [
        read_node(value, wiring=True)
        for number, value in fields(graph)
        if number == 1 and isinstance(value, memoryview)
    ]
    network = _feeding(nodes)
    if not network:
        raise ChangedError(f"no tensor named {LOGITS!r}, where the head begins")
    made = {name for node in network for name in node.outputs}
    used = {name for node in network for name in node.inputs}
    kept: list[memoryview | bytes] = []
    logits: bytes | memoryview | None = None
    standing = iter(nodes)
    for number, value in fields(graph):
        if number in (12, 13):
            if name_of(value, 1) == LOGITS and isinstance(value, memoryview):
                logits = value
            continue
        unwanted = number == 5 and name_of(value, 8) not in used
        if number == 1 and isinstance(value, memoryview):
            unwanted = not made.intersection(next(standing).outputs)
        if not unwanted:
            kept += pieces(number, value)
    if logits is None:
        told = Artifact.from_metadata(_properties(model), "the model")
        shape = (told.batch, len(told.classes), told.logits_height, told.logits_width)
        logits = tensor_info(LOGITS, _FLOAT16 if told.precision == "fp16" else _FLOAT, shape)
    return [*kept, *pieces(12, logits)]


def _saved_by_onnx_runtime(model: bytes) -> bool:
    return any(number == 8 and name_of(value, 1) == _ONNX_RUNTIME for number, value in fields(model))


def _changed(model: bytes) -> str:
    """Who changed a file that is sound, as far as it shows, and what to do."""
    saved = False
    with contextlib.suppress(MalformedError):
        saved = _saved_by_onnx_runtime(model)
    who = "ONNX Runtime saved it after optimising it for one machine" if saved else "another tool changed it"
    return f"{who}. {_GIVE}"


@contextlib.contextmanager
def _explained(source: str, model: bytes) -> Iterator[None]:
    try:
        yield
    except ChangedError as error:
        raise ArtifactError(f"{source} is not as fastscnn-export wrote it ({error}): {_changed(model)}") from None
    except MalformedError as error:
        raise ArtifactError(
            f"{source} is truncated or not an ONNX file of this project ({error}). Copy it again, or export it again with fastscnn-export"
        ) from None
