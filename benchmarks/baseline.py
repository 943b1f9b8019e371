"""What a user would otherwise run: plain ONNX Runtime with the head inside the graph, on the same prepared input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime import install
from ..runtime.artifacts import onnx_file
from ..runtime.artifacts.artifact import Artifact
from ..runtime.backends.cores import usable_cores
from ..runtime.errors import DeviceError, UsageError
from ..runtime.frame import Frame, InputLayout, checked, fitted

HEADS = {"cls": "Resize + ArgMax", "softmax": "Resize + Softmax", "sigmoid": "Resize + Sigmoid"}


class InGraph:
    """The exported network with the usual head in the graph, run by ONNX Runtime as its documentation shows.

    Args:
        path: a cls or prob model; it runs as the file is, except that a soft-max gets Resize and Softmax in place of the
            file's own, faster head.

    Raises:
        UsageError: a logits model, which has no head to compare.
        DeviceError: a package that the comparison needs is missing.
    """

    def __init__(self, path: str | Path, threads: int | None) -> None:
        model, self._artifact, head = usual_graph(path)
        self.name = f"ONNX Runtime, {head} in the graph"
        self._session = plain_session(model, threads or usable_cores())
        self._layout = InputLayout(self._artifact)

    def __call__(self, frame: Frame) -> NDArray[Any]:
        """(H, W) labels or (C, H, W) probabilities of one frame, at the model's resolution."""
        image = self._layout(
            [fitted(checked(frame), self._artifact.height, self._artifact.width)] * self._artifact.batch
        )
        return np.asarray(self._session.run(None, {"image": image})[0][0])


def usual_graph(path: str | Path) -> tuple[bytes, Artifact, str]:
    """The model with the head that others would give it, its description, and that head's operators.

    Raises:
        UsageError: a logits model, which has no head to compare.
        DeviceError: a package that building the graph needs is missing.
    """
    model = onnx_file.read(path)
    artifact = onnx_file.artifact(model, str(path))
    head = artifact.probability if artifact.head == "prob" else artifact.head
    if head not in HEADS:
        raise UsageError(f"{path} has the {artifact.head} head; --baseline compares cls and prob models")
    if head == "softmax":
        model = _with_softmax(onnx_file.without_head(model, str(path)), artifact)
    return model, artifact, HEADS[head]


def plain_session(model: bytes, threads: int) -> Any:
    """Default options, but for the threads, which both sides must share, and for their spinning after a run has ended.

    That changes nothing for the run itself; left on, it would slow down whatever is timed next in this process.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _with_softmax(network: bytes, artifact: Artifact) -> bytes:
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise DeviceError(
            f"comparing a prob model needs the onnx package to build the plain graph: {install.command('export')}"
        ) from None
    model = onnx.load_from_string(network)
    full = (artifact.batch, len(artifact.classes), artifact.height, artifact.width)
    model.graph.initializer.append(numpy_helper.from_array(np.array(full, np.int64), "sizes"))
    logits = onnx_file.LOGITS
    if artifact.precision == "fp16":
        model.graph.node.append(helper.make_node("Cast", [logits], ["logits_float"], to=TensorProto.FLOAT))
        logits = "logits_float"
    placed = "align_corners" if artifact.align_corners else "half_pixel"
    resize = {"mode": "linear", "coordinate_transformation_mode": placed}
    model.graph.node.append(helper.make_node("Resize", [logits, "", "", "sizes"], ["upsampled"], **resize))
    model.graph.node.append(helper.make_node("Softmax", ["upsampled"], ["probabilities"], axis=1))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, full))
    return bytes(model.SerializeToString())
