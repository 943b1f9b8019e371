"""A quantised graph with uint8 activations in place of int8, as ONNX Runtime's CPU wants it."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection

from .onnx_graph import Node, read_node, read_nodes
from .onnx_wire import field, fields, name_of, packed

log = logging.getLogger(__name__)

_UINT8, _INT8 = 2, 3  # TensorProto.DataType
_BEHIND_RELU, _ELSEWHERE = 0, 128  # what stands for zero
_NAME = "unsigned.zero"
_LONGEST = 1 << 14  # bytes of a zero point that is copied: channels of a layer, and no file becomes gigabytes


def unsigned(model: bytes) -> bytes:
    """The graph with uint8 activations; as it is where it has none in int8. For bytes that `onnx_file.artifact` has accepted.

    The files have int8 with the zero point 0, because TensorRT takes nothing else. ONNX Runtime's CPU kernels multiply
    unsigned by signed, and keep a ReLU between int8 tensors as a float operation of its own. Here 128 stands for zero;
    behind a ReLU 0 does, which makes the ReLU a part of the rounding and lets the same steps reach twice as far.

    Each quantiser and what reads it get a zero point of their own: in files that another tool has touched, many share one
    constant. So do the weights, which processors without VNNI want unsigned: ONNX Runtime 1.32 converts a shared constant
    twice there and fails. Where such a tool put something between the two, the graph stays signed, as TensorRT reads it:
    slower, and with other roundings.
    """
    return b"".join(
        field(number, _unsigned_graph(value) if number == 7 and isinstance(value, memoryview) else value)
        for number, value in fields(model)
    )


def _unsigned_graph(graph: memoryview) -> bytes | memoryview:
    constants = _constants(graph)
    nodes = read_nodes(graph)
    if not any(node.operator == "QuantizeLinear" for node in nodes):
        return graph
    zeros = _zeros(nodes, constants)
    if not zeros:
        log.warning(
            "another tool put something between this file's quantisers: it runs as it stands, which is slower, and single "
            "labels may differ from the original's"
        )
    parts: list[bytes] = []
    taken: set[str] = set()
    added: dict[str, bytes] = {}
    for number, value in fields(graph):
        part: int | memoryview | bytes = value
        if number == 13 and zeros:  # types of tensors within the graph, which other tools write down: no longer true
            continue
        if number == 1 and isinstance(value, memoryview):
            node = read_node(value)
            if node.operator in ("QuantizeLinear", "DequantizeLinear"):
                zero = zeros.get(node.outputs[0] if node.operator == "QuantizeLinear" else node.inputs[0])
                if zero is not None:
                    shape = _shape(constants[node.inputs[1]])
                    name = _free(f"{_NAME}.{zero}{'.' * len(shape)}", constants)
                    added[name] = _tensor(name, shape, zero)
                    part = _with_zero(value, name)
                elif node.operator == "DequantizeLinear" and node.inputs[0] in constants:
                    part = _with_own(value, node, constants, taken, added)
        parts.append(field(number, part))
    return b"".join([*parts, *(field(5, tensor) for tensor in added.values())])


def _with_own(
    message: memoryview, node: Node, constants: dict[str, memoryview], taken: set[str], added: dict[str, bytes]
) -> memoryview | bytes:
    """The node that dequantises weights, with a copy of their zero point in `added` where another node has `taken` it."""
    zero = node.inputs[2] if len(node.inputs) == 3 else ""
    if zero not in constants or len(constants[zero]) > _LONGEST:
        return message
    if zero not in taken:
        taken.add(zero)
        return message
    own = _free(f"{zero}.{len(added)}", constants, added)
    added[own] = _named(constants[zero], own)
    return _with_zero(message, own)


def _constants(graph: memoryview) -> dict[str, memoryview]:
    """TensorProtos by name: initialisers, and what Constant nodes give."""
    found: dict[str, memoryview] = {}
    for number, value in fields(graph):
        if number == 5 and isinstance(value, memoryview):
            found[name_of(value, 8)] = value
        elif number == 1 and isinstance(value, memoryview) and name_of(value, 4) == "Constant":
            attributes = [part for n, part in fields(value) if n == 5 and isinstance(part, memoryview)]
            tensors = [part for one in attributes for n, part in fields(one) if n == 5 and isinstance(part, memoryview)]
            found.update(dict.fromkeys(read_node(value).outputs, tensors[0]))
    return found


def _zeros(nodes: list[Node], constants: dict[str, memoryview]) -> dict[str, int]:
    """What is to stand for zero in each integer tensor, by its name; empty where not all of them can be changed."""
    producers = {name: node for node in nodes for name in node.outputs}
    consumers: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        for name in node.inputs:
            consumers[name].append(node)
    zeros: dict[str, int] = {}
    for node in nodes:
        if node.operator == "Transpose" and node.inputs[0] in zeros:
            zeros[node.outputs[0]] = zeros[node.inputs[0]]
        elif node.operator == "QuantizeLinear" and _symmetric(node, constants):
            source = producers.get(node.inputs[0])
            zeros[node.outputs[0]] = _BEHIND_RELU if source is not None and source.operator == "Relu" else _ELSEWHERE
        elif node.operator == "QuantizeLinear":
            return {}
    for name in zeros:
        for reader in consumers[name]:
            undone = (
                reader.operator == "DequantizeLinear" and reader.inputs[0] == name and _symmetric(reader, constants)
            )
            if not undone and reader.operator != "Transpose":
                return {}
    return zeros


def _symmetric(node: Node, constants: dict[str, memoryview]) -> bool:
    """Whether a quantiser or its reverse has one scale for the whole tensor and an int8 zero point of 0."""
    if len(node.inputs) != 3 or not {node.inputs[1], node.inputs[2]} <= set(constants):
        return False
    zero = constants[node.inputs[2]]
    kinds = [value for number, value in fields(zero) if number == 2]
    values = [value if isinstance(value, int) else any(value) for number, value in fields(zero) if number in (5, 9)]
    single = all(_shape(constants[name]) in ((), (1,)) for name in node.inputs[1:])
    return single and kinds == [_INT8] and not any(values)


def _shape(tensor: memoryview) -> tuple[int, ...]:
    return tuple(side for number, value in fields(tensor) if number == 1 for side in packed(value))


def _free(name: str, *used: Collection[str]) -> str:
    while any(name in names for names in used):
        name += "'"
    return name


def _tensor(name: str, shape: tuple[int, ...], value: int) -> bytes:
    dims = b"".join(field(1, side) for side in shape)
    return dims + field(2, _UINT8) + field(8, name.encode()) + field(9, bytes([value]))


def _named(tensor: memoryview, name: str) -> bytes:
    """The TensorProto under another name."""
    return b"".join(field(number, value) for number, value in fields(tensor) if number != 8) + field(8, name.encode())


def _with_zero(message: memoryview, zero: str) -> bytes:
    """The node with another third input."""
    parts, inputs = [], 0
    for number, value in fields(message):
        inputs += number == 1
        parts.append(field(number, zero.encode() if number == 1 and inputs == 3 else value))
    return b"".join(parts)
