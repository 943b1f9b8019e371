"""ImageNet before Cityscapes, as in the paper: fusion replaced by average pooling, the classifier by soft-max alone."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from ...runtime.errors import ArtifactError
from ..checkpoint import tensors_of
from ..network import FastSCNN, GlobalFeatureExtractor, LearningToDownsample

TRUNK = ("learning_to_downsample.", "global_feature_extractor.")


class Classifier(nn.Module):
    """Normalised RGB (N, 3, H, W) → logits (N, classes); the soft-max is the loss's."""

    def __init__(self, classes: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.learning_to_downsample = LearningToDownsample()
        self.global_feature_extractor = GlobalFeatureExtractor()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(128, classes)

    def forward(self, image: Tensor) -> Tensor:
        features = self.global_feature_extractor(self.learning_to_downsample(image))
        return self.linear(self.dropout(features.mean(dim=(2, 3))))


def load_trunk(network: FastSCNN, path: Path) -> None:
    """Take over from a checkpoint, of pre-training or of segmentation, every tensor that the network has in the same shape.

    Raises:
        ArtifactError: not a checkpoint, or one that lacks part of the trunk.
    """
    found = tensors_of(path)
    own = network.state_dict()
    missing = [k for k in own if k.startswith(TRUNK) and (k not in found or found[k].shape != own[k].shape)]
    if missing:
        raise ArtifactError(
            f"{path} has no usable {missing[0]} ({len(missing)} such); expected weights of fastscnn-train"
        )
    network.load_state_dict({k: v for k, v in found.items() if k in own and v.shape == own[k].shape}, strict=False)
