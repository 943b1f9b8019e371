"""fastscnn-eval end to end on small data sets with known answers."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
import torch
from installing import StandInGpu
from torch.nn import functional as F

from fastscnn.export import export
from fastscnn.model import CAMVID, CITYSCAPES, ClassSet, Street
from fastscnn.model.checkpoint import Checkpoint, load, save, untrained
from fastscnn.model.datasets import CITYSCAPES_IDS, open_dataset
from fastscnn.model.evaluate import evaluate, main
from fastscnn.model.inference import Network
from fastscnn.model.metrics import Confusion

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("camvid")
    for name in ("val", "valannot"):
        (root / name).mkdir()
    street = Street(96, 128, classes="camvid")
    for index in range(5):
        image, labels = street.frame(index * 20)
        cv2.imwrite(str(root / "val" / f"{index}.png"), image)
        cv2.imwrite(str(root / "valannot" / f"{index}.png"), labels)
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save(path, untrained(CAMVID, seed=4))
    return path


def test_checkpoint_and_onnx_score_alike(command: Command, data: Path, weights: Path, tmp_path: Path) -> None:
    model = export("cls", (96, 128), weights, output=tmp_path / "m.onnx")
    reports = []
    for name in (weights, model):
        done = command("fastscnn-eval", name, "--data", data, "--json", "-")
        assert done.returncode == 0, done.stderr
        reports.append(json.loads(done.stdout))
    assert reports[0]["frames"] == reports[1]["frames"] == 5
    assert reports[0]["mean_iou"] == pytest.approx(reports[1]["mean_iou"], abs=1e-3)
    assert reports[0]["mean_iou"] > 0


def test_an_engine_scores_as_its_onnx_file(
    standin: StandInGpu, data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = export("cls", (64, 96), weights, output=tmp_path / "m.onnx")  # images have another size: the GPU resizes
    reports = []
    for name in (model, standin.engine(model)):
        assert main([str(name), "--data", str(data), "--json", "-"]) == 0
        reports.append(json.loads(capsys.readouterr().out))
    assert standin.machine.launched.count("fastscnn_frame_u8") == 5
    assert reports[0]["mean_iou"] == pytest.approx(reports[1]["mean_iou"], abs=1e-4)


def test_scores_are_those_of_pytorch_by_hand(data: Path, weights: Path) -> None:
    dataset = open_dataset(data, "val")
    scores = evaluate(Network(load(weights, CAMVID)), dataset)
    network, expected = untrained(CAMVID, seed=4).network, Confusion(11)
    for _, image, truth in dataset:
        rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        with torch.inference_mode():
            logits = F.interpolate(
                network((rgb - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)), truth.shape, mode="bilinear"
            )
        expected.add(truth, logits.argmax(1)[0].to(torch.uint8).numpy())
    assert np.abs(scores.confusion.counts - expected.counts).sum() <= 4, "more than a tie or two"


def test_a_perfect_prediction_is_one_and_the_worst_frames_are_found(data: Path) -> None:
    dataset = open_dataset(data, "val")
    truths = {image.tobytes(): np.where(truth == 255, 0, truth).astype(np.uint8) for _, image, truth in dataset}
    assert evaluate(lambda image: truths[image.tobytes()], dataset).confusion.mean_iou() == 1

    spoiled = list(truths)[3]
    scores = evaluate(lambda image: truths[image.tobytes()] * (image.tobytes() != spoiled), dataset, worst=2)
    assert scores.worst[0][1] == "3"
    assert len(scores.worst) == 2
    assert scores.worst[0][0] < 0.5 < scores.worst[1][0]


def test_flip_and_scales_average_probabilities(data: Path, weights: Path) -> None:
    _, image, _ = next(iter(open_dataset(data, "val")))
    plain, flipped = Network(load(weights, CAMVID)), Network(load(weights, CAMVID), flip=True)
    assert not np.array_equal(plain(image), flipped(image))
    assert np.mean(flipped(image) == flipped(image[:, ::-1])[:, ::-1]) > 0.999, "flipping twice is no flip"
    assert np.array_equal(Network(load(weights, CAMVID), scales=[1.0, 1.0])(image), plain(image))
    assert not np.array_equal(Network(load(weights, CAMVID), scales=[0.75, 1.5])(image), plain(image))


def test_zero_skip_silences_the_spatial_branch(data: Path, weights: Path) -> None:
    _, image, _ = next(iter(open_dataset(data, "val")))
    network = untrained(CAMVID, seed=4).network
    for name in ("weight", "bias"):
        torch.nn.init.zeros_(network.feature_fusion.high.bn.get_parameter(name))
    silent = weights.with_name("silent.safetensors")
    save(silent, Checkpoint(network, CAMVID))
    assert np.array_equal(Network(load(weights, CAMVID), zero_skip=True)(image), Network(load(silent, CAMVID))(image))
    assert not np.array_equal(Network(load(weights, CAMVID))(image), Network(load(silent, CAMVID))(image))


def test_folder_of_results(command: Command, data: Path, weights: Path, tmp_path: Path) -> None:
    done = command("fastscnn-eval", weights, "--data", data, "-o", "out", "--worst", 2)
    assert done.returncode == 0, done.stderr
    assert "mean IoU" in done.stdout
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert [name.split("-")[0] for name in names] == ["confusion.csv", "confusion.png", "scores.json", "worst", "worst"]
    assert cv2.imread(str(tmp_path / "out" / names[-1])).shape == (192, 256, 3)


def test_submission_has_the_original_ids(tmp_path: Path) -> None:
    city = tmp_path / "leftImg8bit" / "val" / "ulm"
    truth = tmp_path / "gtFine" / "val" / "ulm"
    city.mkdir(parents=True)
    truth.mkdir(parents=True)
    cv2.imwrite(str(city / "ulm_1_leftImg8bit.png"), np.zeros((8, 19, 3), np.uint8))
    cv2.imwrite(str(truth / "ulm_1_gtFine_labelIds.png"), np.full((8, 19), 7, np.uint8))
    predicted = np.tile(np.arange(19, dtype=np.uint8), (8, 1))
    scores = evaluate(lambda image: predicted, open_dataset(tmp_path, "val"), submission=tmp_path / "out")
    written = cv2.imread(str(tmp_path / "out" / "ulm_1.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(written, np.tile(np.array(CITYSCAPES_IDS, np.uint8), (8, 1)))
    assert set(scores.as_dict()["category_iou"]) == {
        "flat",
        "construction",
        "object",
        "nature",
        "sky",
        "human",
        "vehicle",
    }


def test_memory_does_not_grow_with_frames(data: Path) -> None:
    """Full-size frames, read from disk each time: 40 of them would be 300 MB if they were kept."""
    from dataclasses import replace

    big = np.zeros((1024, 2048, 3), np.uint8)
    cv2.imwrite(str(data / "val" / "big.png"), big)
    cv2.imwrite(str(data / "valannot" / "big.png"), big[..., 0])
    dataset = open_dataset(data, "val")
    (sample,) = [s for s in dataset.samples if s.name == "big"]
    predicted = np.zeros((1024, 2048), np.uint8)
    evaluate(lambda image: predicted, replace(dataset, samples=(sample,) * 5))
    before = psutil.Process().memory_info().rss
    scores = evaluate(lambda image: predicted, replace(dataset, samples=(sample,) * 40))
    for folder in ("val", "valannot"):
        (data / folder / "big.png").unlink()
    assert scores.frames == 40
    assert psutil.Process().memory_info().rss - before < 60e6


def test_errors(command: Command, data: Path, weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "city.safetensors"
    save(other, untrained(CITYSCAPES))
    onnx = export("cls", (64, 64), other, output=tmp_path / "city.onnx")
    yard = tmp_path / "yard.safetensors"
    save(yard, untrained(ClassSet("yard", tuple("abcdefghijk"), CAMVID.palette)))
    for arguments, code, message in (
        ([other, "--data", data], 2, "has 19 classes, but camvid has 11"),
        ([onnx, "--data", data], 2, "was made for cityscapes (19 classes)"),
        ([yard, "--data", data], 2, "was trained on yard, whose class 0 is 'a', but camvid has 'sky' there"),
        ([onnx, "--data", data, "--flip"], 2, "runs at its own resolution"),
        ([weights, "--data", "absent"], 2, "absent is not a folder"),
        (["absent.pth", "--data", data], 4, "absent.pth cannot be read"),
        ([weights, "--data", data, "--submission", "s"], 2, "writes Cityscapes' ids"),
        ([weights, "--data", data, "--scales", "0"], 2, "scale"),
    ):
        done = command("fastscnn-eval", *arguments)
        assert (done.returncode, message in done.stderr, "Traceback" in done.stderr) == (code, True, False), done.stderr


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (["-o", "file"], "file cannot be written (File exists)"),
        (["-o", "file/in"], "file/in cannot be written (Not a directory)"),
        (["--submission", "file"], "file cannot be written (File exists)"),
        (["--json", "nowhere/x.json"], "nowhere is not a folder"),
    ],
)
def test_places_that_cannot_be_written_are_told_before_the_first_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: list[str], says: str
) -> None:
    for kind, content in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
        place = tmp_path / kind / "val" / "ulm"
        place.mkdir(parents=True)
        (place / f"ulm_1_{content}.png").write_bytes(b"whoever reads this fails")
    save(tmp_path / "w.safetensors", untrained(CITYSCAPES))
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    assert main(["w.safetensors", "--data", ".", *option]) == 1
    assert says in capsys.readouterr().err


def test_devices_of_engines_are_for_exported_models(
    command: Command, data: Path, weights: Path, tmp_path: Path
) -> None:
    done = command("fastscnn-eval", weights, "--data", data, "--device", "openvino")
    assert (done.returncode, "runs exported models" in done.stderr) == (2, True)
    model = export("cls", (96, 128), weights, output=tmp_path / "m.onnx")
    done = command("fastscnn-eval", model, "--data", data, "--device", "openvino", "--frames", 1)
    assert (done.returncode, "scoring on OpenVINO CPU fp32" in done.stderr) == (0, True)
