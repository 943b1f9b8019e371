"""What shape the operators of other networks give: those that an adopted file may have beside Fast-SCNN's.

Each follows the ONNX operator's own definition. What takes sizes from the picture is refused, as everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .onnx_graph import RULES, Known, Node, Rules, Shape, broadcast, from_front, reduced, same, together
from .onnx_wire import ChangedError


def _several(node: Node, known: Known) -> Shape:
    shape = known.shape(node, 0)
    for index in range(1, len(node.inputs)):
        shape = broadcast(shape, known.shape(node, index))
    return shape


def _pooled(node: Node, known: Known) -> Shape:
    image = known.shape(node, 0)
    kernel, pads, strides, dilations = _window(node, image, node.numbers.get("kernel_shape", ()))
    up = node.number("ceil_mode", 0)
    sides = []
    for i in (0, 1):
        room = image[2 + i] + pads[i] + pads[2 + i] - dilations[i] * (kernel[i] - 1) - 1
        sides.append(max(0, (-(-room // strides[i]) if up else room // strides[i]) + 1))
    return (*image[:2], *sides)


def _window(node: Node, image: Shape, kernel: Shape) -> tuple[Shape, Shape, Shape, Shape]:
    pads = node.numbers.get("pads", (0, 0, 0, 0))
    strides, dilations = (node.numbers.get(name, (1, 1)) for name in ("strides", "dilations"))
    if len(image) != 4 or [*map(len, (kernel, pads, strides, dilations))] != [2, 4, 2, 2]:
        raise ChangedError(f"{node.operator} of {image} by {kernel}"[:200])
    if min(pads) < 0 or min(*kernel, *strides, *dilations) < 1:
        raise ChangedError(f"{node.operator} with pads {pads}, strides {strides}"[:200])
    return kernel, pads, strides, dilations


def _transposed_convolution(node: Node, known: Known) -> Shape:
    image, weights = known.shape(node, 0), known.shape(node, 1)
    if len(weights) != 4 or "output_shape" in node.numbers:
        raise ChangedError(f"a transposed convolution of {image} with {weights}"[:200])
    kernel, pads, strides, dilations = _window(node, image, weights[2:])
    beyond = node.numbers.get("output_padding", (0, 0))
    if len(beyond) != 2 or min(beyond) < 0:
        raise ChangedError(f"a transposed convolution with output_padding {beyond}"[:200])
    sides = [
        strides[i] * (image[2 + i] - 1) + beyond[i] + dilations[i] * (kernel[i] - 1) + 1 - pads[i] - pads[2 + i]
        for i in (0, 1)
    ]
    return (image[0], weights[1] * node.number("group", 1), *sides)


def _linear(node: Node, known: Known) -> Shape:
    first, second = known.shape(node, 0), known.shape(node, 1)
    if len(first) != 2 or len(second) != 2:
        raise ChangedError(f"Gemm of {first} and {second}"[:200])
    return (first[1 if node.number("transA", 0) else 0], second[0 if node.number("transB", 0) else 1])


def _reshaped(node: Node, known: Known) -> Shape:
    shape, asked = known.shape(node, 0), known.values(node, 1)
    literal = node.number("allowzero", 0)
    if min(asked, default=1) < -1 or asked.count(-1) > 1 or any(not s and i >= len(shape) for i, s in enumerate(asked)):
        raise ChangedError(f"a Reshape of {shape} to {asked}"[:200])
    sides = [shape[i] if side == 0 and not literal else side for i, side in enumerate(asked)]
    if -1 in sides:
        others = math.prod(side for side in sides if side != -1)
        sides[sides.index(-1)] = math.prod(shape) // others if others else 0
    if math.prod(sides) != math.prod(shape):
        raise ChangedError(f"a Reshape of {shape} to {asked}"[:200])
    return tuple(sides)


def _flattened(node: Node, known: Known) -> Shape:
    shape = known.shape(node, 0)
    axis = node.number("axis", 1)
    axis += len(shape) if axis < 0 else 0
    return (math.prod(shape[:axis]), math.prod(shape[axis:]))


def _given_axes(node: Node, known: Known) -> Sequence[int] | None:
    return known.values(node, 1) if len(node.inputs) > 1 else node.numbers.get("axes")


def _squeezed(node: Node, known: Known) -> Shape:
    shape, given = known.shape(node, 0), _given_axes(node, known)
    axes = from_front(given, len(shape)) if given is not None else [i for i, side in enumerate(shape) if side == 1]
    if any(shape[axis] != 1 for axis in axes):
        raise ChangedError(f"a Squeeze of {shape} along {axes}"[:200])
    return tuple(side for i, side in enumerate(shape) if i not in axes)


def _unsqueezed(node: Node, known: Known) -> Shape:
    shape, given = known.shape(node, 0), _given_axes(node, known) or ()
    rank = len(shape) + len(given)
    axes, rest = from_front(given, rank), iter(shape)
    return tuple(1 if i in axes else next(rest, 1) for i in range(rank))


def _sliced(node: Node, known: Known) -> Shape:
    shape = list(known.shape(node, 0))
    starts, ends = known.values(node, 1), known.values(node, 2)
    axes = known.values(node, 3) if len(node.inputs) > 3 and node.inputs[3] else tuple(range(len(starts)))
    steps = known.values(node, 4) if len(node.inputs) > 4 else (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ChangedError(f"a Slice from {starts} to {ends} by {steps}"[:200])
    for axis, start, end, step in zip(from_front(axes, len(shape)), starts, ends, steps, strict=True):
        shape[axis] = len(range(*slice(start, end, step).indices(shape[axis])))
    return tuple(shape)


def _split(node: Node, known: Known) -> list[Shape]:
    shape = known.shape(node, 0)
    (axis,) = from_front((node.number("axis", 0),), len(shape))
    count = len(node.outputs)
    if len(node.inputs) > 1 and node.inputs[1]:
        parts = known.values(node, 1)
    else:  # equal ones; the last is smaller where they do not divide
        each = -(-shape[axis] // max(count, 1))
        parts = (*(each for _ in range(count - 1)), shape[axis] - each * (count - 1))
    if len(parts) != count or sum(parts) != shape[axis] or min(parts) < 0:
        raise ChangedError(f"a Split of {shape} into {parts}"[:200])
    return [(*shape[:axis], part, *shape[axis + 1 :]) for part in parts]


def _gathered(node: Node, known: Known) -> Shape:
    shape, places = known.shape(node, 0), known.shape(node, 1)
    (axis,) = from_front((node.number("axis", 0),), len(shape))
    return (*shape[:axis], *places, *shape[axis + 1 :])


def _expanded(node: Node, known: Known) -> Shape:
    return broadcast(known.shape(node, 0), known.values(node, 1))


def _tiled(node: Node, known: Known) -> Shape:
    shape, times = known.shape(node, 0), known.values(node, 1)
    if len(shape) != len(times):
        raise ChangedError(f"a Tile of {shape} by {times}"[:200])
    return tuple(side * each for side, each in zip(shape, times, strict=True))


def _moved(node: Node, known: Known) -> Shape:
    """DepthToSpace and SpaceToDepth."""
    shape, block = known.shape(node, 0), node.number("blocksize", 0)
    if len(shape) != 4 or block < 1:
        raise ChangedError(f"{node.operator} of {shape} by {block}"[:200])
    batch, depth, height, width = shape
    if node.operator == "DepthToSpace":
        return (batch, depth // block**2, height * block, width * block)
    return (batch, depth * block**2, height // block, width // block)


_EACH_VALUE = (
    "Abs", "BatchNormalization", "Ceil", "Celu", "Cos", "Elu", "Erf", "Floor", "Gelu", "GroupNormalization", "HardSigmoid",
    "HardSwish", "Identity", "InstanceNormalization", "LayerNormalization", "LeakyRelu", "Log", "LogSoftmax", "LpNormalization", "Mish",
    "Neg", "PRelu", "RMSNormalization", "Round", "Selu", "Sign", "Sin", "Softmax", "Softplus", "Softsign", "Sqrt", "Swish",
    "Tanh",
)  # fmt: skip
_REDUCING = ("ReduceMean", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceProd", "ReduceSumSquare")

OPERATORS: Rules = {
    **RULES,
    **dict.fromkeys(_EACH_VALUE, same),
    **dict.fromkeys(("Div", "Pow"), together),
    **dict.fromkeys(("Max", "Min", "Mean", "Sum", "Where"), _several),
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), together),
    **dict.fromkeys(_REDUCING, reduced),
    **dict.fromkeys(("MaxPool", "AveragePool"), _pooled),
    "GlobalMaxPool": RULES["GlobalAveragePool"],
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _moved),
    "ConvTranspose": _transposed_convolution,
    "Gemm": _linear,
    "Reshape": _reshaped,
    "Flatten": _flattened,
    "Squeeze": _squeezed,
    "Unsqueeze": _unsqueezed,
    "Slice": _sliced,
    "Split": _split,
    "Gather": _gathered,
    "Expand": _expanded,
    "Tile": _tiled,
}
