"""Is an ONNX graph one that this project writes, and how much memory would it take? Asked before any engine sees it.

A file of a few kilobytes can ask for terabytes (a constant folded, a tensor padded), read other files as weights, or loop
for ever. So operators are those of `RULES`, weights lie in the file, and the shape of every result is computed here,
from integers alone. What is left for a malicious file to do is to compute wrong labels.

Field numbers are those of onnx.proto3, as in `onnx_wire`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .onnx_wire import MalformedError, fields, name_of, packed, signed

Shape = tuple[int, ...]

MODEL_FIELDS = {1, 2, 3, 4, 5, 6, 7, 8, 14}  # no functions, no training
_GRAPH_FIELDS = {1, 2, 5, 10, 11, 12, 13, 14, 16}  # no sparse weights
_LONGEST = 1 << 40  # a number of elements that no sum of a few thousand overflows
_SIZES = 64  # elements of a constant that may be a shape, an axis or a padding
_INT64 = 7  # TensorProto.DataType


@dataclass(frozen=True)
class Constant:
    shape: Shape
    values: tuple[int, ...] | None  # of short int64 ones


@dataclass
class Node:
    operator: str
    inputs: list[str]
    outputs: list[str]
    numbers: dict[str, tuple[int, ...]] = field(default_factory=dict)  # attributes that are integers

    def number(self, name: str, default: int) -> int:
        return self.numbers.get(name, (default,))[0]


@dataclass
class Known:
    """Shapes of a graph's tensors, as far as they are computed."""

    shapes: dict[str, Shape]
    constants: Mapping[str, Constant]

    def shape(self, node: Node, index: int) -> Shape:
        try:
            return self.shapes[node.inputs[index]]
        except (KeyError, IndexError):
            raise MalformedError(f"{node.operator} takes a tensor that no node before it gives") from None

    def values(self, node: Node, index: int) -> tuple[int, ...]:
        constant = self.constants.get(node.inputs[index]) if index < len(node.inputs) else None
        if constant is None or constant.values is None:
            raise MalformedError(f"{node.operator} takes its sizes from the picture; expected constants")
        return constant.values


def elements(graph: memoryview) -> int:
    """How many elements all tensors of a graph have together.

    Raises:
        MalformedError: not a graph that fastscnn-export writes; says why.
    """
    shapes: dict[str, Shape] = {}
    constants: dict[str, Constant] = {}
    nodes: list[Node] = []
    for number, value in fields(graph):
        if number not in _GRAPH_FIELDS:
            raise MalformedError(f"a part that no export has (graph field {number})")
        if not isinstance(value, memoryview):
            continue
        if number == 5:
            constants[name_of(value, 8)] = _constant(value)
        elif number == 11:
            shapes[name_of(value, 1)] = _declared(value)
        elif number == 1:
            nodes.append(_node(value))
    shapes |= {name: constant.shape for name, constant in constants.items()}
    known = Known(shapes, constants)
    total = sum(math.prod(shape) for shape in shapes.values())
    for node in nodes:
        shape = RULES[node.operator](node, known)
        total += math.prod(shape)
        if min(shape, default=1) < 0 or total > _LONGEST:
            raise MalformedError(f"{node.operator} would give a tensor of shape {shape}"[:200])
        if len(node.outputs) != 1:
            raise MalformedError(f"{node.operator} with {len(node.outputs)} results")
        shapes[node.outputs[0]] = shape
    return total


def _constant(message: memoryview) -> Constant:
    shape: Shape = ()
    kind, values = 0, None
    for number, value in fields(message):
        if number == 1:
            shape += packed(value)
        elif number == 2 and isinstance(value, int):
            kind = value
        elif number in (13, 14) and value:
            raise MalformedError("weights in another file")
        elif number == 9 and isinstance(value, memoryview) and len(value) <= 8 * _SIZES:
            data = bytes(value)
            values = tuple(int.from_bytes(data[at : at + 8], "little", signed=True) for at in range(0, len(data), 8))
        elif number == 7 and isinstance(value, memoryview) and len(value) <= 10 * _SIZES:
            values = (values or ()) + packed(value)
    if min(shape, default=1) < 0 or math.prod(shape) > len(message):  # an element has half a byte or more
        raise MalformedError(f"a constant of shape {shape} in {len(message):,} bytes"[:200])
    return Constant(shape, values if kind == _INT64 else None)


def _declared(message: memoryview) -> Shape:
    """The shape of an input: ValueInfoProto 2 type, TypeProto 1 tensor_type, Tensor 2 shape, 1 dim, 1 dim_value."""
    place = [message]
    for number in (2, 1, 2, 1):
        place = [v for inner in place for n, v in fields(inner) if n == number and isinstance(v, memoryview)]
    shape = tuple(v for dim in place for n, v in fields(dim) if n == 1 and isinstance(v, int))
    if len(shape) != len(place) or not all(0 < side < _LONGEST for side in shape):
        raise MalformedError("an input without a fixed shape")
    return shape


def _node(message: memoryview) -> Node:
    node = Node("", [], [])
    for number, value in fields(message):
        if isinstance(value, int):
            continue
        try:
            text = bytes(value).decode() if number in (1, 2, 4, 7) else ""
        except UnicodeDecodeError:
            raise MalformedError("a name that is no text") from None
        if number in (1, 2):
            (node.inputs if number == 1 else node.outputs).append(text)
        elif number == 4:
            node.operator = text
        elif number == 5:
            name, numbers = _attribute(value)
            node.numbers[name] = numbers
        elif number == 7 and text not in ("", "ai.onnx"):
            raise MalformedError(f"an operator of {text!r:.60}")
    if node.operator not in RULES:
        raise MalformedError(f"the operator {node.operator!r:.60}, which no export has")
    return node


