"""What stands behind the low-resolution logits in a graph: the usual way to labels or probabilities, for whoever runs the file alone."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..runtime.artifacts.artifact import Artifact
from ..runtime.artifacts.onnx_file import HEAD, LOGITS
from .builder import GraphBuilder, value_info


def add_head(builder: GraphBuilder, artifact: Artifact, logits: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """Append the head that `artifact` tells behind the tensor `logits`; gives the graph's result."""
    full = (artifact.batch, len(artifact.classes), artifact.height, artifact.width)
    if artifact.head == "logits":
        return logits
    return {"cls": _cls_head, "prob": _prob_head}[artifact.head](builder, artifact, full)


def _cls_head(builder: GraphBuilder, artifact: Artifact, full: tuple[int, ...]) -> onnx.ValueInfoProto:
    upsampled = builder.resize(f"{HEAD}resize", LOGITS, full, artifact.align_corners)
    largest = builder.node("ArgMax", f"{HEAD}argmax", [upsampled], axis=1, keepdims=0)
    builder.nodes.append(helper.make_node("Cast", [largest], ["labels"], name=f"{HEAD}cast", to=TensorProto.UINT8))
    return value_info("labels", np.uint8, (full[0], *full[2:]))


def _prob_head(builder: GraphBuilder, artifact: Artifact, full: tuple[int, ...]) -> onnx.ValueInfoProto:
    """Soft-max of the upsampled logits, or the sigmoid of each, float32.

    The soft-max's shift by each low-resolution pixel's maximum commutes with interpolation.
    """
    logits = LOGITS
    if builder.dtype != np.float32:
        logits = builder.node("Cast", f"{HEAD}float", [LOGITS], to=TensorProto.FLOAT)
    if artifact.probability == "sigmoid":
        upsampled = builder.resize(f"{HEAD}resize", logits, full, artifact.align_corners)
        builder.nodes.append(helper.make_node("Sigmoid", [upsampled], ["probabilities"], name=f"{HEAD}sigmoid"))
        return value_info("probabilities", np.float32, full)
    highest = builder.reduce("ReduceMax", f"{HEAD}maximum", logits, 1)
    shifted = builder.node("Sub", f"{HEAD}shift", [logits, highest])
    upsampled = builder.resize(f"{HEAD}resize", shifted, full, artifact.align_corners)
    exponential = builder.node("Exp", f"{HEAD}exp", [upsampled])
    total = builder.reduce("ReduceSum", f"{HEAD}sum", exponential, 1)
    share = builder.node("Reciprocal", f"{HEAD}reciprocal", [total])
    builder.nodes.append(helper.make_node("Mul", [exponential, share], ["probabilities"], name=f"{HEAD}scale"))
    return value_info("probabilities", np.float32, full)
