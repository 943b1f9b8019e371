"""Calibration: the error by hand, the temperature that made it, and the way from a checkpoint into a file."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from fastscnn.export import export
from fastscnn.model import ClassSet, Street
from fastscnn.model.calibration import fitted, temperature
from fastscnn.model.checkpoint import Checkpoint, load, save, untrained
from fastscnn.model.evaluate import main
from fastscnn.model.reliability import Reliability, reliability_picture
from fastscnn.runtime import ArtifactError, Segmenter, UsageError

CLASSES = ClassSet("bands", ("red", "green", "blue", "grey"), ((200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 90)))
BIASES = (1.5, -0.5, 0.0, -1.0)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calibrated") / "weights.safetensors"
    save(path, replace(untrained(CLASSES, seed=2), balanced=BIASES, temperature=(2.0, 3.0)))
    return path


def test_the_error_by_hand() -> None:
    counted = Reliability()
    counted.add(np.array([0.9, 0.9, 0.9, 0.9]), np.array([True, True, False, False]))
    counted.add(np.array([[0.5, 1.0]]), np.array([[True, True]]))
    assert counted.error() == pytest.approx((4 * 0.4 + 0.5 + 0.0) / 6)
    assert counted.as_dict()["mean_confidence"] == pytest.approx(5.1 / 6)
    assert reliability_picture({"cls": counted}).startswith(b"\x89PNG")
    assert np.isnan(Reliability().error())


def test_the_temperature_that_was_put_in_is_found() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(0, 2, (40_000, 5)).astype(np.float32))
    labels = torch.distributions.Categorical(logits=logits).sample().to(torch.uint8)
    for wrong in (0.4, 1.0, 2.5):
        assert temperature(logits * wrong, labels) == pytest.approx(wrong, rel=0.03)
    groups = [(2.5 * logits[start::4], labels[start::4]) for start in range(4)]
    found = fitted(groups)
    assert found.temperature == pytest.approx(2.5, rel=0.03)
    assert found.before > 0.1 and found.after < 0.01


def test_a_group_is_judged_by_the_temperature_of_the_others() -> None:
    rng = np.random.default_rng(1)
    logits = torch.from_numpy(rng.normal(0, 2, (20_000, 4)).astype(np.float32))
    labels = torch.distributions.Categorical(logits=logits).sample().to(torch.uint8)
    alone = fitted([(3 * logits, labels)])
    unlike = fitted([(3 * logits, labels), (logits / 3, labels)])
    assert alone.after < 0.02
    assert unlike.after > 0.2, "each would be spoilt by the other's"


def test_both_are_kept_in_the_file_and_old_files_have_none(tmp_path: Path, calibrated: Path) -> None:
    found = load(calibrated)
    assert (found.balanced, found.temperature) == (BIASES, (2.0, 3.0))
    plain = tmp_path / "plain.safetensors"
    save(plain, untrained(CLASSES))
    assert b"temperature" not in plain.read_bytes()
    assert (load(plain).balanced, load(plain).temperature) == ((), (1.0, 1.0))
    data = calibrated.read_bytes()
    for wrong in (b"[9.0, 3.0]", b"[0.0, 3.0]", b"[NaN, 3.0]", b"[2.0,null]", b"[2.000000]"):
        edited = tmp_path / "edited.safetensors"
        edited.write_bytes(data.replace(b"[2.0, 3.0]", wrong))
        if wrong == b"[9.0, 3.0]":
            assert load(edited).temperature[0] == 9
        else:
            with pytest.raises(ArtifactError):
                load(edited)


def test_each_head_gets_its_own_logits(calibrated: Path) -> None:
    source = load(calibrated)
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        plain, cls, prob = (n(image) for n in (source.network, source.network_for("cls"), source.network_for("prob")))
    assert torch.allclose(cls, plain / 3, atol=1e-5)
    assert torch.allclose(prob, (plain - torch.tensor(BIASES).view(1, 4, 1, 1)) / 2, atol=1e-5)
    old = replace(source, balanced=(), temperature=(1.0, 1.0))
    assert old.network_for("cls") is old.network_for("prob") is old.network


def test_the_exported_files_say_it_and_do_it(tmp_path: Path, calibrated: Path) -> None:
    source = load(calibrated)
    plain = tmp_path / "plain.safetensors"
    save(plain, replace(source, balanced=(), temperature=(1.0, 1.0)))
    files = {
        (name, head): export(head, (64, 64), path, output=tmp_path / f"{name}-{head}.onnx")
        for name, path in (("ours", calibrated), ("plain", plain))
        for head in ("cls", "prob")
    }
    frame = Street(64, 64, seed=4).frame(2)[0]
    found = {}
    for key, path in files.items():
        with Segmenter(path, "cpu") as segmenter:
            found[key] = segmenter(frame)
            assert segmenter.artifact.temperature == ({"cls": 3.0, "prob": 2.0}[key[1]] if key[0] == "ours" else 1.0)
    grid = found["plain", "cls"].grid
    assert grid is not None
    assert np.array_equal(found["ours", "cls"].labels, found["plain", "cls"].labels)
    best = np.exp(grid / 3 - (grid / 3).max(axis=0)).astype(np.float64)
    assert np.abs(found["ours", "cls"].confidence / 255 - 1 / best.sum(axis=0)).max() < 0.005, "confidence follows"
    assert found["ours", "prob"].probabilities is not None
    shifted = (grid - np.reshape(BIASES, (4, 1, 1))) / 2
    ours = found["ours", "prob"].grid
    assert ours is not None and np.abs(ours - shifted).max() < 1e-4
    keys = {property.key for property in onnx.load(files["plain", "cls"]).metadata_props}
    assert "fastscnn.temperature" not in keys, "files of weights that are not calibrated are what they were"


def test_the_command_tells_the_error_and_writes_what_mends_it(
    rectangles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, made = tmp_path / "weights.safetensors", tmp_path / "made.safetensors"
    source: Checkpoint = untrained(CLASSES, seed=2)
    torch.nn.init.constant_(
        source.network.classifier.conv.weight, 0.0
    )  # the same guess everywhere, and very sure of it
    with torch.no_grad():
        source.network.classifier.conv.bias.copy_(torch.tensor([0.0, 0.0, 6.0, 0.0]))
    save(weights, replace(source, balanced=BIASES))
    report = tmp_path / "report.json"
    arguments = ["--data", str(rectangles), "--device", "cpu", "--json", str(report)]
    assert (
        main([str(weights), *arguments, "--calibration", "--calibrated", str(made), "-o", str(tmp_path / "out")]) == 0
    )
    assert "cls head calibration error" in capsys.readouterr().out
    found = json.loads(report.read_text())["calibration"]
    assert found["cls head"]["expected_calibration_error"] > 0.5
    assert found["fitted"]["cls"]["after"] < 0.3
    assert (tmp_path / "out" / "reliability.png").stat().st_size > 1000
    after = load(made)
    assert after.temperature == (found["fitted"]["prob"]["temperature"], found["fitted"]["cls"]["temperature"])
    assert after.balanced == pytest.approx(BIASES)
    assert main([str(made), *arguments, "--calibration"]) == 0
    assert json.loads(report.read_text())["calibration"]["cls head"]["expected_calibration_error"] < 0.1


def test_a_file_that_runs_tells_its_confidences_error(rectangles: Path, tmp_path: Path, calibrated: Path) -> None:
    for head in ("cls", "prob"):
        model = export(head, (96, 96), calibrated, output=tmp_path / f"{head}.onnx")
        report = tmp_path / "report.json"
        arguments = [str(model), "--data", str(rectangles), "--device", "cpu", "--json", str(report), "--calibration"]
        assert main(arguments) == 0
        counted = json.loads(report.read_text())["calibration"][f"{head} head"]
        assert 0 <= counted["expected_calibration_error"] <= 1 and counted["pixels"] > 10_000
    assert main([*arguments, "--calibrated", str(tmp_path / "x.safetensors")]) == UsageError("").exit_code
