"""Augmentations against their formulas, and images against their labels."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn.model.datasets import open_dataset
from fastscnn.model.training import Recipe
from fastscnn.model.training.augment import View, centred, colours, draw, image_view, label_view, pasted
from fastscnn.model.training.samples import Segmentation

PLAIN = View((1.0, 1.0), (0.0, 0.0), False, (1.0, 1.0, 1.0), 1.0)
SIZE = (96, 128)


def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)


def labels() -> np.ndarray:
    coarse = np.random.default_rng(1).integers(0, 11, (SIZE[0] // 8, SIZE[1] // 8), np.uint8)
    return np.kron(coarse, np.ones((8, 8), np.uint8))


def views(count: int, **fields: object) -> list[View]:
    recipe = Recipe("/x", crop=SIZE, **fields)  # type: ignore[arg-type]
    return [draw(np.random.default_rng(i), SIZE, SIZE, recipe) for i in range(count)]


def test_the_plain_view_changes_nothing_and_mirroring_mirrors() -> None:
    assert np.array_equal(image_view(image(), PLAIN, SIZE), image())
    assert np.array_equal(label_view(labels(), PLAIN, SIZE, 1), labels())
    mirrored = View(PLAIN.scale, PLAIN.offset, True, PLAIN.gain, PLAIN.contrast)
    assert np.array_equal(image_view(image(), mirrored, SIZE), image()[:, ::-1])
    assert np.array_equal(label_view(labels(), mirrored, SIZE, 1), labels()[:, ::-1])


def test_doubling_is_opencvs_resize() -> None:
    doubled = View((2.0, 2.0), (0.0, 0.0), False, PLAIN.gain, 1.0)
    size = (2 * SIZE[0], 2 * SIZE[1])
    expected = cv2.resize(image(), size[::-1], interpolation=cv2.INTER_LINEAR).astype(int)
    inner = np.s_[2:-2, 2:-2]  # at the border OpenCV's resize repeats the last pixel, a view fades to the mean
    assert np.abs(image_view(image(), doubled, size).astype(int) - expected)[inner].max() <= 4  # 5 bits of fraction
    assert np.array_equal(label_view(labels(), doubled, size, 2), labels())


def test_labels_stay_on_their_pixels() -> None:
    """An image that shows its own labels still does after any view."""
    truth = labels()
    shown = np.repeat((truth * 20)[..., None], 3, axis=2)
    tested = 0
    for view in views(40, brightness=0, channel_noise=0):
        seen, wanted = image_view(shown, view, SIZE)[..., 0], label_view(truth, view, SIZE, 1)
        inside = cv2.erode(
            (wanted != 255).astype(np.uint8), np.ones((7, 7)), borderType=cv2.BORDER_CONSTANT, borderValue=0
        )
        flat = (inside > 0) & (cv2.dilate(wanted, np.ones((5, 5))) == cv2.erode(wanted, np.ones((5, 5))))
        if flat.any():
            tested += 1
            assert np.abs(seen[flat].astype(int) - wanted[flat] * 20).max() <= 1, view
    assert tested > 30


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_strided_labels_are_those_at_the_middle_of_their_cells(stride: int) -> None:
    wanted = label_view(labels(), PLAIN, SIZE, stride)
    assert wanted.shape == (SIZE[0] // stride, SIZE[1] // stride)
    assert np.array_equal(wanted, labels()[stride // 2 :: stride, stride // 2 :: stride])


def test_what_the_image_does_not_cover_is_ignored() -> None:
    small = View((0.5, 0.5), (10.0, 20.0), False, PLAIN.gain, 1.0)
    wanted = label_view(labels(), small, SIZE, 1)
    assert np.all(wanted[10:58, 20:84] != 255) and (wanted != 255).sum() == 48 * 64
    mean = image().reshape(-1, 3).mean(axis=0)
    assert np.abs(image_view(image(), small, SIZE)[-1, -1] - mean).max() <= 1


def test_draws_keep_within_the_recipe_and_use_all_of_it() -> None:
    drawn = views(2000, scales=(0.5, 2.0), brightness=0.2, channel_noise=0.1, contrast=0.3)
    factors = np.array([view.scale[0] for view in drawn])
    assert factors.min() >= 0.5 and factors.max() <= 2 and abs((factors < 1).mean() - 0.5) < 0.05
    gains = np.array([view.gain for view in drawn])
    assert gains.min() >= 0.8 * 0.9 and gains.max() <= 1.2 * 1.1
    assert np.ptp(gains / gains.mean(axis=1, keepdims=True)) > 0.2  # each channel by itself
    contrast = np.array([view.contrast for view in drawn])
    assert 0.7 <= contrast.min() < 0.71 and 1.29 < contrast.max() <= 1.3
    assert 0.45 < np.mean([view.mirrored for view in drawn]) < 0.55
    for view in drawn:  # a larger image covers the crop, a smaller one lies within it
        for crop, side, scale, offset in zip(SIZE, SIZE, view.scale, view.offset, strict=True):
            room = crop - side * scale
            assert min(0, room) <= offset <= max(0, room)


def test_colours_follow_their_formula() -> None:
    view = View((1.0, 1.0), (0.0, 0.0), False, (0.8, 1.0, 1.3), 0.7)
    mean = float(image().mean())
    by_hand = mean + 0.7 * (image().astype(np.float32) * np.float32([0.8, 1.0, 1.3]) - mean)
    assert np.abs(colours(image(), view, mean) - np.clip(np.rint(by_hand), 0, 255)).max() == 0


def test_the_middle_of_an_image() -> None:
    seen = image_view(image(), centred(SIZE, SIZE, (64, 64)), (64, 64))
    assert np.array_equal(seen, image()[16:80, 32:96])


def test_pasting_brings_the_pixels_of_its_classes_and_their_labels() -> None:
    ours, theirs = labels()[::2, ::2], labels()[::-2, ::-2]
    other = 255 - image()
    seen, target = pasted(image(), ours, other, theirs, np.array([2, 7], np.uint8))
    over = np.isin(theirs, [2, 7])
    assert 0.05 < over.mean() < 0.5
    assert np.array_equal(target, np.where(over, theirs, ours))
    assert np.array_equal(seen, np.where(np.kron(over, np.ones((2, 2), bool))[..., None], other, image()))


def test_rare_classes_are_pasted_as_often_as_the_recipe_says(rectangles: Path) -> None:
    plain = Segmentation(Recipe(str(rectangles), crop=SIZE), [open_dataset(rectangles, "train")])
    mixed = Segmentation(Recipe(str(rectangles), crop=SIZE, paste=0.5), [open_dataset(rectangles, "train")])
    mixed.__dict__["_rare"] = np.array([0, 3], np.uint8)
    changed = []
    for epoch in range(20):
        plain.epoch = mixed.epoch = epoch
        for index in range(len(plain)):
            (_, before, name), (_, after, mixed_name) = plain[index], mixed[index]
            assert bool((before != after).any()) <= (" with " in mixed_name) and mixed_name.startswith(name)
            assert set(after[before != after].tolist()) <= {0, 3}
            changed.append(" with " in mixed_name)
    assert 0.35 < np.mean(changed) < 0.65


def test_what_is_rare_has_less_than_half_of_an_equal_share(monkeypatch: pytest.MonkeyPatch, rectangles: Path) -> None:
    views = Segmentation(Recipe(str(rectangles)), [open_dataset(rectangles, "train")])
    monkeypatch.setattr(Segmentation, "shares", lambda self: np.array([0.6, 0.13, 0.12, 0.15]))
    assert views._rare.tolist() == [2]


def test_views_are_as_large_as_their_epoch_has_them(rectangles: Path) -> None:
    recipe = Recipe(str(rectangles), epochs=4, crop=(64, 64), closing=0.25, closing_crop=(96, 128), label_stride=2)
    seen = Segmentation(recipe, [open_dataset(rectangles, "train")])
    for epoch, size in ((0, (64, 64)), (2, (64, 64)), (3, (96, 128))):
        image, target, _ = seen[epoch, 0]
        assert image.shape == (*size, 3) and target.shape == (size[0] // 2, size[1] // 2)
