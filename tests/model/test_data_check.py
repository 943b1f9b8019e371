"""What no single file shows: each counts as a problem, on the terminal and in --json."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn.model.annotations import drawn
from fastscnn.model.data_check import as_a_whole, check
from fastscnn.model.datasets import open_dataset
from fastscnn.model.labelled.jpeg import expect_whole
from fastscnn.runtime.errors import SourceError

Command = Callable[..., subprocess.CompletedProcess[str]]
CLASSES = "classes: {soil: [139, 90, 43], crop: [0, 255, 0], weed: [255, 0, 0]}\n"
SIZE = (96, 128)


def field(root: Path, train: int = 7, val: int = 2, seed: int = 0, classes: str = CLASSES) -> Path:
    """Drawn pictures with ids 0 to 2, in one's own layout."""
    root.mkdir(exist_ok=True)
    (root / "classes.yaml").write_text(classes)
    for split, count, drive in (("train", train, 0), ("val", val, 1)):
        for index in range(count):
            image, labels = one(seed + drive, index)
            save(root, split, f"{index:02d}", image, labels)
    return root


def one(drive: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    image, leaves = drawn.draw(SIZE, np.random.default_rng(drive), np.random.default_rng((drive, index)))
    labels = np.zeros(SIZE, np.uint8)
    for leaf in leaves:
        cv2.fillPoly(labels, [np.rint(leaf.outline).astype(np.int32)], 1 if leaf.label == "crop" else 2)
    return image, labels


def save(root: Path, split: str, name: str, image: np.ndarray, labels: np.ndarray, suffix: str = ".png") -> None:
    for kind, content, ending in (("images", image, suffix), ("labels", labels, ".png")):
        (root / kind / split).mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(root / kind / split / f"{name}{ending}"), content)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return field(tmp_path / "set")


def problems(root: Path, split: str = "train") -> list[str]:
    dataset = open_dataset(root, split)
    findings = check(dataset)
    return findings.problems + as_a_whole(dataset, findings, split)


def test_a_sound_set_has_none(own: Path) -> None:
    assert problems(own) == problems(own, "val") == []


def test_labels_shifted_by_one_file_are_suspected(own: Path) -> None:
    names = sorted((own / "labels" / "train").iterdir())
    contents = [path.read_bytes() for path in names]
    for path, content in zip(names, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)
    (told,) = problems(own)
    assert told.startswith("suspicion: the labels fit the picture after their own better")
    for path, content in zip(names, contents[-1:] + contents[:-1], strict=True):
        path.write_bytes(content)
    assert "the picture before their own" in problems(own)[0]


def test_masks_of_0_and_255_stop_with_the_reading(command: Command, tmp_path: Path) -> None:
    two = field(tmp_path / "two", classes="classes: {soil: [139, 90, 43], plant: [0, 255, 0]}\n")
    for path in two.glob("labels/*/*.png"):
        cv2.imwrite(str(path), np.where(cv2.imread(str(path), cv2.IMREAD_UNCHANGED) > 0, 255, 0).astype(np.uint8))
    done = command("fastscnn-data", two, "--json", "report.json")
    assert done.returncode == 1
    report = json.loads((tmp_path / "report.json").read_text())
    for split in ("train", "val"):
        (told,) = report[split]["problems"]
        assert "hold 0 and 255 alone" in told and f"write `ids: [0, 255]` into {two}/classes.yaml" in told
    with (two / "classes.yaml").open("a") as file:
        file.write("ids: [0, 255]\n")
    done = command("fastscnn-data", two)
    assert done.returncode == 0, done.stdout
    assert "ignored 0.0%" in done.stdout


def test_the_same_picture_in_train_and_val(command: Command, own: Path) -> None:
    image, labels = one(0, 3)
    save(own, "val", "copy", image, labels, ".bmp")
    done = command("fastscnn-data", own, "--json", "-")
    assert done.returncode == 1
    (told,) = json.loads(done.stdout)["val"]["problems"]
    assert told.startswith(f"{own}/images/val/copy.bmp is the same picture as {own}/images/train/03.png of train")


