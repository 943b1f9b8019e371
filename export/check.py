"""Is an exported model the network that it came from? Asked of every export before it is left on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor
from torch.nn import functional as F

from ..model.network import FastSCNN
from ..runtime.artifacts.artifact import OUTPUTS, Artifact
from ..runtime.artifacts.onnx_file import LOGITS
from ..runtime.backends.cores import usable_cores
from ..runtime.backends.onnxruntime import open_session
from ..runtime.errors import ParityError
from ..runtime.frame import InputLayout
from .graph import HalfPrecision
from .model import INPUT, Built, normalised
from .tolerance import HALF_ROUNDING, HEAD, TOLERANCE


@dataclass(frozen=True)
class Parity:
    """How far ONNX Runtime's results lie from PyTorch's on the same frames."""

    logits: float  # largest difference, as a share of the logits' range
    tolerance: float
    agreement: float  # share of pixels with the same label
    ties: int  # pixels whose labels differ where the two best classes lie closer than the bound

    def __str__(self) -> str:
        return (
            f"logits within {self.logits:.1e} of their range (bound {self.tolerance:.0e}), "
            f"labels equal on {self.agreement:.4%} of pixels"
            + (f", the other {self.ties:,} being ties within the bound" if self.ties else "")
        )


def check(network: FastSCNN, artifact: Artifact, built: Built, frames: NDArray[np.uint8]) -> Parity:
    """Compare the finished graph with the untouched network.

    Raises:
        ParityError: for an invalid graph, logits or labels that part; names the first layer that does.
    """
    try:
        onnx.checker.check_model(built.model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ParityError(f"the exported graph is not valid ONNX: {error}") from error
    tolerance = TOLERANCE[artifact.precision]
    if artifact.precision == "fp16":
        _check_half(built, tolerance)
    with torch.inference_mode():
        expected = network.eval()(normalised(frames, artifact))
    found = _run(built.model, artifact, frames, [LOGITS, OUTPUTS[artifact.head]])
    difference = _share(found[LOGITS], expected)
    if not difference <= tolerance:  # also true of NaN
        raise ParityError(
            f"the exported logits part from PyTorch's by {difference:.1e} of their range; at most {tolerance:.0e} is expected. "
            f"{_first_parting(artifact, built, frames, tolerance)}"
        )
    return _check_head(artifact, found, expected, difference, tolerance, network.variant.logits_align_corners)


def _check_half(built: Built, tolerance: float) -> None:
    """The network as float16 hardware computes it, emulated in PyTorch layer by layer."""
    half = HalfPrecision(built.network)
    with torch.inference_mode():
        half.run(built.image)
    if _share(half.results[-1].numpy(), built.layers[LOGITS]) <= tolerance:
        return
    for (name, expected), rounded in zip(built.layers.items(), half.results, strict=True):
        if not bool(rounded.isfinite().all()):
            raise ParityError(
                f"float16 overflows in {name}, which reaches {float(expected.abs().max()):.3g}; at most 65504 fits. "
                "Export with --precision fp32, or retrain with weight decay on that layer"
            )
    raise ParityError(
        f"in float16 the logits part from PyTorch's by more than {tolerance:.0e} of their range. "
        f"{_parting(built.layers, half.results, tolerance)}. Export with --precision fp32"
    )


def _check_head(
    artifact: Artifact,
    found: dict[str, NDArray[Any]],
    expected: Tensor,
    difference: float,
    tolerance: float,
    align_corners: bool,
) -> Parity:
    size = (artifact.height, artifact.width)
    full = F.interpolate(expected, size, mode="bilinear", align_corners=align_corners)
    best = full.topk(2, dim=1)
    labels = best.indices[:, 0].numpy()
    clear = (best.values[:, 0] - best.values[:, 1]).numpy() > tolerance * _range(expected)
    upsampled = F.interpolate(
        torch.from_numpy(found[LOGITS].astype(np.float32)), size, mode="bilinear", align_corners=align_corners
    )
    if artifact.head == "cls":
        ours = found["labels"]
    elif artifact.head == "prob":
        probabilities = found["probabilities"]
        ours = probabilities.argmax(axis=1)
        sigmoid = artifact.probability == "sigmoid"
        error = float(
            np.abs(probabilities - (upsampled.sigmoid() if sigmoid else upsampled.softmax(dim=1)).numpy()).max()
        )
        bound = HEAD + (HALF_ROUNDING * float(upsampled.abs().max()) if artifact.precision == "fp16" else 0)
        if not error <= bound:
            raise ParityError(
                f"the exported probabilities part by {error:.1e} from the {artifact.probability} of the exported logits, "
                "which agree with PyTorch's; the fault lies in the head"
            )
        if sigmoid:  # two classes can both be certain, and equal in float32
            own = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
            clear &= own < probabilities.max(axis=1) - HEAD
    else:
        ours = upsampled.argmax(dim=1).numpy()
    differing = ours != labels
    if np.any(differing & clear):
        raise ParityError(
            f"{int(np.sum(differing & clear)):,} pixels have another label than in PyTorch although their two best classes lie "
            "further apart than the bound, and the logits agree; the fault lies in the head"
        )
    return Parity(difference, tolerance, 1 - float(differing.mean()), int(differing.sum()))


def _first_parting(artifact: Artifact, built: Built, frames: NDArray[np.uint8], tolerance: float) -> str:
    found = _run(built.model, artifact, frames, list(built.layers))
    return _parting(
        built.layers, [torch.from_numpy(found[name].astype(np.float32)) for name in built.layers], tolerance
    )


def _parting(layers: dict[str, Tensor], found: Sequence[Tensor], tolerance: float) -> str:
    for (name, expected), value in zip(layers.items(), found, strict=True):
        difference = _share(value.numpy(), expected)
        if not difference <= tolerance:
            return f"The first layer that parts is {name} ({difference:.1e})"
    return "No single layer parts from the folded network, so folding batch norm or the input's scaling changed it"


def _run(
    model: onnx.ModelProto, artifact: Artifact, frames: NDArray[np.uint8], outputs: list[str]
) -> dict[str, NDArray[Any]]:
    """Run with inner tensors as outputs, which keeps ONNX Runtime from fusing across them."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    present = {output.name for output in watched.graph.output}
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(np.float16 if artifact.precision == "fp16" else np.float32))
    wanted = list(dict.fromkeys(outputs))
    watched.graph.output.extend(helper.make_tensor_value_info(n, dtype, None) for n in wanted if n not in present)
    session = open_session(watched.SerializeToString(), "the exported graph", "cpu", usable_cores())
    return dict(zip(wanted, session.run(wanted, {INPUT: InputLayout(artifact)(list(frames))}), strict=True))


def _range(values: Tensor) -> float:
    return max(float(values.max() - values.min()), 1e-12)


def _share(found: NDArray[Any], expected: Tensor) -> float:
    return float(np.abs(found.astype(np.float32) - expected.numpy()).max()) / _range(expected)
