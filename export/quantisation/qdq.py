"""Where the Q/DQ nodes stand: ONNX Runtime's quantiser places them, and two passes make the result fit every engine.

All types are int8 with the zero point 0, as TensorRT demands; weights have a scale an output channel. Biases stay float32,
because TensorRT reads no int32 ones. ONNX Runtime's CPU wants unsigned activations, to which the runtime turns them as it
loads the file (`fastscnn.runtime.unsigned`).
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Collection
from typing import Any

import onnx
from onnxruntime.quantization import QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import TensorsData

if "mode" in inspect.signature(QDQQuantizer.__init__).parameters:
    raise ImportError("onnxruntime is older than 1.18", name="onnxruntime>=1.18")

OPERATORS = ("Conv", "Relu", "Clip", "Add")  # what is computed in int8; pooling's small products and Resize are not
_BOUNDED = ("Relu", "Clip")
_OPTIONS = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}


def convolutions(network: onnx.ModelProto) -> list[str]:
    """Names of the convolutions, in order."""
    return [node.name for node in network.graph.node if node.op_type == "Conv"]


def first_and_last(network: onnx.ModelProto) -> tuple[str, str]:
    """The convolutions that stay in float: three channels of input gain nothing, and the logits' own steps would be labels."""
    names = convolutions(network)
    return names[0], names[-1]


def with_qdq(
    network: onnx.ModelProto, ranges: TensorsData, full: Collection[str], only: Collection[str] = ()
) -> onnx.ModelProto:
    """The network with quantisers around its convolutions and sums.

    Args:
        network: float32, without a head.
        ranges: of every activation.
        full: names of the convolutions that stay float32; the last one's input is rounded all the same.
        only: quantise nothing but the nodes of these names.
    """
    inferred = onnx.shape_inference.infer_shapes(network)
    quantizer = QDQQuantizer(
        inferred,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=ranges,
        nodes_to_quantize=list(only),
        nodes_to_exclude=list(full),
        op_types_to_quantize=list(OPERATORS),
        extra_options=_OPTIONS,
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    model = quantizer.model.model
    _round_after_activations(model)
    del model.graph.value_info[:]
    model.producer_name, model.producer_version = network.producer_name, network.producer_version
    return model


def _round_after_activations(model: onnx.ModelProto) -> None:
    """Let an activation follow its convolution directly: engines fuse the two, and rounding before it wastes a bit on signs."""
    producers = {output: node for node in model.graph.node for output in node.output}
    consumers = Counter(name for node in model.graph.node for name in node.input)
    for node in list(model.graph.node):
        if node.op_type not in _BOUNDED:
            continue
        widened = producers.get(node.input[0])
        if widened is None or widened.op_type != "DequantizeLinear" or consumers[node.input[0]] > 1:
            continue
        rounded = producers[widened.input[0]]
        node.input[0] = rounded.input[0]
        for removed in (widened, rounded):
            model.graph.node.remove(removed)
    _drop_unused(model.graph)


def _drop_unused(graph: Any) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
