"""Put a whole ONNX model together: input, network, head, description."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor

from ..model.network import FastSCNN
from ..runtime.artifacts.artifact import Artifact
from ..runtime.artifacts.onnx_file import IR_VERSION, LOGITS, OPSET
from .builder import GraphBuilder, value_info
from .deploy import deployable, takes_bgr
from .graph import ModuleWriter
from .head import add_head

INPUT = "image"


@dataclass(frozen=True)
class Built:
    """An ONNX model and PyTorch's own value of each layer for the image that it was built with."""

    model: onnx.ModelProto
    layers: dict[str, Tensor]  # by tensor name, in order of execution; the last is `logits`
    network: FastSCNN  # what was written: batch norm and scaling folded, float32
    image: Tensor  # what `network` took


def build(network: FastSCNN, artifact: Artifact, frames: np.ndarray) -> Built:
    """Write `network` with the head, input and precision that `artifact` tells.

    Args:
        frames: uint8 (N, H, W, 3) BGR, of the artifact's batch and resolution.
    """
    builder = GraphBuilder(artifact.precision)
    folded = deployable(network)
    image = torch.from_numpy(frames).permute(0, 3, 1, 2).float()  # BGR, 0-255
    if artifact.input == "uint8":
        folded = takes_bgr(folded, artifact.std)
        mean = np.array(artifact.mean[::-1], np.float32).reshape(1, 3, 1, 1) * 255
        image -= torch.from_numpy(mean)
        pixels = builder.node("Cast", "input.cast", [INPUT], to=helper.np_dtype_to_tensor_dtype(builder.dtype))
        planes = builder.node("Transpose", "input.transpose", [pixels], perm=[0, 3, 1, 2])
        source = builder.node("Sub", "input.mean", [planes, builder.constant("input.mean.value", mean)])
        input_info = value_info(INPUT, np.uint8, frames.shape)
    else:
        image = normalised(frames, artifact)
        source = INPUT
        if artifact.precision == "fp16":
            source = builder.node("Cast", "input.cast", [INPUT], to=TensorProto.FLOAT16)
        input_info = value_info(INPUT, np.float32, image.shape)

    writer = ModuleWriter(folded, builder, source, LOGITS)
    logits = writer.write(image)
    logits_info = value_info(LOGITS, builder.dtype, logits.shape)
    output_info = add_head(builder, artifact, logits_info)
    graph = helper.make_graph(
        builder.nodes,
        "fastscnn",
        [input_info],
        [output_info],
        builder.initializers,
        value_info=[] if artifact.head == "logits" else [logits_info],
    )
    model = helper.make_model(
        graph,
        producer_name="fastscnn",
        producer_version=artifact.version,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    helper.set_model_props(model, artifact.to_metadata())
    return Built(model, writer.results, folded, image)


def normalised(frames: np.ndarray, artifact: Artifact) -> Tensor:
    """uint8 (N, H, W, 3) BGR → float32 (N, 3, H, W) RGB with the artifact's mean and deviation."""
    rgb = torch.from_numpy(np.ascontiguousarray(frames[..., ::-1])).permute(0, 3, 1, 2).float() / 255
    return (rgb - torch.tensor(artifact.mean).view(1, 3, 1, 1)) / torch.tensor(artifact.std).view(1, 3, 1, 1)
