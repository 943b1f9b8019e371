"""The other ways of computing give what PyTorch's own give."""

import pytest
import torch
from torch import nn

from fastscnn.model.network import FastSCNN, WithAuxiliaryHeads
from fastscnn.model.training.wide import ByteDropout, WideConv2d, undilated, widen


def test_a_dilated_convolution_is_several_that_are_not() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 6, 3, padding=4, dilation=4, groups=6, bias=False)
    image = torch.randn(2, 6, 12, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    gradient = torch.randn(2, 6, 12, 16)
    found, expected = undilated(image, layer.weight, (4, 4)), layer(image)
    assert torch.allclose(found, expected, atol=1e-6)
    for ours, theirs in zip(
        torch.autograd.grad(found, (image, layer.weight), gradient),
        torch.autograd.grad(expected, (image, layer.weight), gradient),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize(
    ("stride", "dilation", "size"), [(2, 1, (12, 16)), (2, 1, (13, 17)), (1, 4, (12, 16)), (1, 4, (13, 15))]
)
def test_gradients_are_those_of_float32_within_rounding(
    stride: int, dilation: int, size: tuple[int, int], wanted: bool
) -> None:
    torch.manual_seed(1)
    plain = nn.Conv2d(8, 8, 3, stride, padding=dilation, dilation=dilation, groups=8, bias=False)
    ours = nn.Conv2d(8, 8, 3, stride, padding=dilation, dilation=dilation, groups=8, bias=False)
    ours.load_state_dict(plain.state_dict())
    widen(ours)
    assert isinstance(ours, WideConv2d) and list(ours.state_dict()) == list(plain.state_dict())
    image = torch.randn(2, 8, *size).bfloat16().float().contiguous(memory_format=torch.channels_last)
    found = []
    for layer, reduced in ((plain, False), (ours, wanted)):
        seen = image.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            values = layer(seen)
        assert values.dtype is (torch.bfloat16 if reduced else torch.float32)
        gradient = torch.ones_like(values) * torch.arange(values.shape[3]).to(values.dtype)
        values.backward(gradient)
        assert seen.grad is not None and layer.weight.grad is not None and layer.weight.grad.dtype is torch.float32
        found.append([values.detach().float(), seen.grad, layer.weight.grad])
    for one, other in zip(*found, strict=True):
        allowed = 0.02 if wanted else 1e-5
        assert torch.allclose(one, other, rtol=allowed, atol=allowed * float(one.abs().max()))
    with torch.no_grad():
        assert torch.equal(ours(image), plain(image)), "without gradients it is the layer that it was"


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    torch.manual_seed(2)
    layer = nn.Dropout(0.1)
    widen(layer)
    assert isinstance(layer, ByteDropout)
    values = torch.ones(4, 32, 20, 31).contiguous(memory_format=torch.channels_last).requires_grad_()
    dropped = layer(values)
    assert dropped.is_contiguous(memory_format=torch.channels_last)
    assert float((dropped == 0).float().mean()) == pytest.approx(26 / 256, abs=0.003)
    assert float(dropped.detach().mean()) == pytest.approx(1, abs=0.005)
    (gradient,) = torch.autograd.grad(dropped.sum(), values)
    assert torch.equal(gradient, dropped), "what is dropped learns nothing"
    assert not torch.equal(layer(values), dropped)
    by_place = (dropped.detach() == 0).float().mean(dim=(0, 1, 2))
    assert by_place.std() < 0.02, "no bit of a draw is less random than the others"
    layer.eval()
    assert layer(values) is values


def test_only_what_needs_it_is_changed() -> None:
    network = WithAuxiliaryHeads(FastSCNN(5))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    widen(network)
    wide = [name for name, layer in network.named_modules() if isinstance(layer, WideConv2d)]
    assert len(wide) == 5 and "network.feature_fusion.low_depthwise.conv" in wide
    after = network.state_dict()
    assert list(after) == list(before) and all(torch.equal(before[name], after[name]) for name in before)
