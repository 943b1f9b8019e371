"""The doctor on engines, OpenCV and the commands that are installed."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boards import ENGINE, ORIN, SYSTEM, by_name

from fastscnn.runtime import install
from fastscnn.runtime.artifacts import default_model
from fastscnn.runtime.doctor import auto, launch, look, opencv, software
from fastscnn.runtime.doctor.finding import FAILURE, OK, WARNING
from fastscnn.runtime.doctor.look import UnansweredError


@pytest.mark.parametrize(
    ("device", "why", "preferred", "told"),
    [
        ("OpenVINO", "openvino chosen by a trial", "auto", "; openvino chosen by a trial"),
        ("ONNX Runtime CPU", "", "cpu", "; FASTSCNN_DEVICE=cpu says so"),
        ("ONNX Runtime CPU", "", "auto", "; it is the only engine for ONNX files here"),
        ("ONNX Runtime CUDA", "", "auto", "; no trial of CPUs can beat it"),
    ],
)
def test_what_auto_takes_and_why(
    device: str, why: str, preferred: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"device": device, "why": why, "milliseconds": 12.34, "resolution": "640x960"}
    monkeypatch.setattr(auto, "ask", lambda question, path: answer)
    monkeypatch.setenv("FASTSCNN_DEVICE", preferred)
    found = by_name(auto.auto())["auto"]
    assert found.status == OK
    assert found.found == f"takes {device}: 12.3 ms for a frame of the model that ships, 640x960{told}"


def test_auto_without_the_model_that_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default_model, "_READY", tmp_path / "gone")
    found = by_name(auto.auto())["auto"]
    assert (found.status, found.found) == (WARNING, "cannot be tried: the model that ships is missing")
    assert found.remedy == f"Install it again: {install.again()}"


def test_auto_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(question: str, path: str) -> dict[str, Any]:
        raise UnansweredError("no ONNX Runtime")

    monkeypatch.setattr(auto, "ask", refuse)
    found = by_name(auto.auto())["auto"]
    assert found.status == WARNING and "no ONNX Runtime" in found.found and install.command("cpu") in found.remedy


READS = {"version": "4.8.0", "readers": {"FFmpeg": True, "V4L2": True, "GStreamer": False}, "place": "/venv/cv2"}


def test_which_opencv_is_taken_and_what_it_reads(root: Callable[..., Path], asked: Callable[..., None]) -> None:
    root()
    asked(opencv=READS)
    (finding,) = opencv.opencv()
    assert (finding.status, finding.found) == (OK, "4.8.0, with FFmpeg, V4L2 and without GStreamer, /venv/cv2")
    asked(opencv={**READS, "version": "4.7.0"})
    assert next(opencv.opencv()).status == FAILURE
    root(SYSTEM)
    asked(opencv=READS)
    found = by_name(opencv.opencv())["the system's OpenCV"]
    assert (found.status, "--system-site-packages" in found.remedy) == (WARNING, True)
    asked(
        opencv={
            **READS,
            "place": "/usr/lib/python3/dist-packages/cv2",
            "readers": dict.fromkeys(READS["readers"], True),
        }
    )
    (finding,) = opencv.opencv()
    assert finding.found.startswith("4.8.0, with GStreamer, FFmpeg, V4L2, /usr/lib")


@pytest.mark.parametrize(
    ("packages", "error", "told"),
    [
        (["opencv-python"], "libGL.so.1: cannot open shared object file", "pip uninstall opencv-python && pip install opencv-python-headless"),
        (["opencv-python-headless"], "numpy.core.multiarray failed to import", "--force-reinstall opencv-python-headless"),
        ([], "No module named 'cv2'", "pip install opencv-python; on a Jetson apt install python3-opencv"),
    ],
)  # fmt: skip
def test_a_remedy_never_brings_the_broken_opencv_back(
    root: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, packages: list[str], error: str, told: str
) -> None:
    def ask(question: str, **_: Any) -> dict[str, Any]:
        raise UnansweredError(error)

    root()
    monkeypatch.setattr(opencv, "ask", ask)
    monkeypatch.setattr(look, "installed", lambda _: packages)
    (finding,) = opencv.opencv()
    assert (finding.status, told in finding.remedy) == (FAILURE, True), finding


def test_the_package_is_whole_with_any_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's has no metadata for pip, and the headless package another name."""
    real = software.metadata.version

    def version(name: str) -> str:
        if name.startswith("opencv"):
            raise software.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(software.metadata, "version", version)
    assert by_name(software.package())["fastscnn"].status == OK


