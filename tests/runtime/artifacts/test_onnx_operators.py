"""The shapes that the robot's floor computes for other networks' operators are those of onnx's own inference."""

from typing import Any

import numpy as np
import pytest

from fastscnn.runtime.artifacts.onnx_graph import RULES, elements
from fastscnn.runtime.artifacts.onnx_operators import OPERATORS
from fastscnn.runtime.artifacts.onnx_wire import MalformedError

onnx = pytest.importorskip("onnx", reason="its inference is the reference")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

IMAGE = (2, 6, 13, 18)


def graph(kind: str, constants: list[Any], results: int = 1, shape: tuple[int, ...] = IMAGE, **attributes: Any) -> Any:
    names = [f"c{index}" if value is not None else "" for index, value in enumerate(constants)]
    outputs = [f"out{index}" for index in range(results)]
    node = helper.make_node(kind, ["image", *names], outputs, **attributes)
    if kind == "Where":
        node.input[:] = [*names, "image"]
    return helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.asarray(v), n) for v, n in zip(constants, names, strict=True) if v is not None],
    )


def whole(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


ONES = np.ones(6, np.float32)
CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    *((kind, [], {}) for kind in ("Abs", "Ceil", "Cos", "Elu", "Erf", "Floor", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Neg", "Round", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Tanh", "Mish")),
    *((kind, [], {"axis": 1}) for kind in ("Softmax", "LogSoftmax")),
    ("BatchNormalization", [ONES] * 4, {}),
    ("InstanceNormalization", [ONES] * 2, {}),
    ("LayerNormalization", [np.ones(18, np.float32)], {"axis": -1}),
    ("PRelu", [ONES.reshape(6, 1, 1)], {}),
    ("Div", [np.ones((1, 6, 1, 1), np.float32)], {}),
    ("Pow", [np.float32(2)], {}),
    ("Max", [np.ones((3, 1, 1, 1, 18), np.float32), np.ones((13, 1), np.float32)], {}),
    ("Where", [np.ones((13, 18), bool), np.ones((2, 6, 1, 1), np.float32)], {}),
    ("Greater", [np.float32(0)], {}),
    ("ReduceMean", [], {"axes": [2, 3], "keepdims": 1}),
    ("ReduceL2", [], {"axes": [-1], "keepdims": 0}),
    ("MaxPool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("MaxPool", [], {"kernel_shape": [3, 2], "dilations": [2, 3]}),
    ("AveragePool", [], {"kernel_shape": [5, 5], "strides": [3, 1], "pads": [0, 1, 2, 1]}),
    ("GlobalMaxPool", [], {}),
    ("ConvTranspose", [np.ones((6, 4, 3, 3), np.float32)], {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    ("ConvTranspose", [np.ones((6, 4, 2, 4), np.float32)], {"group": 2, "dilations": [1, 2]}),
    ("Reshape", [whole(0, -1, 9)], {}),
    ("Reshape", [whole(2, 6, 234)], {}),
    ("Flatten", [], {"axis": 2}),
    ("Flatten", [], {"axis": -1}),
    ("Unsqueeze", [whole(0, 3, -1)], {}),
    ("Slice", [whole(1, -4), whole(2**62, 2**62), whole(1, -1), whole(2, 1)], {}),
    ("Slice", [whole(-1), whole(-(2**62)), whole(1), whole(-1)], {}),
    ("Slice", [whole(0, 2), whole(1, 3)], {}),
    ("Split", [whole(1, 2, 3)], {"axis": 1}),
    ("Gather", [whole(2, 0, 1).reshape(3, 1)], {"axis": 1}),
    ("Gather", [np.int64(3)], {"axis": 3}),
    ("Expand", [whole(3, 1, 1, 1, 1)], {}),
    ("Tile", [whole(1, 2, 1, 3)], {}),
    ("SpaceToDepth", [], {"blocksize": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "constants", "attributes"), CASES)
def test_shapes(kind: str, constants: list[Any], attributes: dict[str, Any]) -> None:
    made = graph(kind, constants, 3 if kind == "Split" else 1, **attributes)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18 if kind == "Mish" else 17)])
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = [[d.dim_value for d in output.type.tensor_type.shape.dim] for output in inferred.output]
    assert all(shapes)
    found = elements(memoryview(made.SerializeToString()), OPERATORS)
    assert found.total == found.peak == np.prod(IMAGE) + sum(int(np.prod(shape)) for shape in shapes)
    if kind not in RULES:
        with pytest.raises(MalformedError, match="which no export has"):
            elements(memoryview(made.SerializeToString()), RULES)


def test_shapes_of_other_ranks() -> None:
    def found(kind: str, constants: list[Any], shape: tuple[int, ...], **attributes: Any) -> int:
        made = graph(kind, constants, shape=shape, **attributes)
        return elements(memoryview(made.SerializeToString()), OPERATORS).total - int(np.prod(shape))

    assert found("Gemm", [np.ones((5, 7), np.float32)], (3, 7), transB=1) == 15
    assert found("Gemm", [np.ones((7, 5), np.float32)], (7, 3), transA=1) == 15
    assert found("Squeeze", [whole(1)], (3, 1, 4)) == 12
    assert found("Squeeze", [], (3, 1, 4)) == 12
    assert found("DepthToSpace", [], (1, 16, 2, 3), blocksize=4) == 96


@pytest.mark.parametrize(
    ("kind", "constants", "attributes"),
    [
        ("MaxPool", [], {"kernel_shape": [3]}),
        ("MaxPool", [], {"kernel_shape": [3, 3], "strides": [0, 1]}),
        ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [-1, 0, 0, 0]}),
        ("ConvTranspose", [np.ones((6, 4, 3, 3), np.float32)], {"output_shape": [99999, 99999]}),
        ("ConvTranspose", [np.ones((6, 4, 3, 3), np.float32)], {"output_padding": [-1, -1]}),
        ("Reshape", [whole(-1, -1)], {}),
        ("Reshape", [whole(99999, 99999)], {}),
        ("Reshape", [whole(1, 1, 1, 1, 0)], {}),
        ("Slice", [whole(0), whole(1), whole(0), whole(0)], {}),
        ("Slice", [whole(0, 1), whole(1)], {}),
        ("Split", [whole(1, 99999)], {"axis": 1}),
        ("Squeeze", [whole(1)], {}),
        ("Tile", [whole(99999, 99999)], {}),
        ("Tile", [whole(1, 1, 2**30, 2**30)], {}),
        ("Expand", [whole(2**21, 2**21, 1, 1, 1, 1)], {}),
        ("Gemm", [np.ones((5, 7), np.float32)], {}),
        ("DepthToSpace", [], {"blocksize": 0}),
        ("NonZero", [], {}),
    ],
)
def test_what_makes_no_sense_is_refused(kind: str, constants: list[Any], attributes: dict[str, Any]) -> None:
    made = graph(kind, constants, 2 if kind == "Split" else 1, **attributes)
    with pytest.raises(MalformedError):
        elements(memoryview(made.SerializeToString()), OPERATORS)
