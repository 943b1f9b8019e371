"""Fast-SCNN as in the paper's table (Poudel, Liwicki, Cipolla: Fast-SCNN, BMVC 2019).

Logits come out at 1/8 of the image's resolution; upsampling belongs to the head that uses them
(`fastscnn.export` for graphs, `fastscnn.runtime.decode.decoder` on the robot), because it is cheaper there.

Other implementations read the table otherwise; `fastscnn.model.variant` names each difference, and its defaults are the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .variant import PAPER, Variant

BOTTLENECKS = ((64, 3, 2), (96, 3, 2), (128, 3, 1))  # channels, repeats, stride of the first
EXPANSION = 6
ACTIVATIONS = {"relu": nn.ReLU, "relu6": nn.ReLU6}


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    padding: int | None = None,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = False,
    activation: str = "relu",
) -> nn.Sequential:
    """Convolution that keeps the size but for its stride, batch norm and, unless it is "none", an activation."""
    layers: dict[str, nn.Module] = {
        "conv": nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride,
            padding=dilation * (kernel // 2) if padding is None else padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
        ),
        "bn": nn.BatchNorm2d(outputs),
    }
    if activation != "none":
        layers["relu"] = ACTIVATIONS[activation](inplace=True)
    block = nn.Sequential()
    for name, layer in layers.items():
        block.add_module(name, layer)
    return block


class DSConv(nn.Module):
    """Depthwise-separable 3×3 convolution; the paper has no nonlinearity between its two halves."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, variant: Variant = PAPER) -> None:
        super().__init__()
        between = variant.separable_activation
        self.depthwise = conv_bn(inputs, inputs, 3, stride=stride, groups=inputs, bias=variant.bias, activation=between)
        self.pointwise = conv_bn(inputs, outputs, bias=variant.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class Bottleneck(nn.Module):
    """Inverted residual: expand 1×1, depthwise 3×3, project 1×1 (linear); added to its input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, variant: Variant = PAPER) -> None:
        super().__init__()
        width, activation = inputs * EXPANSION, variant.bottleneck_activation
        self.expand = conv_bn(inputs, width, activation=activation)
        self.depthwise = conv_bn(width, width, 3, stride=stride, groups=width, activation=activation)
        self.project = conv_bn(width, outputs, activation="none")
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class PyramidPooling(nn.Module):
    """Context from 1, 2, 3 and 6 bins a side, upsampled and concatenated to the features (PSPNet)."""

    def __init__(self, channels: int, variant: Variant = PAPER) -> None:
        super().__init__()
        branch = channels // len(variant.pooling_bins)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), conv_bn(channels, branch, bias=variant.bias))
            for bins in variant.pooling_bins
        )
        self.merge = conv_bn(2 * channels, channels, variant.pooling_kernel, bias=variant.bias)
        self.align_corners = variant.pooling_align_corners

    def forward(self, x: Tensor) -> Tensor:
        size, aligned = x.shape[2:], self.align_corners
        context = [F.interpolate(branch(x), size, mode="bilinear", align_corners=aligned) for branch in self.branches]
        return self.merge(torch.cat([x, *context], dim=1))


class PadSame(nn.Module):
    """Zeros for a 3×3 convolution of stride 2 as TensorFlow and Paddle place them: an even size gets one row, at its end."""

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (x.shape[3] % 2, 1, x.shape[2] % 2, 1))


class LearningToDownsample(nn.Sequential):
    """Three strided layers shared by both branches: (N, 3, H, W) → (N, 64, H/8, W/8)."""

    def __init__(self, variant: Variant = PAPER) -> None:
        super().__init__()
        padding = variant.stem_padding
        if isinstance(padding, str):
            self.pad, padding = PadSame(), 0
        self.conv = conv_bn(3, 32, 3, stride=2, padding=padding, bias=variant.bias)
        self.dsconv1 = DSConv(32, 48, stride=2, variant=variant)
        self.dsconv2 = DSConv(48, 64, stride=2, variant=variant)


class GlobalFeatureExtractor(nn.Sequential):
    """Bottlenecks and pyramid pooling: (N, 64, H/8, W/8) → (N, 128, H/32, W/32)."""

    def __init__(self, variant: Variant = PAPER) -> None:
        super().__init__()
        inputs = 64
        for stage, (channels, repeats, stride) in enumerate(BOTTLENECKS, start=1):
            blocks = [
                Bottleneck(inputs if i == 0 else channels, channels, stride if i == 0 else 1, variant)
                for i in range(repeats)
            ]
            self.add_module(f"bottleneck{stage}", nn.Sequential(*blocks))
            inputs = channels
        self.pyramid_pooling = PyramidPooling(inputs, variant)


class FeatureFusion(nn.Module):
    """Add the context, upsampled to the spatial branch's size, to the spatial branch."""

    def __init__(self, high: int = 64, low: int = 128, outputs: int = 128, variant: Variant = PAPER) -> None:
        super().__init__()
        self.high = conv_bn(high, outputs, bias=variant.fusion_bias, activation="none")
        self.low_depthwise = conv_bn(low, low, 3, dilation=variant.fusion_dilation, groups=low)
        self.low = conv_bn(low, outputs, bias=variant.fusion_bias, activation="none")
        self.relu = nn.ReLU(inplace=True)
        self.align_corners = variant.fusion_align_corners

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        low = F.interpolate(low, high.shape[2:], mode="bilinear", align_corners=self.align_corners)
        return self.relu(self.high(high) + self.low(self.low_depthwise(low)))


class Classifier(nn.Sequential):
    """Two separable convolutions, dropout and the 1×1 convolution to the classes."""

    def __init__(self, classes: int, channels: int = 128, dropout: float = 0.1, variant: Variant = PAPER) -> None:
        super().__init__()
        self.dsconv1 = DSConv(channels, channels, variant=variant)
        self.dsconv2 = DSConv(channels, channels, variant=variant)
        self.dropout = nn.Dropout(dropout)
        self.conv = nn.Conv2d(channels, classes, 1)


class FastSCNN(nn.Module):
    """The network: normalised RGB (N, 3, H, W) → logits (N, classes, ⌈H/8⌉, ⌈W/8⌉).

    Any H, W from 64 up. Takes and gives float32 (float16 or bfloat16 after `.to`); 1.138 M parameters with 19 classes.
    Names in the state dict are the same in every variant.

    Raises:
        ValueError: from the constructor for fewer than 2 or more than 255 classes (255 is the ignore label).
    """

    def __init__(self, classes: int = 19, variant: Variant = PAPER) -> None:
        super().__init__()
        if not 2 <= classes <= 255:
            raise ValueError(f"{classes} classes; 2 to 255 fit the uint8 labels, of which 255 means ignore")
        self.classes, self.variant = classes, variant
        self.learning_to_downsample = LearningToDownsample(variant)
        self.global_feature_extractor = GlobalFeatureExtractor(variant)
        self.feature_fusion = FeatureFusion(variant=variant)
        self.classifier = Classifier(classes, variant=variant)

    def forward(self, image: Tensor) -> Tensor:
        high = self.learning_to_downsample(image)
        low = self.global_feature_extractor(high)
        return self.classifier(self.feature_fusion(high, low))


class WithAuxiliaryHeads(nn.Module):
    """The network with the heads that only training has, after each of the first two parts.

    Gives three logits, (N, classes, h, w) each: of the network at 1/8, after learning-to-downsample at 1/8, after the
    global feature extractor at 1/32. Variants may have fewer heads, or another order.
    """

    def __init__(self, network: FastSCNN) -> None:
        super().__init__()
        self.network = network
        channels = {"learning_to_downsample": 64, "global_feature_extractor": 128}
        self.auxiliary = nn.ModuleList(
            _auxiliary_head(channels[part], network.classes) for part in network.variant.auxiliary
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        high = self.network.learning_to_downsample(image)
        low = self.network.global_feature_extractor(high)
        logits = self.network.classifier(self.network.feature_fusion(high, low))
        features = {"learning_to_downsample": high, "global_feature_extractor": low}
        places = zip(self.auxiliary, self.network.variant.auxiliary, strict=True)
        return logits, *(head(features[part]) for head, part in places)


def _auxiliary_head(inputs: int, classes: int, width: int = 32, dropout: float = 0.1) -> nn.Sequential:
    return nn.Sequential(conv_bn(inputs, width, 3), nn.Dropout(dropout), nn.Conv2d(width, classes, 1))
