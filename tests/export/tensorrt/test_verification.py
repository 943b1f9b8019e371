"""Engine against ONNX Runtime against PyTorch. The engine's own side runs where there is a GPU; see test_gpu.py."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from fastscnn.export import export
from fastscnn.export.model import normalised
from fastscnn.export.tensorrt import BuildOptions, build, verification, verify
from fastscnn.model import CITYSCAPES, Street
from fastscnn.model.checkpoint import load, save, untrained
from fastscnn.runtime import ArtifactError, DeviceError, ParityError, UsageError
from fastscnn.runtime.artifacts import engine_file, onnx_file
from fastscnn.runtime.artifacts.gpu import first
from fastscnn.runtime.backends.protocol import Raw

Command = Callable[..., subprocess.CompletedProcess[str]]
SIZE = (64, 96)
OPTIONS = BuildOptions(flavour="rtx", targets=("sm86",))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights, their ONNX file, engines with the head outside and inside, frames and labels."""
    folder = tmp_path_factory.mktemp("made")
    save(folder / "weights.safetensors", untrained(CITYSCAPES))
    model = export("cls", SIZE, folder / "weights.safetensors", batch=2, output=folder / "m.onnx")
    build(model, folder / "e.plan", OPTIONS)
    build(model, folder / "head.plan", BuildOptions(flavour="rtx", targets=("sm86",), head_in_engine=True))
    street = Street(120, 200, seed=4)
    for index in range(3):
        frame, labels = street.frame(index)
        for kind, picture in (("frames", frame), ("labels", labels)):
            (folder / kind).mkdir(exist_ok=True)
            cv2.imwrite(str(folder / kind / f"{index}.png"), picture)
    return folder


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, made: Path) -> Callable[..., None]:
    """Let a GPU be here that computes what ONNX Runtime does, plus an error as a share of the logits' range."""

    def install(error: float = 0.0, labels_too: bool = False) -> None:
        model = onnx_file.read(made / "m.onnx")
        network = onnxruntime.InferenceSession(onnx_file.without_head(model, "m"))
        whole = onnxruntime.InferenceSession(model)

        class Backend:
            def __init__(self, path: Path, *, decode: bool, trust: bool) -> None:
                assert not decode, "the engine is to be compared, not the kernels after it"
                self.name = engine_file.read_description(path).tensors[-1].name

            def run(self, image: NDArray[Any]) -> Raw:
                if self.name == "labels":
                    labels = whole.run(None, {"image": image})[0]
                    return Raw((labels + 1) % 19 if error else labels, None, None, 0, 0)
                logits = network.run(["logits"], {"image": image})[0]
                shift = error * np.ptp(logits) * np.where(np.arange(19) % 2, 1, -1).reshape(1, -1, 1, 1)
                return Raw(None, None, (logits + shift).astype(np.float16), 0, 0)

            def close(self) -> None:
                pass

        monkeypatch.setattr(verification, "TensorRTBackend", Backend)
        monkeypatch.setattr(verification, "misfits", lambda description: [])

    return install


def test_without_a_device_the_rest_is_compared(made: Path, command: Command) -> None:
    if first() is not None:
        pytest.skip("there is a device")
    result = verify(made / "e.plan", checkpoint=made / "weights.safetensors")
    (comparison,) = result.comparisons
    assert (comparison.side, comparison.reference, comparison.frames) == ("ONNX Runtime", "PyTorch", 4)
    assert comparison.logits is not None and 0 < comparison.logits < 1e-4
    assert comparison.agreement > 0.999 and comparison.passed
    with pytest.raises(DeviceError, match="itself was not verified, because it cannot run here"):
        result.expect_success("e.plan")

    done = command(
        "fastscnn-trt", "verify", made / "e.plan", "--checkpoint", made / "weights.safetensors", "--json", "r"
    )
    assert done.returncode == 4
    assert "ONNX Runtime against PyTorch on 4 frames: logits within" in done.stdout
    assert "Traceback" not in done.stderr
    assert "exit code 4" in " ".join(command("fastscnn-trt", "verify", "--help").stdout.split())


