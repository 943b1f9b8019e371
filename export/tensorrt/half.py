"""FP32 ONNX graph → FP16 graph, for TensorRT versions where the graph's own types decide the precision.

Of an INT8 graph it converts what stands between the quantisers, whose scales become FP16 too: behind FP32 scales a Cast
would keep TensorRT from fusing them into the convolutions.

The conversion is ONNX Runtime's `transformers.float16`: it knows that Cast's target must change too, which
onnxconverter-common's copy of it leaves as it was, and ONNX Runtime then refuses the graph.
`fastscnn-export --precision fp16` is still the better way: it has seen every activation and refuses a network that overflows.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from ...runtime import install
from ...runtime.artifacts import onnx_file
from ...runtime.artifacts.artifact import Artifact
from ...runtime.artifacts.onnx_file import HEAD, LOGITS, without_head
from ...runtime.errors import DeviceError, ParityError

log = logging.getLogger(__name__)
_LARGEST = 65504.0  # of float16
_INPUT = "image"
_HALF_SCALES = 19  # the first opset whose quantisers take FP16


def converter() -> str:
    """Name and version of what converts, because it shapes the engine; the name alone where it is missing."""
    try:
        from onnxruntime import __version__ as version
    except ImportError:
        version = ""
    return f"onnxruntime {version}"


def to_half(graph: bytes, artifact: Artifact, head: bool, source: str) -> bytes:
    """The same network with FP16 weights and activations; input `image` keeps its type.

    Args:
        graph: a float32 model of this project, with its head or without.
        head: whether the head is in it; soft-max stays in float32, as fastscnn-export writes it.

    Raises:
        DeviceError: onnx or onnxruntime is not installed.
        ParityError: a weight that float16 cannot hold.
    """
    try:
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError as error:
        raise DeviceError(
            f"{source} is an FP32 graph, and {error.name or error} is missing, which converts it. Export it with: "
            f"fastscnn-export --precision fp16, or install: {install.command('convert')}"
        ) from None
    if artifact.precision == "fp32":
        log.info("converting the FP32 graph to FP16; fastscnn-export --precision fp16 would check its range too")
    whole = onnx.load_model_from_string(graph)
    if artifact.precision == "int8":
        whole = onnx.version_converter.convert_version(whole, _HALF_SCALES)
        told = [value for value in whole.graph.value_info if value.name == LOGITS]
        del whole.graph.value_info[:]  # the conversion told every tensor's type, which the head's would contradict
        whole.graph.value_info.extend(told)
        graph = whole.SerializeToString()
    _check_weights(whole)
    float_head = head and artifact.head == "prob"
    network = onnx.load_model_from_string(without_head(graph, source)) if float_head else whole
    converted = convert_float_to_float16(network, keep_io_types=[_INPUT])
    _put_first(converted, next(index for index, node in enumerate(converted.graph.node) if _INPUT in node.input))
    if float_head:
        _put_head(converted, whole)
    return bytes(converted.SerializeToString())


def _check_weights(model: Any) -> None:
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and not bool(np.all(np.abs(values) <= _LARGEST)):  # also true of NaN
            raise ParityError(
                f"{tensor.name} reaches {float(np.abs(values).max()):.3g}; float16 holds at most {_LARGEST:.0f}. "
                "Build with --precision fp32, or retrain with weight decay on that layer"
            )


def _put_first(model: Any, index: int) -> None:
    """Move a node to the front: the converter appends an input's Cast behind the nodes that take its result."""
    nodes = list(model.graph.node)
    nodes.insert(0, nodes.pop(index))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _put_head(network: Any, whole: Any) -> None:
    """Append the float32 head of `whole` behind the float16 logits of `network`."""
    from onnx import TensorProto, helper

    cast = f"{HEAD}float"
    network.graph.node.append(helper.make_node("Cast", [LOGITS], [cast], name=cast, to=TensorProto.FLOAT))
    made, constants = onnx_file.head(whole.SerializeToString())
    for node in whole.graph.node:
        if made.intersection(node.output):
            added = network.graph.node.add()
            added.CopyFrom(node)
            for index, name in enumerate(added.input):
                if name == LOGITS:
                    added.input[index] = cast
    constants -= {tensor.name for tensor in network.graph.initializer}
    network.graph.initializer.extend(t for t in whole.graph.initializer if t.name in constants)
    del network.graph.output[:]
    network.graph.output.extend(whole.graph.output)
