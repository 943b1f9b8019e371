"""The weights that ship are those that their card describes, and as good as it says."""

import hashlib
import json
from pathlib import Path

from fastscnn.model.checkpoint import SHIPPED
from fastscnn.model.evaluate import main

CARD = (SHIPPED.parent / "README.md").read_text()
MARK = 0.66  # mean IoU: the best light networks trained from scratch


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
