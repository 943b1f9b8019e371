"""Networks that are trained already and teach another what they think of each pixel (Hinton et al.: Distilling the knowledge, 2015)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ...runtime.errors import UsageError
from ..checkpoint import MEAN, STD, load
from ..classes import ClassSet


class Teacher:
    """Mean probabilities of several checkpoints, as they are without the biases that suit the mean IoU.

    Args:
        files: their paths, by comma.

    Raises:
        ArtifactError: one that is no checkpoint.
        UsageError: other classes or another normalisation than the pupil's.
    """

    def __init__(self, files: str, classes: ClassSet) -> None:
        self._networks = []
        for name in files.split(","):
            found = load(Path(name.strip()), classes)
            if (found.mean, found.std) != (MEAN, STD):
                raise UsageError(
                    f"{name} was trained on pixels of another normalisation; expected mean {MEAN}, std {STD}"
                )
            self._networks.append(found.network_for("prob").requires_grad_(False))

    def __call__(self, images: Tensor) -> Tensor:
        """Normalised RGB (N, 3, H, W) → (N, C, H/8, W/8) float32."""
        with torch.no_grad():
            votes = [network.to(images.device)(images).float().softmax(dim=1) for network in self._networks]
        return torch.stack(votes).mean(dim=0)
