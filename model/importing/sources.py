"""What other projects call the network's tensors, read off their public source.

A block is one convolution with its batch norm. Names have `{}` where a block occurs several times.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..variant import MMSEG, PADDLESEG, TRAMAC, Variant

_STEM = "learning_to_downsample"
_EXTRACTOR = "global_feature_extractor"
_BOTTLENECK = f"{_EXTRACTOR}.bottleneck{{}}.{{}}"
_POOLING = f"{_EXTRACTOR}.pyramid_pooling"


@dataclass(frozen=True)
class Block:
    """One of this project's blocks and where another project keeps its two layers."""

    own: str
    foreign: str
    conv: str = "conv"
    bn: str = "bn"

    def renamed(self, block: str, layer: str) -> str | None:
        """The other project's name of a layer, "conv" or "bn", of this project's block; None where this is another block."""
        pattern = r"(\w+?)".join(map(re.escape, self.own.split("{}")))
        match = re.fullmatch(pattern, block)
        return f"{self.foreign.format(*match.groups())}.{self.conv if layer == 'conv' else self.bn}" if match else None


@dataclass(frozen=True)
class Source:
    """A public implementation: its network, its names, and what a checkpoint of it may hold besides."""

    project: str
    variant: Variant
    blocks: tuple[Block, ...]
    auxiliary: tuple[str, ...] = ()  # what names of training heads begin with
    tensors: dict[str, str] = field(default_factory=dict)  # names of single tensors, where they differ from PyTorch's
    advice: str = ""  # for files that nearly fit

    def names(self, own: Iterable[str]) -> dict[str, str]:
        """This project's tensor names → the other project's."""
        return {name: self._name(name) for name in own}

    def _name(self, own: str) -> str:
        block, layer, tensor = own.rsplit(".", 2)
        for candidate in self.blocks:
            if renamed := candidate.renamed(block, layer):
                return f"{renamed}.{self.tensors.get(tensor, tensor)}"
        raise KeyError(f"{self.project} has no name for {own}")


SOURCES = (
    Source(
        "Tramac's Fast-SCNN-pytorch",
        TRAMAC,
        (
            Block(f"{_STEM}.conv", f"{_STEM}.conv.conv", "0", "1"),
            Block("{}.dsconv{}.depthwise", "{}.dsconv{}.conv", "0", "1"),
            Block("{}.dsconv{}.pointwise", "{}.dsconv{}.conv", "3", "4"),
            Block(f"{_BOTTLENECK}.expand", f"{_BOTTLENECK}.block.0.conv", "0", "1"),
            Block(f"{_BOTTLENECK}.depthwise", f"{_BOTTLENECK}.block.1.conv", "0", "1"),
            Block(f"{_BOTTLENECK}.project", f"{_BOTTLENECK}.block", "2", "3"),
            *(Block(f"{_POOLING}.branches.{i}.1", f"{_EXTRACTOR}.ppm.conv{i + 1}.conv", "0", "1") for i in range(4)),
            Block(f"{_POOLING}.merge", f"{_EXTRACTOR}.ppm.out.conv", "0", "1"),
            Block("feature_fusion.high", "feature_fusion.conv_higher_res", "0", "1"),
            Block("feature_fusion.low_depthwise", "feature_fusion.dwconv.conv", "0", "1"),
            Block("feature_fusion.low", "feature_fusion.conv_lower_res", "0", "1"),
            Block("classifier", "classifier.conv", "1"),
        ),
        auxiliary=("auxlayer.",),
    ),
    Source(
        "MMSegmentation's Fast-SCNN",
        MMSEG,
        (
            Block(f"{_STEM}.conv", f"backbone.{_STEM}.conv"),
            Block(f"{_STEM}.dsconv{{}}.{{}}", f"backbone.{_STEM}.dsconv{{}}.{{}}_conv"),
            Block(f"{_BOTTLENECK}.expand", f"backbone.{_BOTTLENECK}.conv.0"),
            Block(f"{_BOTTLENECK}.depthwise", f"backbone.{_BOTTLENECK}.conv.1"),
            Block(f"{_BOTTLENECK}.project", f"backbone.{_BOTTLENECK}.conv.2"),
            Block(f"{_POOLING}.branches.{{}}.1", f"backbone.{_EXTRACTOR}.ppm.{{}}.1"),
            Block(f"{_POOLING}.merge", f"backbone.{_EXTRACTOR}.out"),
            Block("feature_fusion.high", "backbone.feature_fusion.conv_higher_res"),
            Block("feature_fusion.low_depthwise", "backbone.feature_fusion.dwconv"),
            Block("feature_fusion.low", "backbone.feature_fusion.conv_lower_res"),
            Block("classifier.dsconv1.{}", "decode_head.convs.0.{}_conv"),
            Block("classifier.dsconv2.{}", "decode_head.convs.1.{}_conv"),
            Block("classifier", "decode_head", "conv_seg"),
        ),
        auxiliary=("auxiliary_head.",),
        advice="Versions before 0.19 had another network, which is not supported",
    ),
    Source(
        "PaddleSeg's Fast-SCNN",
        PADDLESEG,
        (
            *(
                Block(own, foreign, "_conv", "_batch_norm")
                for own, foreign in (
                    (f"{_STEM}.conv", f"{_STEM}.conv_bn_relu"),
                    (f"{_STEM}.dsconv{{}}.depthwise", f"{_STEM}.dsconv_bn_relu{{}}.depthwise_conv"),
                    (f"{_STEM}.dsconv{{}}.pointwise", f"{_STEM}.dsconv_bn_relu{{}}.piontwise_conv"),  # spelt so there
                    (f"{_BOTTLENECK}.expand", f"{_BOTTLENECK}.block.0"),
                    (f"{_BOTTLENECK}.depthwise", f"{_BOTTLENECK}.block.1"),
                    (f"{_BOTTLENECK}.project", f"{_BOTTLENECK}.block.2"),
                    # Its stages are kept from 1 bin to 6 and concatenated from 6 to 1.
                    *((f"{_POOLING}.branches.{i}.1", f"{_EXTRACTOR}.ppm.stages.{3 - i}.1") for i in range(4)),
                    (f"{_POOLING}.merge", f"{_EXTRACTOR}.ppm.conv_bn_relu2"),
                    ("feature_fusion.high", "feature_fusion.conv_high_res"),
                    ("feature_fusion.low_depthwise", "feature_fusion.dwconv"),
                    ("feature_fusion.low", "feature_fusion.conv_low_res"),
                    ("classifier.dsconv{}.depthwise", "classifier.dsconv{}.depthwise_conv"),
                    ("classifier.dsconv{}.pointwise", "classifier.dsconv{}.piontwise_conv"),
                )
            ),
            Block("classifier", "classifier"),
        ),
        auxiliary=("auxlayer.",),
        tensors={"running_mean": "_mean", "running_var": "_variance"},
    ),
)
