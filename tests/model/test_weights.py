"""The weights that ship are those that their card describes, and as good as it says."""

import copy
import hashlib
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from fastscnn.export.deploy import deployable, takes_bgr
from fastscnn.model.checkpoint import SHIPPED, load
from fastscnn.model.evaluate import main
from fastscnn.model.inference import Network
from fastscnn.model.street import Street
from fastscnn.runtime.backends import trial
from fastscnn.runtime.media.sources import Source

CARD = (SHIPPED.parent / "README.md").read_text()
REGIONS = Path(__file__).with_name("clip.json")  # drawn by hand: frame → class → polygons of x, y well inside of things
MARK = 0.87  # mean IoU of val, which they were trained on


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


def test_bfloat16_holds_the_weights_and_leaves_the_labels() -> None:
    """On any processor: float32, with numbers rounded before and after; tests/runtime/backends has the engine that computes so."""
    source = load(SHIPPED)
    exact = takes_bgr(deployable(source.network), source.std)
    reduced = copy.deepcopy(exact)
    for conv in [m for m in reduced.modules() if isinstance(m, torch.nn.Conv2d)]:
        weight = conv.weight.bfloat16().float()
        assert torch.allclose(weight, conv.weight, rtol=1e-6, atol=0)
        conv.weight.copy_(weight)
        assert conv.bias is not None
        conv.bias.copy_(conv.bias.bfloat16())
        conv.register_forward_hook(lambda _, inputs, result: result.bfloat16().float())
    size = (256, 512)
    mean = 255 * torch.tensor(source.mean).flip(0).view(1, 3, 1, 1)
    street = Street(*size, seed=7)
    for scene in (street.frame(0)[0], street.frame(40)[0], trial.scene(*size, seed=11)):
        image = torch.from_numpy(scene).permute(2, 0, 1)[None].float() - mean
        with torch.inference_mode():
            one, other = (
                interpolate(network(image), size, mode="bilinear").argmax(dim=1) for network in (exact, reduced)
            )
        assert 0 < float((one != other).float().mean()) < 0.005


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
