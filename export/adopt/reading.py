"""A foreign ONNX file → its graph, with one input of a fixed size; or the reason why not. Nothing in it is run here."""

from __future__ import annotations

import graphlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from ...runtime.artifacts import onnx_file
from ...runtime.artifacts.artifact import PREFIX
from ...runtime.errors import ArtifactError, UsageError
from ...runtime.text import shown
from ..builder import copy

OLDEST = 11  # opset, before which Resize could not say where it samples
LOWEST, PREFERRED = (
    13,
    17,
)  # the oldest that is kept as it is, and what older ones become: JetPack 5's parser stops there
_AXES = {"NCHW": (2, 3), "NHWC": (1, 2)}
_TYPES = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16", TensorProto.UINT8: "uint8"}


@dataclass(frozen=True)
class Input:
    """What the foreign graph takes."""

    name: str
    dtype: str  # as NumPy names it
    layout: str  # "NCHW" or "NHWC"
    batch: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, ...]:
        sizes = {"N": self.batch, "C": 3, "H": self.height, "W": self.width}
        return tuple(sizes[letter] for letter in self.layout)


@dataclass(frozen=True)
class Foreign:
    """A file as it came, but for its input's size, and what it says about itself."""

    model: onnx.ModelProto
    input: Input
    metadata: dict[str, str]
    digest: str  # sha256 of the file and of the weights that lie beside it
    name: str  # of the file


def read(path: Path, resolution: tuple[int, int] | None, batch: int | None) -> Foreign:
    """Read a file, and weights beside it; fix what its input leaves open.

    Args:
        resolution: (height, width) where the file leaves them open.
        batch: where the file leaves it open; default 1.

    Raises:
        ArtifactError: not an ONNX file, or one with control flow, other operator sets, weights elsewhere, several inputs.
        UsageError: a resolution is needed, or another than the file's.
    """
    data = onnx_file.read(path)
    digest = hashlib.sha256(data)
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own exception type is private
        raise ArtifactError(
            f"{path} is truncated or not an ONNX file. Copy it again, or export it again from its own project"
        ) from error
    if not model.graph.node:
        raise ArtifactError(f"{path} holds no graph; expected an ONNX file of a network")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if any(key.startswith(PREFIX) for key in metadata):
        raise UsageError(f"{path} is a file of this project already; every command takes it as it is")
    _load_weights(model, path, digest)
    model = _one_graph(model, str(path))
    _drop_listed_weights(model.graph)
    _sort(model.graph, str(path))
    fixed = _fix_input(model.graph, str(path), resolution, batch)
    return Foreign(model, fixed, metadata, digest.hexdigest(), path.name)


def tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Constants of a graph, those inside its nodes too."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _load_weights(model: onnx.ModelProto, path: Path, digest: hashlib._Hash) -> None:
    folder = path.resolve().parent
    room = onnx_file.MAXIMUM_BYTES
    for name in sorted({location(t) for t in tensors(model.graph) if t.data_location == TensorProto.EXTERNAL}):
        beside = folder / name
        if not name or Path(name).is_absolute() or beside.resolve().parent != folder:
            raise ArtifactError(
                f"{path} keeps weights in {shown(name)[:100]!r}, outside its own folder; expected them beside it. "
                "Put both files into one folder, or save it with its weights inside"
            )
        try:
            room -= beside.stat().st_size
            if room < 0:
                raise ArtifactError(f"{path} and its weights have more than {onnx_file.MAXIMUM_BYTES:,} bytes")
            digest.update(beside.read_bytes())
        except OSError as error:
            raise ArtifactError(
                f"{path} keeps weights in {shown(name)[:100]}, which cannot be read ({error.strerror}). Copy it too"
            ) from None
    try:
        onnx.load_external_data_for_model(model, str(folder))
    except Exception as error:  # an offset beyond the file's end, a link: onnx has several types for them
        raise ArtifactError(
            f"{path} has weights that cannot be read ({shown(error):.200}). Copy both files again"
        ) from None


