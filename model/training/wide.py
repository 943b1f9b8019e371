"""Layers that PyTorch trains slowly on CPUs, computed in another way."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class WideConv2d(nn.Conv2d):
    """A depthwise convolution that is trained as several that are not dilated, or in bfloat16 with its image's gradient in float32.

    With a dilation oneDNN's gradient takes three times as long; with that or a stride there is no vectorised code for it in
    bfloat16, and plain loops take up to eight times as long as float32. Without gradients it is the layer that it was.
    """

    def _conv_forward(self, image: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        reduced = torch.is_autocast_enabled("cpu")
        if not (reduced or torch.is_grad_enabled()) or bias is not None:
            return super()._conv_forward(image, weight, bias)
        if reduced:
            image = image.to(torch.get_autocast_dtype("cpu"))
        down, across = self.dilation
        if down > 1 and self.padding == self.dilation and not (image.shape[2] % down or image.shape[3] % across):
            return undilated(image, weight, self.dilation)
        if not reduced:
            return super()._conv_forward(image, weight, bias)
        assert not isinstance(self.padding, str)
        return _Gradients.apply(  # type: ignore[no-untyped-call]
            image, weight, self.stride, self.padding, self.dilation, self.groups
        )


def undilated(image: Tensor, weight: Tensor, dilation: tuple[int, ...]) -> Tensor:
    """A 3×3 depthwise convolution that keeps the size: each phase of the grid by itself is a convolution without dilation."""
    (count, channels, height, width), (down, across) = image.shape, dilation
    rows, columns = height // down, width // across
    phases = image.permute(0, 2, 3, 1).reshape(count, rows, down, columns, across, channels).permute(0, 2, 4, 1, 3, 5)
    planes = phases.reshape(-1, rows, columns, channels).permute(0, 3, 1, 2)
    found = F.conv2d(planes, weight, None, 1, 1, 1, channels).permute(0, 2, 3, 1)
    whole = found.reshape(count, down, across, rows, columns, channels).permute(0, 3, 1, 4, 2, 5)
    return whole.reshape(count, height, width, channels).permute(0, 3, 1, 2)


class ByteDropout(nn.Dropout):
    """Dropout by random bytes, eight of a draw, so that its share is one of 256ths; PyTorch draws a number for each value."""

    def forward(self, values: Tensor) -> Tensor:
        least = round(256 * self.p)
        if not self.training or not least:
            return values
        words = torch.empty(-(-values.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = (words.view(torch.uint8)[: values.numel()] >= least).to(values.dtype).mul_(256 / (256 - least))
        return values * kept.as_strided(values.shape, values.stride())


def widen(module: nn.Module) -> None:
    """Let the layers that need it compute so; their weights and names stay."""
    for layer in module.modules():
        if type(layer) is nn.Dropout:
            layer.__class__ = ByteDropout
        if type(layer) is nn.Conv2d and layer.groups > 1 and (layer.stride != (1, 1) or layer.dilation != (1, 1)):
            layer.__class__ = WideConv2d


class _Gradients(torch.autograd.Function):
    """All in the image's type but the image's gradient, which is computed in float32."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, *how: Any) -> Tensor:
        weight = weight.to(image.dtype)
        ctx.save_for_backward(image, weight)
        ctx.how = how
        stride, padding, dilation, groups = how
        return torch.conv2d(image, weight, None, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        image, weight = ctx.saved_tensors
        (gradient,), (stride, padding, dilation, groups) = gradients, ctx.how
        how = None, stride, padding, dilation, False, (0, 0), groups
        backward, of_image, of_weight = torch.ops.aten.convolution_backward, None, None
        if ctx.needs_input_grad[0]:
            shape = torch.empty_like(image, dtype=torch.float32)  # all that is looked at
            found = backward(gradient.float(), shape, weight.float(), *how, (True, False, False))
            of_image = found[0].to(image.dtype)
        if ctx.needs_input_grad[1]:
            of_weight = backward(gradient, image, weight, *how, (False, True, False))[1].float()
        return of_image, of_weight, None, None, None, None
