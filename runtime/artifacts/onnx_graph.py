"""Is an ONNX graph one that this project writes, and how much memory would it take? Asked before any engine sees it.

`RULES` are the operators of Fast-SCNN; `onnx_operators` has those that adopted networks add.

A file of a few kilobytes can ask for terabytes (a constant folded, a tensor padded), read other files as weights, or loop
for ever. So operators are those of such a table, weights lie in the file, and the shape of every result is computed here,
from integers alone. What is left for a malicious file to do is to compute wrong labels.

Field numbers are those of onnx.proto3, as in `onnx_wire`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .onnx_wire import ChangedError, MalformedError, fields, name_of, packed, signed, text_of

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
    constant: Constant | None = None  # what a Constant gives

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
            raise ChangedError(f"{node.operator} takes a tensor that no node before it gives") from None

    def values(self, node: Node, index: int) -> tuple[int, ...]:
        constant = self.constants.get(node.inputs[index]) if index < len(node.inputs) else None
        if constant is None or constant.values is None:
            raise ChangedError(f"{node.operator} takes its sizes from the picture; expected constants")
        return constant.values


@dataclass(frozen=True)
class Elements:
    """How many a graph's tensors have. Constants are left out: the file itself holds them."""

    total: int  # of all tensors together: time
    peak: int  # of those that live at once, as the nodes stand: memory


def elements(graph: memoryview, rules: Rules | None = None) -> Elements:
    """How many elements the tensors of a graph have.

    Raises:
        ChangedError: not a graph that this project writes; says why.
    """
    rules = RULES if rules is None else rules
    shapes: dict[str, Shape] = {}
    constants: dict[str, Constant] = {}
    nodes: list[Node] = []
    kept: set[str] = set()  # the graph's results
    for number, value in fields(graph):
        if number not in _GRAPH_FIELDS:
            raise ChangedError(f"a part that no export has (graph field {number})")
        if not isinstance(value, memoryview):
            continue
        if number == 5:
            constants[name_of(value, 8)] = _constant(value)
        elif number == 12:
            kept.add(name_of(value, 1))
        elif number == 11:
            shapes[name_of(value, 1)] = _declared(value)
        elif number == 1:
            nodes.append(read_node(value))
    lives = dict(shapes)
    shapes |= {name: constant.shape for name, constant in constants.items()}
    known = Known(shapes, constants)
    last = {name: place for place, node in enumerate(nodes) for name in node.inputs}
    total = now = peak = sum(math.prod(shape) for shape in lives.values())
    for place, node in enumerate(nodes):
        if node.operator not in rules:
            raise ChangedError(f"the operator {node.operator!r:.60}, which no export has")
        if node.constant is not None:
            constants.update(dict.fromkeys(node.outputs, node.constant))
        found = rules[node.operator](node, known)
        results = found if isinstance(found, list) else [found]
        if len(node.outputs) != len(results):
            raise ChangedError(f"{node.operator} with {len(node.outputs)} results")
        for name, shape in zip(node.outputs, results, strict=True):
            size = math.prod(shape)
            total, now = total + size, now + size
            if min(shape, default=1) < 0 or total > _LONGEST:
                raise ChangedError(f"{node.operator} would give a tensor of shape {shape}"[:200])
            shapes[name] = lives[name] = shape
        peak = max(peak, now)
        for name in {*node.inputs, *node.outputs}:
            if name in lives and last.get(name, place) == place and name not in kept:
                now -= math.prod(lives.pop(name))
    return Elements(total, peak)


def _constant(message: memoryview) -> Constant:
    shape: Shape = ()
    kind, values = 0, None
    for number, value in fields(message):
        if number == 1:
            shape += packed(value)
        elif number == 2 and isinstance(value, int):
            kind = value
        elif number in (13, 14) and value:
            raise ChangedError("weights in another file")
        elif number == 9 and isinstance(value, memoryview) and len(value) <= 8 * _SIZES:
            data = bytes(value)
            values = tuple(int.from_bytes(data[at : at + 8], "little", signed=True) for at in range(0, len(data), 8))
        elif number == 7 and isinstance(value, memoryview) and len(value) <= 10 * _SIZES:
            values = (values or ()) + packed(value)
    if min(shape, default=1) < 0 or math.prod(shape) > len(message):  # an element has half a byte or more
        raise ChangedError(f"a constant of shape {shape} in {len(message):,} bytes"[:200])
    return Constant(shape, values if kind == _INT64 else None)