def test_a_class_that_train_lacks(own: Path) -> None:
    with (own / "classes.yaml").open("w") as file:
        file.write(CLASSES.replace("}", ", stone: [9, 9, 9]}"))
    assert problems(own) == [
        "train: no pixel of stone; expected some of each class. Label some, or take it out of the classes"
    ]
    assert problems(own, "val") == []


def test_jpegs_with_a_hole_or_cut(own: Path) -> None:
    path = own / "images" / "train" / "00.jpg"
    (own / "images" / "train" / "00.png").rename(own / "spare.png")
    sound = cv2.imencode(".jpg", cv2.imread(str(own / "spare.png")))[1].tobytes()
    middle = len(sound) // 2
    path.write_bytes(sound)
    expect_whole(path)
    path.write_bytes(sound + b"a clip that a phone appends")
    expect_whole(path)
    noise = np.random.default_rng(0).integers(0, 255, 60, dtype=np.uint8).tobytes()
    for hole in (bytes(120), noise):
        path.write_bytes(sound[:middle] + hole + sound[middle + len(hole) :])
        with pytest.raises(SourceError, match=r"00.jpg is damaged \(Corrupt JPEG data"):
            expect_whole(path)
        assert [text for text in problems(own) if "00.jpg is damaged" in text]
    path.write_bytes(sound[:middle])
    assert [text for text in problems(own) if "00.jpg is not an image that OpenCV can read, or is damaged" in text]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("labels/train/00.png", "labels/train/00_mask.png", "00.png does not exist; expected the label of 00.png. The nearest is 00_mask.png"),
        ("labels/train/00.png", "labels/train/00.PNG", "The nearest is 00.PNG. Rename it"),
        ("labels/train/00.png", "labels/train/00.tif", "The nearest is 00.tif"),
        ("labels/train/00.png", "labels/train/seg/00.png", "It lies one folder deeper, in seg/"),
        ("labels/train", "labels/training", "There is no folder {root}/labels/train, but training/. Rename it"),
        ("images/val", "images/valid", "split 'val' holds no images. There is {root}/images/valid/: rename it, or say --splits valid"),
        ("images/val", "images/val2/cam", "{root}/images/val2/: rename it"),
    ],
)  # fmt: skip
def test_the_nearest_name_is_offered(command: Command, own: Path, old: str, new: str, says: str) -> None:
    (own / new).parent.mkdir(exist_ok=True)
    (own / old).rename(own / new)
    done = command("fastscnn-data", own, "--json", "report.json")
    assert done.returncode in (1, 2)
    report = json.loads((own.parent / "report.json").read_text())
    assert any(says.format(root=own) in text for split in report.values() for text in split["problems"])


def test_16_bit_pictures_are_refused_with_a_rule(own: Path) -> None:
    deep = np.random.default_rng(0).integers(900, 4000, (*SIZE, 1)).astype(np.uint16)
    cv2.imwrite(str(own / "images" / "train" / "00.png"), deep)
    (told,) = problems(own)
    assert "00.png holds uint16 from 900 to 3999; expected 8 bits, 0 to 255. Scale all such images alike" in told


def test_classes_are_what_the_list_says_whatever_the_folder_is_called(command: Command, tmp_path: Path) -> None:
    """A list beside CamVid's layout, and a set of one's own in a folder called cityscapes."""
    root = field(tmp_path / "cityscapes")
    for split in ("train", "val"):
        (root / "images" / split).rename(root / split)
        (root / "labels" / split).rename(root / f"{split}annot")
    dataset = open_dataset(root, "train")
    assert (dataset.kind, dataset.classes.classes) == ("cityscapes", ("soil", "crop", "weed"))
    from fastscnn.model import checkpoint

    checkpoint.save(tmp_path / "w.safetensors", checkpoint.untrained(dataset.classes))
    done = command("fastscnn-eval", "w.safetensors", "--data", root)
    assert done.returncode == 0, done.stderr
    assert "category" not in done.stdout
    done = command("fastscnn-eval", "w.safetensors", "--data", root, "--submission", "out")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
