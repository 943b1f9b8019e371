"""What cannot be decoded exactly, or claims too much, is refused with its reason, and leaves no file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from foreign_networks import HEIGHT, TOLD, WIDTH, Foreign, Made, up
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F

from fastscnn.export.adopt import adopt
from fastscnn.runtime import ArtifactError, FastSCNNError, UsageError


def refused(path: Path, folder: Path, kind: type[FastSCNNError] = ArtifactError, **options: Any) -> str:
    target = folder / "never.onnx"
    with pytest.raises(kind) as caught:
        adopt(path, target, **{**TOLD, **options})
    assert not target.exists()
    assert type(caught.value) is kind
    return str(caught.value)


@pytest.fixture
def edited(argmax: Made, tmp_path: Path) -> Callable[[Callable[[onnx.ModelProto], object]], Path]:
    def edit(change: Callable[[onnx.ModelProto], object]) -> Path:
        model = onnx.load(argmax.path)
        change(model)
        path = tmp_path / "edited.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return edit


def resize(model: onnx.ModelProto, **attributes: Any) -> None:
    (node,) = (node for node in model.graph.node if node.op_type == "Resize")
    kept = [a for a in node.attribute if a.name not in attributes]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in attributes.items())])


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"coordinate_transformation_mode": "asymmetric"}, "is asymmetric, which moves every label"),
        ({"mode": "nearest"}, "is nearest; expected linear"),
        ({"mode": "cubic"}, "is cubic; expected linear"),
        ({"coordinate_transformation_mode": "tf_crop_and_resize"}, "samples by tf_crop_and_resize"),
    ],
)
def test_other_resizes(attributes: dict[str, Any], message: str, edited: Any, tmp_path: Path) -> None:
    assert message in refused(edited(lambda m: resize(m, **attributes)), tmp_path)


ENDS: dict[str, tuple[Callable[[Tensor, Tensor], Any], dict[str, Any], str]] = {
    "full size": (
        lambda z, x: F.conv_transpose2d(z, z.new_ones(5, 3, 8, 8), stride=8),
        {},
        "at the picture's own size",
    ),
    "arg-max below": (lambda z, x: z.argmax(1).float()[:, None], {}, "decides at low resolution"),
    "soft-max below": (lambda z, x: z.softmax(1), {}, "decides at low resolution"),
    "half the size": (
        lambda z, x: F.interpolate(z, (HEIGHT // 2, WIDTH // 2), mode="bilinear").argmax(1),
        {},
        "expected the picture's own size. Choose the logits with --at",
    ),
    "one label": (lambda z, x: z.mean((2, 3)), {}, "one label for the whole picture"),
    "a palette": (lambda z, x: up(z, x) * 2, {}, "at the picture's own size"),
    "across": (lambda z, x: up(z, x).argmax(1).transpose(1, 2), {}, "lies across"),
    "300 classes": (lambda z, x: up(z, x).argmax(1), {"classes": 300}, "labels are bytes"),
    "one class": (lambda z, x: up(z, x).softmax(1), {"classes": 1}, "one channel"),
}


@pytest.mark.parametrize("name", ENDS)
def test_other_ends(name: str, foreign: Foreign, tmp_path: Path) -> None:
    end, options, message = ENDS[name]
    assert message in refused(foreign(end, **options).path, tmp_path)


def test_instances_and_masks(foreign: Foreign, tmp_path: Path) -> None:
    """Prototypes beside lists of boxes, and queries beside masks."""

    def instances(logits: Tensor, image: Tensor) -> Any:
        return logits.flatten(2), logits

    made = foreign(instances, outputs=("output0", "output1"))
    assert "output0 of shape 1x5x240 beside its maps, as instance segmentation" in refused(made.path, tmp_path)
    model = onnx.load(made.path)
    helper.set_model_props(model, {"task": "segment", "author": "Ultralytics"})
    onnx.save(model, made.path)
    assert "its task is 'segment'" in refused(made.path, tmp_path)
    made = foreign(lambda z, x: z.flatten(2), outputs=("boxes",))
    assert "as boxes, masks or one label" in refused(made.path, tmp_path)


def test_several_results_are_listed_and_one_is_chosen(foreign: Foreign, tmp_path: Path) -> None:
    def two(logits: Tensor, image: Tensor) -> Any:
        return up(logits, image).argmax(1), up(logits[:, :2] * 2, image).argmax(1)

    made = foreign(two, outputs=("lanes", "area"))
    message = refused(made.path, tmp_path, UsageError)
    assert "2 results that can be cut: lanes (C=5 at 12x20), area (C=2 at 12x20)" in message
    assert "--at" in message
    result = adopt(made.path, tmp_path / "area.onnx", at="area", **TOLD)
    assert (len(result.artifact.classes), result.left_out) == (2, ("lanes",))
    assert "no tensor 'nothing'" in refused(made.path, tmp_path, UsageError, at="nothing")


def test_a_tensor_inside_can_be_chosen(foreign: Foreign, tmp_path: Path) -> None:
    made = foreign(lambda z, x: F.interpolate(z, (HEIGHT // 2, WIDTH // 2), mode="bilinear").argmax(1))
    (node,) = (node for node in onnx.load(made.path).graph.node if node.op_type == "Resize")
    result = adopt(made.path, tmp_path / "ours.onnx", at=node.input[0], **TOLD)
    assert (result.artifact.height, result.artifact.logits_height) == (HEIGHT, HEIGHT // 8)


def test_probabilities_that_were_upsampled_stay_what_they_are(foreign: Foreign, tmp_path: Path) -> None:
    made = foreign(lambda z, x: up(z.softmax(1), x))
    assert "expected --head cls or logits" in refused(made.path, tmp_path, UsageError, head="prob")


def test_sizes(foreign: Foreign, argmax: Made, tmp_path: Path) -> None:
    assert "is for height=96 width=160 and --res asks for 64x64" in refused(
        argmax.path, tmp_path, UsageError, resolution=(64, 64)
    )
    assert "is for a batch of 1" in refused(argmax.path, tmp_path, UsageError, batch=2)
    made = foreign(lambda z, x: up(z, x).argmax(1), dynamic={"input.1": {2: "h", 3: "w"}})
    assert "leaves its size open (1x3x?x?); say it with --res" in refused(made.path, tmp_path, UsageError)
    odd = foreign(
        lambda z, x: F.interpolate(z, scale_factor=8.3, mode="bilinear").argmax(1),
        (HEIGHT, WIDTH),
    )
    assert "Resize" in refused(odd.path, tmp_path)


def test_files_that_are_none(tmp_path: Path, exported: Callable[..., Path]) -> None:
    assert "does not exist" in refused(tmp_path / "absent.onnx", tmp_path)
    for content in (b"", b"PK\x03\x04 not this", bytes(1000)):
        (tmp_path / "broken.onnx").write_bytes(content)
        assert "ONNX file" in refused(tmp_path / "broken.onnx", tmp_path)
    assert "is a file of this project already" in refused(exported("cls"), tmp_path, UsageError)


def _operator(kind: str, domain: str = "") -> Callable[[onnx.ModelProto], object]:
    def change(model: onnx.ModelProto) -> None:
        node = model.graph.node[-1]
        node.op_type, node.domain = kind, domain

    return change


def _opset(version: int) -> Callable[[onnx.ModelProto], object]:
    def change(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = version

    return change


def _second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("size", TensorProto.INT64, [2]))


def _four_channels(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_operator("Frobnicate"), "the operator Frobnicate, which ONNX does not know"),
        (_operator("NhwcMaxPool", "com.microsoft"), "of com.microsoft; expected standard ones"),
        (_opset(9), "has opset 9; expected 11 to"),
        (_opset(99), "has opset 99; expected 11 to"),
        (_second_input, "takes 2 inputs (input.1, size); expected one image"),
        (_four_channels, "of shape 1x4x96x160, FLOAT; expected an image of three channels"),
        (_operator("TopK"), "not a sound graph"),
    ],
)
def test_graphs_that_are_not_read(change: Any, message: str, edited: Any, tmp_path: Path) -> None:
    assert message in refused(edited(change), tmp_path)


def test_weights_beside_the_file(argmax: Made, tmp_path: Path) -> None:
    """In its folder they are read and become part of the digest; elsewhere they are refused, links included."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    path = folder / "model.onnx"
    onnx.save_model(onnx.load(argmax.path), path, save_as_external_data=True, location="weights.bin", size_threshold=64)
    result = adopt(path, tmp_path / "ours.onnx", **TOLD)
    assert not any(t.data_location == TensorProto.EXTERNAL for t in onnx.load(result.path).graph.initializer)
    weights = folder / "weights.bin"
    changed = bytearray(weights.read_bytes())
    changed[3] ^= 0x80
    weights.write_bytes(changed)
    assert adopt(path, tmp_path / "other.onnx", **TOLD).artifact.checkpoint != result.artifact.checkpoint
    weights.rename(tmp_path / "weights.bin")
    assert "cannot be read" in refused(path, tmp_path)
    weights.symlink_to(tmp_path / "weights.bin")
    assert "outside its own folder" in refused(path, tmp_path)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../weights.bin"
    path.write_bytes(model.SerializeToString())
    assert "outside its own folder" in refused(path, tmp_path)