def _declared(message: memoryview) -> Shape:
    """The shape of an input: ValueInfoProto 2 type, TypeProto 1 tensor_type, Tensor 2 shape, 1 dim, 1 dim_value."""
    place = [message]
    for number in (2, 1, 2, 1):
        place = [v for inner in place for n, v in fields(inner) if n == number and isinstance(v, memoryview)]
    shape = tuple(v for dim in place for n, v in fields(dim) if n == 1 and isinstance(v, int))
    if len(shape) != len(place) or not all(0 < side < _LONGEST for side in shape):
        raise ChangedError("an input without a fixed shape")
    return shape


def read_node(message: memoryview, *, wiring: bool = False) -> Node:
    """One NodeProto; of its operator, inputs and results alone where only the `wiring` is wanted.

    Raises:
        ChangedError: no export has such a node.
    """
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
        elif number == 5 and not wiring:
            name, numbers, tensor = _attribute(value)
            node.numbers[name] = numbers
            node.constant = tensor or node.constant
        elif number == 7 and text not in ("", "ai.onnx"):
            raise ChangedError(f"an operator of {text!r:.60}")
    if not wiring and (node.operator == "Constant") != (node.constant is not None):
        raise ChangedError(f"{node.operator} with a tensor of its own, or a Constant without one")
    return node


def read_nodes(graph: memoryview) -> list[Node]:
    """All nodes of a GraphProto, in order."""
    return [read_node(value) for number, value in fields(graph) if number == 1 and isinstance(value, memoryview)]


def _attribute(message: memoryview) -> tuple[str, tuple[int, ...], Constant | None]:
    numbers: tuple[int, ...] = ()
    tensor, name = None, ""
    for number, value in fields(message):
        if number == 1:
            name = name or text_of(value) or ""
        elif number == 3 and isinstance(value, int):
            numbers = (signed(value),)
        elif number == 8:
            numbers += packed(value)
        elif number == 5 and isinstance(value, memoryview):
            tensor = _constant(value)
        elif number not in (2, 3, 4, 7, 13, 20):  # numbers, text; no graphs
            raise ChangedError(f"an attribute that no export has (field {number})")
    return name, numbers, tensor


def same(node: Node, known: Known) -> Shape:
    return known.shape(node, 0)


def _stored(node: Node, known: Known) -> Shape:
    return known.constants[node.outputs[0]].shape if node.outputs else ()


def _scaled(node: Node, known: Known) -> Shape:
    if len(node.inputs) not in (2, 3):
        raise ChangedError(f"{node.operator} without a scale")
    return known.shape(node, 0)


def broadcast(first: Shape, second: Shape) -> Shape:
    rank = max(len(first), len(second))
    pairs = [((1,) * (rank - len(s)) + s) for s in (first, second)]
    if any(a != b and 1 not in (a, b) for a, b in zip(*pairs, strict=True)):
        raise ChangedError(f"shapes {first} and {second} together"[:200])
    return tuple(map(max, *pairs)) if rank else ()


def together(node: Node, known: Known) -> Shape:
    return broadcast(known.shape(node, 0), known.shape(node, 1))


def _product(node: Node, known: Known) -> Shape:
    first, second = known.shape(node, 0), known.shape(node, 1)
    if min(len(first), len(second)) < 2:
        raise ChangedError(f"a product of shapes {first} and {second}"[:200])
    return (*broadcast(first[:-2], second[:-2]), first[-2], second[-1])


