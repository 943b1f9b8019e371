"""Networks of every kind of ending are adopted, and give PyTorch's labels through a Segmenter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from foreign_networks import HEIGHT, TOLD, WIDTH, Foreign, Made, Net, normalised, up
from torch import Tensor, nn
from torch.nn import functional as F

from fastscnn.export.adopt import adopt
from fastscnn.runtime import Segmenter


def adopted(made: Made, tmp_path: Path, **options: Any) -> Any:
    return adopt(made.path, tmp_path / "ours.onnx", **{**TOLD, **options})


def agreement(made: Made, path: Path, frame: np.ndarray, align: bool = False) -> float:
    with Segmenter(path, "cpu") as segmenter:
        return float(np.mean(segmenter(frame).labels == made.labels(frame, align)))


ENDS: dict[str, tuple[Callable[[Tensor, Tensor], Any], dict[str, Any], bool]] = {
    "arg-max": (lambda z, x: up(z, x).argmax(1), {}, False),
    "arg-max as bytes": (lambda z, x: up(z, x).argmax(1).to(torch.uint8), {"ratio": 4}, False),
    "arg-max that keeps its axis": (lambda z, x: up(z, x).argmax(1, keepdim=True), {"ratio": 16}, False),
    "corners aligned": (lambda z, x: up(z, x, True).argmax(1), {}, True),
    "corners aligned, soft-max": (lambda z, x: up(z, x, True).softmax(1), {"ratio": 4}, True),
    "soft-max": (lambda z, x: up(z, x).softmax(1), {"ratio": 2}, False),
    "log-soft-max": (lambda z, x: up(z, x).log_softmax(1), {}, False),
    "sigmoid": (lambda z, x: up(z, x).sigmoid(), {}, False),
    "upsampled logits": (lambda z, x: up(z, x), {"classes": 21}, False),
    "a scale": (lambda z, x: F.interpolate(z, scale_factor=8, mode="bilinear").argmax(1), {}, False),
    "channels last": (lambda z, x: up(z, x).permute(0, 2, 3, 1).argmax(3), {}, False),
    "channels last, soft-max": (lambda z, x: up(z, x).permute(0, 2, 3, 1).softmax(-1), {}, False),
    "no batch": (lambda z, x: up(z, x).argmax(1).squeeze(0), {}, False),
    "low-resolution logits": (lambda z, x: z, {"ratio": 4}, False),
    "low-resolution logits, channels last": (lambda z, x: z.permute(0, 2, 3, 1), {}, False),
    "a second Resize that does nothing": (lambda z, x: up(up(z, x), x).argmax(1), {}, False),
    "probabilities that are upsampled": (lambda z, x: up(z.softmax(1), x).argmax(1), {}, False),
}


@pytest.mark.parametrize("name", ENDS)
def test_each_ending(name: str, foreign: Foreign, tmp_path: Path, picture: np.ndarray) -> None:
    end, options, align = ENDS[name]
    made = foreign(end, **options)
    result = adopted(made, tmp_path)
    assert result.parity.agreement > 0.9995
    a = result.artifact
    assert (a.height, a.width, a.align_corners) == (HEIGHT, WIDTH, align)
    assert a.logits_height == HEIGHT // options.get("ratio", 8)
    assert a.probability == ("sigmoid" if name == "sigmoid" else "softmax")
    assert len(np.unique(made.labels(picture, align))) > 2  # or equal labels would prove little
    if name != "probabilities that are upsampled":
        assert agreement(made, result.path, picture, align) > 0.9995


@pytest.mark.parametrize("size", [(100, 140), (75, 331), (64, 64)])
@pytest.mark.parametrize("align", [False, True])
def test_ratios_that_do_not_divide(
    size: tuple[int, int], align: bool, foreign: Foreign, tmp_path: Path, picture: np.ndarray
) -> None:
    import cv2

    made = foreign(lambda z, x: up(z, x, align).argmax(1), size, ratio=6)
    result = adopted(made, tmp_path)
    frame = cv2.resize(picture, size[::-1])
    assert agreement(made, result.path, frame, align) > 0.9995


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_probabilities(kind: str, foreign: Foreign, tmp_path: Path, picture: np.ndarray) -> None:
    made = foreign(lambda z, x: up(z, x).softmax(1) if kind == "softmax" else up(z, x).sigmoid())
    result = adopted(made, tmp_path, head="prob")
    assert result.parity.probabilities is not None and result.parity.probabilities < 1e-5
    with torch.inference_mode():
        expected = made.net(normalised(picture))[0].numpy()
    with Segmenter(result.path, "cpu") as segmenter:
        found = segmenter(picture).probabilities
    assert found is not None
    np.testing.assert_allclose(found, expected, atol=3e-5)


@pytest.mark.parametrize("decides", [True, False])
def test_one_logit_becomes_two_classes(decides: bool, foreign: Foreign, tmp_path: Path, picture: np.ndarray) -> None:
    """Soft-max over zero and a logit is the logit's sigmoid."""

    def centred(logits: Tensor, image: Tensor) -> Tensor:
        return up(logits - logits.mean((2, 3), keepdim=True), image)

    def end(logits: Tensor, image: Tensor) -> Tensor:
        full = centred(logits, image)
        return (full > 0).to(torch.uint8) if decides else full.sigmoid()

    made = foreign(end, classes=1)
    result = adopted(made, tmp_path, head="prob")
    assert result.artifact.classes == ("background", "foreground")
    with torch.inference_mode():
        image = normalised(picture)
        expected = centred(made.net.logits(image), image).sigmoid()[0, 0].numpy()
    with Segmenter(result.path, "cpu") as segmenter:
        found = segmenter(picture)
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities[1], expected, atol=3e-5)
    assert np.mean((expected > 0.5) == (found.labels == 1)) > 0.9995
    assert 0.05 < np.mean(found.labels) < 0.95


