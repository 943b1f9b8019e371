"""One adopted file through every command: what takes an export takes it."""

import json
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import cv2
import numpy as np
import onnx
import pytest
from foreign_networks import HEIGHT, TOLD, WIDTH, Foreign, Made, Net, up

from fastscnn.benchmarks import bench
from fastscnn.export.adopt import Adopted, adopt
from fastscnn.export.quantisation import quantise
from fastscnn.export.tensorrt import BuildOptions, build
from fastscnn.export.tensorrt.half import to_half
from fastscnn.model import evaluate
from fastscnn.runtime import Segmenter
from fastscnn.runtime.artifacts import engine_file, onnx_file
from fastscnn.runtime.backends.agreement import clear
from fastscnn.runtime.commands import segment
from fastscnn.runtime.doctor import cli as doctor
from fastscnn.runtime.view import View

PROBED = ["--burn-in", "1", "--frames", "3", "--device", "cpu"]


@pytest.fixture(scope="module")
def theirs(foreign: Foreign) -> Made:
    return foreign(Net(lambda z, x: up(z, x).argmax(1), classes=4))


@pytest.fixture(scope="module")
def ours(theirs: Made, rectangles: Path, tmp_path_factory: pytest.TempPathFactory) -> Adopted:
    target = tmp_path_factory.mktemp("adopted") / "ours.onnx"
    return adopt(theirs.path, target, classes=rectangles / "classes.yaml", licence="CC0", **TOLD)


@pytest.fixture(scope="module")
def int8(ours: Adopted, streets: Path) -> Path:
    return quantise(ours.path, streets, least=0.9).path


def test_the_description(ours: Adopted, theirs: Made) -> None:
    a = onnx_file.artifact(ours.path.read_bytes(), "ours")
    assert a == ours.artifact
    assert a.classes == ("red", "green", "blue", "grey")
    assert (a.network, a.licence, a.adopted_output) == (theirs.path.stem, "CC0", "out")
    assert a.checkpoint == engine_file.digest(theirs.path.read_bytes())
    assert onnx.load(ours.path).ir_version <= 8  # JetPack 5's parser


def test_segment(ours: Adopted, theirs: Made, picture: np.ndarray, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "street.png"), picture)
    made = tmp_path / "labels.png"
    assert segment.main([str(tmp_path / "street.png"), "-m", str(ours.path), "-o", str(made), "--as", "labels"]) == 0
    labels = cv2.imread(str(made), cv2.IMREAD_UNCHANGED)
    assert np.mean(labels == theirs.labels(picture)) > 0.9995


def test_view(ours: Adopted, picture: np.ndarray) -> None:
    with Segmenter(ours.path, "cpu") as segmenter, View("127.0.0.1", 0) as view:
        result = segmenter(picture)
        view.show(picture, result)
        with urlopen(f"{view.url}model", timeout=10) as answer:
            model = json.loads(answer.read())
        with urlopen(f"{view.url}picture", timeout=10) as answer:
            sent = answer.read()
    assert model["classes"] == ["red", "green", "blue", "grey"]
    png = sent[sent.index(b"\x89PNG") :]
    assert np.array_equal(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED), result.labels)


def test_doctor(ours: Adopted, capsys: pytest.CaptureFixture[str]) -> None:
    doctor.main([str(ours.path)])
    told = " ".join(capsys.readouterr().out.split())  # however wide the terminal is
    assert "head cls, 96x160, 4 classes of bands" in told
    assert "runs on ONNX Runtime" in told


def test_evaluate(ours: Adopted, rectangles: Path, tmp_path: Path) -> None:
    report = tmp_path / "scores.json"
    arguments = [str(ours.path), "--data", str(rectangles), "--device", "cpu", "--json", str(report)]
    assert evaluate.main(arguments) == 0
    assert 0 <= json.loads(report.read_text())["mean_iou"] <= 1


