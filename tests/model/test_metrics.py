"""Scores against scikit-learn's and against hand counts."""

import csv
import io
import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score

from fastscnn.model import CITYSCAPES
from fastscnn.model.metrics import CITYSCAPES_CATEGORIES, Confusion, mean_iou


def scene(seed: int, classes: int = 19) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    truth = chance.integers(0, classes, (60, 80)).astype(np.uint8)
    predicted = np.where(chance.random(truth.shape) < 0.7, truth, chance.integers(0, classes, truth.shape)).astype(
        np.uint8
    )
    truth[chance.random(truth.shape) < 0.1] = 255
    return truth, predicted


def test_scores_equal_scikit_learns() -> None:
    confusion = Confusion(19)
    scenes = [scene(seed) for seed in range(4)]
    for truth, predicted in scenes:
        confusion.add(truth, predicted)
    truth = np.concatenate([t.ravel() for t, _ in scenes])
    predicted = np.concatenate([p.ravel() for _, p in scenes])[truth != 255]
    truth = truth[truth != 255]
    assert np.array_equal(confusion.counts, confusion_matrix(truth, predicted, labels=range(19)))
    expected = jaccard_score(truth, predicted, average=None, labels=range(19))
    assert np.abs(confusion.class_iou() - expected).max() < 1e-9
    assert confusion.mean_iou() == pytest.approx(expected.mean(), abs=1e-9)
    assert confusion.pixel_accuracy() == pytest.approx(accuracy_score(truth, predicted), abs=1e-9)
    group = {member: index for index, members in enumerate(CITYSCAPES_CATEGORIES.values()) for member in members}
    merged = [[group[v] for v in values.tolist()] for values in (truth, predicted)]
    expected = jaccard_score(merged[0], merged[1], average=None, labels=range(7))
    assert np.abs(np.array(list(confusion.category_iou(CITYSCAPES_CATEGORIES).values())) - expected).max() < 1e-9


def test_hand_count() -> None:
    confusion = Confusion(3)
    frame = confusion.add(np.array([[0, 0, 1, 255]], np.uint8), np.array([[0, 1, 1, 2]], np.uint8))
    assert frame.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert confusion.class_iou()[:2].tolist() == [0.5, 0.5]
    assert math.isnan(confusion.class_iou()[2]), "a class that never occurs has no score"
    assert confusion.mean_iou() == mean_iou(frame) == 0.5
    assert confusion.pixel_accuracy() == pytest.approx(2 / 3)


def test_empty_is_not_a_number() -> None:
    assert math.isnan(Confusion(3).mean_iou())
    assert math.isnan(Confusion(3).pixel_accuracy())


def test_categories_hold_every_class_once() -> None:
    assert sorted(i for members in CITYSCAPES_CATEGORIES.values() for i in members) == list(range(19))


def test_counts_do_not_overflow() -> None:
    confusion = Confusion(2)
    confusion.counts[0, 0] = 2**40
    confusion.add(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8))
    assert confusion.counts[0, 0] == 2**40 + 16


def test_foreign_ids_and_shapes_are_refused() -> None:
    for truth, predicted in (([[3]], [[0]]), ([[0]], [[3]]), ([[0]], [[255]])):
        with pytest.raises(ValueError, match="outside the 3 classes"):
            Confusion(3).add(np.array(truth, np.uint8), np.array(predicted, np.uint8))
    with pytest.raises(ValueError, match="expected the same"):
        Confusion(3).add(np.zeros((1, 2), np.uint8), np.zeros((2, 1), np.uint8))


def test_csv_has_the_counts() -> None:
    confusion = Confusion(19)
    confusion.add(*scene(1))
    rows = list(csv.reader(io.StringIO(confusion.as_csv(CITYSCAPES))))
    assert rows[0][1:] == list(CITYSCAPES.classes)
    assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == confusion.counts.tolist()
