"""What light, lens, sensor and file do: each by its formula, and none where a recipe does not ask for it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn.model import Street
from fastscnn.model.datasets import open_dataset
from fastscnn.model.training import Recipe
from fastscnn.model.training.augment import half
from fastscnn.model.training.camera import (
    blurred,
    compressed,
    curved,
    grained,
    moved,
    rained,
    seen_by_camera,
    shadowed,
    tinted,
)  # fmt: skip
from fastscnn.model.training.samples import Segmentation

FIELDS = {
    "gamma": 0.5,
    "saturation": 0.5,
    "hue": 0.1,
    "blur": 1.0,
    "noise": 0.1,
    "jpeg": 1.0,
    "shadow": 1.0,
    "rain": 1.0,
}


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return Street(120, 160, seed=1).frame(3)[0]


def test_an_older_recipe_draws_nothing_and_changes_nothing(image: np.ndarray) -> None:
    rng = np.random.default_rng(5)
    assert seen_by_camera(image, rng, Recipe("/x")) is image
    assert rng.random() == np.random.default_rng(5).random()


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_alone_changes_the_picture_the_same_way_for_the_same_numbers(name: str, image: np.ndarray) -> None:
    recipe = Recipe("/x", **{name: FIELDS[name]})  # type: ignore[arg-type]
    first, again, other = (seen_by_camera(image, np.random.default_rng(seed), recipe) for seed in (7, 7, 8))
    assert first.dtype == np.uint8 and first.shape == image.shape
    assert np.array_equal(first, again)
    assert not np.array_equal(first, image) and not np.array_equal(first, other)


def test_neutral_numbers_are_neutral(image: np.ndarray) -> None:
    assert np.array_equal(tinted(image, 1.0, 0.0), image)
    assert np.array_equal(curved(image, 1.0), image)
    assert np.array_equal(moved(image, 1, 30.0), image)
    assert np.array_equal(grained(image, 0.0, 11), image)
    assert np.array_equal(shadowed(image, np.array([0.5, 0.5]), np.array([0.4, 0.4]), 20.0, 0.0), image)


def test_colours_by_hand(image: np.ndarray) -> None:
    grey = image @ np.array([0.114, 0.587, 0.299])
    assert np.abs(tinted(image, 0.0, 0.0) - grey[..., None]).max() <= 0.6, "in fixed point"
    assert np.array_equal(tinted(image, 1.0, 1 / 3), image[..., [2, 0, 1]]) or np.array_equal(
        tinted(image, 1.0, 1 / 3), image[..., [1, 2, 0]]
    ), "a third of the circle exchanges the channels"
    assert curved(np.full((1, 1, 3), 64, np.uint8), 0.5).tolist() == [[[round(255 * (64 / 255) ** 0.5)] * 3]]


def test_noise_has_its_deviation_and_blur_its_width() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    for place in (0, 1_999_999):  # the second wraps around
        noisy = grained(grey, 12.0, place).astype(float)
        assert noisy.std() == pytest.approx(12, rel=0.03) and abs(noisy.mean() - 128) < 0.3
    point = np.zeros((41, 41, 3), np.uint8)
    point[20, 20] = 255
    spread = moved(point, 9, 0.0)[..., 0]
    assert np.flatnonzero(spread.any(axis=0)).tolist() == list(range(16, 25)) and np.flatnonzero(
        spread.any(axis=1)
    ).tolist() == [20]
    assert blurred(point, 1.5).max() < 40


def test_rain_falls_the_way_it_is_told_and_brightens_what_is_dark() -> None:
    dark, bright = (np.full((200, 300, 3), level, np.uint8) for level in (40, 230))
    assert np.array_equal(rained(dark, 0, 20.0, 0.0, 0.8, 1), dark)
    assert np.abs(rained(bright, 300, 20.0, 0.0, 0.8, 1).astype(int) - 230).max() <= 1, "as bright as a drop"
    for degrees in (0.0, 25.0, -25.0):
        wet = rained(dark, 150, 40.0, degrees, 0.8, 1)[..., 0].astype(np.float32) - 40
        assert 0.02 < (wet > 20).mean() < 0.3 and wet.min() >= -1
        across, down = cv2.Sobel(wet, cv2.CV_32F, 1, 0), cv2.Sobel(wet, cv2.CV_32F, 0, 1)
        lean = 0.5 * np.arctan2(2 * (across * down).mean(), (across**2 - down**2).mean())  # of the gradient, off level
        assert np.rad2deg(lean) == pytest.approx(-degrees, abs=4)
    assert (rained(dark, 150, 40.0, 0.0, 0.3, 1).mean() - 40) < (rained(dark, 150, 40.0, 0.0, 0.8, 1).mean() - 40)


def test_a_shadow_is_dark_inside_and_nothing_outside(image: np.ndarray) -> None:
    grey = np.full((160, 160, 3), 200, np.uint8)
    seen = shadowed(grey, np.array([0.25, 0.25]), np.array([0.3, 0.3]), 0.0, 0.5)
    assert abs(int(seen[40, 40, 0]) - 100) <= 1 and seen[150, 150, 0] == 200


def test_compression_is_jpegs(image: np.ndarray) -> None:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 20])
    assert np.array_equal(compressed(image, 20), cv2.imdecode(data, cv2.IMREAD_COLOR))


def test_half_of_the_classes_are_mixed_in(rectangles: Path) -> None:
    labels = np.array([[0, 1, 2], [3, 3, 255]], np.uint8)
    chosen = [tuple(half(labels, np.random.default_rng(seed)).tolist()) for seed in range(200)]
    assert {len(one) for one in chosen} == {2} and len(set(chosen)) == 6
    assert half(np.full((2, 2), 255, np.uint8), np.random.default_rng(0)).size == 0
    mixed = Segmentation(Recipe(str(rectangles), crop=(96, 96), mix=1.0), [open_dataset(rectangles, "train")])
    assert all(" mixed with " in mixed[index][2] for index in range(len(mixed)))


def test_a_view_does_not_depend_on_who_drew_it_before(rectangles: Path) -> None:
    recipe = Recipe(str(rectangles), crop=(96, 96), mix=0.5, **FIELDS)  # type: ignore[arg-type]
    one, other = (Segmentation(recipe, [open_dataset(rectangles, "train")]) for _ in range(2))
    one.epoch = other.epoch = 3
    forwards = [one[index] for index in range(6)]
    backwards = [other[index] for index in reversed(range(6))][::-1]
    for (image, target, name), (again, target_again, name_again) in zip(forwards, backwards, strict=True):
        assert name == name_again and bool((image == again).all()) and bool((target == target_again).all())