def location(tensor: onnx.TensorProto) -> str:
    """The file that holds an external tensor."""
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _one_graph(model: onnx.ModelProto, source: str) -> onnx.ModelProto:
    """The standard operators of one opset that this onnx package knows; functions written out, control flow refused."""
    if model.functions:
        from onnx import inliner

        try:
            model = inliner.inline_local_functions(model)
        except Exception as error:  # onnx has several types for functions that make no sense
            raise ArtifactError(f"{source} has functions that cannot be written out ({shown(error):.200})") from None
    if model.graph.sparse_initializer or model.training_info:
        raise ArtifactError(f"{source} has sparse weights or a training inside; expected a graph for inference")
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise ArtifactError(
                f"{source} has the operator {shown(node.op_type):.60} of {shown(node.domain):.60}; expected standard ones. "
                "Export it without plugins or engine-specific optimisation"
            )
        if not onnx.defs.has(node.op_type):
            raise ArtifactError(
                f"{source} has the operator {shown(node.op_type):.60}, which ONNX does not know; expected standard ones. Export it without it"
            )
    newest = onnx.defs.onnx_opset_version()
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if not OLDEST <= opset <= newest:
        raise ArtifactError(
            f"{source} has opset {opset}; expected {OLDEST} to {newest}. Export it again with opset {PREFERRED}"
        )
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", opset))
    return model


def modern(model: onnx.ModelProto, source: str) -> onnx.ModelProto:
    """The same graph in an opset whose operators say everything that is asked for here."""
    if model.opset_import[0].version >= LOWEST:
        return model
    try:
        return onnx.version_converter.convert_version(model, PREFERRED)
    except Exception as error:  # the converter's exceptions are of several types
        raise ArtifactError(
            f"{source} has opset {model.opset_import[0].version}, which cannot be brought to {PREFERRED} "
            f"({shown(error).splitlines()[0]:.200}). Export it again with opset {PREFERRED}"
        ) from None


def _drop_listed_weights(graph: onnx.GraphProto) -> None:
    """Old files list weights among the inputs, so that callers may replace them."""
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)


def _sort(graph: onnx.GraphProto, source: str) -> None:
    """Producers before consumers, which converters forget and engines forgive."""
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    before = {i: [makers[name] for name in _taken(node) if name in makers] for i, node in enumerate(graph.node)}
    if all(place < index for index, places in before.items() for place in places):
        return
    try:
        order = list(graphlib.TopologicalSorter(before).static_order())
    except graphlib.CycleError:
        raise ArtifactError(f"{source} runs in a circle; expected a graph from input to result") from None
    nodes = [copy(graph.node[index]) for index in order]
    del graph.node[:]
    graph.node.extend(nodes)


def _taken(node: onnx.NodeProto) -> Iterator[str]:
    """Names of the tensors that a node needs, in its branches too."""
    yield from node.input
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs]:
            for inner in graph.node:
                yield from _taken(inner)
            yield from (output.name for output in graph.output)


def _fix_input(graph: onnx.GraphProto, source: str, resolution: tuple[int, int] | None, batch: int | None) -> Input:
    if len(graph.input) != 1:
        listed = ", ".join(shown(value.name) for value in graph.input)[:300]
        raise ArtifactError(f"{source} takes {len(graph.input)} inputs ({listed}); expected one image")
    (image,) = graph.input
    kind, dims = image.type.tensor_type, image.type.tensor_type.shape.dim
    known = [d.dim_value if d.HasField("dim_value") else 0 for d in dims]
    shown_shape = "x".join(str(side or "?") for side in known)
    layout = next((name for name, at in (("NCHW", 1), ("NHWC", 3)) if len(known) == 4 and known[at] == 3), None)
    if layout is None or kind.elem_type not in _TYPES:
        raise ArtifactError(
            f"{source} takes {shown(image.name)} of shape {shown_shape}, {helper.tensor_dtype_to_string(kind.elem_type)[12:]}; "
            "expected an image of three channels, Nx3xHxW or NxHxWx3, as float32, float16 or uint8"
        )
    rows, columns = (known[at] for at in _AXES[layout])
    if resolution is None and not (rows and columns):
        raise UsageError(f"{source} leaves its size open ({shown_shape}); say it with --res HxW, such as 1024x2048")
    height, width = resolution or (rows, columns)
    if (rows or height, columns or width) != (height, width):
        raise UsageError(
            f"{source} is for height={rows} width={columns} and --res asks for {height}x{width}. Leave --res out, or export it "
            "again with open sizes"
        )
    if batch is not None and known[0] not in (0, batch):
        raise UsageError(f"{source} is for a batch of {known[0]}; --batch {batch} needs another export")
    fixed = Input(image.name, _TYPES[kind.elem_type], layout, known[0] or batch or 1, height, width)
    for dim, side in zip(dims, fixed.shape, strict=True):
        dim.dim_value = side  # which also forgets the name that it had
    return fixed
