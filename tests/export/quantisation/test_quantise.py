"""What an INT8 file holds, that it gives the FP32 file's labels in each engine, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fastscnn.benchmarks.bench import main as bench
from fastscnn.export.quantisation import Quantised, quantise
from fastscnn.export.quantisation.cli import main
from fastscnn.export.quantisation.sensitivity import as_text
from fastscnn.model.evaluate import main as evaluate
from fastscnn.runtime import ArtifactError, ParityError, Segmenter, SourceError, UsageError
from fastscnn.runtime.artifacts import engine_file, onnx_file
from fastscnn.runtime.artifacts.onnx_unsigned import unsigned
from fastscnn.runtime.backends import agreement as agreement_bound
from fastscnn.runtime.backends import trial
from fastscnn.runtime.backends.onnxruntime import open_session

Exported = Callable[..., Path]


def agreement(model: Path, other: Path, streets: Path) -> float:
    """Share of pixels with the same label, over all frames."""
    shares = []
    with Segmenter(model, "cpu") as ours, Segmenter(other, "cpu") as theirs:
        for path in sorted(streets.glob("*.png")):
            frame = cv2.imread(str(path))
            shares.append(np.mean(ours(frame).labels == theirs(frame).labels))
    return float(np.mean(shares))


def test_all_types_are_those_that_tensorrt_takes(int8: Quantised, full: Path) -> None:
    """int8 with the zero point 0, a weight scale an output channel, float biases, nothing between a convolution and its ReLU."""
    model = onnx.load(int8.path)
    onnx.checker.check_model(model, full_check=True)
    assert [o.version for o in model.opset_import if o.domain == ""] == [17]
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = values[node.input[2]]
            assert zero.dtype == np.int8 and not zero.any(), node.name
            assert (values[node.input[1]] > 0).all(), node.name
        if node.op_type == "Relu":
            assert producers[node.input[0]].op_type in ("Conv", "Add"), node.name
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    kept = [node.name for node in convolutions if node.input[1] in values]
    assert kept == list(int8.full) == ["learning_to_downsample.conv.conv", "logits"]
    for node in convolutions:
        assert values[node.input[2]].dtype == np.float32
        if node.name not in kept:
            widened = producers[node.input[1]]
            weights, scale = values[widened.input[0]], values[widened.input[1]]
            assert weights.dtype == np.int8 and scale.shape == weights.shape[:1]
            assert next(a.i for a in widened.attribute if a.name == "axis") == 0
            assert np.abs(weights.reshape(len(weights), -1).astype(int)).max(axis=1).min() >= 126, (
                "the whole range is used"
            )
            assert producers[producers[node.input[0]].input[0]].op_type == "QuantizeLinear", node.name
    assert int8.path.stat().st_size < full.stat().st_size / 3


def test_the_description_tells_where_it_comes_from(int8: Quantised, full: Path, streets: Path, tmp_path: Path) -> None:
    data = onnx_file.read(int8.path)
    artifact = onnx_file.artifact(data, "m")
    assert artifact == int8.artifact
    assert (artifact.precision, artifact.calibration_frames, int8.held_back) == ("int8", 6, 2)
    assert artifact.source == engine_file.digest(full.read_bytes())
    assert onnx_file.outputs(data) == ["labels"]
    again = quantise(full, streets, tmp_path / "again.onnx")
    assert again.path.read_bytes() == data, "the same frames give the same file"
    fewer = quantise(full, streets, tmp_path / "fewer.onnx", frames=4)
    assert fewer.artifact.calibration_frames == 3
    assert fewer.artifact.calibration != artifact.calibration
    before = onnx_file.artifact(onnx_file.read(full), "m")
    assert (before.precision, before.source, before.calibration, before.calibration_frames) == ("fp32", "", "", 0)


def test_the_runtime_gives_the_same_labels(int8: Quantised, full: Path, streets: Path) -> None:
    """At 1/8 of 128x256 a pixel of the logits is eight pixels wide, so edges are a larger share than elsewhere."""
    assert agreement(int8.path, full, streets) > 0.95
    assert min(int8.agreement.pixels, int8.unsigned.pixels) > 0.95
    assert max(int8.agreement.logits, int8.unsigned.logits) < 0.02


@pytest.mark.parametrize(("head", "kind"), [("prob", "uint8"), ("logits", "float")])
def test_other_heads_and_inputs(exported: Exported, streets: Path, tmp_path: Path, head: str, kind: str) -> None:
    options = {"classes": "camvid", "batch": 3} | ({"input": kind} if kind == "float" else {})
    full = exported(head, (64, 96), **options)
    made = quantise(full, streets, tmp_path / "m.onnx", least=0.9)
    assert made.artifact.batch == 3
    assert agreement(made.path, full, streets) > 0.9, "8x12 cells: one that changes is one of a hundred"
    frame = cv2.imread(str(streets / "0.png"))
    if head == "prob":
        with Segmenter(full, "cpu") as ours, Segmenter(made.path, "cpu") as theirs:
            one, other = ours(frame), theirs(frame)
        assert np.abs(one.probabilities - other.probabilities).mean() < 0.02
        (alone,) = open_session(made.path.read_bytes(), "m", "cpu", 1).run(
            None, {"image": np.stack([frame] * 3)[:, ::2, ::2][:, :, :96]}
        )
        assert np.allclose(alone.sum(axis=1), 1, atol=1e-4)


def test_unsigned_activations_are_the_same_numbers(int8: Quantised, full: Path) -> None:
    signed = onnx_file.without_head(onnx_file.read(int8.path), "m")
    graph = onnx.load_from_string(unsigned(signed)).graph
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    producers = {output: node.op_type for node in graph.node for output in node.output}
    rounding = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    for node in rounding:
        zero = values[node.input[2]]
        assert zero.dtype == np.uint8 and zero.shape == ()
        assert zero == (0 if producers[node.input[0]] == "Relu" else 128)
    assert {int(values[node.input[2]]) for node in rounding} == {0, 128}
    frame = np.random.default_rng(0).integers(0, 256, (1, 128, 256, 3), np.uint8)
    one, other = (open_session(g, "m", "cpu", 1).run(None, {"image": frame})[0] for g in (signed, unsigned(signed)))
    assert 0 < np.abs(one - other).max() < 0.1 * np.ptp(one), "equal but for what is cut off behind ReLUs"
    untouched = onnx_file.read(full)
    assert unsigned(untouched) == untouched


def test_onnx_runtime_computes_it_in_integers(int8: Quantised, tmp_path: Path) -> None:
    """Else it would widen every weight in every frame, and be slower than FP32."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    graph = unsigned(onnx_file.without_head(onnx_file.read(int8.path), "m"))
    onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("QLinearConv") == 43
    assert kinds.count("QLinearAdd") == 7
    assert kinds.count("Relu") == 0