def test_bench_against_the_untouched_file(
    ours: Adopted, theirs: Made, argmax: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    arguments = [str(ours.path), *PROBED, "--baseline-file", str(theirs.path), "--json", str(report)]
    assert bench.main(arguments) == 0
    found = json.loads(report.read_text())
    assert found["baseline"]["name"] == f"ONNX Runtime, {theirs.path.name} untouched"
    assert found["baseline"]["agreement"].startswith("labels equal on 100.0000%")
    assert found["description"].startswith(f"{theirs.path.stem}, cls head")
    assert bench.main([str(ours.path), *PROBED, "--baseline"]) == 0
    assert bench.main([str(ours.path), *PROBED, "--baseline-file", str(argmax.path)]) == 2
    assert "expected that file" in capsys.readouterr().err


def test_bench_of_probabilities(foreign: Foreign, tmp_path: Path) -> None:
    made = foreign(Net(lambda z, x: up(z, x).softmax(1), classes=3))
    ours = adopt(made.path, tmp_path / "ours.onnx", head="prob", **TOLD)
    report = tmp_path / "report.json"
    arguments = [str(ours.path), *PROBED, "--baseline-file", str(made.path), "--json", str(report)]
    assert bench.main(arguments) == 0
    assert json.loads(report.read_text())["baseline"]["agreement"].startswith("probabilities equal")


def test_engines_on_the_processor(ours: Adopted, theirs: Made, picture: np.ndarray) -> None:
    for device in ("openvino", "auto"):
        with Segmenter(ours.path, device) as segmenter:
            results = list(segmenter.stream([picture, picture]))
        assert np.mean(results[1].labels == theirs.labels(picture)) > 0.9995
        region = results[0].region(slice(8, 24), slice(0, 40))
        assert np.mean(region.argmax(0) == results[0].labels[8:24, :40]) > 0.99


def test_int8(int8: Path, theirs: Made, picture: np.ndarray) -> None:
    a = onnx_file.artifact(int8.read_bytes(), "int8")
    assert (a.precision, a.network) == ("int8", theirs.path.stem)
    with Segmenter(int8, "cpu") as segmenter:
        labels = segmenter(picture).labels
    assert np.mean(labels == theirs.labels(picture)) > 0.9


def test_fp16_conversion(ours: Adopted, theirs: Made, picture: np.ndarray, tmp_path: Path) -> None:
    import dataclasses

    graph = to_half(ours.path.read_bytes(), ours.artifact, head=True, source="ours")
    model = onnx.load_model_from_string(graph)
    onnx.helper.set_model_props(model, dataclasses.replace(ours.artifact, precision="fp16").to_metadata())
    path = tmp_path / "half.onnx"
    onnx.save(model, path)
    with Segmenter(ours.path, "cpu") as full, Segmenter(path, "cpu") as half:
        expected, found = full(picture).labels, half(picture).labels
        logits = full.backend.logits(picture[None])[0]
    differing = found != expected
    assert np.mean(differing) < 0.02
    assert not np.any(differing & clear(logits, (HEIGHT, WIDTH), 1e-2))


@pytest.mark.parametrize("which", ["fp32", "int8"])
def test_rtx_engine(which: str, ours: Adopted, int8: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    model = ours.path if which == "fp32" else int8
    built = build(model, tmp_path / "ours.plan", BuildOptions(flavour="rtx", targets=("sm86",)))
    tensors = {t.name: (t.dtype, t.shape) for t in built.description.tensors}
    assert tensors["image"] == ("uint8", (1, HEIGHT, WIDTH, 3))
    assert tensors["logits"] == ("float16" if which == "fp32" else tensors["logits"][0], (1, 4, 12, 20))
    assert built.description.artifact.network == ours.artifact.network


def test_the_command(
    theirs: Made, tmp_path: Path, command: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    """As a user types it: the path on stdout, what was found on stderr, a report where one is asked for."""
    three = ["--mean", *map(str, TOLD["mean"]), "--std", *map(str, TOLD["std"])]
    done = command("fastscnn-adopt", theirs.path, "-o", "ours.onnx", "--json", "report.json", *three)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ours.onnx\n"
    assert "input: (pixel x 1/255 - 0.485 0.456 0.406) / 0.229 0.224 0.225, RGB: as the options say" in done.stderr
    assert "its own Resize, half_pixel" in done.stderr
    assert "labels equal on 100.0000% of pixels" in done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["artifact"]["logits_height"] == 12
    asked = command("fastscnn-adopt", theirs.path, "-o", "other.onnx")
    assert (asked.returncode, asked.stdout) == (2, "")
    assert "does not tell how its pixels are normalised" in asked.stderr
    assert not (tmp_path / "other.onnx").exists()
