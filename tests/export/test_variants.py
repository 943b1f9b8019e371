"""Every variant through export, ONNX Runtime and the runtime's decode, against PyTorch and the originals' own results."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional as F

from fastscnn.export import check, export
from fastscnn.export import model as building
from fastscnn.export.model import Built
from fastscnn.model import CITYSCAPES
from fastscnn.model.checkpoint import Checkpoint, load, save, untrained
from fastscnn.model.importing import import_checkpoint
from fastscnn.model.street import Street
from fastscnn.model.variant import MMSEG, PADDLESEG, TRAMAC, Variant
from fastscnn.runtime import ParityError, Segmenter, UsageError
from fastscnn.runtime.artifacts import onnx_file

OTHERS = pytest.mark.parametrize("variant", [TRAMAC, MMSEG, PADDLESEG], ids=lambda v: v.name)


def expected(checkpoint: Checkpoint, frame: np.ndarray) -> torch.Tensor:
    """(C, H, W) full-resolution logits of a BGR frame, by PyTorch alone."""
    planes = (torch.from_numpy(frame[..., ::-1].copy()).float() / 255 - torch.tensor(checkpoint.mean)).div(
        torch.tensor(checkpoint.std)
    )
    with torch.inference_mode():
        logits = checkpoint.network(planes.permute(2, 0, 1)[None])
        aligned = checkpoint.network.variant.name == "tramac"
        return F.interpolate(logits, frame.shape[:2], mode="bilinear", align_corners=aligned)[0]


def assert_same_labels(labels: np.ndarray, full: torch.Tensor, precision: str) -> None:
    """Equal wherever the two best classes lie further apart than the export gate's bound."""
    best = full.topk(2, dim=0)
    bound = check.TOLERANCE[precision] * float(full.max() - full.min())
    clear = (best.values[0] - best.values[1]).numpy() > bound
    assert clear.mean() > 0.5
    assert np.array_equal(labels[clear], best.indices[0].numpy()[clear])


def assert_same(path: Path, frame: np.ndarray, full: torch.Tensor, variant: Variant, precision: str) -> None:
    """The Segmenter, which cuts the head off and decodes by itself, against full-resolution logits."""
    with Segmenter(path, "cpu") as segmenter:
        result = segmenter(frame)
        assert segmenter.artifact.align_corners == (variant.name == "tramac")
        assert segmenter.artifact.probability == ("sigmoid" if variant.name == "mmseg" else "softmax")
    assert_same_labels(result.labels, full, precision)
    if result.probabilities is not None:
        wanted = full.sigmoid() if variant.name == "mmseg" else full.softmax(dim=0)
        bound = {"fp32": 1e-3, "fp16": 2e-2}[precision]
        assert np.abs(result.probabilities - wanted.numpy()).max() < bound


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("head", ["cls", "prob", "logits"])
@pytest.mark.parametrize("name", ["tramac", "mmseg"])
def test_recorded_results_of_the_originals(shared: Path, tmp_path: Path, name: str, head: str, precision: str) -> None:
    recorded = np.load(shared / "checkpoints" / f"{name}_19.npz")
    weights = import_checkpoint(shared / "checkpoints" / f"{name}_19.pth", tmp_path / "model.safetensors")
    path = export(head, (128, 256), weights, precision=precision, output=tmp_path / "model.onnx")
    frame = np.ascontiguousarray(recorded["image_rgb"][..., ::-1])
    assert_same(path, frame, torch.from_numpy(recorded["logits"]), load(weights).network.variant, precision)


