"""Ways of training in turns, and what is written about them."""

import json
from pathlib import Path

import pytest

from fastscnn.benchmarks.training import BEFORE, drawn, main, ways
from fastscnn.model.datasets import open_dataset
from fastscnn.model.training import Recipe


def test_ways_are_before_now_and_one_change_at_a_time() -> None:
    now = Recipe.read("camvid", ["data=x"]).as_dict()
    found = ways(now)
    assert next(iter(found)) == "before" and list(found)[-1] == "now"
    assert found["now"] == {} and found["before"].items() <= BEFORE.items()
    for name, changes in found.items():
        assert Recipe.of({**now, **changes}), name
    assert all(now[key] != value for key, value in found["before"].items())


def test_the_command_measures_and_tells(rectangles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "small.yaml"
    recipe.write_text("batch: 2\ncrop: [64, 64]\nlabel_stride: 4\nnoise: 0.1\n")
    words = ["--recipe", str(recipe), "--data", str(rectangles), "--rounds", "2", "--steps", "1", "--threads", "1"]
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    assert "| now |" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "training.json").read_text())
    assert list(report["ways"]) == ["before", "before, with label_stride=4", "now, without the camera's part", "now"]
    assert report["ways"]["before"]["changes"] == {"label_stride": 2, "noise": 0.0}
    assert all(way["images_per_second"] > 0 for way in report["ways"].values())
    page = (tmp_path / "out" / "training.md").read_text()
    assert "crops of 64x64, batches of 2" in page and "Before: label_stride=2, noise=0.0." in page


def test_without_data_a_street_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastscnn.benchmarks.training._DRAWN", 2)
    for split in ("train", "val"):
        dataset = open_dataset(drawn(tmp_path / split), split)
        assert (dataset.kind, len(dataset)) == ("CamVid", 2)
        image, labels = dataset.read(dataset.samples[1])
        assert image.shape[:2] == labels.shape == (360, 480) and len(set(labels.ravel().tolist())) > 4
