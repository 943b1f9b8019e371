"""A card's figures are those of the reports and of the weights."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from fastscnn.benchmarks.card import main
from fastscnn.model import ClassSet, Street
from fastscnn.model.checkpoint import save, untrained
from fastscnn.runtime.media.sinks import VideoSink

CLASSES = ClassSet("bands", ("red", "green", "blue", "grey"), ((200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 90)))


def setting(first: float, second: float) -> dict[str, object]:
    by_class = {drive: dict.fromkeys(CLASSES.classes, score) for drive, score in (("a", first), ("b", second))}
    by_class["b"] = {**by_class["b"], "grey": None}  # type: ignore[dict-item]
    fit = {"temperature": 1.5, "before": 0.08, "after": 0.021}
    return {
        "changes": {}, "mean_iou": {"a": first, "b": second}, "class_iou": by_class, "calibration": {"prob": fit, "cls": fit}
    }  # fmt: skip


def test_a_card(rectangles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "weights.safetensors"
    save(weights, replace(untrained(CLASSES, seed=3), temperature=(1.5, 1.25)))
    folds = tmp_path / "settings.json"
    folds.write_text(
        json.dumps({"the recipe": setting(0.5, 0.7), "seed 1": setting(0.6, 0.62), "other": setting(0.1, 0.1)})
    )
    street = Street(96, 128)
    with VideoSink(tmp_path / "clip.mp4", 25) as sink:
        for index in range(5):
            sink.write("", street.frame(index)[0])
    words = ["--data", str(rectangles), "--device", "cpu", "--folds", str(folds), "--clip", str(tmp_path / "clip.mp4")]
    assert main([str(weights), *words, "-o", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "card.md").read_text()
    assert page.strip() in capsys.readouterr().out
    assert hashlib.sha256(weights.read_bytes()).hexdigest() in page
    assert "| class | val | a | b | mean and spread over drives |" in page
    rows = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("| ")}
    assert rows["red"].endswith("| 50.0 | 70.0 | 60.0 ± 10.0 |") and rows["grey"].endswith("| 50.0 | – | 50.0 ± 0.0 |")
    assert rows["**mean**"].endswith("| 50.0 | 70.0 | 60.0 ± 10.0 |")
    assert "Over 2 seeds the mean over drives is 60.5, standard deviation 0.7 (60.0, 61.0)." in page
    assert rows["prob head"].endswith("| 1.500 | 8.0 | 2.1 |") and "| 1.250 |" in rows["cls head"]
    picture = cv2.imread(str(tmp_path / "out" / "weights-clip.jpg"))
    assert picture.shape == (2 * 480, 3 * 640, 3)
    assert main([str(weights), *words[:2], "--folds", str(tmp_path / "none.json"), "-o", str(tmp_path / "out")]) == 2