@OTHERS
@pytest.mark.parametrize(("head", "precision", "kind"), [("cls", "fp32", "float"), ("prob", "fp16", "uint8")])
def test_sizes_that_divide_by_nothing(tmp_path: Path, variant: Variant, head: str, precision: str, kind: str) -> None:
    """Also where Tramac's original crashes, and where "same" padding falls on one side of one axis only."""
    weights = tmp_path / "model.safetensors"
    save(weights, untrained(CITYSCAPES, 1, variant))
    path = export(head, (100, 141), weights, precision=precision, input=kind, output=tmp_path / "model.onnx")
    artifact = onnx_file.artifact(onnx_file.read(path), "m")
    assert (artifact.logits_height, artifact.logits_width) == variant.logits_size(100, 141)
    assert (artifact.mean, artifact.std) == (variant.mean, variant.std)
    frame = Street(100, 141).frame(4)[0]
    assert_same(path, frame, expected(load(weights), frame), variant, precision)


def test_the_graphs_own_head_gives_each_classs_sigmoid(tmp_path: Path) -> None:
    """Run whole, as other runtimes do. The choice can be taken back for weights of another training."""
    import onnxruntime

    weights = tmp_path / "model.safetensors"
    save(weights, untrained(CITYSCAPES, 1, MMSEG))
    frame = Street(64, 96).frame(0)[0]
    full = expected(load(weights), frame)
    for choice, wanted in ((None, full.sigmoid()), ("softmax", full.softmax(dim=0))):
        path = export("prob", (64, 96), weights, probability=choice, output=tmp_path / "model.onnx")
        assert onnx_file.artifact(onnx_file.read(path), "m").probability == (choice or "sigmoid")
        (found,) = onnxruntime.InferenceSession(path).run(None, {"image": frame[None]})
        assert np.abs(found[0] - wanted.numpy()).max() < 1e-4
        with Segmenter(path, "cpu") as segmenter:
            assert np.abs(segmenter(frame).probabilities - found[0]).max() < 1e-4
    with pytest.raises(UsageError, match="Did you mean 'sigmoid'"):
        export("prob", (64, 96), weights, probability="sigmoids", output=tmp_path / "model.onnx")


def test_certain_classes_may_tie_in_a_sigmoid_head(tmp_path: Path) -> None:
    """Logits of 30 and 40 both have the sigmoid 1: no label is lost in the graph, only in what the probabilities show."""
    source = untrained(CITYSCAPES, 1, MMSEG)
    with torch.no_grad():
        source.network.classifier.conv.bias += 40
    save(tmp_path / "sure.safetensors", source)
    export("prob", (64, 96), tmp_path / "sure.safetensors", output=tmp_path / "model.onnx")


@pytest.fixture
def tampered(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[onnx.ModelProto], None]], None]:
    """Change the graph between building and checking."""
    honest = building.build

    def tamper(change: Callable[[onnx.ModelProto], None]) -> None:
        def build(*arguments: Any) -> Built:
            built = honest(*arguments)
            change(built.model)
            return built

        monkeypatch.setattr(building, "build", build)

    return tamper


def placed(name: str, way: bytes) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        resize = next(n for n in model.graph.node if n.name == name)
        next(a for a in resize.attribute if a.name == "coordinate_transformation_mode").s = way

    return change


def softmax(model: onnx.ModelProto) -> None:
    node = next(n for n in model.graph.node if n.op_type == "Sigmoid")
    node.op_type = "Softmax"
    node.attribute.append(onnx.helper.make_attribute("axis", 1))


@pytest.mark.parametrize(
    ("variant", "head", "change", "message"),
    [
        (TRAMAC, "cls", placed("head.resize", b"half_pixel"), "fault lies in the head"),
        (TRAMAC, "cls", placed("feature_fusion.interpolate", b"half_pixel"), "parts is feature_fusion.interpolate "),
        (MMSEG, "prob", softmax, "from the sigmoid of the exported logits"),
    ],
    ids=["head", "fusion", "sigmoid"],
)
def test_the_gate_finds_a_wrong_corner_and_a_wrong_probability(
    tmp_path: Path, tampered: Callable[..., None], variant: Variant, head: str, change: object, message: str
) -> None:
    save(tmp_path / "weights.safetensors", untrained(CITYSCAPES, 1, variant))
    tampered(change)
    with pytest.raises(ParityError, match=message):
        export(head, (64, 96), tmp_path / "weights.safetensors", output=tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
