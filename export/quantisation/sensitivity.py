"""What each convolution costs when it alone is computed in int8."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import TensorsData

from ...runtime.artifacts.artifact import Artifact
from .agreement import compare, runner
from .qdq import convolutions, with_qdq

FRAMES = 4  # a rank among layers needs few


@dataclass(frozen=True)
class Cost:
    """Of one convolution: its weights and its input in int8, all else in float32."""

    name: str
    labels: float  # share of pixels that get another label
    logits: float  # root mean square of the logits' difference, as a share of their range
    full: bool  # stays in float32


def sensitivity(
    network: onnx.ModelProto,
    artifact: Artifact,
    ranges: TensorsData,
    full: Sequence[str],
    images: Sequence[NDArray[Any]],
    advance: Callable[[int], object],
) -> list[Cost]:
    """Every convolution, the dearest first. `advance` is told of each."""
    reference = runner(network.SerializeToString(), "the FP32 graph")
    logits = {id(image): reference(image) for image in images}
    costs = []
    for name in convolutions(network):
        alone = with_qdq(network, ranges, (), only=[name])
        run = runner(alone.SerializeToString(), f"the graph with {name} in int8")
        (found,) = compare(artifact, lambda image: logits[id(image)], [run], images, lambda _: None)
        costs.append(Cost(name, 1 - found.pixels, found.logits, name in full))
        advance(1)
    return sorted(costs, key=lambda cost: -cost.logits)


def as_text(costs: Sequence[Cost]) -> str:
    """A table."""
    width = max(len(cost.name) for cost in costs)
    lines = [f"{'convolution, alone in int8':<{width}}  labels changed  logits' error"]
    lines += [
        f"{cost.name:<{width}}  {cost.labels:>14.3%}  {cost.logits:>13.3%}" + ("  kept in float32" if cost.full else "")
        for cost in costs
    ]
    return "\n".join(lines)