def test_claims_are_refused_before_memory_is_touched(edited: Any, tmp_path: Path) -> None:
    def swollen(model: onnx.ModelProto) -> None:
        """The logits, repeated 30,000 times each way, averaged back."""
        (node,) = (node for node in model.graph.node if node.op_type == "Resize")
        times = numpy_helper.from_array(np.array([1, 1, 30_000, 30_000]), "times")
        model.graph.initializer.append(times)
        place = list(model.graph.node).index(node)
        grown = helper.make_node("Tile", [node.input[0], "times"], ["grown"])
        kernel = {"kernel_shape": [30_000, 30_000], "strides": [30_000, 30_000]}
        model.graph.node.insert(place, grown)
        model.graph.node.insert(place + 1, helper.make_node("AveragePool", ["grown"], ["shrunk"], **kernel))
        node.input[0] = "shrunk"

    assert "elements at once" in refused(edited(swollen), tmp_path)

    def filled(model: onnx.ModelProto) -> None:
        """A constant of terabytes that an engine would fold."""
        size = numpy_helper.from_array(np.array([1, 5, 400_000, 400_000]), "size")
        model.graph.initializer.append(size)
        (node,) = (node for node in model.graph.node if node.op_type == "Resize")
        place = list(model.graph.node).index(node)
        model.graph.node.insert(place, helper.make_node("ConstantOfShape", ["size"], ["filled"]))
        model.graph.node.insert(place + 1, helper.make_node("ReduceMax", ["filled"], ["least"], axes=[2, 3]))
        model.graph.node.insert(place + 2, helper.make_node("Add", [node.input[0], "least"], ["sum"]))
        node.input[0] = "sum"

    assert "ConstantOfShape" in refused(edited(filled), tmp_path)


def test_nothing_else_is_overwritten(argmax: Made, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="both the model and the result"):
        adopt(argmax.path, argmax.path, **TOLD)
    (tmp_path / "kept.onnx").write_text("precious")
    with pytest.raises(UsageError):
        adopt(argmax.path, tmp_path / "kept.onnx")
    assert (tmp_path / "kept.onnx").read_text() == "precious"


def test_unknown_words(argmax: Made, tmp_path: Path) -> None:
    assert "Did you mean 'prob'" in refused(argmax.path, tmp_path, UsageError, head="probs")
    assert "order 'rbg' is unknown" in refused(argmax.path, tmp_path, UsageError, order="rbg")
