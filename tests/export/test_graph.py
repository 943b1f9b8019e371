"""The ONNX writer, operation by operation, against PyTorch."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from torch import Tensor, nn
from torch.nn import functional as F

from fastscnn.export.builder import GraphBuilder, value_info
from fastscnn.export.deploy import deployable, takes_bgr
from fastscnn.export.graph import HalfPrecision, ModuleWriter, pooling_matrix
from fastscnn.model import CITYSCAPES
from fastscnn.model.checkpoint import MEAN, STD, untrained
from fastscnn.model.variant import PADDLESEG
from fastscnn.runtime.artifacts.onnx_file import IR_VERSION, OPSET


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [(32, 64), (2, 2), (3, 5), (11, 16), (6, 6), (100, 7)])
def test_pooling_is_exact_as_two_matrix_products(bins: int, size: tuple[int, int]) -> None:
    x = torch.randn(2, 4, *size)
    down, across = torch.from_numpy(pooling_matrix(bins, size[0])), torch.from_numpy(pooling_matrix(bins, size[1]))
    assert torch.allclose(down @ x @ across.T, F.adaptive_avg_pool2d(x, bins), atol=1e-6)


def test_pooling_is_written_as_every_parser_takes_it(exported: Callable[..., Path]) -> None:
    """benchmarks/results/parsers.md: what broke on a constant as first factor, on one column, on a bilinear Resize of one pixel."""
    model = onnx.shape_inference.infer_shapes(onnx.load(exported("cls", (64, 96))))
    constants = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    shapes = {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in model.graph.value_info
    }
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    assert len(products) == 6
    for node in products:
        assert node.input[0] not in constants and constants[node.input[1]][1] > 1
    means = [node.output[0] for node in model.graph.node if node.op_type == "GlobalAveragePool"]
    assert len(means) == 1 and shapes[means[0]][2:] == [1, 1]
    modes = []
    for node in model.graph.node:
        if node.op_type == "Resize":
            mode = next(a.s.decode() for a in node.attribute if a.name == "mode")
            assert (mode == "nearest") == (shapes[node.input[0]][2:] == [1, 1])
            modes.append(mode)
    assert sorted(modes) == ["linear"] * 5 + ["nearest"]


def test_folding_keeps_the_logits() -> None:
    network = untrained(CITYSCAPES).network
    image = torch.randn(1, 3, 96, 130)
    with torch.inference_mode():
        expected = network(image)
        folded = deployable(network)
        assert torch.allclose(folded(image), expected, atol=2e-5 * float(expected.abs().max()))
        assert not [m for m in folded.modules() if isinstance(m, (nn.BatchNorm2d, nn.Dropout))]
        assert [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)], "the original was changed"

        pixels = torch.randint(0, 256, (1, 3, 96, 130)).float()  # RGB
        mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
        expected = folded((pixels / 255 - mean) / std)
        found = takes_bgr(folded, STD)((pixels - 255 * mean).flip(1))
        assert torch.allclose(found, expected, atol=2e-5 * float(expected.abs().max()))


def test_nodes_carry_module_names_and_pytorchs_own_results() -> None:
    folded = deployable(untrained(CITYSCAPES).network)
    builder = GraphBuilder("fp32")
    writer = ModuleWriter(folded, builder, "image", "logits")
    logits = writer.write(torch.randn(1, 3, 64, 64))
    names = [node.name for node in builder.nodes]
    assert len(set(names)) == len(names)
    modules = dict(folded.named_modules())
    for name in names:
        owner = name
        while owner not in modules and owner:
            owner = owner.rpartition(".")[0]
        assert owner or name == "logits", f"{name} names no module"
    assert names[-1] == "logits"
    assert torch.equal(writer.results["logits"], logits)
    assert "global_feature_extractor.pyramid_pooling.interpolate" in writer.results


def test_operations_without_a_form_are_refused_by_name() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(x)

    with pytest.raises(NotImplementedError, match="sigmoid"):
        ModuleWriter(Odd(), GraphBuilder("fp32"), "image", "logits").write(torch.zeros(1))


def test_constants_take_the_graphs_precision() -> None:
    builder = GraphBuilder("fp16")
    builder.constant("weight", np.ones(3, np.float32))
    builder.constant("sizes", np.ones(3, np.int64))
    assert [tensor.data_type for tensor in builder.initializers] == [10, 7]  # FLOAT16, INT64


def test_half_precision_rounds_weights_and_every_result() -> None:
    folded = deployable(untrained(CITYSCAPES).network)
    image = torch.randn(1, 3, 64, 64)
    writer = ModuleWriter(folded, GraphBuilder("fp16"), "image", "logits")
    writer.write(image)
    half = HalfPrecision(folded)
    with torch.inference_mode():
        half.run(image)
    assert len(half.results) == len(writer.results)
    for rounded, exact in zip(half.results, writer.results.values(), strict=True):
        assert torch.equal(rounded, rounded.half().float())
        assert rounded.shape == exact.shape
    error = (half.results[-1] - writer.results["logits"]).abs().max() / writer.results["logits"].abs().max()
    assert 1e-5 < error < 1e-2


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("size", [(64, 64), (65, 66), (67, 65)])
def test_what_only_variants_have_runs_as_in_pytorch(size: tuple[int, int], precision: str) -> None:
    """One-sided padding, aligned corners, ReLU6 that bites, biases before batch norm: in ONNX Runtime."""
    variant = replace(PADDLESEG, bottleneck_activation="relu6", fusion_align_corners=True)
    network = untrained(CITYSCAPES, 3, variant).network
    highest: list[float] = []
    for module in network.modules():
        if isinstance(module, nn.ReLU6):
            module.register_forward_pre_hook(lambda _, inputs: highest.append(float(inputs[0].max())))
    image = torch.randn(1, 3, *size)
    with torch.inference_mode():
        expected = network(image)
    assert max(highest) > 6
    builder = GraphBuilder(precision)
    folded = deployable(network)
    ModuleWriter(folded, builder, "image", "logits").write(image)
    info = [value_info(name, builder.dtype, t.shape) for name, t in (("image", image), ("logits", expected))]
    graph = helper.make_graph(builder.nodes, "g", info[:1], info[1:], builder.initializers)
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, {"image": image.numpy().astype(builder.dtype)})
    difference = np.abs(found.astype(np.float32) - expected.numpy()).max() / float(expected.max() - expected.min())
    assert difference < {"fp32": 1e-5, "fp16": 1e-2}[precision]
