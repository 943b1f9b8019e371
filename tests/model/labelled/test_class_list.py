"""`classes.yaml`: what it may say, and the culprit where it says something else."""

from pathlib import Path

import numpy as np
import pytest
import raw_png

from fastscnn.model.labelled.class_list import read, read_classes
from fastscnn.runtime.errors import UsageError

TWO = "classes: {soil: [139, 90, 43], plant: [0, 255, 0]}\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds nothing; expected names with a colour each, for example `classes: {soil"),
        ("[a, b]", "holds a list"),
        ("classes: [a, b]", "holds `classes` as a list; .* for example"),
        ("name: x", "holds no `classes`"),
        (TWO + "ignored: 0", "unknown key 'ignored'. Did you mean 'ignore'"),
        (TWO + "colour: 0", "unknown key 'colour'"),
        ("classes: {soil: [0, 0, 300], crop: [0, 0, 0]}", r"soil has the colour \[0, 0, 300\]; expected three numbers"),
        ("classes: {soil: brown, crop: [0, 0, 0]}", "soil has the colour 'brown'"),
        ("classes: {soil: [0, 0, 0]}", "names 1 classes; expected 2 to 254"),
        (
            "classes:\n  soil: [0, 0, 0]\n  crop: [0, 1, 0]\n  soil: [1, 1, 1]",
            "line 4: 'soil' stands in line 2 already",
        ),
        ("classes: {yes: [0, 0, 0], no: [1, 1, 1]}", "'yes' is a truth value in YAML; a name needs quotes: 'yes'"),
        ("classes: {a: [0, 0, 0], off: [1, 1, 1]}", "'off' is a truth value"),
        ("classes: {a: [0, 0, 0], null: [1, 1, 1]}", "'null' is nothing in YAML"),
        (TWO + "ignore: 0", "ignores the id 0, which is that of soil; .* write `ids: \\[1, 2\\]` beside it"),
        (TWO + "ignore: [[0, 255, 0]]", "ignores the colour .*one of its classes has"),
        (TWO + "ignore: black", "ignores 'black'; expected ids, or colours"),
        (TWO + "ids: [0, 0]", "expected 2 different numbers"),
        (TWO + "ids: [1, 2, 3]", "expected 2 different numbers"),
        (TWO + "ids: {soil: 1, plants: 2}", "has ids for soil, plants; expected one for each"),
        (TWO + "labels: rgb", "labels: 'rgb'; expected ids or colours"),
        (TWO + "exif: turned", "expected stored or shown"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "classes.yaml").write_text(text)
    with pytest.raises(UsageError, match=says):
        read(tmp_path / "classes.yaml")


def test_names_in_quotes_and_the_folder_as_the_name(tmp_path: Path) -> None:
    (tmp_path / "classes.yaml").write_text("classes: {'yes': [0, 0, 0], 'no': [1, 1, 1], 3: [2, 2, 2]}")
    found = read_classes(tmp_path / "classes.yaml")
    assert (found.name, found.classes) == (tmp_path.name, ("yes", "no", "3"))


def test_ids_and_ignored_ones_are_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"
    label = raw_png.write(tmp_path / "a.png", np.array([[0, 1, 2, 7, 255]]))
    path.write_text(TWO + "ids: [1, 2]\nignore: [0, 7]\n")
    assert read(path).reading(path).labels(label).tolist() == [[255, 0, 1, 255, 255]]
    path.write_text(TWO + "ids: {plant: 1, soil: 2}\nignore: [0, 7]\n")
    assert read(path).reading(path).labels(label).tolist() == [[255, 1, 0, 255, 255]]


def test_masks_of_0_and_255_by_the_reading_that_is_offered(tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text(TWO + "ids: [0, 255]\n")
    label = raw_png.write(tmp_path / "a.png", np.array([[0, 255, 255]]))
    assert read(path).reading(path).labels(label).tolist() == [[0, 1, 1]]


def test_an_ignored_colour(tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text(TWO + "ignore: [[0, 0, 0]]\n")
    pixels = np.array([[(0, 0, 0), (0, 255, 0), (139, 90, 43)]], np.uint8)
    label = raw_png.write(tmp_path / "a.png", pixels, 8, raw_png.RGB)
    assert read(path).reading(path).labels(label).tolist() == [[255, 1, 0]]
