"""Which pictures of a folder tell an INT8 graph's ranges."""

import logging
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn.export.quantisation import calibration
from fastscnn.runtime import SourceError


@pytest.fixture
def pictures(tmp_path: Path, frames: list[np.ndarray]) -> Callable[..., Path]:
    """Write pictures by name: a number of a drawn frame, "black", "labels" or "palette"."""
    kinds = {
        "black": np.random.default_rng(0).integers(0, 3, (64, 96, 3)).astype(np.uint8),
        "labels": np.repeat(np.arange(12, dtype=np.uint8), 64 * 8).reshape(64, 96),
        "palette": np.random.default_rng(0).integers(0, 256, (19, 3), np.uint8)[
            np.arange(64 * 96).reshape(64, 96) % 19
        ],
    }

    def write(**named: int | str) -> Path:
        for name, kind in named.items():
            path = tmp_path / "set" / f"{name.replace('__', '/')}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), kinds[kind] if isinstance(kind, str) else frames[kind])
        return tmp_path / "set"

    return write


def names(chosen: calibration.Frames) -> set[str]:
    return {path.stem for path in (*chosen.calibration, *chosen.held_back)}


def test_what_no_camera_gives_is_left_out_and_named(
    pictures: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = pictures(a=0, b=1, c="black", d="black", e=0, f="labels", g="palette", h=2)
    with caplog.at_level(logging.WARNING):
        chosen = calibration.choose(folder, 40)
    assert names(chosen) == {"a", "b", "h"}
    left_out, few = caplog.messages
    assert "2 blank, as behind a lens cap (c.png, …)" in left_out and "1 equal to others (e.png)" in left_out
    assert "2 of 64 colours or fewer, as pictures of labels are (f.png, …)" in left_out
    assert few.startswith("3 frames are few")


def test_blank_frames_alone_are_refused(pictures: Callable[..., Path]) -> None:
    folder = pictures(a="black", b="black", c=0)
    with pytest.raises(SourceError, match="holds one image that tells a range: 2 blank, as behind a lens cap"):
        calibration.choose(folder, 40)
    (folder / "c.png").unlink()
    with pytest.raises(SourceError, match="holds no images that tell a range"):
        calibration.choose(folder, 40)


def test_enough_frames_are_no_news(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for index in range(8):
        noise = np.random.default_rng(index).integers(0, 256, (64, 64, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{index}.png"), noise)
    assert len(names(calibration.choose(tmp_path, 40))) == 8
    assert caplog.messages == []


@pytest.mark.parametrize(
    "layout",
    [
        ("train__{}", "trainannot__{}"),
        ("leftImg8bit__train__city__{}_leftImg8bit", "gtFine__train__city__{}_gtFine_color"),
        ("images__train__{}", "labels__train__{}"),
        ("JPEGImages__{}", "SegmentationClass__{}"),
        ("frames__{}", "masks__{}"),
        ("all__{}", "all__{}_L"),
    ],
)
def test_of_a_data_set_the_images_are_taken_and_never_the_labels(
    pictures: Callable[..., Path], layout: tuple[str, str]
) -> None:
    images, labels = layout
    # Label pictures with as many colours as a frame: only where they lie tells them.
    named = {images.format(f"i{index}"): index for index in range(3)} | {
        labels.format(f"i{index}"): index + 3 for index in range(3)
    }
    folder = pictures(**named)
    if "labels__train__i0" in named:
        (folder / "classes.yaml").write_text("classes: {a: [0, 0, 0], b: [1, 1, 1]}\n")
    chosen = calibration.choose(folder, 40)
    taken = {path.relative_to(folder).with_suffix("").as_posix() for path in (*chosen.calibration, *chosen.held_back)}
    assert taken == {images.format(f"i{index}").replace("__", "/") for index in range(3)}
