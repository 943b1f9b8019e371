"""Files that another tool touched: they give the untouched file's labels, or are refused by their true reason."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from fastscnn.benchmarks.tools.cli import EQUAL, TOUCHING, judged, touched
from fastscnn.benchmarks.tools.touch import TOOLS
from fastscnn.export.describe import describe
from fastscnn.export.exporter import main as export_main
from fastscnn.export.quantisation import Quantised, quantise
from fastscnn.export.tensorrt.half import to_half
from fastscnn.runtime import ArtifactError, DeviceError, ParityError, Segmenter
from fastscnn.runtime.artifacts import onnx_file
from fastscnn.runtime.artifacts.onnx_unsigned import unsigned

Change = Callable[[onnx.ModelProto], onnx.ModelProto | None]


def merge_equal_constants(model: onnx.ModelProto) -> None:
    """As onnxoptimizer's default passes and onnx_ir's deduplication do: all quantisers get one zero point."""
    first: dict[bytes, str] = {}
    name_of: dict[str, str] = {}
    kept = []
    for tensor in model.graph.initializer:
        bare = onnx.TensorProto()
        bare.CopyFrom(tensor)
        bare.name = ""
        name_of[tensor.name] = first.setdefault(bare.SerializeToString(), tensor.name)
        if name_of[tensor.name] == tensor.name:
            kept.append(tensor)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for node in model.graph.node:
        node.input[:] = [name_of.get(name, name) for name in node.input]


def forget_node_names(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.name = ""


def name_constants_anew(model: onnx.ModelProto) -> None:
    names = {tensor.name: f"c{index}" for index, tensor in enumerate(model.graph.initializer)}
    for tensor in model.graph.initializer:
        tensor.name = names[tensor.name]
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]


def constants_as_nodes(model: onnx.ModelProto) -> None:
    """As version_converter writes axes; here for every constant."""
    nodes = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in model.graph.initializer]
    del model.graph.initializer[:]
    nodes += model.graph.node
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def tell_every_shape(model: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def forget_every_shape(model: onnx.ModelProto) -> None:
    del model.graph.value_info[:]


def renew(model: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.version_converter.convert_version(model, 21)


def put_between(model: onnx.ModelProto, kind: str = "Transpose", **attributes: object) -> None:
    """Something that passes integers on between a quantiser and its reverse."""
    for index, node in enumerate(model.graph.node):
        if node.op_type == "QuantizeLinear" and index > 20:
            made, passed = node.output[0], f"{node.output[0]}.passed"
            for other in model.graph.node:
                other.input[:] = [passed if name == made else name for name in other.input]
            attributes = attributes or {"perm": list(range(4))}
            model.graph.node.insert(index + 1, helper.make_node(kind, [made], [passed], **attributes))
            return


def all_at_once(model: onnx.ModelProto) -> onnx.ModelProto:
    merge_equal_constants(model)
    forget_node_names(model)
    name_constants_anew(model)
    return tell_every_shape(model)


CHANGES: list[Change] = [
    merge_equal_constants,
    forget_node_names,
    name_constants_anew,
    constants_as_nodes,
    tell_every_shape,
    forget_every_shape,
    renew,
    put_between,
    all_at_once,
]
KINDS = [("cls", "int8"), ("prob", "fp32"), ("logits", "int8"), ("cls", "fp16")]
SIZE = (64, 96)


@pytest.fixture(scope="module")
def kinds(exported: Callable[..., Path], streets: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of each head and precision that is worth telling apart, with the weights that ship."""
    folder = tmp_path_factory.mktemp("kinds")
    made = {}
    for head, precision in KINDS:
        options = {"precision": precision} if precision == "fp16" else {}
        full = exported(head, SIZE, classes="camvid", **options)
        path = folder / f"{head}-{precision}.onnx"
        if precision == "int8":
            quantise(full, streets, path, least=0.8)
        else:
            path.write_bytes(full.read_bytes())
        made[path.stem] = path
    return made