def test_openvino_takes_the_file_as_it_is(int8: Quantised, full: Path, streets: Path) -> None:
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    frame = cv2.imread(str(streets / "3.png"))[None]
    results = []
    for path in (full, int8.path):
        compiled = core.compile_model(core.read_model(path.read_bytes()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        results.append(compiled({"image": frame})[0])
        if path == int8.path:
            notes = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
            kinds = [
                note["runtimePrecision"].astype(str) for note in notes if note["layerType"].astype(str) == "Convolution"
            ]
            assert sum(kind in ("i8", "u8") for kind in kinds) >= 43, "computed in integers"
    assert np.mean(results[0] == results[1]) > 0.95


def test_the_trial_of_engines_takes_an_int8_file(
    int8: Quantised, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its engines lie further apart than those of one FP32 file, by steps that fall the other way."""
    pytest.importorskip("openvino")
    monkeypatch.delenv("FASTSCNN_DEVICE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(trial, "_SECONDS", 0.1)
    with Segmenter(int8.path) as segmenter:
        assert segmenter.precision == "int8"
    held = trial.known(int8.path, None)
    assert held is not None
    assert held.entries["openvino"].refused is None
    assert agreement_bound.REDUCED < held.entries["openvino"].difference < agreement_bound.QUANTISED
    with Segmenter(int8.path, "openvino") as segmenter:
        assert (segmenter.precision, segmenter.device[:18]) == ("int8", "OpenVINO CPU int8 ")


def test_the_bench_takes_it_with_a_baseline(int8: Quantised, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--baseline", "--burn-in", "1", "--frames", "2", "--device", "cpu", "--json", "-"]
    assert bench([str(int8.path), *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["precision"] == "int8"


def test_the_dearest_convolutions_are_those_to_keep(int8: Quantised, full: Path, streets: Path, tmp_path: Path) -> None:
    """Eight of 45 in float: those at the table's head give more back than those at its end."""
    costs = [cost for cost in int8.costs if not cost.full]
    assert len(int8.costs) == 45 and {cost.name for cost in int8.costs if cost.full} == set(int8.full)
    assert [cost.logits for cost in costs] == sorted((cost.logits for cost in costs), reverse=True)
    names = [cost.name for cost in costs]
    best, least = (
        quantise(full, streets, tmp_path / "m.onnx", full=chosen).agreement.logits for chosen in (names[:8], names[-8:])
    )
    assert best < 0.9 * least


def test_too_little_agreement_leaves_no_file(full: Path, streets: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"before")
    with pytest.raises(ParityError, match=r"labels equal on .* at least 100\.00% .*--sensitivity"):
        quantise(full, streets, path, least=1)
    assert path.read_bytes() == b"before"
    assert main([str(full), "--calibration", str(streets), "-o", str(tmp_path / "n.onnx"), "--percentile", "60"]) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_models_that_are_not_fp32_are_refused(
    int8: Quantised, exported: Exported, streets: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="quantised already"):
        quantise(int8.path, streets, tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="FP16 graph; expected an FP32 one"):
        quantise(exported("cls", (64, 96), precision="fp16"), streets, tmp_path / "m.onnx")
    foreign = onnx.load(int8.path)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(ArtifactError, match="lost this project's description: another tool changed it"):
        quantise(tmp_path / "foreign.onnx", streets, tmp_path / "m.onnx")


def test_folders_and_options_that_are_refused(full: Path, streets: Path, tmp_path: Path) -> None:
    empty, damaged = tmp_path / "empty", tmp_path / "damaged"
    empty.mkdir()
    damaged.mkdir()
    (damaged / "a.png").write_bytes((streets / "0.png").read_bytes())
    (damaged / "b.png").write_bytes(b"no image")
    for folder, said in (
        (tmp_path / "none", "not a folder"),
        (empty, "holds no images"),
        (damaged, r"b\.png is not an image"),
    ):
        with pytest.raises(SourceError, match=said):
            quantise(full, folder, tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="Did you mean 'logits'"):
        quantise(full, streets, tmp_path / "m.onnx", full=["logit"])
    with pytest.raises(UsageError, match="percentile 20"):
        quantise(full, streets, tmp_path / "m.onnx", percentile=20)
    with pytest.raises(UsageError, match="both the model and the result"):
        quantise(full, streets, full)
    assert not (tmp_path / "m.onnx").exists()


def test_the_command_reports(full: Path, streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """stdout holds the report alone; without images of its own a folder's subfolders are searched, as in Cityscapes."""
    nested = tmp_path / "train"
    nested.mkdir()
    (nested / "city").symlink_to(streets)
    (nested / "town").mkdir()
    for path in streets.glob("*.png"):
        (nested / "town" / path.name).write_bytes(path.read_bytes())
    assert main([str(full), "--calibration", str(nested), "-o", str(tmp_path / "m.onnx"), "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["path"] == str(tmp_path / "m.onnx")
    assert report["artifact"]["calibration_frames"] == 6
    assert report["agreement"]["pixels"] > 0.97 and report["costs"] == []


def test_the_table_names_each_convolution(int8: Quantised) -> None:
    lines = as_text(int8.costs).splitlines()
    assert [line.split()[0] for line in lines[1:]] == [cost.name for cost in int8.costs]
    assert [line.split()[0] for line in lines if line.endswith("kept in float32")] == [
        cost.name for cost in int8.costs if cost.full
    ]


def test_accuracy_on_camvid(
    shared: Path, exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight val frames at half the weights' resolution; all of them at the full one are in benchmarks/results/int8.md."""
    camvid = shared / "data" / "camvid"
    full = exported("cls", (360, 480), classes="camvid")
    made = quantise(full, camvid / "train", tmp_path / "int8.onnx", frames=12)
    scores = []
    for path in (full, made.path):
        assert evaluate([str(path), "--data", str(camvid), "--frames", "8", "--json", "-"]) == 0
        scores.append(json.loads(capsys.readouterr().out)["mean_iou"])
    assert scores[0] > 0.4
    assert scores[1] > scores[0] - 0.01
