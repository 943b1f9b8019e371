"""Pictures that EXIF turns: their labels are turned alike, or the file is named."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fastscnn.model.datasets import Dataset, open_dataset
from fastscnn.model.labelled.orientation import UPRIGHT, stored_orientation, turned
from fastscnn.runtime.errors import SourceError

BLOCKS = np.kron(np.array([[0, 1, 2], [1, 2, 2]], np.uint8), np.ones((32, 32), np.uint8))  # 64 × 96, not symmetric


def data_set(
    root: Path, orientation: int, shown: bool, stored: np.ndarray = BLOCKS, suffix: str = ".jpg", say: str = ""
) -> Dataset:
    """One picture, grey by class, with EXIF; its label drawn on it as shown or as stored."""
    for folder in ("images/train", "labels/train"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.dstack([stored * 100] * 3)).save(root / "images" / "train" / f"a{suffix}", exif=exif)
    label = turned(stored, orientation) if shown else stored
    cv2.imwrite(str(root / "labels" / "train" / "a.png"), label)
    (root / "classes.yaml").write_text(f"classes: {{a: [0, 0, 0], b: [100, 100, 100], c: [200, 200, 200]}}\n{say}")
    return open_dataset(root, "train")


def agreement(dataset: Dataset) -> float:
    image, labels = dataset.read(dataset.samples[0])
    return float((np.rint(image[..., 0] / 100) == labels).mean())


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("shown", [True, False])
def test_a_quarter_turn_is_told_by_the_size(tmp_path: Path, orientation: int, shown: bool) -> None:
    assert agreement(data_set(tmp_path, orientation, shown)) > 0.95


@pytest.mark.parametrize("orientation", [2, 3, 4])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_what_no_size_tells_is_named_until_the_data_set_says_it(tmp_path: Path, orientation: int, suffix: str) -> None:
    for shown in (True, False):
        dataset = data_set(tmp_path, orientation, shown, suffix=suffix)
        with pytest.raises(
            SourceError, match=rf"a{suffix} is stored .*nothing tells whether .*a.png was drawn.*`exif: stored`"
        ):
            dataset.read(dataset.samples[0])
        say = f"exif: {'shown' if shown else 'stored'}\n"
        assert agreement(data_set(tmp_path, orientation, shown, suffix=suffix, say=say)) > 0.95


def test_a_square_quarter_turn_is_named(tmp_path: Path) -> None:
    dataset = data_set(tmp_path, 6, True, BLOCKS[:, :64])
    with pytest.raises(SourceError, match="turned by 90°"):
        dataset.read(dataset.samples[0])


def test_symmetric_labels_need_no_answer(tmp_path: Path) -> None:
    dataset = data_set(tmp_path, 3, True)
    cv2.imwrite(str(tmp_path / "labels" / "train" / "a.png"), np.ones_like(BLOCKS))
    assert (dataset.read(dataset.samples[0])[1] == 1).all()


def test_upright_pictures_are_not_opened_by_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((70, 70, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((70, 70, 3), np.uint8))
    monkeypatch.setattr(Image, "open", None)
    assert {stored_orientation(tmp_path / name) for name in ("a.jpg", "a.png")} == {UPRIGHT}
