"""A graph whose every shape is a number: what exporters compute from the picture's size is computed here, once.

Only whole numbers and other small constants are computed, by onnx's reference implementation; weights stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from ...runtime.errors import ArtifactError
from ...runtime.text import shown
from ..builder import copy

_SMALL = 1 << 12  # elements of what is computed here; shapes, and tables of a few numbers
_ROUNDS = 8  # each finds shapes that hang on the values of the one before
_RANDOM = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial")
_AUTO_PADDED = ("Conv", "MaxPool", "AveragePool")
_NEVER_SMALL = ("ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize")  # unless their shape is known beforehand


@dataclass
class Still:
    """A model without dynamic shapes, and the shapes."""

    model: onnx.ModelProto
    shapes: dict[str, tuple[int, ...]]
    types: dict[str, int]  # TensorProto.DataType

    @property
    def graph(self) -> onnx.GraphProto:
        return self.model.graph

    def producers(self) -> dict[str, onnx.NodeProto]:
        return {name: node for node in self.graph.node for name in node.output if name}

    def constants(self) -> dict[str, onnx.TensorProto]:
        return {tensor.name: tensor for tensor in self.graph.initializer}


def still(model: onnx.ModelProto, source: str) -> Still:
    """Compute what can be computed without a picture, in a copy.

    Raises:
        ArtifactError: an ill-formed graph.
    """
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    del copied.graph.value_info[:]
    _gather_constants(copied.graph, source)
    shapes: dict[str, tuple[int, ...]] = {}
    types: dict[str, int] = {}
    for _ in range(_ROUNDS):
        _drop_idle(copied.graph)
        shapes, types = _inferred(copied, source)
        if not _computed(copied, shapes):
            break
    _state_padding(copied.graph, shapes)
    _state_sizes(copied.graph, shapes)
    keep(copied.graph, [output.name for output in copied.graph.output])
    if forks := [node.op_type for node in copied.graph.node if _branches(node)]:
        raise ArtifactError(
            f"{source} branches or loops ({forks[0]}) by what is in the picture; expected one straight graph. Export it for a fixed "
            "size, or simplify it with onnxslim"
        )
    return Still(copied, shapes, types)


def small(tensor: onnx.TensorProto | None) -> NDArray[Any] | None:
    """A constant's value, if it is short and what it claims to be."""
    if tensor is None or not 0 <= math.prod(tensor.dims) <= _SMALL:
        return None
    try:
        return numpy_helper.to_array(tensor)
    except Exception:  # bytes that do not fit the shape: onnx has several types for it
        return None


def keep(graph: onnx.GraphProto, results: Iterable[str]) -> None:
    """Drop nodes and constants that no result hangs on."""
    needed = set(results)
    nodes = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    kept = [copy(node) for node in reversed(nodes)]
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(weights)


def _gather_constants(graph: onnx.GraphProto, source: str) -> None:
    kept = []
    for node in graph.node:
        if node.op_type != "Constant":
            kept.append(node)
            continue
        (attribute,) = node.attribute
        value = helper.get_attribute_value(attribute)
        if isinstance(value, onnx.SparseTensorProto):
            raise ArtifactError(f"{source} has sparse constants; expected plain ones")
        if not isinstance(value, onnx.TensorProto):
            kind = np.int64 if attribute.name in ("value_int", "value_ints") else np.float32
            value = numpy_helper.from_array(np.asarray(value, kind))
        tensor = graph.initializer.add()
        tensor.CopyFrom(value)
        tensor.name = node.output[0]
    kept = [copy(node) for node in kept]
    del graph.node[:]
    graph.node.extend(kept)


def _drop_idle(graph: onnx.GraphProto) -> None:
    """Identity and Dropout, unless a result of the graph is called after one."""
    results = {output.name for output in graph.output}
    same: dict[str, str] = {}
    kept = []
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = same.get(name, name)
        idle = node.op_type == "Identity" or (node.op_type == "Dropout" and len(node.input) < 3)
        if idle and node.output[0] not in results:
            same[node.output[0]] = node.input[0]
        else:
            kept.append(copy(node))
    del graph.node[:]
    graph.node.extend(kept)


def _inferred(model: onnx.ModelProto, source: str) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:  # onnx has several types for a graph that makes no sense
        raise ArtifactError(
            f"{source} is not a sound graph ({shown(error).splitlines()[0]:.200}). Export it again from its own project"
        ) from None
    shapes = {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
    types = {tensor.name: tensor.data_type for tensor in inferred.initializer}
    for value in [*inferred.input, *inferred.value_info, *inferred.output]:
        kind = value.type.tensor_type
        types[value.name] = kind.elem_type
        if kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim):
            shapes[value.name] = tuple(d.dim_value for d in kind.shape.dim)
    return shapes, types


