"""fastscnn-segment without a model: the weights that ship, exported once into the user's cache."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn import ready_model
from fastscnn.model import CAMVID, Street
from fastscnn.runtime import ArtifactError, install
from fastscnn.runtime.artifacts import default_model, onnx_file

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.torch
def test_the_first_run_exports_and_the_second_finds_it(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    image, truth = Street(180, 320, seed=2, classes="camvid").frame(0)
    cv2.imwrite(str(tmp_path / "frame.png"), image)
    first = command("fastscnn-segment", "frame.png", "-o", "labels.png", "--as", "labels")
    assert first.returncode == 0, first.stderr
    assert "exporting the weights that ship" in first.stderr
    (model,) = (tmp_path / "cache" / "fastscnn").iterdir()
    artifact = onnx_file.artifact(onnx_file.read(model), model.name)
    assert (artifact.classes, artifact.resolution, artifact.trained) == (CAMVID.classes, "720x1280", True)
    labels = cv2.imread(str(tmp_path / "labels.png"), cv2.IMREAD_UNCHANGED)
    counted = truth != 255
    assert np.mean(labels[counted] == truth[counted]) > 0.6, "trained weights know a drawn street, too"
    written = model.stat().st_mtime_ns
    second = command("fastscnn-segment", "frame.png", "-o", "again.png", "--as", "labels")
    assert second.returncode == 0
    assert "exporting" not in second.stderr
    assert model.stat().st_mtime_ns == written
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "labels.png").read_bytes()


@pytest.mark.torch
def test_a_cache_that_cannot_be_written_is_one_sentence(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    cv2.imwrite(str(tmp_path / "frame.png"), np.zeros((64, 64, 3), np.uint8))
    done = command("fastscnn-segment", "frame.png", "-o", "labels.png")
    assert done.returncode == 1
    assert "cannot be written" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.torch
def test_the_ready_model_is_an_export_of_the_weights_that_ship() -> None:
    """After new weights: fastscnn-export --head cls --res 640x960 --precision fp16 -o model/weights/camvid-cls-640x960-fp16.onnx"""
    from fastscnn.model.checkpoint import SHIPPED, load

    artifact = onnx_file.artifact(onnx_file.read(ready_model()), "the ready model")
    assert artifact.checkpoint == load(SHIPPED).digest
    assert (artifact.head, artifact.precision, artifact.classes) == ("cls", "fp16", CAMVID.classes)
    assert artifact.resolution in ready_model().name
    assert ready_model().stat().st_size < 2_500_000


def test_without_torch_the_ready_model_serves(tmp_path: Path) -> None:
    image, truth = Street(180, 320, seed=2, classes="camvid").frame(0)
    cv2.imwrite(str(tmp_path / "frame.png"), image)
    (tmp_path / "hidden" / "torch").mkdir(parents=True)
    (tmp_path / "hidden" / "torch" / "__init__.py").write_text(
        "raise ImportError('No module named torch', name='torch')"
    )
    paths = os.pathsep.join(filter(None, [str(tmp_path / "hidden"), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [Path(sys.executable).with_name("fastscnn-segment"), "frame.png", "--as", "labels"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, "XDG_CACHE_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert f"taking {ready_model().name}, which ships" in done.stderr
    assert install.command("export") in done.stderr
    labels = cv2.imread(str(tmp_path / "frame-labels.png"), cv2.IMREAD_UNCHANGED)
    counted = truth != 255
    assert np.mean(labels[counted] == truth[counted]) > 0.6


@pytest.mark.parametrize("lost", ["_READY", "_WEIGHTS"])
def test_a_file_that_ships_and_is_gone_is_installed_again(
    lost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(default_model, "_EXPORTING", ("not_installed",))
    monkeypatch.setattr(default_model, lost, tmp_path / "gone")
    with pytest.raises(
        ArtifactError, match=r"gone is missing, which this package brings\. Install it again: .*pip install"
    ):
        default_model.default_model((720, 1280))
    assert not caplog.records
