"""What a run learns: segmentation with auxiliary losses, or ImageNet's classes before it."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from ...runtime.artifacts.artifact import IGNORE
from ...runtime.artifacts.files import write_atomically
from ...runtime.errors import UsageError
from .. import checkpoint
from ..checkpoint import MEAN, STD, Checkpoint
from ..datasets import open_dataset
from ..evaluate import evaluate
from ..inference import Network
from ..network import FastSCNN, WithAuxiliaryHeads
from .balance import balance
from .check import expect_trainable
from .parts import parts
from .pretraining import Classifier, load_trunk
from .recipe import Recipe
from .rounding import round_weights
from .samples import Classification, Segmentation, Views
from .teacher import Teacher


class Task(ABC):
    """One kind of training: its samples, its module, its loss and its score."""

    views: Views
    module: nn.Module  # what is trained
    validates: bool = True  # whether anything is left to score it on
    score: str  # the figure of `validate` that chooses the best weights
    classes: list[str]  # names in the order of their ids

    @abstractmethod
    def check(self) -> None:
        """Look at the data before hours are spent on them; warns, or raises SourceError."""

    @abstractmethod
    def losses(self, outputs: Any, target: Tensor, images: Tensor) -> list[tuple[Tensor, Tensor, float]]:
        """Each loss as (sum, what to divide it by, weight), so that processes can share the divisor; `images` as the module had them."""

    @abstractmethod
    def validate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """Scores of `module`, in per cent, on the validation split."""

    def finish(self, module: nn.Module, device: torch.device) -> str:
        """What the recipe wants done to the weights after the last step; in words, or nothing where it wants nothing."""
        return ""

    @abstractmethod
    def save(self, module: nn.Module, path: Path) -> None:
        """Write the result of the training, without what only training needs."""


class SegmentationTask(Task):
    """Cross-entropy of the network's and both auxiliary heads' logits; scored by mIoU."""

    score = "mean_iou"

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._fine, self._validation = parts(recipe)
        self.validates = self._validation is not None
        labelled = [self._fine]
        if recipe.coarse:
            labelled.append(open_dataset(recipe.data, "train_extra", coarse=True))
        self._stored: tuple[int, int] | None = (
            None  # height, width of the validation images where all agree; by `check`
        )
        self.views = views = Segmentation(recipe, labelled)
        self.classes = list(views.classes.classes)
        network = FastSCNN(len(views.classes))
        if recipe.weights:
            load_trunk(network, checkpoint.SHIPPED if recipe.weights == "shipped" else Path(recipe.weights))
        self.module = WithAuxiliaryHeads(network)
        self._teacher = Teacher(recipe.teacher, self.views.classes) if recipe.teacher else None
        self._balanced: tuple[float, ...] = ()  # what `finish` added to the classes' biases

    @cached_property
    def _weights(self) -> Tensor | None:
        assert isinstance(self.views, Segmentation)
        return class_weights(self.views.shares(), self._recipe.class_weights) if self._recipe.class_weights else None

    def check(self) -> None:
        assert isinstance(self.views, Segmentation)
        validation = self._fine if self._validation is None else self._validation
        self._stored = expect_trainable(self._recipe, self._fine, self.views.counts, validation)

    def losses(
        self, outputs: tuple[Tensor, Tensor, Tensor], target: Tensor, images: Tensor
    ) -> list[tuple[Tensor, Tensor, float]]:
        weights = None if self._weights is None else self._weights.to(target.device)
        logits, *auxiliary = outputs
        # Contiguous: soft-max over channels of a channels-last map is slow on a CPU.
        full = F.interpolate(logits.float().contiguous(), target.shape[1:], mode="bilinear", align_corners=False)
        recipe = self._recipe
        found = [(*cross_entropy(full, target, weights, recipe.smoothing, recipe.hardest), 1.0)]
        if self._teacher:
            found.append((*divergence(logits.float(), self._teacher(images), target), recipe.distillation))
        if recipe.lovasz:
            # At every second pixel each way: it sorts them once for each class.
            found.append((*lovasz_softmax(full[:, :, ::2, ::2], target[:, ::2, ::2]), recipe.lovasz))
        for (
            low
        ) in auxiliary:  # at their own size: what they teach is coarse; at weight 0, too, for DistributedDataParallel
            found.append((*cross_entropy(low.float().contiguous(), nearest(target, low), weights), recipe.auxiliary))
        return found

    def validate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        assert self._validation is not None
        predict = Network(self._result(module), str(device.type))
        scores = evaluate(predict, self._validation, progress=False)
        iou = scores.confusion.class_iou()
        named = {f"iou_{name}": 100 * float(v) for name, v in zip(scores.classes.classes, iou, strict=True)}
        return {
            "mean_iou": 100 * scores.confusion.mean_iou(),
            "pixel_accuracy": 100 * scores.confusion.pixel_accuracy(),
            **named,
        }

    def finish(self, module: nn.Module, device: torch.device) -> str:
        assert isinstance(module, WithAuxiliaryHeads)
        result, said = self._result(module), []
        if self._recipe.rounded:
            round_weights(result)
            said.append("weights rounded to what bfloat16 holds")
        if self._recipe.balance:
            self._balanced, before, after = balance(result, self._fine, device.type)
            said.append(f"class biases moved: mean IoU {100 * before:.2f}% to {100 * after:.2f}% on training images")
        module.network.load_state_dict(result.network.state_dict())
        return "; ".join(said)

    def save(self, module: nn.Module, path: Path) -> None:
        checkpoint.save(path, self._result(module))

    def _result(self, module: nn.Module) -> Checkpoint:
        assert isinstance(module, WithAuxiliaryHeads)
        network = copy.deepcopy(module.network).eval()
        assert isinstance(self.views, Segmentation)
        return Checkpoint(
            network,
            self.views.classes,
            resolution=self._recipe.evaluate_at or self._recipe.resolution or self._stored,
            balanced=self._balanced,
            temperature=self._recipe.temperature,
        )


class ClassificationTask(Task):
    """Soft-max over ImageNet's classes; scored by top-1 accuracy."""

    score = "top1"

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self.views = views = Classification(recipe, "train")
        self._validation = Classification(recipe, "val")
        if self._validation.names != views.names:
            strange = sorted(set(views.names) ^ set(self._validation.names))
            raise UsageError(
                f"train and val of {recipe.data} have different classes ({', '.join(strange[:5])}); expected the same folders"
            )
        self.classes = list(views.names)
        self.module = Classifier(len(views.names), recipe.dropout)

    def check(self) -> None:
        """Nothing more: a class is a folder, and folders were looked at."""

    def losses(self, outputs: Tensor, target: Tensor, images: Tensor) -> list[tuple[Tensor, Tensor, float]]:
        total = F.cross_entropy(outputs.float(), target, reduction="sum")
        return [(total, torch.tensor(float(len(target)), device=target.device), 1.0)]

    def validate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        module = module.eval()
        hits = {1: 0, 5: 0}
        loader: DataLoader[Any] = DataLoader(self._validation, self._recipe.batch, num_workers=self._recipe.workers)
        with torch.inference_mode():
            for images, target, _ in loader:
                ranked = module(normalised(images.to(device))).argsort(dim=1, descending=True).cpu()
                for depth in hits:
                    hits[depth] += int((ranked[:, :depth] == target[:, None]).sum())
        return {f"top{depth}": 100 * count / len(self._validation) for depth, count in hits.items()}

    def save(self, module: nn.Module, path: Path) -> None:
        from safetensors.torch import save as serialised

        write_atomically(path, serialised({k: v.contiguous() for k, v in module.state_dict().items()}))


