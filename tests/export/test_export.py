"""Exports as a user makes them: what is in the file, and that nothing wrong is ever left on disk."""

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch.nn import functional as F

from fastscnn.export import check, export
from fastscnn.export.model import Built, normalised
from fastscnn.model import CAMVID, CITYSCAPES
from fastscnn.model.checkpoint import save, untrained
from fastscnn.runtime import ParityError, UsageError
from fastscnn.runtime.artifacts import onnx_file

Exported = Callable[..., Path]
Command = Callable[..., subprocess.CompletedProcess[str]]
Frames = list[np.ndarray]


def io(model: onnx.ModelProto) -> list[tuple[str, str, list[int]]]:
    kinds = onnx.TensorProto.DataType.Name
    return [
        (v.name, kinds(v.type.tensor_type.elem_type), [d.dim_value for d in v.type.tensor_type.shape.dim])
        for v in [*model.graph.input, *model.graph.output]
    ]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("kind", ["uint8", "float"])
@pytest.mark.parametrize(
    ("head", "output"),
    [
        ("cls", ("labels", "UINT8", [2, 100, 140])),
        ("prob", ("probabilities", "FLOAT", [2, 19, 100, 140])),
        ("logits", ("logits", "", [2, 19, 13, 18])),
    ],
)
def test_inputs_outputs_and_precision(
    exported: Exported, head: str, output: tuple[str, str, list[int]], kind: str, precision: str
) -> None:
    model = onnx.load(exported(head, (100, 140), precision=precision, input=kind, batch=2))
    image = ("image", "UINT8", [2, 100, 140, 3]) if kind == "uint8" else ("image", "FLOAT", [2, 3, 100, 140])
    element = "FLOAT16" if precision == "fp16" else "FLOAT"
    assert io(model) == [image, (output[0], output[1] or element, output[2])]
    assert model.opset_import[0].version == 17
    weights = [t for t in model.graph.initializer if not t.name.startswith("head.")]
    floats = {onnx.TensorProto.DataType.Name(t.data_type) for t in weights if t.data_type != onnx.TensorProto.INT64}
    assert floats == {element}
    casts = [n.name for n in model.graph.node if n.op_type == "Cast"]
    assert all(name.startswith(("input.", "head.")) for name in casts), "a cast inside the network"


def test_no_batch_norm_and_nothing_of_training_is_left(exported: Exported) -> None:
    kinds = {node.op_type for node in onnx.load(exported()).graph.node}
    pooling = {"GlobalAveragePool", "MatMul", "Resize"}
    assert kinds == {"Cast", "Transpose", "Sub", "Conv", "Relu", "Add", "Concat", "ArgMax"} | pooling


def test_description_in_the_file(exported: Exported, tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    save(weights, untrained(CAMVID))
    artifact = onnx_file.artifact(onnx_file.read(export("prob", (64, 80), weights, output=tmp_path / "m.onnx")), "m")
    assert (artifact.head, artifact.height, artifact.width, artifact.batch) == ("prob", 64, 80, 1)
    assert (artifact.classes, artifact.palette, artifact.class_set) == (CAMVID.classes, CAMVID.palette, "camvid")
    assert (artifact.logits_height, artifact.logits_width) == (8, 10)
    assert re.fullmatch("[0-9a-f]{64}", artifact.checkpoint)
    assert artifact.trained
    assert not onnx_file.artifact(onnx_file.read(exported()), "m").trained


def test_the_border_is_not_that_of_a_folded_mean(exported: Exported) -> None:
    """Zero padding after normalisation stands for mean colour; a mean folded into a bias would show along the border."""
    path = exported("logits")
    artifact = onnx_file.artifact(onnx_file.read(path), "m")
    frame = np.full((1, 128, 256, 3), 255, np.uint8)
    network = untrained(CITYSCAPES).network
    with torch.inference_mode():
        expected = network(normalised(frame, artifact)).numpy()
    found = onnxruntime.InferenceSession(path).run(None, {"image": frame})[0]
    assert np.abs(found - expected).max() < 1e-4 * (expected.max() - expected.min())


def tampered(monkeypatch: pytest.MonkeyPatch, change: Callable[[onnx.ModelProto], None]) -> None:
    """Let the exporter build a model that is wrong, as a fault in it would."""
    from fastscnn.export import model as building

    honest = building.build

    def build(*arguments: Any) -> Built:
        built = honest(*arguments)
        change(built.model)
        return built

    monkeypatch.setattr(building, "build", build)


def scale(name: str, factor: float) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == name)
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), name))

    return change


