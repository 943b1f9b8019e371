"""The last step of a training before `balance`: weights that 16 bits hold, so that engines have nothing to round.

bfloat16 rounds weights and activations, and each makes about half of its error. The first half need not be: those of its numbers that
lie beside the trained weights are as good as these. FP16 has them, too, but for the smallest.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...runtime.backends.bfloat16 import rounded
from ..checkpoint import Checkpoint


@torch.no_grad()
def round_weights(checkpoint: Checkpoint) -> None:
    """Move every kernel and bias of the network in place to one of bfloat16's numbers, as they are with batch norm folded in.

    The first layer's kernels are those with the scale of the pixels folded in, too, as exported files that take uint8 have them. Kernels
    keep the sum of their taps. Of batch norm only the bias moves, so a further training normalises as before.
    """
    for block in checkpoint.network.modules():
        conv = getattr(block, "conv", None)
        if not isinstance(block, nn.Sequential) or not isinstance(conv, nn.Conv2d):
            continue
        scale = torch.ones(conv.out_channels, dtype=torch.float64)
        if (bn := getattr(block, "bn", None)) is not None:  # of one process or of several
            scale = (bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()).cpu()
            before = 0 if conv.bias is None else conv.bias.double()
            folded = bn.bias.double() + (before - bn.running_mean.double()) * scale.to(bn.bias.device)
            bn.bias += (folded.bfloat16().double() - folded).float()
        elif conv.bias is not None:
            conv.bias.copy_(conv.bias.bfloat16())
        folding = scale.view(-1, 1, 1, 1).expand(conv.weight.shape)
        if conv.in_channels == 3:
            folding = folding / (255 * torch.tensor(checkpoint.std, dtype=torch.float64)).view(1, 3, 1, 1)
        weight = conv.weight.cpu()
        moved = _nearest((weight * folding).float()) / folding
        conv.weight.copy_(torch.where(folding == 0, weight, moved.float()))


def _nearest(weight: Tensor) -> Tensor:
    if weight[0, 0].numel() == 1:
        return weight.bfloat16().double()
    kernels = weight.flatten(2).flatten(0, 1).contiguous().numpy()
    return torch.from_numpy(rounded(kernels)).view(weight.shape).double()
