"""Frames and models of the tests of engines."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastscnn.model.street import Street
from fastscnn.runtime.backends import trial

Exported = Callable[..., Path]
SIZE = (256, 512)


@pytest.fixture(scope="module")
def scenes() -> list[np.ndarray]:
    street = Street(*SIZE, seed=7)
    return [street.frame(0)[0], street.frame(40)[0], trial.scene(*SIZE, seed=11)]


@pytest.fixture(scope="module")
def shipped(exported: Exported) -> Callable[..., Path]:
    """Recorded ones, of few channels, with weights that were trained on drawn streets."""
    return lambda head="cls", resolution=SIZE, **options: exported(head, resolution, classes="camvid", **options)


@pytest.fixture(scope="module")
def whole(newly_exported: Exported) -> Path:
    """The whole network with the weights that ship."""
    return newly_exported("cls", SIZE, classes="camvid")