def open_task(recipe: Recipe) -> Task:
    """What the recipe trains, with dropout and frozen norms as it says.

    Raises:
        UsageError: the data set is not there. ArtifactError: the weights to start from are not usable.
    """
    task = ClassificationTask(recipe) if recipe.task == "classification" else SegmentationTask(recipe)
    for layer in task.module.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = recipe.dropout
    return task


def normalised(images: Tensor, channels_last: bool = True, *, exact: bool = True) -> Tensor:
    """uint8 (N, H, W, 3) BGR → float32 (N, 3, H, W) normalised RGB, in channels-last order as it came or not.

    Args:
        exact: rounded as it always was; else in half the time, for networks that round to bfloat16 at once.
    """
    mean, std = (torch.tensor(v, device=images.device) for v in (MEAN, STD))
    pixels = images.flip(3).float()
    pixels = (pixels / 255 - mean) / std if exact else pixels.mul_(1 / (255 * std)).sub_(mean / std)
    planes = pixels.permute(0, 3, 1, 2)
    return planes if channels_last else planes.contiguous()


def nearest(target: Tensor, logits: Tensor) -> Tensor:
    """(N, H, W) labels at the size of logits (N, C, h, w)."""
    return F.interpolate(target[:, None].float(), logits.shape[2:], mode="nearest-exact")[:, 0].to(target.dtype)


