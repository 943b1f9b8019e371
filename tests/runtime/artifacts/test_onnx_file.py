"""The wire-format reader against the real onnx package, and against files that are cut or foreign."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from fastscnn.runtime import ArtifactError
from fastscnn.runtime.artifacts import onnx_file
from fastscnn.runtime.artifacts.onnx_graph import Elements, elements
from fastscnn.runtime.artifacts.onnx_wire import fields

try:
    import onnx
    from onnx import TensorProto, helper
except ImportError:  # the tests that need it are marked
    pass

Exported = Callable[..., Path]


@pytest.mark.torch
@pytest.mark.parametrize("head", ["cls", "prob"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_cut_model_is_the_same_network_without_its_head(newly_exported: Exported, head: str, precision: str) -> None:
    data = onnx_file.read(newly_exported(head, precision=precision))
    whole, cut = onnx.load_from_string(data), onnx.load_from_string(onnx_file.without_head(data, "x"))
    onnx.checker.check_model(cut, full_check=True)
    assert [output.name for output in cut.graph.output] == ["logits"]
    kept = [node for node in whole.graph.node if not node.name.startswith("head.")]
    assert 0 < len(kept) < len(whole.graph.node)
    assert list(cut.graph.node) == kept
    assert {p.key: p.value for p in cut.metadata_props} == {p.key: p.value for p in whole.metadata_props}


@pytest.mark.torch
def test_cut_of_a_model_that_ends_at_its_logits_changes_nothing(newly_exported: Exported) -> None:
    data = onnx_file.read(newly_exported("logits"))
    assert onnx.load_from_string(onnx_file.without_head(data, "x")) == onnx.load_from_string(data)


def test_description_is_the_one_that_onnxruntime_reads(exported: Exported) -> None:
    path = exported()
    properties = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert onnx_file.artifact(onnx_file.read(path), "x").to_metadata() == properties


def test_every_truncation_is_refused_in_words(exported: Exported) -> None:
    data = onnx_file.read(exported())
    for length in [0, 1, 2, 3, *np.linspace(4, len(data) - 1, 200).astype(int)]:
        with pytest.raises(ArtifactError) as caught:
            onnx_file.artifact(data[:length], "model.onnx")
        assert "model.onnx" in str(caught.value)


def test_damaged_bytes_never_raise_anything_else(exported: Exported) -> None:
    data = bytearray(onnx_file.read(exported()))
    chance = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        for position in [*chance.integers(0, 200, 2), *chance.integers(len(data) - 3000, len(data), 2)]:
            damaged[position] = chance.integers(0, 256)
        try:
            onnx_file.artifact(bytes(damaged), "model.onnx")
            onnx_file.without_head(bytes(damaged), "model.onnx")
        except ArtifactError:
            pass


@pytest.mark.torch
def test_foreign_onnx_is_told_from_damage(tmp_path: Path) -> None:
    graph = helper.make_graph([], "g", [], [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])])
    with pytest.raises(ArtifactError, match="without this project's description"):
        onnx_file.artifact(helper.make_model(graph).SerializeToString(), "other.onnx")
    with pytest.raises(ArtifactError, match="truncated or not an ONNX file of this project"):
        onnx_file.artifact(b"\x89PNG\r\n\x1a\n" + bytes(100), "picture.onnx")
    with pytest.raises(ArtifactError, match="does not exist"):
        onnx_file.read(tmp_path / "absent.onnx")
    with pytest.raises(ArtifactError, match="cannot be read"):
        onnx_file.read(tmp_path)


@pytest.mark.torch
def test_description_of_another_version_names_what_is_missing(newly_exported: Exported) -> None:
    model = onnx.load_from_string(onnx_file.read(newly_exported()))
    kept = [p for p in model.metadata_props if p.key != "fastscnn.palette"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    with pytest.raises(ArtifactError, match="without palette"):
        onnx_file.artifact(model.SerializeToString(), "old.onnx")


def test_huge_files_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(onnx_file.MAXIMUM_BYTES + 1)
    with pytest.raises(ArtifactError, match="has 1,073,741,825 bytes"):
        onnx_file.read(path)


@pytest.mark.torch
@pytest.mark.parametrize("head", ["cls", "prob", "logits"])
@pytest.mark.parametrize("options", [{}, {"precision": "fp16"}, {"input": "float", "batch": 3}])
def test_the_size_of_a_graph_is_counted_as_onnx_infers_it(
    newly_exported: Exported, head: str, options: dict[str, Any]
) -> None:
    data = onnx_file.read(newly_exported(head, (100, 140), **options))
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(data), strict_mode=True, data_prop=True)
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.value_info, *model.graph.output]
    } | {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    names = {name for node in model.graph.node for name in node.output} | {"image"}
    assert names <= set(shapes)
    graph = next(value for number, value in fields(data) if number == 7)
    assert elements(graph).total == sum(math.prod(shapes[name]) for name in names)


@pytest.mark.torch
def test_tensors_that_live_at_once_are_counted() -> None:
    """A chain of five tensors of 100 needs two of them at a time; one that is taken at the end stays all the while."""
    chain = [helper.make_node("Relu", [f"t{i}"], [f"t{i + 1}"]) for i in range(4)]
    image = helper.make_tensor_value_info("t0", TensorProto.FLOAT, [100])

    def found(nodes: list[onnx.NodeProto], result: str) -> Elements:
        output = helper.make_tensor_value_info(result, TensorProto.FLOAT, None)
        return elements(memoryview(helper.make_graph(nodes, "g", [image], [output]).SerializeToString()))

    assert found(chain, "t4") == Elements(total=500, peak=200)
    kept = helper.make_node("Add", ["t4", "t0"], ["sum"])
    assert found([*chain, kept], "sum") == Elements(total=600, peak=300)


@pytest.mark.torch
def test_exports_lie_far_below_the_bound(newly_exported: Exported) -> None:
    for head in ("cls", "prob"):
        data = onnx_file.read(newly_exported(head, (512, 512)))
        found = elements(next(value for number, value in fields(data) if number == 7))
        assert found.peak / 512**2 < (256 + 8 * 19) / 2


@pytest.mark.torch
def test_graphs_that_no_export_has_are_refused(newly_exported: Exported) -> None:
    """The sizes that would take memory are tested in tests/fuzz, where memory is bounded."""

    def refused(change: Callable[[onnx.ModelProto], object]) -> str:
        model = onnx.load(newly_exported())
        change(model)
        with pytest.raises(ArtifactError) as caught:
            onnx_file.artifact(model.SerializeToString(), "m.onnx")
        return str(caught.value)

    def operator(kind: str, domain: str = "") -> Callable[[onnx.ModelProto], object]:
        return lambda m: m.graph.node.append(helper.make_node(kind, ["image"], ["x"], domain=domain))

    assert "the operator 'Loop', which no export has" in refused(operator("Loop"))
    assert "an operator of 'com.evil'" in refused(operator("Cast", "com.evil"))
    assert "a tensor that no node before it gives" in refused(lambda m: m.graph.node[3].input.__setitem__(0, "absent"))
    assert "without a fixed shape" in refused(lambda m: m.graph.input[0].type.tensor_type.shape.dim[0].Clear())
    assert "graph field 15" in refused(lambda m: m.graph.sparse_initializer.add())
    assert "model field 20" in refused(lambda m: m.training_info.add())

    def twice(m: onnx.ModelProto) -> None:
        m.graph.node[0].output.append("second")

    assert "with 2 results" in refused(twice)