@pytest.fixture(scope="module")
def pictures(streets: Path) -> list[np.ndarray]:
    return [cv2.imread(str(streets / f"{index}.png")) for index in (1, 6)]


def labels(path: Path, pictures: list[np.ndarray]) -> np.ndarray:
    with Segmenter(path, "cpu", threads=1) as segmenter:
        return np.stack([segmenter(picture).labels for picture in pictures])


@pytest.fixture(scope="module")
def expected(kinds: dict[str, Path], pictures: list[np.ndarray]) -> dict[str, np.ndarray]:
    return {name: labels(path, pictures) for name, path in kinds.items()}


def changed(path: Path, change: Change, target: Path) -> Path:
    model = onnx.load(path)
    onnx.save(change(model) or model, target)
    return target


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_labels_stay(
    kinds: dict[str, Path],
    expected: dict[str, np.ndarray],
    pictures: list[np.ndarray],
    change: Change,
    tmp_path: Path,
) -> None:
    for name, path in kinds.items():
        target = changed(path, change, tmp_path / "changed.onnx")
        onnx.checker.check_model(onnx.load(target))
        assert target.read_bytes() != path.read_bytes() or change is put_between or "logits" in name
        assert np.array_equal(labels(target, pictures), expected[name]), name


def as_exported_before(model: onnx.ModelProto) -> None:
    """The forms of pooling that earlier versions wrote: two products for one bin, and a bilinear Resize of its pixel."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    sides = next(c for name, c in constants.items() if name.endswith("interpolate.sizes"))[2:]
    for index, node in enumerate(model.graph.node):
        if node.op_type == "GlobalAveragePool":
            for name, value in (("mean.rows", np.ones((1, sides[0]))), ("mean.columns", np.ones((sides[1], 1)))):
                model.graph.initializer.append(numpy_helper.from_array((value / value.size).astype(np.float32), name))
            across = helper.make_node("MatMul", [node.input[0], "mean.columns"], ["mean.across"])
            down = helper.make_node("MatMul", ["mean.rows", "mean.across"], list(node.output))
            model.graph.node.remove(node)
            model.graph.node.insert(index, across)
            model.graph.node.insert(index + 1, down)
            break
    (nearest,) = (n for n in model.graph.node if n.op_type == "Resize" and any(a.s == b"nearest" for a in n.attribute))
    del nearest.attribute[:]
    nearest.attribute.append(helper.make_attribute("mode", "linear"))
    nearest.attribute.append(helper.make_attribute("coordinate_transformation_mode", "half_pixel"))


@pytest.mark.parametrize("name", ["prob-fp32", "cls-int8"])
def test_files_of_earlier_versions_open(
    kinds: dict[str, Path], expected: dict[str, np.ndarray], pictures: list[np.ndarray], tmp_path: Path, name: str
) -> None:
    old = changed(kinds[name], as_exported_before, tmp_path / "old.onnx")
    assert {"GlobalAveragePool"}.isdisjoint(node.op_type for node in onnx.load(old).graph.node)
    assert np.mean(labels(old, pictures) == expected[name]) > (0.9999 if name == "prob-fp32" else 0.99)


@pytest.mark.parametrize("change", [merge_equal_constants, tell_every_shape, all_at_once], ids=lambda c: c.__name__)
def test_integers_stay_unsigned(int8: Quantised, change: Change, tmp_path: Path) -> None:
    """As fast as the untouched file: each quantiser, and what reads it, has its own zero point."""
    target = changed(int8.path, change, tmp_path / "changed.onnx")
    graph = onnx.load_from_string(unsigned(onnx_file.without_head(target.read_bytes(), "m"))).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    found, of_weights = set(), []
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            behind_relu = producers[node.input[0]].op_type == "Relu"
            assert values[node.input[2]] == (0 if behind_relu else 128) and values[node.input[2]].dtype == np.uint8
            found.add(behind_relu)
        elif node.op_type == "DequantizeLinear" and node.input[0] in producers:
            assert node.input[2] == producers[node.input[0]].input[2]
        elif node.op_type == "DequantizeLinear":
            of_weights.append(node.input[2])
    assert found == {True, False}
    assert len(of_weights) == len(set(of_weights)) > 40, "without VNNI, ONNX Runtime fails on one that two share"


def test_a_graph_that_cannot_be_turned_stays_as_it_is_and_says_so(
    int8: Quantised, tmp_path: Path, streets: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = changed(int8.path, lambda model: put_between(model, "Concat", axis=1), tmp_path / "changed.onnx")
    with Segmenter(int8.path, "cpu") as ours, Segmenter(target, "cpu") as theirs:
        frame = cv2.imread(str(streets / "1.png"))
        assert np.mean(ours(frame).labels == theirs(frame).labels) > 0.95
    assert "another tool put something between this file's quantisers" in caplog.text
    cut = onnx_file.without_head(target.read_bytes(), "m")
    assert unsigned(cut) == cut
    with Segmenter(target, "cpu") as alone, Segmenter(changed(target, merge_equal_constants, target), "cpu") as merged:
        assert np.array_equal(alone(frame).labels, merged(frame).labels)


def test_heads_of_touched_files_go_on_to_other_formats(kinds: dict[str, Path], streets: Path, tmp_path: Path) -> None:
    """What quantises, and what makes a graph float16, find the head of a file whose nodes and constants have other names."""
    target = changed(kinds["prob-fp32"], all_at_once, tmp_path / "changed.onnx")
    frame = cv2.imread(str(streets / "1.png"))[: SIZE[0], : SIZE[1]][None]
    whole, other = quantise(target, streets, tmp_path / "m.onnx", least=0.8).path, tmp_path / "half.onnx"
    other.write_bytes(to_half(target.read_bytes(), onnx_file.artifact(target.read_bytes(), "m"), True, "m"))
    expected, *found = (
        onnxruntime.InferenceSession(path).run(None, {"image": frame})[0] for path in (kinds["prob-fp32"], whole, other)
    )
    for probabilities in found:
        assert probabilities.shape == expected.shape and np.allclose(probabilities.sum(axis=1), 1, atol=1e-3)
        assert np.mean(probabilities.argmax(axis=1) == expected.argmax(axis=1)) > 0.8


@pytest.mark.parametrize(
    ("level", "said"),
    [("ALL", "an operator of 'com.microsoft"), ("BASIC", "its biases are rounded for ONNX Runtime alone")],
)
def test_what_onnx_runtime_saved_is_named(kinds: dict[str, Path], tmp_path: Path, level: str, said: str) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "saved.onnx")
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(kinds["cls-int8"], options, providers=["CPUExecutionProvider"])
    reason = r"ONNX Runtime saved it after optimising it for one machine\. Give the file"
    with pytest.raises(ArtifactError, match=f"{said}.*{reason}"):
        Segmenter(tmp_path / "saved.onnx", "cpu")


def test_a_lost_description_is_put_back_once_the_graphs_agree(
    kinds: dict[str, Path], pictures: list[np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def forget(model: onnx.ModelProto) -> None:
        del model.metadata_props[:]

    for name, path in kinds.items():
        lost = changed(path, forget, tmp_path / f"{name}.onnx")
        with pytest.raises(
            ArtifactError, match=f"has lost .*: another tool changed it.*--describe ORIGINAL.onnx {lost}"
        ):
            Segmenter(lost, "cpu")
        assert export_main(["--describe", str(path), str(lost)]) == 0
        assert capsys.readouterr().out == f"{lost}\n"
        assert onnx_file.artifact(lost.read_bytes(), "m") == onnx_file.artifact(path.read_bytes(), "m")
        assert np.array_equal(labels(lost, pictures), labels(path, pictures))

    lost = changed(kinds["cls-int8"], forget, tmp_path / "lost.onnx")
    before = lost.read_bytes()
    with pytest.raises(ArtifactError, match="does not match its own description"):
        describe(kinds["cls-fp16"], lost)
    assert lost.read_bytes() == before

    def other_weights(model: onnx.ModelProto) -> None:
        forget(model)
        scale = next(t for t in model.graph.initializer if t.name == "logits.weight")
        values = numpy_helper.to_array(scale).copy()
        values[1] *= 1.5  # building: cells of other classes become it
        scale.CopyFrom(numpy_helper.from_array(values, scale.name))

    with pytest.raises(ParityError, match=r"does not compute what .* cells have another label\. Nothing was written"):
        describe(kinds["cls-int8"], changed(kinds["cls-int8"], other_weights, tmp_path / "other.onnx"))

    def other_axis(model: onnx.ModelProto) -> None:
        forget(model)
        argmax = next(node for node in model.graph.node if node.op_type == "ArgMax")
        next(a for a in argmax.attribute if a.name == "axis").i = 2

    def other_placement(model: onnx.ModelProto) -> None:
        forget(model)
        resize = next(node for node in model.graph.node if node.name == "head.resize")
        next(a for a in resize.attribute if a.name == "coordinate_transformation_mode").s = b"asymmetric"

    for change, said in ((other_axis, r"have the shape"), (other_placement, "pixels have another label")):
        with pytest.raises(ParityError, match=said):
            describe(kinds["cls-int8"], changed(kinds["cls-int8"], change, tmp_path / "other.onnx"))


def test_a_newer_format_names_the_upgrade_and_auto_takes_an_engine_that_reads_it(
    kinds: dict[str, Path], pictures: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def newer(model: onnx.ModelProto) -> None:
        model.ir_version = 99

    path = changed(kinds["prob-fp32"], newer, tmp_path / "newer.onnx")
    with pytest.raises(
        DeviceError, match=r"does not read .* ir_version 99 \(fastscnn-export writes 8\).*--upgrade onnxruntime"
    ):
        Segmenter(path, "cpu")
    pytest.importorskip("openvino")
    with pytest.raises(DeviceError, match="or use device 'openvino', which reads it"):
        Segmenter(path, "cpu")
    monkeypatch.setenv("FASTSCNN_DEVICE", "auto")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with Segmenter(path) as segmenter, Segmenter(kinds["prob-fp32"], "cpu") as reference:
        assert segmenter.device.startswith("OpenVINO")
        assert np.mean(segmenter(pictures[0]).labels == reference(pictures[0]).labels) > 0.99


def test_constants_in_another_file_are_refused_wherever_they_stand(kinds: dict[str, Path], tmp_path: Path) -> None:
    def outside(model: onnx.ModelProto) -> None:
        constants_as_nodes(model)
        tensor = model.graph.node[0].attribute[0].t
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="passwords")

    model = onnx.load(kinds["prob-fp32"])
    outside(model)
    with pytest.raises(ArtifactError, match="weights in another file"):
        onnx_file.artifact(model.SerializeToString(), "m.onnx")


@pytest.mark.parametrize("tool", TOOLS)
def test_real_tools(
    kinds: dict[str, Path], expected: dict[str, np.ndarray], pictures: list[np.ndarray], tool: str
) -> None:
    """`make others` installs them; benchmarks/results/touched.md has all kinds of files."""
    if not TOUCHING.ready:
        pytest.skip("the tools are not installed; make others")
    files = {name: kinds[name] for name in ("cls-int8", "prob-fp32")}
    known = {name: {"cpu": expected[name]} for name in files}
    for outcome in judged(tool, files, touched(tool, files), known, pictures):
        lost = "has lost this project's description" in outcome.found and outcome.described == EQUAL
        saved = "ONNX Runtime saved it" in outcome.found and tool.startswith("ONNX Runtime")
        assert outcome.found == EQUAL or lost or saved, outcome
