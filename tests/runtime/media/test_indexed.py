"""Label files with a palette, and the legend beside them."""

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn.runtime import Segmenter
from fastscnn.runtime.media import indexed

Image = pytest.importorskip("PIL.Image", reason="Pillow reads palettes as other programs do")

Command = Callable[..., subprocess.CompletedProcess[str]]
Exported = Callable[..., Path]


def test_pixels_are_labels_and_colours_the_palette(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 256, (37, 53)).astype(np.uint8)
    palette = [(index, 255 - index, 7) for index in range(19)]
    (tmp_path / "labels.png").write_bytes(indexed.png(labels, palette))
    with Image.open(tmp_path / "labels.png") as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), labels)
        colours = np.asarray(image.convert("RGB"))
    assert colours[labels == 5].tolist() == [[5, 250, 7]] * int((labels == 5).sum())
    assert not colours[labels >= 19].any()
    assert np.array_equal(cv2.imread(str(tmp_path / "labels.png"))[..., ::-1], colours), "by two readers"


def test_the_folder_says_what_its_numbers_mean(
    command: Command, exported: Exported, frames: list[np.ndarray], tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "in.png"), frames[0])
    done = command("fastscnn-segment", "in.png", "-m", exported(), "--as", "indexed", "-o", "out")
    assert done.returncode == 0, done.stderr
    with Segmenter(exported()) as segmenter, Image.open(tmp_path / "out" / "in.png") as image:
        assert np.array_equal(np.asarray(image), segmenter(frames[0]).labels)
        legend = json.loads((tmp_path / "out" / "legend.json").read_text())
        assert [entry["name"] for entry in legend["classes"]] == list(segmenter.artifact.classes)
    assert legend["classes"][0] == {"label": 0, "name": "road", "colour": [128, 64, 128]}
    assert legend["model"]["sha256"] == hashlib.sha256(exported().read_bytes()).hexdigest()
    done = command("fastscnn-segment", "in.png", "-m", exported(), "--as", "indexed", "-o", "out.bmp")
    assert done.returncode == 2 and "takes no palette; expected a .png file" in done.stderr
