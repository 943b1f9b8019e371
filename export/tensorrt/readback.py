"""What an engine turned out to be: inputs and outputs, layers, memory, and the precision of every convolution.

A builder may compute in FP32 what it was asked to compute in FP16 and say nothing, so the engine is asked
(`EngineInspector`). Where no engine can be opened, on a machine without a GPU, a strongly typed network answers for it:
TensorRT may not change its types.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...runtime.artifacts.engine_file import EngineLayer, EngineTensor
from ...runtime.errors import BuildError
from .capabilities import Capabilities

_DTYPES = {"UINT8": "uint8", "HALF": "float16", "FLOAT": "float32", "INT32": "int32", "INT64": "int64"}
# The inspector's words for types: "Half", or inside a format such as "Channel major FP16 format where channel % 8 == 0".
_PRECISIONS = (
    (r"\bBF16\b|BFloat16", "bf16"),
    (r"\bFP16\b|\bHalf\b|Float16", "fp16"),
    (r"\bFP32\b|\bFloat\b|Float32", "fp32"),
    (r"\bInt8\b|\bINT8\b", "int8"),
)
_TYPE_KEYS = ("Format/Datatype", "DataType", "Datatype", "Format")  # 11.x splits the first into two
_OPAQUE = ("Myelin",)  # one layer for a region of many; its ends do not tell what runs inside
_WORST_FIRST = ("fp32", None)  # where layers differ about one convolution; what is narrower comes after


@dataclass(frozen=True)
class Readback:
    tensors: tuple[EngineTensor, ...]
    layers: tuple[EngineLayer, ...]
    memory: int | None  # bytes of activations
    precision: str  # "fp16", "fp32", "int8" where the others are FP16, or "mixed"
    precision_from: str  # "inspector" or "types"
    full: tuple[str, ...]  # convolutions in FP32
    unknown: tuple[str, ...]  # convolutions whose precision nothing tells
    integer: tuple[str, ...] = ()  # convolutions in INT8


def from_engine(engine: Any, module: Any, can: Capabilities, types: Readback, binding_types: bool) -> Readback:
    """Ask the engine.

    Args:
        types: the network's own account, of `from_network`.
        binding_types: whether the builder had to keep the network's types; then they answer where the inspector does not.

    Raises:
        BuildError: an inspector that gives no layers.
    """
    text = engine.create_engine_inspector().get_engine_information(module.LayerInformationFormat.JSON)
    layers, rest = _layers(_entries(text), types.layers)
    declared = {node: layer.precision for layer in types.layers for node in layer.convolutions}
    told: dict[str, list[str | None]] = {}
    for layer in layers:
        for node in layer.convolutions:
            told.setdefault(node, []).append(layer.precision)
    found = {node: min(told.get(node, [rest]), key=_rank) for node in declared}
    if binding_types:
        found = {node: precision or declared[node] for node, precision in found.items()}
    memory = engine.device_memory_size_v2 if can.memory_v2 else engine.device_memory_size
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    tensors = tuple(
        EngineTensor(
            name,
            engine.get_tensor_mode(name) == module.TensorIOMode.OUTPUT,
            _dtype(engine.get_tensor_dtype(name)),
            tuple(engine.get_tensor_shape(name)),
        )
        for name in names
    )
    return _readback(tensors, layers, int(memory), "inspector", found)


def from_network(network: Any, module: Any) -> Readback:
    """Ask the network that is built from."""
    layers = []
    every = [network.get_layer(index) for index in range(network.num_layers)]
    widened = {layer.get_output(0).name for layer in every if layer.type == module.LayerType.DEQUANTIZE}
    for layer in every:
        convolution = layer.type == module.LayerType.CONVOLUTION
        source = layer.get_input(0) if convolution else layer.get_output(0)
        precision = {"HALF": "fp16", "FLOAT": "fp32", "INT8": "int8"}.get(source.dtype.name) if source else None
        if convolution and widened and all(_name(layer.get_input(index)) in widened for index in (0, 1)):
            precision = "int8"  # the builder draws the quantisers of data and weights into it
        layers.append(EngineLayer(layer.name, layer.type.name, precision, (layer.name,) if convolution else ()))
    inputs = [(network.get_input(index), False) for index in range(network.num_inputs)]
    outputs = [(network.get_output(index), True) for index in range(network.num_outputs)]
    tensors = tuple(EngineTensor(t.name, output, _dtype(t.dtype), tuple(t.shape)) for t, output in [*inputs, *outputs])
    found = {node: layer.precision for layer in layers for node in layer.convolutions}
    return _readback(tensors, tuple(layers), None, "types", found)


def _readback(
    tensors: tuple[EngineTensor, ...],
    layers: tuple[EngineLayer, ...],
    memory: int | None,
    source: str,
    convolutions: Mapping[str, str | None],
) -> Readback:
    kinds = set(convolutions.values())
    achieved = {("fp16",): "fp16", ("fp32",): "fp32", ("fp16", "int8"): "int8", ("int8",): "int8"}.get(
        tuple(sorted(map(str, kinds))), "mixed"
    )
    full = tuple(node for node, precision in convolutions.items() if precision == "fp32")
    unknown = tuple(node for node, precision in convolutions.items() if precision is None)
    integer = tuple(node for node, precision in convolutions.items() if precision == "int8")
    return Readback(tensors, layers, memory, achieved, source, full, unknown, integer)


def _entries(text: str) -> Sequence[Mapping[str, Any]]:
    try:
        layers = json.loads(text, strict=False)["Layers"]  # 8.6 does not escape the separators in its metadata
    except (ValueError, KeyError, TypeError) as error:
        raise BuildError(
            f"TensorRT's EngineInspector gave no layers ({error}), so the precision cannot be checked"
        ) from None
    # With less than DETAILED verbosity an entry is only a name.
    return [entry if isinstance(entry, dict) else {"Name": str(entry)} for entry in layers]


def _layers(
    entries: Sequence[Mapping[str, Any]], network: Sequence[EngineLayer]
) -> tuple[tuple[EngineLayer, ...], str | None]:
    """The engine's layers, and the precision of the convolutions that none of them has.

    A region without metadata tells only its first and last node, `{ForeignNode[first...last]}`. In between, in the graph's
    order, it has those that no layer names. What is left can only be in layers that tell nothing; if all are the DLA's, it is FP16.
    """
    order = {layer.name: index for index, layer in enumerate(network)}
    convolutions = [node for layer in network for node in layer.convolutions]
    working = [entry for entry in entries if _kind(entry) != "Reformat"]
    named = set().union(*(_parts(entry) for entry in working))
    layers, hiding = [], set()
    for entry in entries:
        kind, parts, computed = _kind(entry), _parts(entry), []
        if kind != "Reformat":
            span = _span(entry, order)
            computed = [n for n in convolutions if n in parts or (order[n] in span and n not in named)]
            if not span and parts.isdisjoint(order):
                hiding.add(kind)
        layers.append(EngineLayer(str(entry.get("Name", "")), kind, _precision(entry, kind), tuple(computed)))
    return tuple(layers), "fp16" if hiding == {"DLA"} else None


def _kind(entry: Mapping[str, Any]) -> str:
    return str(entry.get("LayerType", "unknown"))


def _parts(entry: Mapping[str, Any]) -> set[str]:
    """The graph's nodes that an entry names, among other words."""
    named = re.findall(r"\[ONNX Layer: ([^\]]+)\]", str(entry.get("Metadata", "")))
    return set(named or re.split(r" \+ | \|\| ", str(entry.get("Name", ""))))


