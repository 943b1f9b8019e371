"""The losses against their formulas."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score
from torch.nn import functional as F

from fastscnn.model.training.task import class_weights, cross_entropy, lovasz_softmax, normalised


def test_cross_entropy_is_pytorchs_mean_over_what_counts() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 4, 6, 5), torch.randint(0, 4, (2, 6, 5), dtype=torch.uint8)
    target[0, :3] = 255
    for weights in (None, torch.tensor([1.0, 2.0, 0.5, 3.0])):
        total, count = cross_entropy(logits, target, weights)
        expected = F.cross_entropy(logits, target.long(), weights, ignore_index=255)
        assert float(total / count) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2.0, 0.5, 3.0])])
def test_smoothing_is_pytorchs_and_the_hardest_pixels_are_the_highest(weights: torch.Tensor | None) -> None:
    torch.manual_seed(1)
    logits, target = torch.randn(2, 4, 6, 5), torch.randint(0, 4, (2, 6, 5), dtype=torch.uint8)
    target[0, :3] = 255
    total, count = cross_entropy(logits, target, weights, smoothing=0.1)
    expected = F.cross_entropy(logits, target.long(), weights, ignore_index=255, label_smoothing=0.1)
    assert float(total / count) == pytest.approx(float(expected), rel=1e-6)
    each = F.cross_entropy(logits, target.long(), weights, ignore_index=255, reduction="none")[target != 255]
    total, count = cross_entropy(logits, target, weights, hardest=0.25)
    kept, places = each.sort(descending=True)
    kept, places = kept[:12], places[:12]  # a quarter of 45, rounded up
    assert float(total) == pytest.approx(float(kept.sum()), rel=1e-6)
    labels = target[target != 255][places].long()
    assert float(count) == pytest.approx(12 if weights is None else float(weights[labels].sum()))
    everything = cross_entropy(logits, torch.full_like(target, 255), weights, hardest=0.25)
    assert [float(v) for v in everything] == [0.0, 0.0]


def test_an_image_without_labels_costs_nothing() -> None:
    total, count = cross_entropy(torch.randn(1, 3, 4, 4), torch.full((1, 4, 4), 255, dtype=torch.uint8), None)
    assert (float(total), float(count)) == (0.0, 0.0)


def test_class_weights_by_hand() -> None:
    found = class_weights(np.array([0.9, 0.1]), 0.5)
    by_hand = [(1 / math.log(1.92)) ** 0.5, (1 / math.log(1.12)) ** 0.5]
    assert found.tolist() == pytest.approx([2 * w / sum(by_hand) for w in by_hand])
    assert class_weights(np.array([0.5, 0.5])).tolist() == [1, 1]


def test_lovasz_of_a_sure_prediction_is_one_minus_its_iou() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 3, (2, 6, 5)), rng.integers(0, 4, (2, 6, 5))  # class 3 is not in the truth
    truth[0, 0] = 255
    counted = truth != 255
    logits = 1e4 * F.one_hot(torch.from_numpy(predicted), 4).permute(0, 3, 1, 2).float()
    total, count = lovasz_softmax(logits, torch.from_numpy(truth.astype(np.uint8)))
    iou = jaccard_score(truth[counted], predicted[counted], labels=[0, 1, 2], average=None)
    assert float(count) == 3
    assert float(total) == pytest.approx(float((1 - iou).sum()), rel=1e-6)


def test_lovasz_alone_teaches_and_ignores_what_is_ignored() -> None:
    target = torch.tensor([[[0, 0, 0, 1], [0, 0, 2, 255]]], dtype=torch.uint8)
    logits = torch.zeros(1, 3, 2, 4, requires_grad=True)
    for _ in range(50):
        total, count = lovasz_softmax(logits, target)
        (gradient,) = torch.autograd.grad(total / count, logits)
        assert gradient[0, :, 1, 3].abs().sum() == 0
        logits = (logits - 5 * gradient).detach().requires_grad_()
    counted = target != 255
    assert torch.equal(logits.argmax(1)[counted], target[counted].long())


def test_a_batch_without_labels_has_no_lovasz_loss() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    total, count = lovasz_softmax(logits, torch.full((1, 4, 4), 255, dtype=torch.uint8))
    total.backward()
    assert (total.item(), float(count)) == (0.0, 0.0)


def test_normalisation_turns_bgr_bytes_into_rgb_planes() -> None:
    image = torch.tensor([[[[0, 128, 255]]]], dtype=torch.uint8)  # B, G, R
    planes = normalised(image)
    assert planes.shape == (1, 3, 1, 1)
    assert torch.allclose(normalised(image, exact=False), planes, rtol=1e-6, atol=1e-6)
    assert planes.flatten().tolist() == pytest.approx(
        [(1 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (0 - 0.406) / 0.225], rel=1e-5
    )
