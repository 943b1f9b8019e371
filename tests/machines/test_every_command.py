"""Each command once, on whatever machine and packages these tests run: it does its work, or says in a sentence what is missing."""

import importlib.util
import json
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import cv2
import pytest
import recorded

from fastscnn.model.street import Street

Command = Callable[..., subprocess.CompletedProcess[str]]
MODEL = "cls_256x512_camvid.onnx"


def have(*modules: str) -> bool:
    return all(importlib.util.find_spec(module) for module in modules)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder that commands run in, with a model, a picture, a clip and some frames."""
    models = recorded.unpacked(tmp_path)
    for name in set(models) - {MODEL}:
        models[name].unlink()
    street = Street(256, 512, classes="camvid")
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (512, 256))
    for kind in ("images", "labels"):
        for split in ("train", "val"):
            (tmp_path / "data" / kind / split).mkdir(parents=True)
    for index in range(8):
        frame, labels = street.frame(index * 9)
        writer.write(frame)
        for split in ("train", "val"):
            cv2.imwrite(str(tmp_path / f"data/images/{split}/{index}.png"), frame)
            cv2.imwrite(str(tmp_path / f"data/labels/{split}/{index}.png"), labels)
    writer.release()
    names = recorded.description((tmp_path / MODEL).read_bytes())
    (tmp_path / "data/classes.yaml").write_text(
        "name: camvid\nclasses:\n"
        + "".join(
            f"  {name}: {list(colour)}\n" for name, colour in zip(names["classes"], names["palette"], strict=True)
        )
    )
    return tmp_path


def said(done: subprocess.CompletedProcess[str], *codes: int) -> str:
    assert done.returncode in codes, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    if done.returncode:
        assert done.stderr.strip().splitlines()[-1].startswith("fastscnn-"), done.stderr
    return done.stdout + done.stderr


def test_segment(command: Command, place: Path) -> None:
    for source, out in (("clip.avi", "out.mp4"), ("data/images/val", "out"), ("data/images/val/0.png", "out.png")):
        said(command("fastscnn-segment", source, "-m", MODEL, "-o", out), 0)
        assert (place / out).exists()


def test_doctor(command: Command, place: Path) -> None:
    """On whatever is here it must find no fault of ours: each command starts, and the model runs."""
    done = command("fastscnn-doctor", MODEL, "--json")
    findings = {f["name"]: f for f in json.loads(done.stdout)["findings"]}
    assert findings["fit"]["status"] == "ok", findings["fit"]
    assert findings["commands"]["status"] == "ok", findings["commands"]
    assert findings["OpenCV"]["status"] == "ok"
    assert findings["OpenCV"]["found"].startswith(cv2.__version__.partition("-")[0])
    assert findings["fastscnn"]["status"] == "ok", findings["fastscnn"]


def test_bench(command: Command, place: Path) -> None:
    said(command("fastscnn-bench", MODEL, "--burn-in", 1, "--frames", 2, "--device", "cpu"), 0)


def test_data_and_eval(command: Command, place: Path) -> None:
    said(command("fastscnn-data", "data"), 0, 1, 4)
    said(
        command("fastscnn-eval", MODEL, "--data", "data", "-o", "report"),
        *((0,) if have("yaml", "matplotlib") else (0, 4)),
    )


def test_quantize(command: Command, place: Path) -> None:
    arguments = ("fastscnn-quantize", MODEL, "--calibration", "data/images/val", "-o", "int8.onnx", "--least", 0.5)
    version = tuple(map(int, metadata.version("onnxruntime").split(".")[:2]))
    if have("onnx") and version >= (1, 18):
        said(command(*arguments), 0)
        said(command("fastscnn-segment", "data/images/val/0.png", "-m", "int8.onnx", "-o", "out.png"), 0)
    else:
        assert "onnx" in said(command(*arguments), 4)


def test_trt(command: Command, place: Path) -> None:
    if have("tensorrt") or have("tensorrt_rtx"):
        pytest.skip("TensorRT is here, and tests of its own")
    assert "TensorRT" in said(command("fastscnn-trt", "build", MODEL), 4)


def test_what_needs_pytorch(command: Command, place: Path) -> None:
    tasks = {
        "fastscnn-export": ("--head", "cls", "--res", "64x64", "-o", "new.onnx"),
        "fastscnn-import": ("absent.pth",),
        "fastscnn-train": ("camvid", "data=absent"),
    }
    for name, arguments in tasks.items():
        told = said(command(name, *arguments), *((0, 1, 2, 4) if have("torch", "onnx") else (4,)))
        assert have("torch", "onnx") or "torch" in told
    assert not have("torch", "onnx") or (place / "new.onnx").exists()


@pytest.mark.torch
@pytest.mark.parametrize("head", ["cls", "prob", "logits"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_exports(command: Command, place: Path, head: str, precision: str) -> None:
    said(command("fastscnn-export", "--head", head, "--res", "64x96", "--precision", precision, "-o", "new.onnx"), 0)
    said(command("fastscnn-segment", "clip.avi", "-m", "new.onnx", "-o", "out.mp4", "--frames", 2), 0)


OTHERS = ("fastscnn-adopt", "fastscnn-view", "fastscnn-ros", "fastscnn-bag")  # whose work has tests of its own


@pytest.mark.parametrize("name", OTHERS)
def test_the_others_start(command: Command, name: str) -> None:
    said(command(name, "--version"), 0)


def test_the_list_above_is_whole() -> None:
    entries = metadata.distribution("fastscnn").entry_points
    names = {entry.name for entry in entries if entry.group == "console_scripts"} - {"fastscnn"}
    here = {"segment", "doctor", "bench", "data", "eval", "quantize", "trt", "export", "import", "train"}
    assert names == {f"fastscnn-{name}" for name in here} | {*OTHERS}