def test_tensorrt_outside_of_a_plain_venv(root: Callable[..., Path], asked: Callable[..., None]) -> None:
    root(SYSTEM)
    asked(onnxruntime=ENGINE)
    finding = by_name(software.engines())["TensorRT"]
    assert finding.status == WARNING
    assert "dist-packages, where this environment does not look" in finding.found
    assert "--system-site-packages" in finding.remedy


def test_an_engine_whose_process_died_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does that got no thread or no memory on a busy machine: models run here, and it is told."""
    package = tmp_path / "onnxruntime"
    package.mkdir()
    (package / "__init__.py").write_text(
        f"import pathlib, sys\nmark = pathlib.Path({str(tmp_path / 'tried')!r})\n"
        "if not mark.exists():\n    mark.touch()\n    sys.exit('no thread')\n"
        "__version__ = '1.23.2'\ndef get_available_providers():\n    return ['CPUExecutionProvider']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(software, "_ENGINES", {"onnxruntime": software._ENGINES["onnxruntime"]})
    (finding,) = software.engines()
    assert finding.status == WARNING
    assert finding.found == "1.23.2 with CPU, at the second try; at the first, it ends the process (no thread)"


@pytest.mark.parametrize("module", ["onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "pycuda"])
def test_what_is_installed_and_crashes_is_not_to_be_installed(
    asked: Callable[..., None], monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    asked()
    monkeypatch.setattr(software.importlib.util, "find_spec", lambda name: object() if name == module else None)
    findings = by_name(software.engines())
    (broken,) = (finding for finding in findings.values() if "cannot be imported" in finding.found)
    assert "pip install" not in broken.remedy
    if module == "onnxruntime":
        assert findings["one that runs"].remedy == "Mend one of those above"


def test_a_command_that_does_not_start_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = {
        "fastscnn-export": "exit 0",
        "fastscnn-segment": "echo \"module 'cv2.utils' has no attribute 'logging'\" >&2; exit 1",
        "fastscnn-bench": "kill -SEGV $$",
    }
    for name, code in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{code}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(launch, "_installed", lambda: [*scripts, "fastscnn-doctor", "fastscnn-gone"])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    found = by_name(launch.commands())
    assert set(found) == {"fastscnn-segment", "fastscnn-bench", "fastscnn-gone"}
    assert "has no attribute 'logging'" in found["fastscnn-segment"].found
    assert "crashes (SIGSEGV)" in found["fastscnn-bench"].found
    assert "in no folder of PATH" in found["fastscnn-gone"].found


def test_the_commands_of_this_installation_start() -> None:
    (finding,) = launch.commands()
    assert (finding.status, finding.found) == (OK, f"all {len(launch._installed()) - 1} start")


@pytest.mark.parametrize(
    ("answers", "name", "status"),
    [
        ({}, "one that runs", FAILURE),
        ({"tensorrt": {"version": "10.3.0", "extra": ""}}, "one that runs", FAILURE),  # no GPU
        ({"onnxruntime": ENGINE, "gpus": ORIN}, "GPU", WARNING),
        ({"onnxruntime": ENGINE, "gpus": ORIN, "tensorrt": {"version": "10.3", "extra": ""}}, "GPU", WARNING),
        ({"onnxruntime": ENGINE, "tensorrt": {"version": "8.4.1", "extra": ""}}, "TensorRT", WARNING),
        ({"onnxruntime": ENGINE, "tensorrt": {"version": "12.0", "extra": ""}}, "TensorRT", WARNING),
        ({"onnxruntime": ENGINE, "tensorrt": {"version": "?", "extra": ""}}, "TensorRT", WARNING),
        ({"onnxruntime": ENGINE}, "ONNX Runtime", OK),
    ],
)
def test_engines_that_do_not_go_together(
    asked: Callable[..., None], answers: dict[str, Any], name: str, status: str
) -> None:
    asked(**answers)
    assert by_name(software.engines())[name].status == status


def test_packages_that_overwrite_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "installed", lambda names: [name for name in names if "onnxruntime" in name])
    (finding,) = opencv.conflicts()
    assert finding.found.startswith("onnxruntime and onnxruntime-gpu")


def test_what_decodes_on_the_cpu(asked: Callable[..., None]) -> None:
    asked(decode={"found": "compiled, AVX2", "sound": True})
    (found,) = software.decode()
    assert (found.status, found.found) == (OK, "compiled, AVX2")
    asked(decode={"found": "NumPy, as the install found no C compiler", "sound": False})
    (found,) = software.decode()
    assert found.status == WARNING
    assert "Install a C compiler (apt install gcc libc6-dev), then: " in found.remedy
    assert found.remedy.endswith(install.again())
    asked()
    (found,) = software.decode()
    assert (found.status, found.found) == (WARNING, "cannot be looked at: no decode")
