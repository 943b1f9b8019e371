"""What the inspector's words mean, in the shapes that versions 8.5 to 11 give them."""

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from fastscnn.export.tensorrt.capabilities import capabilities
from fastscnn.export.tensorrt.readback import Readback, from_engine
from fastscnn.runtime.artifacts.engine_file import EngineLayer
from fastscnn.runtime.artifacts.tensorrt_binding import Binding

CAN = capabilities(Binding("tensorrt", "8.6.0", None))
GRAPH = ("a.conv", "a.relu", "b.conv", "pool", "c.conv")
HALF_85 = [{"Name": "x", "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}]
FLOAT_85 = [{"Name": "x", "Format/Datatype": "Row major linear FP32"}]
HALF_10, FLOAT_10 = ([{"Name": "x", "Format/Datatype": word}] for word in ("Half", "Float"))
HALF_11, FLOAT_11 = ([{"Name": "x", "Format": "Row major linear", "DataType": word}] for word in ("Half", "Float"))
REST = {"Name": "a.conv + a.relu", "LayerType": "CaskConvolution", "Inputs": HALF_10, "Outputs": HALF_10}


def metadata(*nodes: str) -> str:
    return "\x1e".join(f"[ONNX Layer: {node}]" for node in nodes)


def ask(entries: Sequence[Any], binding_types: bool = False, declared: str = "fp16") -> Readback:
    layers = [
        EngineLayer(node, "CONVOLUTION" if "conv" in node else "OTHER", declared, (node,) if "conv" in node else ())
        for node in GRAPH
    ]
    types = Readback((), tuple(layers), None, declared, "types", (), ())
    words = json.dumps({"Layers": entries}).replace("\\u001e", "\x1e")  # as 8.6.0 leaves them
    inspector = SimpleNamespace(get_engine_information=lambda kind: words)
    engine = SimpleNamespace(create_engine_inspector=lambda: inspector, device_memory_size=1, num_io_tensors=0)
    module = SimpleNamespace(LayerInformationFormat=SimpleNamespace(JSON=0))
    return from_engine(engine, module, CAN, types, binding_types)


@pytest.mark.parametrize(
    ("entry", "nodes", "precision"),
    [
        # 8.5: no metadata, fused nodes in the name, the type inside the format's words
        ({"Name": "a.conv + a.relu", "LayerType": "CaskConvolution", "Inputs": HALF_85, "Outputs": FLOAT_85}, ["a.conv"], "fp16"),
        ({"Name": "a.conv || b.conv", "LayerType": "CaskConvolution", "Inputs": FLOAT_85, "Outputs": HALF_85}, ["a.conv", "b.conv"], "fp32"),
        # the weights tell before the data does
        ({"Name": "a.conv", "LayerType": "CaskConvolution", "Weights": {"Type": "Float", "Count": 9}, "Inputs": HALF_85}, ["a.conv"], "fp32"),
        ({"Name": "a.conv", "LayerType": "CaskConvolution", "Weights": {"Type": "Half", "Count": 9}, "Inputs": FLOAT_85}, ["a.conv"], "fp16"),
        # 8.6 and 10: metadata beside a name of their own
        ({"Name": "k1", "LayerType": "kgen", "Metadata": metadata("a.conv", "a.relu"), "Inputs": FLOAT_10}, ["a.conv"], "fp32"),
        ({"Name": "k1", "LayerType": "kgen", "Metadata": metadata("pool"), "Inputs": FLOAT_10}, [], "fp32"),
        # 11: format and type apart
        ({"Name": "k1", "LayerType": "gemm", "Metadata": metadata("c.conv"), "Inputs": HALF_11}, ["c.conv"], "fp16"),
        ({"Name": "k1", "LayerType": "gemm", "Metadata": metadata("c.conv"), "Inputs": FLOAT_11}, ["c.conv"], "fp32"),
        # regions: what runs inside Myelin is not told, the DLA has nothing wider than FP16
        ({"Name": "{ForeignNode[a.relu...c.conv]}", "LayerType": "Myelin", "Inputs": HALF_10}, ["b.conv", "c.conv"], None),
        ({"Name": "{ForeignNode[a.conv...pool]}", "LayerType": "DLA", "Inputs": FLOAT_10}, ["a.conv", "b.conv"], "fp16"),
        ({"Name": "{ForeignNode[b.conv]}", "LayerType": "DLA"}, ["b.conv"], "fp16"),
        # copies for a convolution are none, and the least verbosity gives names alone
        ({"Name": "a.conv", "LayerType": "Reformat", "Metadata": metadata("a.conv"), "Inputs": FLOAT_10}, [], "fp32"),
        ("a.conv", ["a.conv"], None),
        ({"Name": "a.conv", "LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": "BFloat16"}]}, ["a.conv"], "bf16"),
        ({"Name": "a.conv", "LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": "Int8"}]}, ["a.conv"], "int8"),
    ],
)  # fmt: skip
def test_an_entry(entry: Any, nodes: list[str], precision: str | None) -> None:
    (layer,) = ask([entry]).layers
    assert (list(layer.convolutions), layer.precision) == (nodes, precision)


def conv(node: str, inputs: Any, kind: str = "CaskConvolution") -> dict[str, Any]:
    return {"Name": node, "LayerType": kind, "Inputs": inputs}


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("second", "full", "unknown"),
    [
        (conv("a.conv", FLOAT_10), ("a.conv",), ()),
        (conv("a.conv", HALF_10), (), ()),
        (conv("a.conv", HALF_10, "Myelin"), (), ("a.conv",)),
        (conv("a.conv", FLOAT_10, "Reformat"), (), ()),
        (conv("{ForeignNode[a.conv...a.relu]}", HALF_10, "Myelin"), (), ()),  # the other names it outright
    ],
)
def test_of_layers_with_the_same_convolution_the_worst_counts(
    second: dict[str, Any], full: tuple[str, ...], unknown: tuple[str, ...], backwards: bool
) -> None:
    entries = [REST, second][:: -1 if backwards else 1]
    found = ask([*entries, conv("b.conv", HALF_10), conv("c.conv", HALF_10)])
    assert (found.full, found.unknown) == (full, unknown)
    assert found.precision == ("mixed" if full or unknown else "fp16")


def test_types_answer_only_where_they_bind() -> None:
    region = conv("region", HALF_10, "Myelin")
    found = ask([region, REST])
    assert (found.precision, found.unknown) == ("mixed", ("b.conv", "c.conv"))
    assert ask([region, REST], binding_types=True).precision == "fp16"
    assert ask([region], binding_types=True, declared="fp32").precision == "fp32", "an FP32 build may lower nothing"
    assert ask([region, conv("b.conv", FLOAT_10)], binding_types=True).full == ("b.conv",), "what it says comes first"


def test_what_only_the_dla_can_hold_is_fp16() -> None:
    dla = conv("{ForeignNode[unnamed 1...unnamed 9]}", FLOAT_10, "DLA")
    others = [REST, conv("pool", FLOAT_10, "Pooling"), conv("copy", FLOAT_10, "Reformat")]
    assert ask([dla, *others]).precision == "fp16"
    assert ask([dla, *others, conv("region", HALF_10, "Myelin")]).unknown == ("b.conv", "c.conv")
    assert ask(others).unknown == ("b.conv", "c.conv")
