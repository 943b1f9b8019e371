"""The conversion to FP16 gives what fastscnn-export --precision fp16 gives."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from fastscnn.export.tensorrt.half import to_half
from fastscnn.model import Street
from fastscnn.runtime import DeviceError, ParityError, install
from fastscnn.runtime.artifacts import onnx_file
from fastscnn.runtime.frame import InputLayout

Exported = Callable[..., Path]
SIZE = (64, 96)


@pytest.mark.parametrize(
    ("head", "kind"), [("cls", "uint8"), ("prob", "uint8"), ("logits", "uint8"), ("logits", "float")]
)
def test_the_same_graph_and_results_as_from_the_exporter(exported: Exported, head: str, kind: str) -> None:
    full = onnx_file.read(exported(head, SIZE, **({} if kind == "uint8" else {"input": kind})))
    artifact = onnx_file.artifact(full, "m")
    converted = onnx.load_from_string(to_half(full, artifact, head != "logits", "m"))
    expected = onnx.load(exported(head, SIZE, precision="fp16", input=kind))
    onnx.checker.check_model(converted, full_check=True)
    assert sorted(n.op_type for n in converted.graph.node) == sorted(n.op_type for n in expected.graph.node)
    found = {t.name: numpy_helper.to_array(t) for t in converted.graph.initializer}
    for tensor in expected.graph.initializer:
        weights = numpy_helper.to_array(tensor)
        assert found[tensor.name].dtype == weights.dtype, tensor.name
        np.testing.assert_allclose(found[tensor.name], weights, rtol=0, atol=6e-8)  # the smallest of float16
    frame = Street(*SIZE).frame(0)[0]
    image = InputLayout(artifact)([frame])
    results = [
        onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"image": image})[0]
        for model in (converted, expected)
    ]
    assert results[0].dtype == results[1].dtype
    np.testing.assert_allclose(results[0].astype(float), results[1].astype(float), atol=2e-3)


def test_a_weight_that_float16_cannot_hold_is_named(exported: Exported) -> None:
    model = onnx.load(exported("cls", SIZE))
    tensor = next(t for t in model.graph.initializer if t.name == "feature_fusion.high.conv.weight")
    hot = numpy_helper.to_array(tensor).copy()
    hot.flat[0] = 1e5
    tensor.CopyFrom(numpy_helper.from_array(hot, tensor.name))
    data = model.SerializeToString()
    with pytest.raises(ParityError, match=r"feature_fusion\.high\.conv\.weight reaches 1e\+05"):
        to_half(data, onnx_file.artifact(data, "m"), True, "m")


def test_without_the_converter_the_exporter_is_named(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime.transformers.float16", None)
    full = onnx_file.read(exported("cls", SIZE))
    with pytest.raises(
        DeviceError, match="fastscnn-export --precision fp16, or install: " + re.escape(install.command("convert"))
    ):
        to_half(full, onnx_file.artifact(full, "m"), True, "m")
