"""The three layouts, and every way in which their files can be wrong."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn.model.data_check import check
from fastscnn.model.datasets import CITYSCAPES_IDS, open_dataset
from fastscnn.runtime import UsageError

Command = Callable[..., subprocess.CompletedProcess[str]]


def put(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)
    return path


def image(height: int = 20, width: int = 30, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    for split, count in (("train", 4), ("val", 2)):
        for index in range(count):
            put(tmp_path / split / f"{index:02d}.jpg", image(seed=index + 10 * count))
            put(
                tmp_path / f"{split}annot" / f"{index:02d}.png", np.tile(np.arange(12, dtype=np.uint8), (20, 3))[:, :30]
            )
    return tmp_path


def test_camvid_eleven_is_ignored(camvid: Path) -> None:
    dataset = open_dataset(camvid, "train")
    assert (dataset.kind, len(dataset), len(dataset.classes)) == ("CamVid", 4, 11)
    frame, labels = dataset.read(dataset.samples[0])
    assert frame.shape == (20, 30, 3)
    assert labels[0, :13].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255, 0]
    assert [sample.name for sample, _, _ in dataset] == ["00", "01", "02", "03"]


@pytest.mark.parametrize(("coarse", "kind"), [(False, "gtFine"), (True, "gtCoarse")])
def test_cityscapes_label_ids_become_train_ids(tmp_path: Path, coarse: bool, kind: str) -> None:
    put(tmp_path / "leftImg8bit" / "val" / "ulm" / "ulm_000000_000019_leftImg8bit.png", image(2, 35))
    numbers = np.tile(np.array([*range(34), 255], np.uint8), (2, 1))
    put(tmp_path / kind / "val" / "ulm" / f"ulm_000000_000019_{kind}_labelIds.png", numbers)
    dataset = open_dataset(tmp_path, "val", coarse=coarse)
    _, labels = dataset.read(dataset.samples[0])
    expected = [255] * 35
    for train_id, label_id in enumerate(CITYSCAPES_IDS):
        expected[label_id] = train_id
    assert labels[0].tolist() == expected
    by_name = {name: CITYSCAPES_IDS[i] for i, name in enumerate(dataset.classes.classes)}
    assert (by_name["road"], by_name["car"], by_name["bicycle"]) == (7, 26, 33)


def test_own_data_set(tmp_path: Path) -> None:
    put(tmp_path / "images" / "train" / "a.png", image())
    put(tmp_path / "labels" / "train" / "a.png", np.full((20, 30), 1, np.uint8))
    description = tmp_path / "classes.yaml"
    description.write_text("name: yard\nclasses:\n  grass: [0, 255, 0]\n  path: [90, 90, 90]\n")
    dataset = open_dataset(tmp_path, "train")
    assert (dataset.classes.name, dataset.classes.classes) == ("yard", ("grass", "path"))
    assert dataset.classes.palette == ((0, 255, 0), (90, 90, 90))
    assert dataset.read(dataset.samples[0])[1].max() == 1
    for wrong, message in (
        ("classes: {one: [0, 0, 0]}", "names 1 classes"),
        ("classes: {a: [0, 0, 0], b: [0, 0, 300]}", "three numbers from 0 to 255"),
        ("classes: [a, b]", "as a list; expected names with a colour each"),
        ("{", "cannot be read"),
        ("!!python/object/apply:os.system ['true']", "cannot be read"),
    ):
        description.write_text(wrong)
        with pytest.raises(UsageError, match=message):
            open_dataset(tmp_path, "train")


def test_every_fault_is_listed_by_name(camvid: Path) -> None:
    (camvid / "trainannot" / "00.png").unlink()
    put(camvid / "trainannot" / "01.png", np.zeros((20, 29), np.uint8))
    put(camvid / "trainannot" / "02.png", np.full((20, 30), 12, np.uint8))
    (camvid / "train" / "03.jpg").write_bytes(b"not an image")
    put(camvid / "train" / "04.jpg", image())
    put(camvid / "trainannot" / "04.png", np.full((20, 30, 3), (9, 8, 7), np.uint8))
    put(camvid / "train" / "05.jpg", image())
    put(camvid / "trainannot" / "05.png", np.full((20, 30), 11, np.uint8))
    findings = check(open_dataset(camvid, "train"))
    expected = [
        "00.png does not exist; expected the label of 00.jpg",
        "01.png is height=20 width=29, but its image is height=20 width=30",
        "02.png (8-bit grey) holds ids 12, which CamVid does not define",
        "03.jpg is not an image",
        "04.png (RGB) holds colours that CamVid does not have: [7, 8, 9] 100.0% (nearest: pedestrian",
        "05.png ignores every pixel",
    ]
    assert len(findings.problems) == len(expected)
    assert all(text in problem for text, problem in zip(expected, findings.problems, strict=True))


def test_labels_without_an_image_and_images_that_share_one(camvid: Path) -> None:
    put(camvid / "train" / "02.png", image())
    (camvid / "train" / "01.jpg").unlink()
    shared, lonely = check(open_dataset(camvid, "train")).problems
    assert shared.endswith("trainannot/02.png is the label of 02.jpg and of 02.png; expected one image of that name")
    assert lonely.endswith("trainannot/01.png has no image; expected one for each label")


def test_only_cityscapes_labels_need_an_image(tmp_path: Path) -> None:
    put(tmp_path / "leftImg8bit" / "val" / "ulm" / "ulm_1_leftImg8bit.png", image())
    labels = tmp_path / "gtFine" / "val" / "ulm"
    for name in ("ulm_1_gtFine_labelIds", "ulm_1_gtFine_color", "ulm_2_gtFine_instanceIds"):
        put(labels / f"{name}.png", np.full((20, 30), 7, np.uint8))
    assert check(open_dataset(tmp_path, "val")).problems == []
    put(labels / "ulm_2_gtFine_labelIds.png", np.full((20, 30), 7, np.uint8))
    (problem,) = check(open_dataset(tmp_path, "val")).problems
    assert "ulm_2_gtFine_labelIds.png has no image" in problem


def test_command(command: Command, camvid: Path) -> None:
    done = command("fastscnn-data", camvid)
    assert done.returncode == 0, done.stderr
    assert "train: CamVid, 4 images (4 of 20x30), 0 problems" in done.stdout
    put(camvid / "valannot" / "00.png", np.full((20, 30), 77, np.uint8))
    done = command("fastscnn-data", camvid, "--json", "-")
    assert done.returncode == 1
    assert "has 1 problems" in done.stderr
    report = json.loads(done.stdout)
    assert (report["train"]["problems"], len(report["val"]["problems"])) == ([], 1)
    assert sum(report["train"]["class_share"].values()) == pytest.approx(1)


def test_unknown_layouts_and_splits(command: Command, camvid: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no known layout for the split 'test'"):
        open_dataset(camvid, "test")
    with pytest.raises(UsageError, match="is not a folder"):
        open_dataset(tmp_path / "absent", "train")
    (camvid / "emptyannot").mkdir()
    with pytest.raises(UsageError, match="holds no images"):
        open_dataset(camvid, "empty")
    assert command("fastscnn-data", "absent").returncode == 2


def test_real_camvid(shared: Path) -> None:
    findings = check(open_dataset(shared / "data" / "camvid", "val"))
    assert (findings.samples, findings.problems, dict(findings.sizes)) == (101, [], {"360x480": 101})
    assert findings.pixels[10] / findings.pixels.sum() == pytest.approx(
        0.022, abs=0.002
    )  # bicyclist, as its README says
