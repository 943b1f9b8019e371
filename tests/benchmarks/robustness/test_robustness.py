"""Corruptions that are what they say, the same each time, and a table that a user can read."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn.benchmarks.robustness.cli import main
from fastscnn.benchmarks.robustness.corruptions import CORRUPTIONS, SEVERITIES, Corrupted
from fastscnn.export import export
from fastscnn.model import ClassSet, Street
from fastscnn.model.checkpoint import save, untrained
from fastscnn.model.datasets import open_dataset

CLASSES = ClassSet("bands", ("red", "green", "blue", "grey"), ((200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 90)))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return Street(360, 480, seed=1).frame(3)[0]


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other).mean())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_is_worse_with_severity_and_the_same_for_the_same_numbers(name: str, image: np.ndarray) -> None:
    kept = image.copy()
    found = [CORRUPTIONS[name](image, np.random.default_rng(3), severity) for severity in SEVERITIES]
    assert np.array_equal(image, kept), "a picture that others read is not changed"
    assert all(one.dtype == np.uint8 and one.shape == image.shape for one in found)
    damage = [distance(image, one) for one in found]
    assert damage == sorted(damage) and damage[0] > 0.5
    assert np.array_equal(CORRUPTIONS[name](image, np.random.default_rng(3), 3), found[2])


def test_what_some_of_them_are_by_formula(image: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    flat = CORRUPTIONS["contrast"](image, rng, 3)
    assert flat.std() == pytest.approx(0.3 * image.std(), rel=0.02) and abs(flat.mean() - image.mean()) < 0.5
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 12])
    assert np.array_equal(CORRUPTIONS["JPEG"](image, rng, 3), cv2.imdecode(data, cv2.IMREAD_COLOR))
    white = np.full((100, 100, 3), 255, np.uint8)
    dark = CORRUPTIONS["darkness"](white, rng, 3).astype(float)
    assert dark.mean() == pytest.approx(255 * 0.1 ** (1 / 2.2), abs=1) and dark.std() == pytest.approx(4, rel=0.1)
    checks = (np.indices((100, 100)).sum(axis=0) % 2 * 255).astype(np.uint8)
    halved = CORRUPTIONS["half resolution"](np.dstack([checks] * 3), rng, 3)
    assert np.ptp(halved) <= 1 and abs(int(halved[5, 5, 0]) - 128) <= 1, "what is a pixel wide is gone"


def test_a_pictures_numbers_come_from_seed_and_name_alone(rectangles: Path) -> None:
    plain = open_dataset(rectangles, "val")

    def read(index: int, **fields: object) -> np.ndarray:
        data = Corrupted(plain.kind, plain.reading, plain.samples, plain.exif, **fields)  # type: ignore[arg-type]
        return data.read(data.samples[index])[0]

    assert np.array_equal(read(2, corruption="noise"), read(2, corruption="noise"))
    noise = [
        read(index, corruption="noise", seed=seed).astype(int) - read(index) for index, seed in ((0, 0), (0, 1), (1, 0))
    ]
    assert not np.array_equal(noise[0], noise[1]) and not np.array_equal(noise[0], noise[2])
    assert np.array_equal(read(3), plain.read(plain.samples[3])[0])


def test_several_models_side_by_side(rectangles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "a.safetensors"
    save(weights, untrained(CLASSES, seed=3))
    model = export("cls", (96, 96), weights, output=tmp_path / "b.onnx")
    words = ["--data", str(rectangles), "--every", "3", "--device", "cpu", "--corruptions", "noise", "JPEG"]
    assert main([str(weights), str(model), *words, "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "| corruption | a.safetensors | b.onnx |" in printed
    report = json.loads((tmp_path / "out" / "robustness.json").read_text())
    assert report["frames"] == 2
    for scores in report["scores"].values():
        assert list(scores) == ["none", "noise", "JPEG"]
    ours, theirs = report["scores"].values()
    assert ours["none"]["mean_iou"] == pytest.approx(theirs["none"]["mean_iou"], abs=0.01), "the same network twice"
    page = (tmp_path / "out" / "robustness.md").read_text()
    assert "| share of the clean score |" in page and "## b.onnx" in page
    assert main(["--data", str(tmp_path / "none"), "-o", str(tmp_path / "out")]) == 2
