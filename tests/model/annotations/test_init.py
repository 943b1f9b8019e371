"""`fastscnn-data init`, as a user runs it: a data set that the check finds sound, or one sentence and nothing at all."""

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import raw_png
from PIL import Image

from fastscnn.model.annotations import drawn
from fastscnn.model.annotations.assemble import as_yaml, unique_names
from fastscnn.model.annotations.commands import init
from fastscnn.model.annotations.recipe import fitted
from fastscnn.model.classes import ClassSet
from fastscnn.model.datasets import open_dataset
from fastscnn.model.labelled.class_list import read_classes
from fastscnn.model.training import Recipe

Command = Callable[..., subprocess.CompletedProcess[str]]
SIZE = (72, 96)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drives of a drawn field as labelme leaves them."""
    folder = tmp_path_factory.mktemp("field")
    drawn.write(folder, 12, SIZE)
    return folder


def digest(folder: Path) -> str:
    names = sorted(p for p in folder.rglob("*") if p.is_file())
    return hashlib.sha256(b"".join(str(p).encode() + p.read_bytes() for p in names)).hexdigest()


def test_from_labelme_to_a_sound_data_set(command: Command, source: Path, tmp_path: Path) -> None:
    before = digest(source)
    done = command("fastscnn-data", "init", source, "-o", "yard", "--rest", "soil")
    assert done.returncode == 0, done.stderr
    assert digest(source) == before, "nothing of the source is changed"
    lines = done.stdout.splitlines()
    assert lines[0] == "labelme JSON: 12 pictures (12 of 72x96)"
    assert "train 8, val 4: by sequence (2 of them)" in done.stdout
    assert "of the pixels are in no polygon: they are soil (--rest CLASS or --rest ignore" in done.stdout
    assert lines[-3:] == [
        "  fastscnn-data yard",
        "  fastscnn-train yard/recipe.yaml",
        "  fastscnn-export --head cls --checkpoint runs/yard/best.safetensors -o yard.onnx",
    ]
    checked = command("fastscnn-data", "yard", "--json", "-")
    assert checked.returncode == 0, checked.stdout
    assert set(json.loads(checked.stdout)["train"]["class_share"]) == {"soil", "crop", "weed", "ignored"}
    drives = {
        split: {p.name[:8] for p in (tmp_path / "yard" / "images" / split).iterdir()} for split in ("train", "val")
    }
    assert not drives["train"] & drives["val"]
    assert cv2.imread(str(tmp_path / "yard" / "preview.png")).std() > 20
    recipe = Recipe.read(tmp_path / "yard" / "recipe.yaml")
    assert (recipe.crop, recipe.batch, recipe.data) == (SIZE, 4, str(tmp_path / "yard"))
    again = command("fastscnn-data", "init", source, "-o", "yard")
    assert again.returncode == 1 and "yard is there already and not empty" in again.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["yard"]


def test_broken_pictures_leave_nothing_or_are_skipped(command: Command, source: Path, tmp_path: Path) -> None:
    import shutil

    spoiled = Path(shutil.copytree(source, tmp_path / "spoiled"))
    path = spoiled / "field_00_001.jpg"
    path.write_bytes(path.read_bytes()[:-900])
    (spoiled / "field_00_002.json").write_text(
        (spoiled / "field_00_002.json").read_text().replace('"imageHeight": 72', '"imageHeight": 99')
    )
    nothing = json.loads((spoiled / "field_00_003.json").read_text())
    nothing["shapes"] = [{"label": "__ignore__", "points": [[0, 0], [96, 72]], "shape_type": "rectangle"}]
    (spoiled / "field_00_003.json").write_text(json.dumps(nothing))
    done = command("fastscnn-data", "init", spoiled)
    assert done.returncode == 1
    assert "field_00_003.json would ignore every pixel" in done.stderr
    assert "3 of 12 pictures cannot be taken, and nothing was written:" in done.stderr
    assert "field_00_001.jpg is not an image" in done.stderr and "drawn on height=99 width=96" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["spoiled"]
    done = command("fastscnn-data", "init", spoiled, "--skip", "--val", "0.3", "--test", "0.2", "--seed", "3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("labelme JSON: 9 pictures")
    assert sum(1 for _ in (tmp_path / "dataset").glob("images/*/*")) == 9
    assert {p.name for p in (tmp_path / "dataset" / "images").iterdir()} == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["init", "absent"], 2, "absent is not a folder"),
        (["init", "{source}", "-o", "{source}/inside"], 2, "which is not to be changed; expected another place"),
        (["init", "{source}", "--format", "voc"], 2, "nothing of the format voc was found"),
        (["init", "{source}", "--val", "0.7", "--test", "0.4"], 2, "leave nothing to train on"),
        (["init", "{source}", "--val", "2"], 2, "'2' is not a share"),
        (["init", "{source}", "--levels", "9", "9"], 2, "rise nowhere"),
        (["init", "{source}", "--map", "absent.yaml"], 2, "absent.yaml cannot be read"),
        (["init", "{source}", "--rest", "a\nb"], 2, "has no name that can be shown"),
        (["recipe", "absent"], 2, "absent is not a folder"),
    ],
)
def test_wrong_usage(
    command: Command, source: Path, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    done = command("fastscnn-data", *(text.replace("{source}", str(source)) for text in arguments))
    assert done.returncode == code, done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_masks_without_names_are_listed_as_a_mapping_to_fill_in(command: Command, tmp_path: Path) -> None:
    for index in range(3):
        for folder, pixels in (
            ("images", np.full((64, 64, 3), 40 * index, np.uint8)),
            ("masks", np.eye(64, dtype=np.uint8) * 255),
        ):
            (tmp_path / "in" / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "in" / folder / f"f{index}.png"), pixels)
    done = command("fastscnn-data", "init", "in")
    assert done.returncode == 2
    assert "ids without names: 0, 255" in done.stderr
    assert done.stdout.splitlines()[1:] == ["0: class 0  # 98.4% of the pixels", "255: class 255  # 1.6% of the pixels"]
    (tmp_path / "map.yaml").write_text(done.stdout.replace("class 0", "floor").replace("class 255", "line"))
    done = command("fastscnn-data", "init", "in", "--map", "map.yaml")
    assert done.returncode == 0, done.stderr
    assert read_classes(tmp_path / "dataset" / "classes.yaml").classes == ("floor", "line")
    dataset = open_dataset(tmp_path / "dataset", "train")
    assert np.array_equal(dataset.read(dataset.samples[0])[1], np.eye(64, dtype=np.uint8))


def test_turned_and_16_bit_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels of a tool lie on the picture as it is shown; what is written is upright and has 8 bits."""
    monkeypatch.chdir(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 3
    left = np.zeros((64, 80), np.uint8)
    left[:, :20] = 200
    shapes = [{"label": "bright", "points": [[60, 0], [79, 0], [79, 63], [60, 63]], "shape_type": "polygon"}]
    (tmp_path / "in").mkdir()
    for index in range(3):
        Image.fromarray(np.dstack([left + index] * 3)).save(tmp_path / "in" / f"f{index}.jpg", exif=exif, quality=98)
        described = {"shapes": shapes, "imagePath": f"f{index}.jpg", "imageHeight": 64, "imageWidth": 80}
        (tmp_path / "in" / f"f{index}.json").write_text(json.dumps(described))
    assert init(["in"]) == 0
    assert "3 turned pictures are stored upright now" in capsys.readouterr().out
    dataset = open_dataset(tmp_path / "dataset", "train")
    for _, picture, labels in dataset:
        assert np.array_equal(picture[..., 0] > 100, labels == 1)

    for index in range(3):
        thermal = np.where(left > 0, 3000, 1000 + index).astype(np.uint16)
        raw_png.write(tmp_path / "deep" / f"f{index}.png", thermal, 16)
        described = {"shapes": shapes, "imagePath": f"f{index}.png", "imageHeight": 64, "imageWidth": 80}
        (tmp_path / "deep" / f"f{index}.json").write_text(json.dumps(described))
    assert init(["deep", "-o", "eight"]) == 1
    assert "Say with --levels LOW HIGH what becomes black and white" in capsys.readouterr().err
    assert not (tmp_path / "eight").exists()
    assert init(["deep", "-o", "eight", "--levels", "1000", "3000"]) == 0
    pictures = {int(picture.max()) for _, picture, _ in open_dataset(tmp_path / "eight", "train")}
    assert pictures == {255}


def test_names_that_yaml_would_take_for_something_else(tmp_path: Path) -> None:
    names = ("yes", "null", "12", "a: b", "Straße", "[x]")
    classes = ClassSet("no", names, tuple((i, i, i) for i in range(len(names))))
    (tmp_path / "classes.yaml").write_text(as_yaml(classes))
    assert read_classes(tmp_path / "classes.yaml") == classes


def test_pictures_of_one_name_in_several_folders() -> None:
    paths = [Path("in/cam1/a/0.png"), Path("in/cam2/a/0.png"), Path("in/cam2/1.png"), Path("in/x/cam2/a/0.png")]
    assert unique_names(paths) == ["cam1_a_0", "cam2_a_0", "1", "cam2_a_0_2"]


def test_recipes_fit(tmp_path: Path) -> None:
    for pictures, size, crop, batch in (
        (32, "240x320", (240, 320), 8),
        (5, "48x1080", (64, 1024), 2),
        (2000, "1200x1920", (768, 1024), 8),
    ):
        (tmp_path / "r.yaml").write_text(fitted(pictures, {size: pictures}))
        recipe = Recipe.read(tmp_path / "r.yaml", ["data=x"])
        assert (recipe.crop, recipe.batch) == (crop, batch)
        assert 20 <= recipe.epochs <= 300
