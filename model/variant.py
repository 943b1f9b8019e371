"""How the public implementations of Fast-SCNN differ from the paper's table, and from each other.

Weights fit one of them only: a renamed checkpoint of another gives wrong labels without any error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..runtime.artifacts.artifact import PROBABILITIES

ACTIVATIONS = ("none", "relu", "relu6")
MINIMUM_SIDE = 64  # of an image, pixels: at 1/32, below which pooling in bins finds nothing to tell apart
PARTS = ("learning_to_downsample", "global_feature_extractor")  # after which an auxiliary head can stand

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Variant:
    """One way to read the paper's table; the defaults are the paper's own.

    Raises:
        ValueError: for a field that no network can be built from.
    """

    name: str = "paper"
    stem_padding: int | str = 1  # of the first convolution: 0, 1, or "same", which pads even sizes at their end alone
    separable_activation: str = "none"  # between the depthwise and the pointwise half of a separable convolution
    bottleneck_activation: str = "relu"
    pooling_bins: tuple[int, ...] = (1, 2, 3, 6)  # a side, in the order of concatenation after the features
    pooling_kernel: int = 1  # of the convolution that merges them
    pooling_align_corners: bool = False
    fusion_dilation: int = 4  # of the depthwise convolution
    fusion_bias: bool = False  # of both 1×1 convolutions
    fusion_align_corners: bool = False
    bias: bool = False  # of the first, the separable and the pooling convolutions
    logits_align_corners: bool = False  # when the logits are upsampled to the image
    auxiliary: tuple[str, ...] = PARTS  # what the training heads stand after
    probability: str = "softmax"  # what the training loss made of the logits
    mean: Triple = (0.485, 0.456, 0.406)  # RGB, of pixels scaled to 0-1; ImageNet's
    std: Triple = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        for field, sound in {
            "name": isinstance(self.name, str),
            "stem_padding": self.stem_padding in (0, 1, "same"),
            "separable_activation": self.separable_activation in ACTIVATIONS,
            "bottleneck_activation": self.bottleneck_activation in ACTIVATIONS,
            "pooling_bins": sorted(self.pooling_bins) == [1, 2, 3, 6],
            "pooling_kernel": self.pooling_kernel in (1, 3),
            "fusion_dilation": self.fusion_dilation in (1, 2, 4),
            "auxiliary": set(self.auxiliary) <= set(PARTS),
            "probability": self.probability in PROBABILITIES,
            **{f: isinstance(getattr(self, f), bool) for f in _SWITCHES},
        }.items():
            if not sound:
                raise ValueError(
                    f"the variant's {field} is {getattr(self, field)!r:.80}, which no network is built from"
                )

    def logits_size(self, height: int, width: int) -> tuple[int, int]:
        """Of the logits of an image: ⌈H/8⌉ × ⌈W/8⌉, except where the first convolution loses the border."""
        rows, columns = (self._eighth(side) for side in (height, width))
        return rows, columns

    def _eighth(self, side: int) -> int:
        half = (side - 1) // 2 if self.stem_padding == 0 else -(-side // 2)
        return -(-half // 4)

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Variant:
        """Build from parsed JSON, whose lists become tuples.

        Raises:
            ValueError, TypeError: unknown or unusable fields.
        """
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
        return cls(**values)


_SWITCHES = ("pooling_align_corners", "fusion_align_corners", "logits_align_corners", "fusion_bias", "bias")

PAPER = Variant()

TRAMAC = Variant(
    name="tramac",
    stem_padding=0,
    separable_activation="relu",
    pooling_align_corners=True,
    fusion_dilation=1,
    fusion_bias=True,
    fusion_align_corners=True,
    logits_align_corners=True,
    auxiliary=("learning_to_downsample",),
)

MMSEG = Variant(
    name="mmseg",
    pooling_kernel=3,
    fusion_dilation=1,
    auxiliary=("global_feature_extractor", "learning_to_downsample"),
    probability="sigmoid",
)

PADDLESEG = Variant(
    name="paddleseg",
    stem_padding="same",
    pooling_bins=(6, 3, 2, 1),
    pooling_kernel=3,
    pooling_align_corners=True,
    fusion_dilation=1,
    fusion_bias=True,
    bias=True,
    auxiliary=("learning_to_downsample",),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)

VARIANTS = {variant.name: variant for variant in (PAPER, TRAMAC, MMSEG, PADDLESEG)}