@pytest.mark.parametrize("layer", ["global_feature_extractor.bottleneck2.1.depthwise.conv", "feature_fusion.high.conv"])
def test_a_wrong_layer_is_found_and_no_file_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: str
) -> None:
    tampered(monkeypatch, scale(f"{layer}.weight", 1.05))
    with pytest.raises(ParityError, match=f"first layer that parts is {re.escape(layer)} ") as caught:
        export("cls", (64, 64), output=tmp_path / "m.onnx")
    assert caught.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_head_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def align(model: onnx.ModelProto) -> None:
        resize = next(n for n in model.graph.node if n.name == "head.resize")
        next(a for a in resize.attribute if a.name == "coordinate_transformation_mode").s = b"align_corners"

    for head in ("cls", "prob"):
        tampered(monkeypatch, align)
        with pytest.raises(ParityError, match="the fault lies in the head"):
            export(head, (64, 96), output=tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_invalid_graph_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tampered(monkeypatch, lambda model: model.graph.node.pop(3) and None)
    with pytest.raises(ParityError, match="not valid ONNX"):
        export("cls", (64, 64), output=tmp_path / "m.onnx")


def test_weights_that_are_not_numbers_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tampered(monkeypatch, scale("classifier.dsconv1.pointwise.conv.bias", float("nan")))
    with pytest.raises(ParityError):
        export("cls", (64, 64), output=tmp_path / "m.onnx")


def test_agreement_is_measured_on_every_pixel(exported: Exported, frames: Frames) -> None:
    """The label check compares with PyTorch's own upsampling and arg-max, not with this project's decode."""
    artifact = onnx_file.artifact(onnx_file.read(exported()), "m")
    network = untrained(CITYSCAPES).network
    built = Built(onnx.load(exported()), {}, network, torch.empty(0))
    batch = frames[0][None]
    parity = check.check(network, artifact, built, batch)
    with torch.inference_mode():
        full = F.interpolate(network(normalised(batch, artifact)), (128, 256), mode="bilinear")
    found = onnxruntime.InferenceSession(exported()).run(None, {"image": batch})[0]
    assert parity.agreement == np.mean(found == full.argmax(1).numpy())
    assert 0 <= parity.logits <= parity.tolerance == 1e-4
    assert "labels equal on" in str(parity)


def test_command_writes_where_it_says(command: Command, tmp_path: Path) -> None:
    done = command("fastscnn-export", "--head", "cls", "--res", "64x96")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "fastscnn-cls-64x96.onnx\n"
    assert "height=64 width=96" in done.stderr
    assert "taking the weights that ship" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["fastscnn-cls-64x96.onnx"]


def test_weights_that_ship_and_random_ones_say_which_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for classes, trained, says in ((None, True, "weights that ship"), ("cityscapes", False, "labels are meaningless")):
        with caplog.at_level(logging.INFO):
            path = export("cls", (64, 64), classes=classes, output=tmp_path / "m.onnx")
        assert says in caplog.text
        assert onnx_file.artifact(onnx_file.read(path), "m").trained is trained


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--res", "1024"], 2, "'1024' is not a resolution; expected HEIGHTxWIDTH"),
        (["--res", "0x0"], 2, "height=0 width=0 is out of range; expected 1 to"),
        (["--res", "64x63"], 2, "height=64 width=63 batch=1; expected at least 64 pixels a side"),
        (["--res", "99999x64"], 2, "out of range"),
        (["--res", "64x64", "--head", "argmax"], 2, "invalid choice: 'argmax'"),
        (["--res", "64x64", "--batch", "0"], 2, "'0' is not a whole number"),
        (["--res", "64x64", "--checkpoint", "absent.pth"], 4, "absent.pth cannot be read"),
        (["--res", "64x64", "-o", "no/such/folder/m.onnx"], 1, "no/such/folder is not a folder"),
        (["--res", "64x64", "-o", "/proc"], 1, "/proc cannot be written: it is a folder"),
        (["--res", "64x64", "-o", "/proc/m.onnx"], 1, "/proc/m.onnx cannot be written"),
    ],
)
def test_wrong_usage_is_one_clear_sentence(
    command: Command, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    done = command("fastscnn-export", "--head", "cls", *arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_function_refuses_unknown_names() -> None:
    with pytest.raises(UsageError, match="Did you mean 'prob'"):
        export("probs", (64, 64))
    with pytest.raises(UsageError, match="Did you mean 'camvid'"):
        export("cls", (64, 64), classes="canvid")
    with pytest.raises(UsageError, match="height=32"):
        export("cls", (32, 64))


def test_killed_export_leaves_the_old_file(tmp_path: Path) -> None:
    """Killed in the very moment of writing: a watcher waits for the temporary file and strikes at once."""
    target = tmp_path / "m.onnx"
    target.write_bytes(b"the old one")
    program = Path(sys.executable).with_name("fastscnn-export")
    arguments = [program, "--head", "cls", "--res", "64x64", "-o", target]
    struck = 0
    for _ in range(4):
        running = subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while running.poll() is None and not list(tmp_path.glob(".m.*")):
            pass
        if running.poll() is None:
            os.kill(running.pid, signal.SIGKILL)
            struck += 1
        running.wait()
        data = target.read_bytes()
        if data != b"the old one":
            assert onnx_file.artifact(data, "m").height == 64
            onnx.checker.check_model(onnx.load_from_string(data))
        for leftover in tmp_path.glob(".m.*"):
            leftover.unlink()
        target.write_bytes(b"the old one")
    assert struck, "never met the moment of writing"


def test_float16_that_overflows_is_refused_by_layer(tmp_path: Path) -> None:
    """ONNX Runtime's CPU computes float16 graphs in float32 and would not notice; a GPU would give infinities."""
    checkpoint = untrained(CAMVID)
    classifier = checkpoint.network.classifier
    with torch.no_grad():
        classifier.dsconv1.pointwise.bn.weight *= 1e5
        classifier.dsconv1.pointwise.bn.bias *= 1e5
        classifier.dsconv2.depthwise.conv.weight /= 1e5
        classifier.dsconv2.depthwise.bn.running_var.fill_(1.0)
    weights = tmp_path / "hot.safetensors"
    save(weights, checkpoint)
    export("logits", (64, 96), weights, output=tmp_path / "fp32.onnx")
    with pytest.raises(ParityError, match=r"float16 overflows in classifier\.dsconv1\.pointwise") as caught:
        export("logits", (64, 96), weights, precision="fp16", output=tmp_path / "fp16.onnx")
    assert "--precision fp32" in str(caught.value)
    assert not (tmp_path / "fp16.onnx").exists()