def _attribute(message: memoryview) -> tuple[str, tuple[int, ...]]:
    numbers: tuple[int, ...] = ()
    for number, value in fields(message):
        if number == 3 and isinstance(value, int):
            numbers = (signed(value),)
        elif number == 8:
            numbers += packed(value)
        elif number not in (1, 2, 3, 4, 7, 13, 20):  # name, numbers, text; no tensors and no graphs
            raise MalformedError(f"an attribute that no export has (field {number})")
    return name_of(message, 1), numbers


def _same(node: Node, known: Known) -> Shape:
    return known.shape(node, 0)


def _scaled(node: Node, known: Known) -> Shape:
    if len(node.inputs) != 3:
        raise MalformedError(f"{node.operator} without scale and zero point")
    return known.shape(node, 0)


def _broadcast(first: Shape, second: Shape) -> Shape:
    rank = max(len(first), len(second))
    pairs = [((1,) * (rank - len(s)) + s) for s in (first, second)]
    if any(a != b and 1 not in (a, b) for a, b in zip(*pairs, strict=True)):
        raise MalformedError(f"shapes {first} and {second} together"[:200])
    return tuple(map(max, *pairs)) if rank else ()


def _together(node: Node, known: Known) -> Shape:
    return _broadcast(known.shape(node, 0), known.shape(node, 1))


def _product(node: Node, known: Known) -> Shape:
    first, second = known.shape(node, 0), known.shape(node, 1)
    if min(len(first), len(second)) < 2:
        raise MalformedError(f"a product of shapes {first} and {second}"[:200])
    return (*_broadcast(first[:-2], second[:-2]), first[-2], second[-1])


def _convolution(node: Node, known: Known) -> Shape:
    image, weights = known.shape(node, 0), known.shape(node, 1)
    if len(image) != 4 or len(weights) != 4:
        raise MalformedError(f"a convolution of {image} with {weights}"[:200])
    pads = _four(node.numbers.get("pads", (0, 0, 0, 0)), 4)
    strides, dilations = (_four(node.numbers.get(name, (1, 1)), 2) for name in ("strides", "dilations"))
    if min(pads) < 0 or min(*strides, *dilations) < 1:
        raise MalformedError(f"a convolution with pads {pads}, strides {strides}"[:200])
    sides = [
        max(0, (image[2 + i] + pads[i] + pads[2 + i] - dilations[i] * (weights[2 + i] - 1) - 1) // strides[i] + 1)
        for i in (0, 1)
    ]
    return (image[0], weights[0], *sides)


def _four(values: tuple[int, ...], count: int) -> tuple[int, ...]:
    if len(values) != count:
        raise MalformedError(f"a convolution with {len(values)} numbers where {count} are expected")
    return values


def _resized(node: Node, known: Known) -> Shape:
    if len(known.values(node, 3)) != len(known.shape(node, 0)):
        raise MalformedError("a Resize to another number of axes")
    return known.values(node, 3)


def _padded(node: Node, known: Known) -> Shape:
    shape, pads = known.shape(node, 0), known.values(node, 1)
    if len(pads) != 2 * len(shape) or min(pads, default=0) < 0:
        raise MalformedError(f"a Pad by {pads}"[:200])
    return tuple(side + before + after for side, before, after in zip(shape, pads, pads[len(shape) :], strict=False))


def _joined(node: Node, known: Known) -> Shape:
    shapes = [known.shape(node, index) for index in range(len(node.inputs))]
    if not shapes or len({len(shape) for shape in shapes}) != 1:
        raise MalformedError("a Concat of different ranks")
    axis = _axes((node.number("axis", 0),), len(shapes[0]))[0]
    return tuple(sum(s[i] for s in shapes) if i == axis else max(s[i] for s in shapes) for i in range(len(shapes[0])))


def _turned(node: Node, known: Known) -> Shape:
    shape = known.shape(node, 0)
    order = node.numbers.get("perm", tuple(reversed(range(len(shape)))))
    if sorted(order) != list(range(len(shape))):
        raise MalformedError(f"a Transpose by {order}"[:200])
    return tuple(shape[i] for i in order)


def _reduced(node: Node, known: Known) -> Shape:
    shape = known.shape(node, 0)
    if node.operator == "ArgMax":
        given: Sequence[int] = (node.number("axis", 0),)
    elif len(node.inputs) > 1:
        given = known.values(node, 1)
    else:
        given = node.numbers.get("axes", tuple(range(len(shape))))
    axes = _axes(given, len(shape))
    kept = node.number("keepdims", 1)
    return tuple(1 if i in axes else side for i, side in enumerate(shape) if kept or i not in axes)


def _axes(given: Sequence[int], rank: int) -> list[int]:
    if not all(-rank <= axis < rank for axis in given):
        raise MalformedError(f"axes {tuple(given)} of {rank}"[:200])
    return [axis % rank for axis in given]


RULES: dict[str, Callable[[Node, Known], Shape]] = {
    **dict.fromkeys(("Cast", "Relu", "Clip", "Exp", "Reciprocal", "Sigmoid"), _same),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _scaled),
    **dict.fromkeys(("Add", "Sub", "Mul"), _together),
    **dict.fromkeys(("ReduceMax", "ReduceSum", "ArgMax"), _reduced),
    "MatMul": _product,
    "Conv": _convolution,
    "Resize": _resized,
    "Pad": _padded,
    "Concat": _joined,
    "Transpose": _turned,
}
