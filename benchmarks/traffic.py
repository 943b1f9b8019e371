"""The bytes that the network itself must move, and so the least time that it can take on a device.

Every convolution reads its input and writes its output once, and every pooling reads its input; what is added, normalised,
activated or upsampled on the way costs nothing, as an engine does it in passing. Caches may do better, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..runtime.artifacts.artifact import Artifact

_BYTES = {"int8": 1, "fp16": 2, "mixed": 2, "fp32": 4}  # where layers differ that of most: a floor must not be too high
_EXPANSION, _BOTTLENECKS = 6, ((64, 3, 2), (96, 3, 2), (128, 3, 1))  # as in fastscnn.model.network, which needs torch
_BINS = (1, 2, 3, 6)


@dataclass(frozen=True)
class Layer:
    """One convolution or pooling: its module's name, and the numbers that it reads and writes."""

    name: str
    read: int
    written: int


def layers(height: int, width: int, classes: int) -> tuple[Layer, ...]:
    """Of one image, in the order of the network's modules."""
    return tuple(_network(height, width, classes))


def activation_bytes(artifact: Artifact, precision: str) -> int:
    """What one frame moves, without the weights (2 MB in FP16)."""
    found = layers(artifact.height, artifact.width, len(artifact.classes))
    return sum(layer.read + layer.written for layer in found) * _BYTES[precision]


def _network(height: int, width: int, classes: int) -> Iterator[Layer]:
    size, plane = (height, width), height * width
    half = _halved(size)
    yield Layer("learning_to_downsample.conv.conv", 3 * plane, 32 * _area(half))
    quarter, eighth = _halved(half), _halved(_halved(half))
    yield from _separable("learning_to_downsample.dsconv1", 32, 48, half, quarter)
    yield from _separable("learning_to_downsample.dsconv2", 48, 64, quarter, eighth)
    inputs, size = 64, eighth
    for stage, (channels, repeats, stride) in enumerate(_BOTTLENECKS, start=1):
        for index in range(repeats):
            name = f"global_feature_extractor.bottleneck{stage}.{index}"
            after = _halved(size) if stride == 2 and index == 0 else size
            wide = inputs * _EXPANSION
            yield Layer(f"{name}.expand.conv", inputs * _area(size), wide * _area(size))
            yield Layer(f"{name}.depthwise.conv", wide * _area(size), wide * _area(after))
            yield Layer(f"{name}.project.conv", wide * _area(after), channels * _area(after))
            inputs, size = channels, after
    pooling = "global_feature_extractor.pyramid_pooling"
    for index, bins in enumerate(_BINS):
        pooled = inputs * bins * bins
        yield Layer(f"{pooling}.branches.{index}.0", inputs * _area(size), pooled)
        yield Layer(f"{pooling}.branches.{index}.1.conv", pooled, pooled // len(_BINS))
    yield Layer(f"{pooling}.merge.conv", 2 * inputs * _area(size), inputs * _area(size))
    yield Layer("feature_fusion.high.conv", 64 * _area(eighth), 128 * _area(eighth))
    for name in ("low_depthwise", "low"):
        yield Layer(f"feature_fusion.{name}.conv", 128 * _area(eighth), 128 * _area(eighth))
    for name in ("dsconv1", "dsconv2"):
        yield from _separable(f"classifier.{name}", 128, 128, eighth, eighth)
    yield Layer("classifier.conv", 128 * _area(eighth), classes * _area(eighth))


def _separable(
    name: str, inputs: int, outputs: int, before: tuple[int, int], after: tuple[int, int]
) -> Iterator[Layer]:
    yield Layer(f"{name}.depthwise.conv", inputs * _area(before), inputs * _area(after))
    yield Layer(f"{name}.pointwise.conv", inputs * _area(after), outputs * _area(after))


def _halved(size: tuple[int, int]) -> tuple[int, int]:
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]
