"""The gate finds what was done wrong: an edited graph, a network that loses its digits; and says what differs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from foreign_networks import TOLD, Foreign, Made, Net, up
from onnx import helper, numpy_helper
from torch import Tensor

from fastscnn.export.adopt import adopt, wrapping
from fastscnn.export.adopt.cli import main
from fastscnn.runtime import ParityError


@pytest.fixture
def tampered(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[onnx.ModelProto], object]], None]:
    """Let something happen to the wrapped graph before the gate sees it."""

    def install(change: Callable[[onnx.ModelProto], object]) -> None:
        sound = wrapping.wrapped

        def wrapped(*arguments: Any) -> onnx.ModelProto:
            model = sound(*arguments)
            change(model)
            return model

        monkeypatch.setattr(wrapping, "wrapped", wrapped)

    return install


def refused(made: Made, tmp_path: Path, **options: Any) -> str:
    with pytest.raises(ParityError) as caught:
        adopt(made.path, tmp_path / "never.onnx", **{**TOLD, **options})
    assert not list(tmp_path.iterdir())
    return str(caught.value)


def test_wrong_weights(argmax: Made, tampered: Any, tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == "last.bias")
        values = numpy_helper.to_array(tensor).copy()
        values[0] += 0.1
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    tampered(change)
    assert "logits part from" in refused(argmax, tmp_path)


def test_planes_in_the_wrong_order(argmax: Made, tampered: Any, tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == "input.weights.0")
        values = numpy_helper.to_array(tensor)[:, ::-1]
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))

    tampered(change)
    assert "logits part from" in refused(argmax, tmp_path)


def test_a_wrong_head(argmax: Made, tampered: Any, tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if node.name == "head.resize")
        (mode,) = (a for a in node.attribute if a.name == "coordinate_transformation_mode")
        mode.CopyFrom(helper.make_attribute(mode.name, "align_corners"))

    tampered(change)
    assert "than in the file's own head where the head is ours" in refused(argmax, tmp_path)


def test_a_wrong_decode(argmax: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As if the description told the other alignment."""
    from fastscnn.runtime.decode import Decoder

    def wrong(artifact: Any, threads: int = 1) -> Decoder:
        sizes = (artifact.logits_height, artifact.logits_width), (artifact.height, artifact.width)
        return Decoder(*sizes, threads, align_corners=not artifact.align_corners)

    monkeypatch.setattr(Decoder, "of", wrong)
    assert "where the decode is ours" in refused(argmax, tmp_path)


def test_wrong_probabilities(foreign: Foreign, tampered: Any, tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if node.name == "head.exp")
        node.op_type = "Relu"

    tampered(change)
    made = foreign(lambda z, x: up(z, x).softmax(1))
    assert "the probabilities of the head part by" in refused(made, tmp_path, head="prob")


def test_a_network_that_loses_its_digits_ends_with_3(
    foreign: Foreign, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its results hang on the last digit of its first convolution: not the same network twice in float32."""

    class Cancelling(Net):
        def logits(self, image: Tensor) -> Tensor:
            big = self.stem(image) * 1e7
            return super().logits(image) + 3 * torch.nn.functional.avg_pool2d(big + 1 - big, 4)[:, :5]

    made = foreign(Cancelling(lambda z, x: up(z, x).argmax(1)))
    arguments = ["--mean", "0.485", "0.456", "0.406", "--std", "0.229", "0.224", "0.225"]
    target = tmp_path / "never.onnx"
    assert main([str(made.path), "-o", str(target), *arguments]) == 3
    assert not target.exists()
    error = capsys.readouterr().err.splitlines()[-1]
    assert "logits part from" in error and "loses its digits" in error
    assert "Traceback" not in error
