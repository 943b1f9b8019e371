"""An INT8 file of the weights that ship, and the frames that it was made with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from fastscnn.export.quantisation import Quantised, quantise
from fastscnn.model.street import Street

SIZE = (128, 256)


@pytest.fixture(scope="session")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of eight drawn frames and a file that is none."""
    folder = tmp_path_factory.mktemp("streets")
    street = Street(*SIZE, classes="camvid")
    for index in range(8):
        cv2.imwrite(str(folder / f"{index}.png"), street.frame(index * 20)[0])
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="session")
def full(exported: Callable[..., Path]) -> Path:
    """FP32, with the weights that ship."""
    return exported("cls", SIZE, classes="camvid")


@pytest.fixture(scope="session")
def int8(full: Path, streets: Path, tmp_path_factory: pytest.TempPathFactory) -> Quantised:
    return quantise(full, streets, tmp_path_factory.mktemp("int8") / "model.onnx", sensitivity=True)
