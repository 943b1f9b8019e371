"""From a trained network to the one that is exported: batch norm folded, input scaling folded, nothing left of training."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..model.network import FastSCNN


def deployable(network: FastSCNN) -> FastSCNN:
    """A float32 copy in evaluation mode without batch norm, dropout and in-place operations; the logits stay the same."""
    copied = copy.deepcopy(network).float().eval().requires_grad_(False)
    for block in [m for m in copied.modules() if isinstance(m, nn.Sequential)]:
        children = dict(block.named_children())
        conv, bn = children.get("conv"), children.get("bn")
        if isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d):
            block.conv = fuse_conv_bn_eval(conv, bn).requires_grad_(False)
            del block.bn
        for name, child in children.items():
            if isinstance(child, nn.Dropout):
                delattr(block, name)
    for module in copied.modules():
        if isinstance(module, (nn.ReLU, nn.ReLU6)):
            module.inplace = False  # the exporter reads every layer's result afterwards
    return copied


def takes_bgr(network: FastSCNN, std: tuple[float, float, float]) -> FastSCNN:
    """A copy whose first convolution takes BGR pixels (0-255, mean subtracted) in place of normalised RGB.

    Scale and channel order are linear and go into the weights. The mean stays a subtraction of its own: padding zeros
    after it stand for the mean colour, and a bias would change the border.
    """
    copied = copy.deepcopy(network)
    weight = copied.learning_to_downsample.conv.get_parameter("conv.weight")
    scale = 1 / (255 * torch.tensor(std)).view(1, 3, 1, 1)
    weight.data = (weight.data * scale).flip(1).contiguous()
    return copied