def test_an_engine_that_does_not_open_is_a_misfit_and_the_rest_is_compared(
    made: Path, device: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    device()

    def none(*_: object, **__: object) -> None:
        raise DeviceError("running an engine needs pycuda")

    monkeypatch.setattr(verification, "TensorRTBackend", none)
    result = verify(made / "e.plan", checkpoint=made / "weights.safetensors", count=1)
    assert [(c.side, c.frames) for c in result.comparisons] == [("ONNX Runtime", 1)]
    with pytest.raises(DeviceError, match="cannot run here: running an engine needs pycuda"):
        result.expect_success("e.plan")


def test_the_errors_are_those_of_the_arrays(made: Path, device: Callable[..., None]) -> None:
    """Logits error and label agreement, computed anew with PyTorch's own upsampling."""
    error = 0.05
    device(error)
    result = verify(made / "e.plan", checkpoint=made / "weights.safetensors", frames=made / "frames", count=1)
    onnx, engine = result.comparisons
    assert (onnx.side, engine.side, engine.reference) == ("ONNX Runtime", "the engine", "PyTorch")
    frame = cv2.resize(cv2.imread(str(made / "frames" / "0.png")), SIZE[::-1], interpolation=cv2.INTER_LINEAR)
    source = load(made / "weights.safetensors")
    artifact = onnx_file.artifact(onnx_file.read(made / "m.onnx"), "m")
    with torch.inference_mode():
        expected = source.network.eval()(normalised(frame[None], artifact))
    model = onnx_file.without_head(onnx_file.read(made / "m.onnx"), "m")
    session = onnxruntime.InferenceSession(model)
    found = session.run(None, {"image": np.stack([frame, frame])})[0]
    shift = error * np.ptp(found) * np.where(np.arange(19) % 2, 1, -1).reshape(1, -1, 1, 1)
    shifted = torch.from_numpy((found + shift).astype(np.float16).astype(np.float32)[:1])
    share = (shifted - expected).abs().max() / (expected.max() - expected.min())
    assert engine.logits == pytest.approx(float(share), rel=1e-3)
    up = [F.interpolate(values, SIZE, mode="bilinear").argmax(1) for values in (shifted, expected)]
    assert engine.agreement == pytest.approx(float((up[0] == up[1]).float().mean()), abs=2e-3)
    assert engine.agreement < 1


def test_an_engine_that_parts_fails(made: Path, device: Callable[..., None]) -> None:
    device(error=0.004)
    verify(made / "e.plan").expect_success("e.plan")
    device(error=0.05)
    result = verify(made / "e.plan")
    (comparison,) = result.comparisons
    assert comparison.reference == "ONNX Runtime"
    assert comparison.logits == pytest.approx(0.05, rel=0.1)
    with pytest.raises(
        ParityError, match="is not equal to its source: the engine against ONNX Runtime on 4 frames"
    ) as e:
        result.expect_success("e.plan")
    assert e.value.exit_code == 3
    device(error=float("nan"))
    with pytest.raises(ParityError):
        verify(made / "e.plan").expect_success("e.plan")


def test_labels_of_an_engine_with_its_head_inside(made: Path, device: Callable[..., None]) -> None:
    device()
    result = verify(made / "head.plan")
    result.expect_success("head.plan")
    assert result.comparisons[0].logits is None
    device(error=1)
    with pytest.raises(ParityError, match="not being ties"):
        verify(made / "head.plan").expect_success("head.plan")


def test_mean_iou_where_labels_are_given(
    made: Path, device: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device()
    ran, run = [], verification.TensorRTBackend.run

    def counted(self: Any, image: NDArray[Any]) -> Raw:
        ran.append(len(image))
        return run(self, image)

    monkeypatch.setattr(verification.TensorRTBackend, "run", counted)
    result = verify(made / "e.plan", frames=made / "frames", labels=made / "labels")
    assert result.comparisons[0].frames == 3, "a last batch that is not full"
    assert set(result.mean_iou) == {"ONNX Runtime", "the engine"}
    assert ran == [2, 2], "two batches, each once for the comparison and the score"
    assert 0 <= result.mean_iou["the engine"] < 0.2, "random weights"
    perfect = tmp_path / "own"
    perfect.mkdir()
    session = onnxruntime.InferenceSession(made / "m.onnx")
    for path in (made / "frames").iterdir():
        frame = cv2.resize(cv2.imread(str(path)), SIZE[::-1], interpolation=cv2.INTER_LINEAR)
        cv2.imwrite(str(perfect / path.name), session.run(None, {"image": np.stack([frame, frame])})[0][0])
    assert verify(made / "e.plan", frames=made / "frames", labels=perfect).mean_iou["ONNX Runtime"] > 0.99
    (perfect / "1.png").unlink()
    with pytest.raises(UsageError, match=r"1\.png is no grey image of train ids"):
        verify(made / "e.plan", frames=made / "frames", labels=perfect)


def test_only_its_own_source_is_compared(made: Path, tmp_path: Path, exported: Callable[..., Path]) -> None:
    with pytest.raises(ArtifactError, match="is not the file that the engine was built from"):
        verify(made / "e.plan", onnx=exported("cls", SIZE))
    with pytest.raises(UsageError, match="--labels belong to frames"):
        verify(made / "e.plan", labels=made / "labels")
    save(tmp_path / "other.safetensors", untrained(CITYSCAPES))
    other = load(tmp_path / "other.safetensors")
    with torch.no_grad():
        next(iter(other.network.parameters())).add_(1)
    save(tmp_path / "other.safetensors", other)
    with pytest.raises(ArtifactError, match="is not the checkpoint that the model was exported from"):
        verify(made / "e.plan", checkpoint=tmp_path / "other.safetensors")
    for name in ("e.plan", "e.plan.json"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    with pytest.raises(ArtifactError, match=r"m\.onnx, which the engine was built from, is not beside it"):
        verify(tmp_path / "e.plan")
    content = json.loads((tmp_path / "e.plan.json").read_text())
    content["engine"]["sha256"] = "0" * 64
    (tmp_path / "e.plan.json").write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match="is not the engine that"):
        verify(tmp_path / "e.plan", onnx=made / "m.onnx")
