"""Run a checkpoint in PyTorch, as training leaves it: for evaluation, not for robots."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..runtime.artifacts.artifact import IGNORE
from ..runtime.errors import DeviceError, UsageError
from ..runtime.frame import Frame, checked
from .checkpoint import Checkpoint
from .datasets import Dataset, Sample
from .network import FastSCNN
from .variant import MINIMUM_SIDE


class Network:
    """Labels of whole images: uint8 (H, W, 3) BGR → uint8 (H, W) train ids.

    Args:
        source: the weights and their normalisation.
        resolution: (height, width) of the network's input; None takes what the weights were trained to see whole images at,
            else each image's own.
        flip: average the probabilities with the mirrored image's.
        scales: average the probabilities over these sizes.
        zero_skip: set the spatial branch to zero before the fusion (the paper's ablation, section 4.4).

    Raises:
        DeviceError: "cuda" was asked for and is not there.
        UsageError: a device of an inference engine, or a resolution below 64 a side.
    """

    def __init__(
        self,
        source: Checkpoint,
        device: str = "auto",
        resolution: tuple[int, int] | None = None,
        *,
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
        zero_skip: bool = False,
    ) -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"device {device!r} runs exported models; a checkpoint runs on 'cpu' or 'cuda'")
        if device == "cuda" and not torch.cuda.is_available():
            raise DeviceError("device 'cuda' was asked for, but PyTorch finds no GPU. Use device 'cpu'")
        self._device = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
        self._network: FastSCNN = source.network.to(self._device)
        self._mean, self._std = np.array(source.mean, np.float32), np.array(source.std, np.float32)
        if resolution and min(resolution) < MINIMUM_SIDE:
            raise UsageError(
                f"height={resolution[0]} width={resolution[1]} is too small for this network; expected {MINIMUM_SIDE} a side or more"
            )
        self._resolution = resolution or source.resolution
        self._flip, self._scales = flip, tuple(scales)
        if zero_skip:
            self._network.feature_fusion.high.register_forward_hook(
                lambda module, inputs, output: torch.zeros_like(output)
            )

    def __call__(self, image: Frame) -> NDArray[np.uint8]:
        image = checked(image)
        height, width = image.shape[:2]
        if not self._flip and self._scales == (1.0,):
            labels = self._logits(image, 1.0, False, (height, width)).argmax(dim=1)
        else:
            votes = torch.zeros(())
            for scale in self._scales:
                for mirrored in (False, True) if self._flip else (False,):
                    votes = votes + self._probabilities(self._logits(image, scale, mirrored, (height, width)))
            labels = votes.argmax(dim=1)
        return np.asarray(labels[0].to(torch.uint8).cpu().numpy())

    def sure(self, image: Frame) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Labels (H, W), and the probability of each."""
        best, labels = self._probabilities(self.logits(image)[None]).max(dim=1)
        return labels[0].to(torch.uint8).cpu().numpy(), best[0].cpu().numpy()

    def logits(self, image: Frame) -> Tensor:
        """(C, H, W) float32 at the image's own size; neither mirrored nor scaled."""
        image = checked(image)
        return self._logits(image, 1.0, False, image.shape[:2])[0]

    def _logits(self, image: Frame, scale: float, mirrored: bool, size: tuple[int, int]) -> Tensor:
        height, width = (max(MINIMUM_SIDE, round(side * scale)) for side in self._resolution or size)
        if image.shape[:2] != (height, width):
            image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
        with torch.inference_mode():
            planes = torch.from_numpy(to_planes(image, self._mean, self._std))[None].to(self._device)
            logits = self._network(planes.flip(3) if mirrored else planes)
            aligned = self._network.variant.logits_align_corners
            logits = F.interpolate(logits.float(), size, mode="bilinear", align_corners=aligned)
        return logits.flip(3) if mirrored else logits

    def _probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid() if self._network.variant.probability == "sigmoid" else logits.softmax(dim=1)


def sampled(predict: Network, samples: Sequence[Sample], dataset: Dataset, pixels: int) -> tuple[Tensor, Tensor]:
    """Logits (n, C) and train ids (n,) uint8 of labelled pixels, at most so many of each image, always the same ones.

    Raises:
        SourceError: an image or label that cannot be read.
    """
    rng = np.random.default_rng(0)
    logits, truth = [], []
    for sample in samples:
        image, labels = dataset.read(sample)
        counted = np.flatnonzero(labels != IGNORE)
        drawn = rng.choice(counted, min(pixels, len(counted)), replace=False)
        logits.append(predict.logits(image).flatten(1)[:, torch.from_numpy(drawn)].T.cpu())
        truth.append(torch.from_numpy(labels.ravel()[drawn]))
    return torch.cat(logits), torch.cat(truth)


def to_planes(image: Frame, mean: NDArray[np.float32], std: NDArray[np.float32]) -> NDArray[np.float32]:
    """uint8 (H, W, 3) BGR → float32 (3, H, W) normalised RGB."""
    rgb = image[..., ::-1].astype(np.float32) / 255
    return np.ascontiguousarray(((rgb - mean) / std).transpose(2, 0, 1))
