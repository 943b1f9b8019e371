"""The schedule, what decays, and the average, each against its formula."""

import pytest
import torch
from torch import nn

from fastscnn.model.network import FastSCNN, WithAuxiliaryHeads
from fastscnn.model.training import Recipe
from fastscnn.model.training.optimisation import averaged, optimizer, parameter_groups, poly, schedule


def test_poly_by_hand() -> None:
    assert [poly(s, 4, 0.9) for s in range(5)] == pytest.approx([1, 0.75**0.9, 0.5**0.9, 0.25**0.9, 0])
    assert poly(0, 100, 0.9, warmup=10) == pytest.approx(0.1)
    assert poly(50, 100, 2.0, warmup=10) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [(1 - step / 10) ** 0.9 for step in range(10)]),
        ({"opening": 0.5, "epochs": 4, "warmup": 1}, [poly(step, 10, 0.9, 5) for step in range(10)] * 2),
    ],
)
def test_the_optimiser_follows_the_schedule(wanted: dict[str, float], expected: list[float]) -> None:
    """That of an opening is a whole one, and the others begin anew."""
    layer = nn.Conv2d(3, 4, 1)
    recipe = Recipe.of({"data": "/x", "epochs": 2, "learning_rate": 0.045, **wanted})
    sgd = optimizer(layer, recipe)
    steps = schedule(sgd, recipe, steps_per_epoch=5)
    seen = []
    for _ in expected:
        seen.append(sgd.param_groups[0]["lr"])
        sgd.step()
        steps.step()
    assert seen == pytest.approx([0.045 * share for share in expected])
    assert isinstance(sgd, torch.optim.SGD) and sgd.param_groups[0]["momentum"] == 0.9


def test_only_dense_kernels_decay() -> None:
    network = WithAuxiliaryHeads(FastSCNN(19))
    decayed, plain = (group["params"] for group in parameter_groups(network, 4e-5))
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    of = dict(network.named_modules())
    for name in (names[id(p)] for p in decayed):
        layer = of[name.removesuffix(".weight")]
        assert isinstance(layer, nn.Conv2d) and layer.groups == 1, name
    for name in (names[id(p)] for p in plain):
        layer = of[name.rpartition(".")[0]]
        depthwise = isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels
        assert name.endswith(".bias") or isinstance(layer, nn.BatchNorm2d) or depthwise, name
    assert len(decayed) + len(plain) == len(names)
    assert [g["weight_decay"] for g in optimizer(network, Recipe("/x")).param_groups] == [4e-5, 0]


def test_the_average_forgets_its_beginning_and_then_decays() -> None:
    layer = nn.Conv2d(1, 1, 1, bias=False)
    average = averaged(layer, Recipe("/x", ema=0.5))
    assert average is not None and averaged(layer, Recipe("/x")) is None
    expected = None
    for step, value in enumerate([3.0, 1.0, -2.0, 8.0, 5.0]):
        nn.init.constant_(layer.weight, value)
        average.update_parameters(layer)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = value if expected is None else decay * expected + (1 - decay) * value
        assert average.module.weight.item() == pytest.approx(expected)
