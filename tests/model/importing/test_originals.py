"""Imported networks against their originals: the recorded results in ../shared, and each original written out by hand.

The functions below say once more, over the foreign names, what the three projects compute. They share nothing with the
network under test, so a wrong name, order, padding or corner shows as a difference.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fastscnn.model.checkpoint import load
from fastscnn.model.importing import import_checkpoint
from fastscnn.model.importing.sources import SOURCES
from fastscnn.model.network import FastSCNN
from fastscnn.model.variant import MMSEG, PADDLESEG, TRAMAC, Variant

State = dict[str, Tensor]
STEM, EXTRACTOR = "learning_to_downsample", "global_feature_extractor"


class Layers:
    """Convolution, batch norm and ReLU by the names of a state dict."""

    def __init__(self, state: State, conv: str, bn: str, mean: str = "running_mean", var: str = "running_var") -> None:
        self.state, self.names = state, (conv, bn, mean, var)

    def __call__(self, x: Tensor, at: str, stride: int = 1, padding: int = 0, relu: bool = True) -> Tensor:
        conv, bn, mean, var = self.names
        return self.pair(x, f"{at}.{conv}", f"{at}.{bn}", stride, padding, relu, (mean, var))

    def pair(
        self,
        x: Tensor,
        conv: str,
        bn: str,
        stride: int = 1,
        padding: int = 0,
        relu: bool = True,
        moments: tuple[str, str] = ("running_mean", "running_var"),
    ) -> Tensor:
        weight = self.state[f"{conv}.weight"]
        groups = x.shape[1] // weight.shape[1]
        y = F.conv2d(x, weight, self.state.get(f"{conv}.bias"), stride, padding, groups=groups)
        mean, var = (self.state[f"{bn}.{name}"] for name in moments)
        y = F.batch_norm(y, mean, var, self.state[f"{bn}.weight"], self.state[f"{bn}.bias"])
        return F.relu(y) if relu else y


def upsample(x: Tensor, size: tuple[int, ...], align_corners: bool) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)


def strides() -> list[tuple[int, int, int, bool]]:
    """(bottleneck, block, stride, residual)"""
    return [(i, j, 2 if j == 0 and i < 3 else 1, j > 0) for i in (1, 2, 3) for j in range(3)]


def tramac(s: State, image: Tensor, scale: bool = True) -> Tensor:
    """The original's fusion upsamples by four, whatever the other branch's size is, and crashes where they part."""
    layers = Layers(s, "0", "1")

    def dsconv(x: Tensor, at: str, stride: int = 1) -> Tensor:
        x = layers.pair(x, f"{at}.conv.0", f"{at}.conv.1", stride, 1)
        return layers.pair(x, f"{at}.conv.3", f"{at}.conv.4")

    x = layers(image, f"{STEM}.conv.conv", 2, 0)
    high = x = dsconv(dsconv(x, f"{STEM}.dsconv1", 2), f"{STEM}.dsconv2", 2)
    for i, j, stride, residual in strides():
        at = f"{EXTRACTOR}.bottleneck{i}.{j}.block"
        y = layers(layers(x, f"{at}.0.conv"), f"{at}.1.conv", stride, 1)
        y = layers.pair(y, f"{at}.2", f"{at}.3", relu=False)
        x = x + y if residual else y
    context = [
        upsample(
            layers(F.adaptive_avg_pool2d(x, bins), f"{EXTRACTOR}.ppm.conv{k}.conv"), x.shape[2:], align_corners=True
        )
        for k, bins in enumerate((1, 2, 3, 6), start=1)
    ]
    x = layers(torch.cat([x, *context], dim=1), f"{EXTRACTOR}.ppm.out.conv")
    if scale:
        x = F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=True)
    else:
        x = upsample(x, high.shape[2:], align_corners=True)
    x = layers(layers(x, "feature_fusion.dwconv.conv", 1, 1), "feature_fusion.conv_lower_res", relu=False)
    x = F.relu(x + layers(high, "feature_fusion.conv_higher_res", relu=False))
    x = dsconv(dsconv(x, "classifier.dsconv1"), "classifier.dsconv2")
    x = F.conv2d(x, s["classifier.conv.1.weight"], s["classifier.conv.1.bias"])
    return upsample(x, image.shape[2:], align_corners=True)


def mmseg(s: State, image: Tensor) -> Tensor:
    layers = Layers(s, "conv", "bn")

    def dsconv(x: Tensor, at: str, stride: int = 1) -> Tensor:
        return layers(layers(x, f"{at}.depthwise_conv", stride, 1, relu=False), f"{at}.pointwise_conv")

    stem, extractor = f"backbone.{STEM}", f"backbone.{EXTRACTOR}"
    x = layers(image, f"{stem}.conv", 2, 1)
    high = x = dsconv(dsconv(x, f"{stem}.dsconv1", 2), f"{stem}.dsconv2", 2)
    for i, j, stride, residual in strides():
        at = f"{extractor}.bottleneck{i}.{j}.conv"
        y = layers(layers(layers(x, f"{at}.0"), f"{at}.1", stride, 1), f"{at}.2", relu=False)
        x = x + y if residual else y
    context = [
        upsample(layers(F.adaptive_avg_pool2d(x, bins), f"{extractor}.ppm.{k}.1"), x.shape[2:], align_corners=False)
        for k, bins in enumerate((1, 2, 3, 6))
    ]
    x = layers(torch.cat([x, *context], dim=1), f"{extractor}.out", 1, 1)
    x = layers(upsample(x, high.shape[2:], align_corners=False), "backbone.feature_fusion.dwconv", 1, 1)
    x = layers(x, "backbone.feature_fusion.conv_lower_res", relu=False)
    x = F.relu(x + layers(high, "backbone.feature_fusion.conv_higher_res", relu=False))
    x = dsconv(dsconv(x, "decode_head.convs.0"), "decode_head.convs.1")
    x = F.conv2d(x, s["decode_head.conv_seg.weight"], s["decode_head.conv_seg.bias"])
    return upsample(x, image.shape[2:], align_corners=False)


def paddleseg(s: State, image: Tensor) -> Tensor:
    layers = Layers(s, "_conv", "_batch_norm", "_mean", "_variance")

    def dsconv(x: Tensor, at: str, stride: int = 1) -> Tensor:
        return layers(layers(x, f"{at}.depthwise_conv", stride, 1, relu=False), f"{at}.piontwise_conv")

    height, width = image.shape[2:]
    x = F.pad(image, (width % 2, 1, height % 2, 1))  # "same"
    x = layers(x, f"{STEM}.conv_bn_relu", 2)
    high = x = dsconv(dsconv(x, f"{STEM}.dsconv_bn_relu1", 2), f"{STEM}.dsconv_bn_relu2", 2)
    for i, j, stride, residual in strides():
        at = f"{EXTRACTOR}.bottleneck{i}.{j}.block"
        y = layers(layers(layers(x, f"{at}.0"), f"{at}.1", stride, 1), f"{at}.2", relu=False)
        x = x + y if residual else y
    context = [
        upsample(layers(F.adaptive_avg_pool2d(x, bins), f"{EXTRACTOR}.ppm.stages.{k}.1"), x.shape[2:], True)
        for k, bins in enumerate((1, 2, 3, 6))
    ]
    x = layers(torch.cat([x, *context[::-1]], dim=1), f"{EXTRACTOR}.ppm.conv_bn_relu2", 1, 1)
    x = layers(upsample(x, high.shape[2:], align_corners=False), "feature_fusion.dwconv", 1, 1)
    x = layers(x, "feature_fusion.conv_low_res", relu=False)
    x = F.relu(x + layers(high, "feature_fusion.conv_high_res", relu=False))
    x = dsconv(dsconv(x, "classifier.dsconv1"), "classifier.dsconv2")
    x = F.conv2d(x, s["classifier.conv.weight"], s["classifier.conv.bias"])
    return upsample(x, image.shape[2:], align_corners=False)


ORIGINALS: list[tuple[Variant, Callable[[State, Tensor], Tensor]]] = [
    (TRAMAC, tramac),
    (MMSEG, mmseg),
    (PADDLESEG, paddleseg),
]
NAMED = pytest.mark.parametrize(("variant", "original"), ORIGINALS, ids=[v.name for v, _ in ORIGINALS])


def random_state(network: FastSCNN) -> State:
    """Every number at random, so that nothing can stand in for anything else."""
    make = torch.Generator().manual_seed(7)
    state = {}
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_var", "bn.weight")):
            state[name] = torch.rand(tensor.shape, generator=make) + 0.5
        elif name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(9)
        else:
            scale = tensor[0].numel() ** -0.5 if tensor.ndim == 4 else 0.5
            state[name] = torch.randn(tensor.shape, generator=make) * scale
    return state


def networks(variant: Variant) -> tuple[FastSCNN, State]:
    """A network of the variant and the same tensors under the other project's names."""
    network = FastSCNN(6, variant).eval()
    state = random_state(network)
    network.load_state_dict(state)
    (source,) = (s for s in SOURCES if s.variant == variant)
    return network, {foreign: state[own] for own, foreign in source.names(state).items()}


