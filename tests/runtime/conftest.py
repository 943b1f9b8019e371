"""The robot's floor is tested on recorded exports, so that a machine without PyTorch tests it, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import recorded


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every recorded file, by its name."""
    return recorded.unpacked(tmp_path_factory.mktemp("recorded"))


@pytest.fixture(scope="session")
def exported(models: dict[str, Path], request: pytest.FixtureRequest) -> Callable[..., Path]:
    """A recorded export, of random weights for 19 classes unless told otherwise; one that is not on record needs PyTorch."""

    def give(head: str = "cls", resolution: recorded.Size = (128, 256), **options: object) -> Path:
        classes = str(options.pop("classes", "cityscapes"))
        name = recorded.key(head, resolution, classes, options)
        if name not in models:
            pytest.importorskip(
                "torch", reason=f"{name} is not on record and PyTorch, which would export it, not installed"
            )
            models[name] = request.getfixturevalue("newly_exported")(head, resolution, classes=classes, **options)
        return models[name]

    return give
