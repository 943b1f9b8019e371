"""Parameters and multiply-adds of the network, counted where they are done: in its convolutions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ...model.network import FastSCNN


@dataclass(frozen=True)
class Arithmetic:
    parameters: int
    multiply_adds: int  # of one frame, convolutions alone; pooling and upsampling add less than one per cent


def arithmetic(network: FastSCNN, height: int, width: int) -> Arithmetic:
    """Of a frame of that size. Runs nothing: shapes alone go through, on PyTorch's meta device."""
    counted = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal counted
        assert isinstance(module, nn.Conv2d)
        counted += output.numel() * module.weight[0].numel()

    shape = FastSCNN(network.classifier.conv.out_channels, network.variant).to("meta").eval()
    for module in shape.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.inference_mode():
        shape(torch.empty(1, 3, height, width, device="meta"))
    return Arithmetic(sum(p.numel() for p in shape.parameters()), counted)
