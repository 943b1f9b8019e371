"""What the README tells a reader to type works."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fastscnn.model import CAMVID, CITYSCAPES, Street
from fastscnn.model.checkpoint import save, untrained
from fastscnn.model.importing.sources import SOURCES
from fastscnn.model.variant import MMSEG
from fastscnn.runtime.media.sinks import VideoSink

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PROJECT = (ROOT / "pyproject.toml").read_text()


def write_theirs(path: Path) -> None:
    """A checkpoint as MMSegmentation writes it."""
    names = next(source for source in SOURCES if source.variant == MMSEG).names
    state = untrained(CITYSCAPES, variant=MMSEG).network.state_dict()
    torch.save({"meta": {}, "state_dict": {foreign: state[own] for own, foreign in names(state).items()}}, path)


def test_commands_of_the_table_run_in_order(tmp_path: Path) -> None:
    street = Street(96, 128)
    with VideoSink(tmp_path / "clip.mp4", 25) as sink:
        for index in range(4):
            sink.write("", street.frame(index)[0])
    for split in ("train", "val"):
        for folder, part in ((split, 0), (f"{split}annot", 1)):
            (tmp_path / "camvid" / folder).mkdir(parents=True)
            picture = Street(96, 128, classes="camvid").frame(0)[part]
            for name in ("street", "again"):
                cv2.imwrite(str(tmp_path / "camvid" / folder / f"{name}.png"), picture)
    save(tmp_path / "weights.safetensors", untrained(CAMVID))
    write_theirs(tmp_path / "theirs.pth")
    lines = re.findall(r"^\| `(fastscnn-[^`]+)`", README, re.MULTILINE)
    assert {line.split()[0] for line in lines} == set(re.findall(r"^(fastscnn-\w+) =", PROJECT, re.MULTILINE))
    for line in lines:
        words = shlex.split(line.replace("1024x2048", "64x96").replace("model.onnx", "fastscnn-cls-64x96.onnx"))
        if words[0] == "fastscnn-bench":
            words += ["--burn-in", "1", "--frames", "2"]
        if words[0] == "fastscnn-quantize":
            words += ["--least", "0.9"]  # two tiny frames
        if words[0] == "fastscnn-train":
            words += ["epochs=1", "warmup=0", "batch=2", "street=0", "resolution=null", "crop=[64, 64]"]
        if words[:2] == ["fastscnn-trt", "build"]:
            words += ["--flavour", "rtx", "--target", "sm86"]  # the flavour that builds without a GPU
        done = subprocess.run(
            [Path(sys.executable).with_name(words[0]), *words[1:]], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
    assert (tmp_path / "out.mp4").exists()


def test_someone_elses_checkpoint_in_three_commands(tmp_path: Path) -> None:
    """The same three in the README and in docs. The engine needs TensorRT and has tests of its own."""
    write_theirs(tmp_path / "theirs.pth")
    pages = (README, (ROOT / "docs/checkpoints.md").read_text())
    (block,) = {re.search(r"```sh\n(fastscnn-import.*?)```", page, re.DOTALL)[1] for page in pages}  # type: ignore[index]
    *lines, engine = block.replace("1024x2048", "64x96").splitlines()
    assert engine == "fastscnn-trt build model.onnx"
    for line in lines:
        name, *words = shlex.split(line)
        program = Path(sys.executable).with_name(name)
        done = subprocess.run([program, *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}: {done.stderr}"
    assert (tmp_path / "model.onnx").exists()


def test_robot_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block as printed, with a video file for the camera and without the window."""
    from fastscnn.export import export

    monkeypatch.chdir(tmp_path)
    with VideoSink(Path("camera.avi"), 25) as sink:
        sink.write("", Street(96, 128).frame(0)[0])
    model = export("cls", (64, 96))
    shown: list[np.ndarray] = []
    monkeypatch.setattr(cv2, "imshow", lambda name, image: shown.append(image))
    monkeypatch.setattr(cv2, "waitKey", lambda delay: -1)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 13
    exec(
        code.replace("fastscnn-cls-1024x2048.onnx", str(model)).replace(
            "VideoCapture(0)", 'VideoCapture("camera.avi")'
        ),
        {},
    )
    assert [image.shape for image in shown] == [(96, 128, 3)]


def test_make_targets_exist() -> None:
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        done = subprocess.run(
            ["make", "--dry-run", "--always-make", target], cwd=ROOT, capture_output=True, text=True, env=os.environ
        )
        assert done.returncode == 0, done.stderr


def test_layout_and_extras_are_those_of_the_project() -> None:
    (block,) = re.findall(r"## Layout\n\n```text\n(.*?)```", README, re.DOTALL)
    for folder in re.findall(r"^(\w+)/", block, re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder
    section = PROJECT.split("[project.optional-dependencies]")[1].split("[project.scripts]")[0]
    extras = set(re.findall(r"^(\w+) = \[", section, re.MULTILINE))
    (table,) = re.findall(r"\| extra \| for \|\n(.*?)\n\n", README, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in table.splitlines()[1:]))) == extras


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page}: {link}"