def _convolution(node: Node, known: Known) -> Shape:
    image, weights = known.shape(node, 0), known.shape(node, 1)
    if len(image) != 4 or len(weights) != 4:
        raise ChangedError(f"a convolution of {image} with {weights}"[:200])
    pads = _four(node.numbers.get("pads", (0, 0, 0, 0)), 4)
    strides, dilations = (_four(node.numbers.get(name, (1, 1)), 2) for name in ("strides", "dilations"))
    if min(pads) < 0 or min(*strides, *dilations) < 1:
        raise ChangedError(f"a convolution with pads {pads}, strides {strides}"[:200])
    sides = [
        max(0, (image[2 + i] + pads[i] + pads[2 + i] - dilations[i] * (weights[2 + i] - 1) - 1) // strides[i] + 1)
        for i in (0, 1)
    ]
    return (image[0], weights[0], *sides)


def _four(values: tuple[int, ...], count: int) -> tuple[int, ...]:
    if len(values) != count:
        raise ChangedError(f"a convolution with {len(values)} numbers where {count} are expected")
    return values


def _resized(node: Node, known: Known) -> Shape:
    if len(known.values(node, 3)) != len(known.shape(node, 0)):
        raise ChangedError("a Resize to another number of axes")
    return known.values(node, 3)


def _averaged(node: Node, known: Known) -> Shape:
    shape = known.shape(node, 0)
    if len(shape) < 2:
        raise ChangedError(f"a mean over {shape}"[:200])
    return (*shape[:2], *(1 for _ in shape[2:]))


def _padded(node: Node, known: Known) -> Shape:
    shape, pads = known.shape(node, 0), known.values(node, 1)
    if len(pads) != 2 * len(shape) or min(pads, default=0) < 0:
        raise ChangedError(f"a Pad by {pads}"[:200])
    return tuple(side + before + after for side, before, after in zip(shape, pads, pads[len(shape) :], strict=False))


def _joined(node: Node, known: Known) -> Shape:
    shapes = [known.shape(node, index) for index in range(len(node.inputs))]
    if not shapes or len({len(shape) for shape in shapes}) != 1:
        raise ChangedError("a Concat of different ranks")
    axis = from_front((node.number("axis", 0),), len(shapes[0]))[0]
    return tuple(sum(s[i] for s in shapes) if i == axis else max(s[i] for s in shapes) for i in range(len(shapes[0])))


def _turned(node: Node, known: Known) -> Shape:
    shape = known.shape(node, 0)
    order = node.numbers.get("perm", tuple(reversed(range(len(shape)))))
    if sorted(order) != list(range(len(shape))):
        raise ChangedError(f"a Transpose by {order}"[:200])
    return tuple(shape[i] for i in order)


def reduced(node: Node, known: Known) -> Shape:
    shape = known.shape(node, 0)
    if node.operator == "ArgMax":
        given: Sequence[int] = (node.number("axis", 0),)
    elif len(node.inputs) > 1:
        given = known.values(node, 1)
    else:
        given = node.numbers.get("axes", tuple(range(len(shape))))
    axes = from_front(given, len(shape))
    kept = node.number("keepdims", 1)
    return tuple(1 if i in axes else side for i, side in enumerate(shape) if kept or i not in axes)


def from_front(given: Sequence[int], rank: int) -> list[int]:
    if not all(-rank <= axis < rank for axis in given):
        raise ChangedError(f"axes {tuple(given)} of {rank}"[:200])
    return [axis % rank for axis in given]


Rule = Callable[[Node, Known], Shape | list[Shape]]  # a list for operators of several results
Rules = Mapping[str, Rule]
RULES: dict[str, Rule] = {
    **dict.fromkeys(("Cast", "Relu", "Clip", "Exp", "Reciprocal", "Sigmoid"), same),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _scaled),
    **dict.fromkeys(("Add", "Sub", "Mul"), together),
    **dict.fromkeys(("ReduceMax", "ReduceSum", "ArgMax"), reduced),
    "Constant": _stored,
    "MatMul": _product,
    "Conv": _convolution,
    "GlobalAveragePool": _averaged,
    "Resize": _resized,
    "Pad": _padded,
    "Concat": _joined,
    "Transpose": _turned,
}
