"""Engines with native code of their own are opened only where somebody says so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from installing import StandInGpu

from fastscnn.runtime import ArtifactError, DeviceError, Segmenter

Exported = Callable[..., Path]


@pytest.fixture
def allowed(standin: StandInGpu, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What TensorRT was told about host code, at each plan that it opened."""
    said: list[bool] = []
    runtime = standin.tensorrt.Runtime
    honest = runtime.deserialize_cuda_engine

    def noted(self: Any, plan: bytes) -> Any:
        said.append(self.engine_host_code_allowed)
        return honest(self, plan)

    monkeypatch.setattr(runtime, "deserialize_cuda_engine", noted)
    return said


def test_host_code_needs_trust(standin: StandInGpu, allowed: list[bool], exported: Exported, frames: Any) -> None:
    path = standin.engine(exported(), version_compatible=True, sibling=True)
    for device in ("auto", "cuda"):
        with pytest.raises(ArtifactError, match=r"carries native code, .* --trust") as caught:
            Segmenter(path, device)
        assert not isinstance(caught.value, DeviceError), "ONNX Runtime does not stand in for what is not trusted"
    assert allowed == []
    with Segmenter(path, trust=True) as segmenter:
        assert segmenter(frames[0]).labels.dtype == np.uint8
    assert allowed == [True]


def test_trust_allows_no_code_that_the_description_conceals(
    standin: StandInGpu, allowed: list[bool], exported: Exported
) -> None:
    with Segmenter(standin.engine(exported()), trust=True):
        pass
    assert allowed == [False]


def test_verify_asks_first(standin: StandInGpu, allowed: list[bool], exported: Exported) -> None:
    from fastscnn.export.tensorrt.cli import main

    path = str(standin.engine(exported(), version_compatible=True, sibling=True))
    assert main(["verify", path, "--count", "1"]) == 4
    assert allowed == []
    assert main(["verify", path, "--count", "1", "--trust"]) == 0
    assert allowed == [True]
