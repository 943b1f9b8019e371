"""Between a camera's bytes and our decode: the foreign network with our input before it and our head behind it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ...runtime.artifacts.artifact import OUTPUTS, Artifact, printable
from ...runtime.artifacts.onnx_file import HEAD, IR_VERSION, LOGITS
from ..builder import GraphBuilder, copy, value_info
from ..head import add_head
from .ending import Ending
from .normalisation import Affine, Entry, Normalisation
from .still import Still, keep

INPUT = "image"
_OURS = {INPUT, LOGITS, *OUTPUTS.values()}  # names of tensors that mean something to the runtime
_MOVED = "theirs."  # what stands before the names of their tensors that would be taken for ours
_INNER = "input."  # what our own nodes before the network are called, as the exporter has it


def wrapped(
    still: Still, ending: Ending, found: Entry, normalisation: Normalisation, artifact: Artifact
) -> onnx.ModelProto:
    """The whole file: uint8 (N, H, W, 3) BGR → the head that `artifact` tells, with its description inside."""
    model = onnx.ModelProto()
    model.CopyFrom(still.model)
    graph = model.graph
    for node in [node for node in graph.node if found.tensor in node.output]:  # our own input comes in its place
        graph.node.remove(node)
    keep(graph, [ending.logits])
    opset = model.opset_import[0].version
    front = GraphBuilder(artifact.precision, opset)
    front.dtype = np.dtype(found.dtype)
    back = GraphBuilder(artifact.precision, opset)
    back.dtype = np.dtype(ending.dtype)
    names = _rename(graph, {ending.logits: _ordered(back, ending)})
    total, planes = _total(normalisation, found)
    entry = names(found.tensor)
    _take(graph, entry, _Front(graph, entry, found.layout, front, total, planes).write())
    shape = (artifact.batch, len(artifact.classes), artifact.logits_height, artifact.logits_width)
    logits = value_info(LOGITS, back.dtype, shape)
    result = add_head(back, artifact, logits)
    nodes = [*front.nodes, *map(copy, graph.node), *back.nodes]
    whole = helper.make_graph(
        nodes,
        "adopted",
        [value_info(INPUT, np.uint8, (artifact.batch, artifact.height, artifact.width, 3))],
        [result],
        [*front.initializers, *graph.initializer, *back.initializers],
        value_info=[] if artifact.head == "logits" else [logits],
    )
    keep(whole, [result.name])
    made = helper.make_model(
        whole,
        producer_name="fastscnn",
        producer_version=artifact.version,
        ir_version=max(IR_VERSION, helper.find_min_ir_version_for(model.opset_import)),
        opset_imports=[helper.make_opsetid("", opset)],
    )
    helper.set_model_props(made, artifact.to_metadata())
    return made


def _total(normalisation: Normalisation, found: Entry) -> tuple[Affine, list[int]]:
    """What happens to the planes that enter the network, and which plane of a BGR frame each of them is."""
    outer = normalisation.affine
    planes = [2, 1, 0] if normalisation.order == "rgb" else [0, 1, 2]
    if found.turned:
        outer, planes = Affine(outer.gain[::-1], outer.offset[::-1]), planes[::-1]
    return outer.then(found.affine), planes


class _Front:
    """From the bytes of a frame to the tensor that the network goes on with."""

    def __init__(
        self,
        graph: onnx.GraphProto,
        tensor: str,
        layout: str,
        builder: GraphBuilder,
        total: Affine,
        planes: list[int],
    ) -> None:
        self._graph, self._tensor, self._layout = graph, tensor, layout
        self._add, self._total, self._planes = builder, total, planes

    def write(self) -> str:
        add = self._add
        kind = helper.np_dtype_to_tensor_dtype(add.dtype)
        name = add.node("Cast", f"{_INNER}cast", [INPUT], to=kind)
        if self._layout == "NCHW":
            name = add.node("Transpose", f"{_INNER}transpose", [name], perm=[0, 3, 1, 2])
        convolutions = self._convolutions()
        return self._into(convolutions, name) if convolutions else self._before(name)

    def _convolutions(self) -> list[onnx.NodeProto]:
        """The nodes that take the tensor, if scale and order can go into the weights of all of them."""
        following = [node for node in self._graph.node if self._tensor in node.input]
        plain = self._layout == "NCHW" and self._total.gain.all()
        return following if plain and all(map(self._takes_weights, following)) else []

    def _takes_weights(self, node: onnx.NodeProto) -> bool:
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type != "Conv" or node.input[0] != self._tensor or given.get("group", 1) != 1:
            return False
        return any(t.name == node.input[1] and tuple(t.dims)[1:2] == (3,) for t in self._graph.initializer)

    def _into(self, convolutions: list[onnx.NodeProto], name: str) -> str:
        """Scale and order into the weights; the mean stays a subtraction, because padding comes after it."""
        weights = {tensor.name: tensor for tensor in self._graph.initializer}
        gain, planes = self._total.gain, self._planes
        for index, node in enumerate(convolutions):
            theirs = numpy_helper.to_array(weights[node.input[1]])
            turned = np.empty_like(theirs)
            for channel, plane in enumerate(planes):
                turned[:, plane] = (theirs[:, channel] * gain[channel]).astype(theirs.dtype)
            # Under a name of its own: the weights may serve twice.
            node.input[1] = self._add.constant(f"{_INNER}weights.{index}", turned, theirs.dtype)
        mean = np.empty(3)
        mean[planes] = -self._total.offset / gain
        if not mean.any():
            return name
        value = self._add.constant(f"{_INNER}mean.value", mean.reshape(1, 3, 1, 1))
        return self._add.node("Sub", f"{_INNER}mean", [name, value])

    def _before(self, name: str) -> str:
        """Scale and order as nodes of their own, where something else than convolutions takes the picture."""
        add, channel = self._add, self._layout.index("C")
        shape = [3 if axis == channel else 1 for axis in range(4)]
        if self._planes != [0, 1, 2]:
            places = add.constant(f"{_INNER}order.places", np.array(self._planes, np.int64))
            name = add.node("Gather", f"{_INNER}order", [name, places], axis=channel)
        for kind, values, idle in (("Mul", self._total.gain, 1), ("Add", self._total.offset, 0)):
            if (values != idle).any():
                step = _INNER + {"Mul": "scale", "Add": "shift"}[kind]
                name = add.node(kind, step, [name, add.constant(f"{step}.value", values.reshape(shape))])
        return name


def _ordered(back: GraphBuilder, ending: Ending) -> str:
    """Nodes from the network's logits to ours, (N, C, h, w) of at least two classes; gives what theirs must be called."""
    steps: list[tuple[str, list[str], dict[str, Any]]] = []
    if ending.layout == "NHWC":
        steps.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))
    if (
        ending.classes == 1
    ):  # one logit is the second of two whose first is zero: sigmoid and soft-max are then the same
        pads = back.constant("logits.pads", np.array([0, 1, 0, 0, 0, 0, 0, 0], np.int64))
        steps.append(("Pad", [pads], {}))
    name = theirs = LOGITS if not steps else "logits.theirs"
    for index, (kind, further, attributes) in enumerate(steps):
        last = index == len(steps) - 1
        name = back.node(kind, LOGITS if last else f"logits.{index}", [name, *further], **attributes)
    return theirs


