"""Fast-SCNN as in the paper's table (Poudel, Liwicki, Cipolla: Fast-SCNN, BMVC 2019).

Logits come out at 1/8 of the image's resolution; upsampling belongs to the head that uses them
(`fastscnn.export` for graphs, `fastscnn.runtime.decode` on the robot), because it is cheaper there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

POOLING_BINS = (1, 2, 3, 6)
BOTTLENECKS = ((64, 3, 2), (96, 3, 2), (128, 3, 1))  # channels, repeats, stride of the first
EXPANSION = 6


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    relu: bool = True,
) -> nn.Sequential:
    """Convolution without bias, batch norm and, unless switched off, ReLU."""
    layers: dict[str, nn.Module] = {
        "conv": nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            groups=groups,
            bias=False,
        ),
        "bn": nn.BatchNorm2d(outputs),
    }
    if relu:
        layers["relu"] = nn.ReLU(inplace=True)
    block = nn.Sequential()
    for name, layer in layers.items():
        block.add_module(name, layer)
    return block


class DSConv(nn.Module):
    """Depthwise-separable 3×3 convolution; the paper has no nonlinearity between its two halves."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = conv_bn(inputs, inputs, 3, stride=stride, groups=inputs, relu=False)
        self.pointwise = conv_bn(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class Bottleneck(nn.Module):
    """Inverted residual: expand 1×1, depthwise 3×3, project 1×1 (linear); added to its input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        width = inputs * EXPANSION
        self.expand = conv_bn(inputs, width)
        self.depthwise = conv_bn(width, width, 3, stride=stride, groups=width)
        self.project = conv_bn(width, outputs, relu=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class PyramidPooling(nn.Module):
    """Context from 1, 2, 3 and 6 bins a side, upsampled and concatenated to the features (PSPNet)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        branch = channels // len(POOLING_BINS)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), conv_bn(channels, branch)) for bins in POOLING_BINS
        )
        self.merge = conv_bn(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        context = [F.interpolate(branch(x), size, mode="bilinear", align_corners=False) for branch in self.branches]
        return self.merge(torch.cat([x, *context], dim=1))


class LearningToDownsample(nn.Sequential):
    """Three strided layers shared by both branches: (N, 3, H, W) → (N, 64, H/8, W/8)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv_bn(3, 32, 3, stride=2)
        self.dsconv1 = DSConv(32, 48, stride=2)
        self.dsconv2 = DSConv(48, 64, stride=2)


class GlobalFeatureExtractor(nn.Sequential):
    """Bottlenecks and pyramid pooling: (N, 64, H/8, W/8) → (N, 128, H/32, W/32)."""

    def __init__(self) -> None:
        super().__init__()
        inputs = 64
        for stage, (channels, repeats, stride) in enumerate(BOTTLENECKS, start=1):
            blocks = [
                Bottleneck(inputs if i == 0 else channels, channels, stride if i == 0 else 1) for i in range(repeats)
            ]
            self.add_module(f"bottleneck{stage}", nn.Sequential(*blocks))
            inputs = channels
        self.pyramid_pooling = PyramidPooling(inputs)


class FeatureFusion(nn.Module):
    """Add the context, upsampled to the spatial branch's size, to the spatial branch."""

    def __init__(self, high: int = 64, low: int = 128, outputs: int = 128) -> None:
        super().__init__()
        self.high = conv_bn(high, outputs, relu=False)
        self.low_depthwise = conv_bn(low, low, 3, dilation=4, groups=low)
        self.low = conv_bn(low, outputs, relu=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        low = F.interpolate(low, high.shape[2:], mode="bilinear", align_corners=False)
        return self.relu(self.high(high) + self.low(self.low_depthwise(low)))


class Classifier(nn.Sequential):
    """Two separable convolutions, dropout and the 1×1 convolution to the classes."""

    def __init__(self, classes: int, channels: int = 128, dropout: float = 0.1) -> None:
        super().__init__()
        self.dsconv1 = DSConv(channels, channels)
        self.dsconv2 = DSConv(channels, channels)
        self.dropout = nn.Dropout(dropout)
        self.conv = nn.Conv2d(channels, classes, 1)


class FastSCNN(nn.Module):
    """The network: normalised RGB (N, 3, H, W) → logits (N, classes, ⌈H/8⌉, ⌈W/8⌉).

    Any H, W from 64 up. Takes and gives float32 (float16 or bfloat16 after `.to`); 1.138 M parameters with 19 classes.

    Raises:
        ValueError: from the constructor for fewer than 2 or more than 255 classes (255 is the ignore label).
    """

    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        if not 2 <= classes <= 255:
            raise ValueError(f"{classes} classes; 2 to 255 fit the uint8 labels, of which 255 means ignore")
        self.classes = classes
        self.learning_to_downsample = LearningToDownsample()
        self.global_feature_extractor = GlobalFeatureExtractor()
        self.feature_fusion = FeatureFusion()
        self.classifier = Classifier(classes)

    def forward(self, image: Tensor) -> Tensor:
        high = self.learning_to_downsample(image)
        low = self.global_feature_extractor(high)
        return self.classifier(self.feature_fusion(high, low))


class WithAuxiliaryHeads(nn.Module):
    """The network with the two heads that only training has, after each of the first two parts.

    Gives three logits, (N, classes, h, w) each: of the network at 1/8, after learning-to-downsample at 1/8, after the
    global feature extractor at 1/32.
    """

    def __init__(self, network: FastSCNN) -> None:
        super().__init__()
        self.network = network
        self.auxiliary = nn.ModuleList([_auxiliary_head(64, network.classes), _auxiliary_head(128, network.classes)])

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        high = self.network.learning_to_downsample(image)
        low = self.network.global_feature_extractor(high)
        logits = self.network.classifier(self.network.feature_fusion(high, low))
        return logits, self.auxiliary[0](high), self.auxiliary[1](low)


def _auxiliary_head(inputs: int, classes: int, width: int = 32, dropout: float = 0.1) -> nn.Sequential:
    return nn.Sequential(conv_bn(inputs, width, 3), nn.Dropout(dropout), nn.Conv2d(width, classes, 1))
