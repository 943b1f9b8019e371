"""What of a frame the model sees, said on a command line."""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn.runtime import Segmenter
from fastscnn.runtime.commands.seeing import region


def test_regions_and_unknown_labels_from_the_command_line(
    command: Callable[..., object], exported: Callable[..., Path], frames: list[np.ndarray], tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "street.png"), frames[0])
    model = exported()
    words = ["--roi", "20:-8,:200", "--letterbox", "--unknown-below", "0.055", "--as", "labels"]
    done = command("fastscnn-segment", "street.png", "-m", model, "-o", "out.png", *words)
    assert done.returncode == 0, done.stderr  # type: ignore[attr-defined]
    written = cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED)
    with Segmenter(model, "cpu", roi=np.s_[20:-8, :200], letterbox=True, unknown_below=0.055) as segmenter:
        expected = segmenter(frames[0]).labels
    assert np.array_equal(written, expected)
    assert np.all(written[:20] == 255)


@pytest.mark.parametrize("text", ["", "400:1000", "1:2,3", "a:b,c:d", "1:2:3,:", "-:2,:"])
def test_what_is_no_region(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected ROWS,COLUMNS"):
        region(text)