def test_open_sizes_are_fixed(foreign: Foreign, tmp_path: Path, picture: np.ndarray) -> None:
    """As exporters with dynamic axes leave them: sizes computed from the picture's own."""

    def end(logits: Tensor, image: Tensor) -> Tensor:
        twice = F.interpolate(logits, size=(logits.shape[2] * 2, logits.shape[3] * 2))  # nearest, inside
        return up(F.avg_pool2d(twice, 2), image).argmax(1)

    names = {0: "batch", 2: "height", 3: "width"}
    made = foreign(end, dynamic={"input.1": names, "out": {0: "batch", 1: "height", 2: "width"}})
    result = adopted(made, tmp_path, resolution=(HEIGHT, WIDTH))
    assert agreement(made, result.path, picture) > 0.9995
    operators = {node.op_type for node in onnx.load(result.path).graph.node}
    assert not operators & {"Shape", "Gather", "Concat", "Constant", "Identity"}
    several = adopted(made, tmp_path, resolution=(64, 128), batch=3, head="logits")
    assert several.artifact.batch == 3
    with Segmenter(several.path, "cpu") as segmenter:
        found = segmenter.batch([picture] * 3)
    assert found[0].logits.shape == (5, 8, 16)


def test_a_batch_that_the_file_fixes(foreign: Foreign, tmp_path: Path, picture: np.ndarray) -> None:
    made = foreign(lambda z, x: up(z, x).argmax(1), batch=2)
    result = adopted(made, tmp_path)
    with Segmenter(result.path, "cpu") as segmenter:
        first, second = segmenter.batch([picture, picture[:, ::-1].copy()])
    assert np.mean(first.labels == made.labels(picture)) > 0.9995
    assert np.mean(second.labels == made.labels(picture[:, ::-1].copy())) > 0.9995


@pytest.mark.parametrize("opset", [11, 12, 13, 16, 18])
def test_opsets(opset: int, foreign: Foreign, tmp_path: Path, picture: np.ndarray) -> None:
    made = foreign(lambda z, x: up(z, x).softmax(1), opset=opset)
    result = adopted(made, tmp_path, head="prob")
    assert agreement(made, result.path, picture) > 0.9995


def test_auxiliary_results_are_left_out_by_name(foreign: Foreign, tmp_path: Path) -> None:
    class Training(Net):
        def __init__(self) -> None:
            super().__init__(lambda z, x: z)
            self.helper = nn.Conv2d(3, 5, 3, 8, 1)

        def forward(self, image: Tensor) -> Any:
            return up(self.helper(image), image), up(self.logits(image), image), self.helper(image).mean((2, 3))

    made = foreign(Training(), outputs=("aux_out", "main", "scene"))
    result = adopted(made, tmp_path)
    assert result.left_out == ("aux_out", "scene")
    names = [t.name for t in onnx.load(result.path).graph.initializer]
    assert not any("helper" in name for name in names)


@pytest.mark.parametrize("way", ["half()", "converted"])
def test_fp16_exports(way: str, foreign: Foreign, tmp_path: Path, picture: np.ndarray) -> None:
    def end(logits: Tensor, image: Tensor) -> Tensor:
        return up(logits, image).argmax(1)

    if way == "half()":
        made = foreign(Net(end).half(), image=torch.zeros(1, 3, HEIGHT, WIDTH).half())
        made.net.float()
    else:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        made = foreign(end)
        made.path.write_bytes(
            convert_float_to_float16(
                onnx.load(made.path), keep_io_types=True, op_block_list=["Resize"]
            ).SerializeToString()
        )
    result = adopted(made, tmp_path)
    assert result.artifact.precision == "fp16"
    assert agreement(made, result.path, picture) > 0.98