def cross_entropy(
    logits: Tensor, target: Tensor, weights: Tensor | None, smoothing: float = 0.0, hardest: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Sum over the pixels that count, and the sum of their weights; float32.

    Args:
        smoothing: this share of each label is spread over all classes.
        hardest: only this share of the pixels counts, those of the highest loss (online hard example mining).
    """
    counted = target != IGNORE
    if hardest < 1:
        each = F.cross_entropy(
            logits, target.long(), weights, ignore_index=IGNORE, reduction="none", label_smoothing=smoothing
        )[counted]
        highest, places = each.topk(-int(-hardest * len(each) // 1))
        labels = target[counted][places].long()
        return highest.sum(), labels.new_tensor(len(labels)).float() if weights is None else weights[labels].sum()
    total = F.cross_entropy(
        logits, target.long(), weights, ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing
    )
    if weights is None:
        return total, counted.sum().float()
    return total, weights[target[counted].long()].sum()


def divergence(logits: Tensor, taught: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Kullback-Leibler divergence from the teacher's probabilities, summed over the labelled cells, and their number.

    Args:
        logits, taught: (N, C, h, w) of both, at the logits' own size.
        target: (N, H, W) train ids, 255 to ignore: beyond the image's edge nobody knows better.
    """
    counted = nearest(target, logits) != IGNORE
    each = F.kl_div(logits.log_softmax(dim=1), taught, reduction="none").sum(dim=1)
    return (each * counted).sum(), counted.sum().float()


def lovasz_softmax(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Lovász's convex extension of 1 − IoU (Berman et al.: The Lovász-Softmax loss, 2018), over a batch as one image.

    Args:
        logits: (N, C, h, w).
        target: (N, h, w) train ids, 255 to ignore.

    Returns:
        The sum over the classes that `target` holds, and their number.
    """
    counted = target != IGNORE
    probabilities = logits.softmax(dim=1).movedim(1, 0)[:, counted]  # (C, pixels)
    labels = target[counted]
    total, present = probabilities.sum() * 0, torch.unique(labels)
    for name in present.tolist():
        foreground = (labels == name).float()
        errors, order = (foreground - probabilities[name]).abs().sort(descending=True)
        foreground = foreground[order]
        found, missed = foreground.cumsum(0), (1 - foreground).cumsum(0)
        size = foreground.sum()
        loss = 1 - (size - found) / (size + missed)  # 1 - IoU if the worst pixels up to here were wrong
        total = total + errors @ torch.diff(loss, prepend=loss.new_zeros(1))
    return total, torch.tensor(float(len(present)), device=logits.device)


def class_weights(shares: np.ndarray, power: float = 1.0) -> Tensor:
    """1 / ln(1.02 + share) of each class (Paszke et al.: ENet, 2016) to a power, scaled to a mean of 1.

    The full weights win rare classes at the price of many false pixels of them; half the power is near where the IoU of a
    rare class is best, which wants it preferred by odds of 3 or 4 to 1.
    """
    weights = (1 / np.log(1.02 + shares)) ** power
    return torch.from_numpy(weights / weights.mean()).float()