def _computed(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Replace nodes by what they give, where that hangs on no picture and is small; tells whether there was any."""
    graph = model.graph
    known = {t.name: value for t in graph.initializer if (value := small(t)) is not None}
    results = {output.name for output in graph.output}
    kept, found = [], False
    for node in graph.node:
        if node.op_type == "If" and node.input[0] in known:
            kept += _taken(node, bool(known[node.input[0]]), graph)
            found = True
            continue
        value = _value(node, known, shapes, model.opset_import)
        if value is None or len(node.output) != 1 or node.output[0] in results:
            kept.append(copy(node))
            continue
        found = True
        known[node.output[0]] = value
        graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)
    return found


def _branches(node: onnx.NodeProto) -> bool:
    return any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)


def _taken(node: onnx.NodeProto, condition: bool, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The branch of an If that is always taken, its tensors under names of their own."""
    branch = helper.get_node_attr_value(node, "then_branch" if condition else "else_branch")
    inner = {name for one in branch.node for name in one.output} | {tensor.name for tensor in branch.initializer}
    names = {name: f"{node.output[0]}/{name}" for name in inner}
    results = {output.name: name for output, name in zip(branch.output, node.output, strict=True)}
    for tensor in branch.initializer:
        added = graph.initializer.add()
        added.CopyFrom(tensor)
        added.name = names[tensor.name]
    nodes = [copy(one) for one in branch.node]
    for one in nodes:
        one.input[:] = [names.get(name, name) for name in one.input]
        one.output[:] = [names.get(name, name) for name in one.output]
    nodes += [helper.make_node("Identity", [names.get(name, name)], [result]) for name, result in results.items()]
    holder = onnx.GraphProto(node=nodes)
    _gather_constants(holder, "")
    graph.initializer.extend(holder.initializer)
    return [copy(one) for one in holder.node]


def _value(
    node: onnx.NodeProto, known: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]], opsets: Any
) -> NDArray[Any] | None:
    if node.op_type == "Shape" and node.input[0] in shapes:
        attributes = {a.name: a.i for a in node.attribute}
        return np.array(shapes[node.input[0]][attributes.get("start", 0) : attributes.get("end")], np.int64)
    if node.op_type in _RANDOM or not all(name in known for name in node.input if name) or not node.input:
        return None
    shape = shapes.get(node.output[0])
    if (shape is None and node.op_type in _NEVER_SMALL) or math.prod(shape or ()) > _SMALL:
        return None
    from onnx.reference import ReferenceEvaluator

    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(known[name].dtype), known[name].shape)
        for name in dict.fromkeys(node.input)
        if name
    ]
    output = onnx.ValueInfoProto(name=node.output[0])
    small = helper.make_model(helper.make_graph([node], "one", inputs, [output]), opset_imports=list(opsets))
    try:
        with np.errstate(all="ignore"):
            (value,) = ReferenceEvaluator(small).run(None, {v.name: known[v.name] for v in inputs})
    except Exception:  # an operator that the reference does not have; the graph keeps it
        return None
    return np.asarray(value) if np.size(value) <= _SMALL else None


def _state_padding(graph: onnx.GraphProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """`auto_pad` as numbers."""
    for node in graph.node:
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        kind = given.pop("auto_pad", b"NOTSET")
        if node.op_type not in _AUTO_PADDED or kind == b"NOTSET" or len(shapes.get(node.input[0], ())) != 4:
            continue
        pads = [0, 0, 0, 0]
        if kind != b"VALID":
            sides = shapes[node.input[0]][2:]
            kernel = given.get("kernel_shape") or list(shapes[node.input[1]][2:])
            steps, spread = given.get("strides", [1, 1]), given.get("dilations", [1, 1])
            for i in (0, 1):
                reach = (kernel[i] - 1) * spread[i] + 1
                missing = max((-(-sides[i] // steps[i]) - 1) * steps[i] + reach - sides[i], 0)
                less, more = missing // 2, missing - missing // 2
                pads[i], pads[2 + i] = (less, more) if kind == b"SAME_UPPER" else (more, less)
        del node.attribute[:]
        node.attribute.extend(helper.make_attribute(name, value) for name, value in {**given, "pads": pads}.items())


def _state_sizes(graph: onnx.GraphProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Sizes in place of scales, where a Resize means the same by them: its scale is the sizes' ratio."""
    constants = {t.name: t for t in graph.initializer}
    for node in graph.node:
        before, after = shapes.get(node.input[0]) if node.input else None, shapes.get(node.output[0])
        if node.op_type != "Resize" or before is None or after is None or len(node.input) != 3:
            continue
        scales = constants.get(node.input[2])
        factors = small(scales)
        if factors is None or not exact(factors, before, after):
            continue
        name = f"{node.output[0]}.sizes"
        graph.initializer.append(numpy_helper.from_array(np.array(after, np.int64), name))
        del node.input[1:]
        node.input.extend(["", "", name])


def exact(scales: NDArray[Any], before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Whether a Resize by `scales` samples where one to the size `after` does."""
    if len(scales) != len(before):
        return False
    return all(abs(float(s) * b - a) < 1e-3 for s, b, a in zip(scales, before, after, strict=True))
