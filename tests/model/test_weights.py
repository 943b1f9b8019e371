"""The weights that ship are those that their card describes, and as good as it says."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn.model.checkpoint import SHIPPED, load
from fastscnn.model.evaluate import main
from fastscnn.model.inference import Network
from fastscnn.runtime.media.sources import Source

CARD = (SHIPPED.parent / "README.md").read_text()
REGIONS = Path(__file__).with_name("clip.json")  # drawn by hand: frame → class → polygons of x, y well inside of things
MARK = 0.85  # mean IoU of val, which they were trained on


def test_the_card_is_of_this_file() -> None:
    data = SHIPPED.read_bytes()
    assert hashlib.sha256(data).hexdigest() in CARD
    assert f"{len(data) / 1e6:.2f} MB" in CARD
    assert len(data) <= 5_000_000


def test_the_score_is_the_cards(shared: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    assert main([str(SHIPPED), "--data", str(shared / "data" / "camvid"), "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    assert found["frames"] == 101
    assert found["mean_iou"] > MARK
    for name, share in [("**mean**", found["mean_iou"]), *found["class_iou"].items()]:
        row = next(line for line in CARD.splitlines() if line.startswith(f"| {name} |"))
        assert abs(float(row.split("|")[2].strip(" *")) - share * 100) < 0.2, "other processors round otherwise"


def test_another_countrys_street_is_labelled_as_the_card_says(shared: Path) -> None:
    regions = json.loads(REGIONS.read_text())
    source = load(SHIPPED)
    network = Network(source, "cpu")
    right, seen = Counter[str](), Counter[str]()
    with Source(str(shared / "data" / "video" / "solidWhiteRight.mp4")) as clip:
        for index, named in enumerate(clip):
            if str(index) not in regions:
                continue
            labels = network.sure(named.frame)[0]
            for name, polygons in regions[str(index)].items():
                inside = np.zeros(labels.shape, np.uint8)
                for polygon in polygons:
                    cv2.fillPoly(inside, [np.array(polygon, np.int32)], 1)
                found = labels[inside > 0]
                right[name] += int((found == source.classes.classes.index(name)).sum())
                seen[name] += len(found)
    assert sum(seen.values()) > 600_000
    for name, count in seen.items():
        row = next(line for line in CARD.splitlines() if line.startswith(f"| {name}, in the clip |"))
        assert float(row.split("|")[2]) == pytest.approx(100 * right[name] / count, abs=2), name