def _span(entry: Mapping[str, Any], order: Mapping[str, int]) -> range:
    ends = re.search(r"\{ForeignNode\[(.+?)(?:\.\.\.(.+?))?\]\}", str(entry.get("Name", "")))
    first, last = (ends[1], ends[2] or ends[1]) if ends else ("", "")
    return range(order[first], order[last] + 1) if first in order and last in order else range(0)


def _rank(precision: str | None) -> int:
    return _WORST_FIRST.index(precision) if precision in _WORST_FIRST else len(_WORST_FIRST)


def _precision(entry: Mapping[str, Any], kind: str) -> str | None:
    """Of the weights where the entry tells them, else of the data: a layer may end by widening its result."""
    if kind in _OPAQUE:
        return None
    if kind == "DLA":
        return "fp16"  # it has nothing wider
    weights = entry.get("Weights")
    said = [str(weights.get("Type", ""))] if isinstance(weights, dict) else []
    for tensor in [*entry.get("Inputs", []), *entry.get("Outputs", [])]:
        if isinstance(tensor, dict):
            said.append(" ".join(str(tensor[key]) for key in _TYPE_KEYS if key in tensor))
    for words in said:
        for pattern, precision in _PRECISIONS:
            if re.search(pattern, words):
                return precision
    return None


def _name(tensor: Any) -> str | None:
    return None if tensor is None else str(tensor.name)  # weights that are no tensor are constants


def _dtype(dtype: Any) -> str:
    if dtype.name not in _DTYPES:
        raise BuildError(f"the engine has a tensor of type {dtype.name}; expected one of {', '.join(_DTYPES)}")
    return _DTYPES[dtype.name]
