"""What moves the weights: parameter groups, the optimiser, the poly schedule, averaged weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import Optimizer
from torch.optim.swa_utils import AveragedModel

from .recipe import Recipe

Tensors = tuple[Tensor, ...] | list[Tensor]


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Dense convolutions and linear layers decay; depthwise convolutions, norms and biases do not."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for layer in module.modules():
        depthwise = isinstance(layer, nn.Conv2d) and layer.groups > 1
        for name, parameter in layer.named_parameters(recurse=False):
            dense = isinstance(layer, (nn.Conv2d, nn.Linear)) and name == "weight" and not depthwise
            (decayed if dense else plain).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def optimizer(module: nn.Module, recipe: Recipe) -> Optimizer:
    groups = parameter_groups(module, recipe.weight_decay)
    if recipe.optimizer == "adamw":
        # Fused is quicker, and rounds otherwise: a run that began without goes on without.
        return torch.optim.AdamW(groups, recipe.learning_rate, fused=True if recipe.bfloat16 else None)
    return torch.optim.SGD(groups, recipe.learning_rate, momentum=recipe.momentum)


def poly(step: int, steps: int, power: float, warmup: int = 0) -> float:
    """Share of the base rate at `step` of `steps`: (1 − step / steps) ^ power, times (step + 1) / warmup at first."""
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return float(rise * max(0.0, 1 - step / steps) ** power)


def schedule(optimizer: Optimizer, recipe: Recipe, steps_per_epoch: int) -> LambdaLR:
    """`poly` over all epochs, or over those of the opening and then, from the start, over the others."""
    steps, warmup, opened = (n * steps_per_epoch for n in (recipe.epochs, recipe.warmup, recipe.opening_epochs))

    def share(step: int) -> float:
        if step < opened:
            return poly(step, opened, recipe.power, warmup)
        return poly(step - opened, steps - opened, recipe.power, warmup)

    return LambdaLR(optimizer, share)


def averaged(module: nn.Module, recipe: Recipe) -> AveragedModel | None:
    """Exponential moving average of weights and batch norm's statistics; None where the recipe has none.

    The decay grows to the recipe's as (1 + n) / (10 + n), so that the first, random weights are soon forgotten.
    """
    if not recipe.ema:
        return None

    def average(means: Tensors, new: Tensors, count: Tensor | int) -> None:
        """All tensors of one type at once: on a GPU each by itself is a launch."""
        if not means[0].is_floating_point():  # how many batches a norm has seen
            torch._foreach_copy_(means, new)
            return
        # The weight as float32 rounds it, on whichever device it is counted.
        weight = (9 / (10 + torch.as_tensor(count))).clamp(min=1 - recipe.ema)
        torch._foreach_lerp_(means, new, float(weight))

    return AveragedModel(module, multi_avg_fn=average, use_buffers=True)
