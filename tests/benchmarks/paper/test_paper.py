"""The paper's tables by command: measured ones, and the commands of the others on small drawn data, training to submission."""

import json
import shlex
from importlib import import_module
from pathlib import Path

import cv2
import drawn_cityscapes
import numpy as np
import pytest

from fastscnn.benchmarks.paper import cli, published
from fastscnn.benchmarks.paper.arithmetic import arithmetic
from fastscnn.commands import COMMANDS
from fastscnn.model import CITYSCAPES
from fastscnn.model.checkpoint import save, untrained
from fastscnn.model.datasets import CITYSCAPES_IDS

SHORT = ["epochs=1", "warmup=0", "batch=2", "workers=0", "evaluate_every=1", "crop=[64, 64]"]
SIZE = (64, 128)


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_cityscapes.write(tmp_path_factory.mktemp("cityscapes"), *SIZE)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("imagenet")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("n01440764", "n02102040"):
            (root / split / name).mkdir(parents=True)
            for index in range(2):
                cv2.imwrite(str(root / split / name / f"{index}.png"), rng.integers(0, 255, (64, 64, 3), np.uint8))
    return root


def test_every_command_of_the_other_tables_runs_in_order(
    cityscapes: Path,
    imagenet: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for experiment in published.EXPERIMENTS:
        for line in experiment.commands:
            program, *words = shlex.split(
                line.replace("CITYSCAPES", str(cityscapes)).replace("IMAGENET", str(imagenet))
            )
            if program == "fastscnn-train":
                words += SHORT
            if "--res" in words:
                words[-1] = "64x128"
            main = import_module(f"fastscnn.{COMMANDS[program.removeprefix('fastscnn-')][0]}").main
            assert main(words) == 0, f"{line}: {capsys.readouterr().err}"
            told = capsys.readouterr().out
            assert "mean IoU" in told or "best.safetensors" in told
    (first, second) = sorted(Path("submission").iterdir())
    assert first.name == "town_000000_000019.png" and second.name == "town_000001_000019.png"
    submitted = cv2.imread(str(first), cv2.IMREAD_UNCHANGED)
    assert submitted.shape == SIZE and set(np.unique(submitted)) <= set(CITYSCAPES_IDS)


def test_tables_5_and_7_are_measured_and_stand_beside_the_papers(
    cityscapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "w.safetensors"
    save(weights, untrained(CITYSCAPES))
    words = ["--res", "64x128", "256x512", "--burn-in", "0", "--frames", "2", "--threads", "1", "-o", str(tmp_path)]
    assert cli.main([*words, "--checkpoint", str(weights), "--data", str(cityscapes)]) == 0
    told = capsys.readouterr().out
    report = json.loads((tmp_path / "paper.json").read_text())
    assert told.strip() in (tmp_path / "paper.md").read_text()
    assert [row["resolution"] for row in report["rows"]] == [[64, 128], [256, 512]]
    for row in report["rows"]:
        for head in ("cls", "prob"):
            assert 0 < row[head]["network_and_head"] < row[head]["frame_to_result"] * 1.5
        assert 0 <= row["mean_iou"] < 50
    paper = {line.split()[0]: line.split() for line in told.partition("Table 7")[2].splitlines() if "x" in line[:8]}
    assert paper["256x512"][-1] == "51.9" and "485.4" in paper["256x512"]
    assert paper["64x128"][-1] == "-"
    for experiment in published.EXPERIMENTS:
        assert all(line in told for line in experiment.commands)


def test_arithmetic_is_that_of_the_layers() -> None:
    network = untrained(CITYSCAPES).network
    found = arithmetic(network, 1024, 2048)
    assert found.parameters == sum(p.numel() for p in network.parameters()) == 1_137_795
    first = 512 * 1024 * 32 * 3 * 9  # by hand: the first convolution
    last = 128 * 256 * 19 * 128
    assert first + last < found.multiply_adds < 10e9
    assert arithmetic(network, 512, 1024).multiply_adds == pytest.approx(found.multiply_adds / 4, rel=1e-3)