def _take(graph: onnx.GraphProto, theirs: str, ours: str) -> None:
    """Let every node that took one tensor take another."""
    for node in graph.node:
        node.input[:] = [ours if name == theirs else name for name in node.input]


def _rename(graph: onnx.GraphProto, fixed: Mapping[str, str]) -> Callable[[str], str]:
    """Move out of the way what is called like ours, give nodes a name each; gives the new name of a tensor.

    Args:
        fixed: tensors whose new names are known.
    """
    new: dict[str, str] = {"": "", **fixed}

    def tensor(name: str) -> str:
        if name not in new:
            plain = name if printable(name) else f"tensor_{len(new)}"
            ours = plain in _OURS or plain.startswith((HEAD, _INNER, f"{LOGITS}.", _MOVED))
            new[name] = f"{_MOVED}{plain}" if ours else plain
        return new[name]

    taken: set[str] = set()
    for weights in graph.initializer:
        weights.name = tensor(weights.name)
        weights.ClearField("doc_string")
    for index, node in enumerate(graph.node):
        node.input[:] = map(tensor, node.input)
        node.output[:] = map(tensor, node.output)
        base = re.sub(r"\s", "_", node.name.strip("/").replace("/", ".")) if printable(node.name) else ""
        if not base or base in taken or base.startswith((HEAD, _INNER)):
            base = f"{node.op_type}_{index}"
        node.name = base
        taken.add(base)
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
        node.ClearField("domain")
    return tensor