def full(network: FastSCNN, image: Tensor) -> Tensor:
    with torch.inference_mode():
        return upsample(network(image), image.shape[2:], network.variant.logits_align_corners)


def parting(found: Tensor, expected: Tensor) -> float:
    """The largest difference as a share of the expected range."""
    return float((found - expected).abs().max() / (expected.max() - expected.min()))


@NAMED
@pytest.mark.parametrize("size", [(64, 96), (97, 130), (66, 129)])
def test_the_network_computes_what_the_original_does(
    variant: Variant, original: Callable[[State, Tensor], Tensor], size: tuple[int, int]
) -> None:
    network, state = networks(variant)
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert parting(full(network, image), original(state, image)) < 1e-5


@pytest.mark.parametrize("size", [(100, 140), (64, 80), (75, 64)])
def test_sizes_that_tramacs_original_crashes_at(size: tuple[int, int]) -> None:
    """There the context is scaled to the spatial branch's size, which is four times its own wherever the original works."""
    network, state = networks(TRAMAC)
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        with pytest.raises(RuntimeError, match="must match the size"):
            tramac(state, image)
        assert parting(full(network, image), tramac(state, image, scale=False)) < 1e-5


@pytest.mark.parametrize(
    ("variant", "change"),
    [
        (TRAMAC, {"stem_padding": 1}),
        (TRAMAC, {"separable_activation": "none"}),
        (TRAMAC, {"pooling_align_corners": False}),
        (TRAMAC, {"fusion_align_corners": False}),
        (TRAMAC, {"logits_align_corners": False}),
        (TRAMAC, {"fusion_dilation": 4}),
        (MMSEG, {"fusion_dilation": 4}),
        (MMSEG, {"pooling_bins": (6, 3, 2, 1)}),
        (MMSEG, {"pooling_align_corners": True}),
        (PADDLESEG, {"stem_padding": 1}),
        (PADDLESEG, {"pooling_bins": (1, 2, 3, 6)}),
        (PADDLESEG, {"pooling_align_corners": False}),
        (PADDLESEG, {"fusion_align_corners": True}),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_every_difference_between_the_projects_shows(variant: Variant, change: dict[str, object]) -> None:
    """The comparison above would notice each field, were it wrong."""
    network, state = networks(variant)
    changed = FastSCNN(6, replace(variant, **change)).eval()  # type: ignore[arg-type]
    changed.load_state_dict(network.state_dict())
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    original = dict(zip([v.name for v, _ in ORIGINALS], [f for _, f in ORIGINALS], strict=True))[variant.name]
    with torch.inference_mode():
        assert parting(full(changed, image), original(state, image)) > 1e-3


@pytest.mark.parametrize("name", ["tramac", "mmseg"])
def test_recorded_results_of_the_originals(shared: Path, tmp_path: Path, name: str) -> None:
    """Weights and full-resolution logits that the original implementations wrote."""
    recorded = np.load(shared / "checkpoints" / f"{name}_19.npz")
    checkpoint = load(import_checkpoint(shared / "checkpoints" / f"{name}_19.pth", tmp_path / "model.safetensors"))
    assert checkpoint.network.variant.name == name
    assert checkpoint.classes.name == "cityscapes"
    pixels = torch.from_numpy(recorded["image_rgb"]).float() / 255
    image = ((pixels - torch.tensor(checkpoint.mean)) / torch.tensor(checkpoint.std)).permute(2, 0, 1)[None]
    found, expected = full(checkpoint.network, image), torch.from_numpy(recorded["logits"])[None]
    assert parting(found, expected) < 1e-4
    assert float((found.argmax(1) == expected.argmax(1)).float().mean()) > 0.9999


@pytest.mark.parametrize(("name", "variant"), [("tramac", TRAMAC), ("mmseg", MMSEG)])
def test_names_and_shapes_are_the_published_ones(shared: Path, name: str, variant: Variant) -> None:
    """Every published tensor is taken or belongs to an auxiliary head, and has the shape that the network has."""
    lines = (shared / "checkpoints" / f"keys_{name}.txt").read_text().splitlines()
    published = dict(line.split("\t") for line in lines if line)
    (source,) = (s for s in SOURCES if s.variant == variant)
    state = FastSCNN(19, variant).state_dict()
    for own, foreign in source.names(state).items():
        assert str(list(state[own].shape)) == published.pop(foreign), foreign
    assert [name for name in published if not name.startswith(source.auxiliary)] == []
