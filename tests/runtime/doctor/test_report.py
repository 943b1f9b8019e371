"""What the doctor says of a model or a source, the page that it prints, and its exit codes."""

import dataclasses
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boards import by_name

from fastscnn.runtime.artifacts import engine_file, onnx_file
from fastscnn.runtime.doctor import Finding
from fastscnn.runtime.doctor.cli import as_text, main
from fastscnn.runtime.doctor.examine import PROBES
from fastscnn.runtime.doctor.finding import FAILURE, OK, WARNING

Doctor = Callable[..., tuple[int, str, str]]
Exported = Callable[..., Path]


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Doctor:
    """The doctor on what is asked alone; that it starts every installed command is another test's."""
    monkeypatch.setitem(PROBES, "commands", ("software", lambda: iter(())))
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(list(map(str, words)))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_model_that_fits_and_a_damaged_one(doctor: Doctor, exported: Exported, tmp_path: Path) -> None:
    code, told, _ = doctor(exported(), "--json")
    found = by_name(Finding(**finding) for finding in json.loads(told)["findings"])
    assert code == 0, told
    assert re.fullmatch(r"runs on .*, [\d.]+ ms a frame", found["fit"].found)
    assert "head cls, 128x256, 19 classes of cityscapes" in found["file"].found
    assert found["file"].status == WARNING, "its weights are random"
    (tmp_path / "half.onnx").write_bytes(exported().read_bytes()[:100_000])
    code, told, complained = doctor("half.onnx")
    assert code == 4
    assert complained == "fastscnn-doctor: half.onnx does not fit this machine; see the section model\n"
    assert "fix: Export it again with fastscnn-export" in told


def test_an_engine_of_another_machine(doctor: Doctor, exported: Exported, tmp_path: Path) -> None:
    artifact = onnx_file.artifact(onnx_file.read(exported()), "m")
    tensors = (
        engine_file.EngineTensor("image", False, "uint8", (1, 128, 256, 3)),
        engine_file.EngineTensor("logits", True, "float16", (1, 19, 16, 32)),
    )
    values: dict[str, Any] = dict.fromkeys(("source_sha256", "key"), "0" * 64)
    values |= {"artifact": artifact, "tensors": tensors, "layers": (), "options": {}, "kernels": None, "dla": None}
    values |= {
        "flavour": "tensorrt",
        "version": "10.3.0",
        "targets": ("sm87",),
        "device": "Orin",
        "system": "Linux odd64",
    }
    values |= {"version_compatible": False, "precision": "fp16", "precision_from": "inspector", "memory": 5_000_000}
    values |= {"source": "m.onnx", "seconds": 1.0, "built": "", "size": 4, "sha256": engine_file.digest(b"plan")}
    engine_file.write(tmp_path / "m.plan", b"plan", engine_file.EngineDescription(**values))
    code, told, _ = doctor("m.plan")
    assert code == 4
    assert "engine for sm87, fp16" in told
    assert "built on Linux odd64" in " ".join(told.split())
    (tmp_path / "m.plan").write_bytes(b"gone")
    assert "is not the engine that m.plan.json describes" in " ".join(doctor("m.plan")[1].split())


FINDINGS = [
    Finding("software", "Python", OK, "3.10.12"),
    Finding("machine", "memory", WARNING, "0.4 GB free of 8.0 GB, swap 0.0 GB", "Add swap " * 20),
    Finding("cameras", "video0", FAILURE, "HD Pro Webcam, which this user may not open " * 3, "Join the group"),
]


def test_the_page() -> None:
    page = as_text(FINDINGS, 80)
    assert max(map(len, page.splitlines())) <= 80
    assert page.splitlines()[2:4] == ["Software", "  ok       Python  3.10.12"]
    assert page.endswith("3 findings: 1 ok, 1 warning, 1 failure")
    assert as_text([], 80).endswith("0 findings: 0 ok, 0 warnings, 0 failures")
    assert re.sub(r"\033\[[\d;]*m", "", as_text(FINDINGS, 80, coloured=True)) == page


def test_colours_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, its = pty.openpty()
    code = "import sys; sys.argv = ['x']; from fastscnn.runtime.doctor import cli; print(cli._coloured())"
    for environment, expected in (
        ({"TERM": "xterm"}, "True"),
        ({"NO_COLOR": "1"}, "False"),
        ({"TERM": "dumb"}, "False"),
    ):
        plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
        paths = os.pathsep.join(filter(None, sys.path))
        subprocess.run([sys.executable, "-c", code], stdout=its, env={**plain, "PYTHONPATH": paths, **environment})
        assert os.read(ours, 100).decode().strip() == expected
    os.close(ours)
    os.close(its)


def test_exit_codes_by_the_worst(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from fastscnn.runtime.doctor import cli

    for status, code in ((OK, 0), (WARNING, 0), (FAILURE, 1)):
        finding = Finding("machine", "x", status, "x", "x")
        monkeypatch.setattr(cli, "examine", lambda path, finding=finding: [finding])
        assert main([]) == code
        assert main(["--json"]) == code
        assert json.loads(capsys.readouterr().out.partition("\n{")[2].join(["{", ""]))["worst"] == status
    model = dataclasses.replace(finding, section="model")
    monkeypatch.setattr(cli, "examine", lambda path: [finding, model])
    assert main(["m.onnx"]) == 4


def test_a_source_is_examined(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="the clip is written by the video extra")
    from fastscnn.benchmarks.live import cameras, clips
    from fastscnn.runtime.doctor import source

    clips.kinds()["regular.mp4"](tmp_path / "clip.mp4")
    named = by_name(source.source(str(tmp_path / "clip.mp4")))
    assert re.fullmatch(
        r"in \d+\.\d s: .*clip\.mp4 height=96 width=128 h264, through OpenCV's FFMPEG", named["opens"].found
    )
    assert named["frames"].found.endswith("/s can be read, 25/s announced") and "age" not in named
    with cameras.mjpeg(20, (96, 400)) as url:
        named = by_name(source.source(f"{url}?flip=vertical"))
    assert 15 < float(named["frames"].found.partition("/s")[0]) < 25
    assert "frames waited after a pause of one second, the oldest" in named["age"].found
    assert FAILURE not in {finding.status for finding in named.values()}  # ages are those of a busy test machine
    (finding,) = source.source("rtsp://user:secret@127.0.0.1:9/none")
    assert (finding.name, finding.status) == ("opens", FAILURE)
    assert "rtsp://…@127.0.0.1:9/none cannot be opened" in finding.found and "Check the address" in finding.remedy


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", True), ("0?width=640&height=480", True), ("/dev/video1", True), ("rtsp://a/b", True), ("clip.MP4", True),
     ("videotestsrc ! videoconvert", True), ("model.onnx", False), ("model.plan", False), ("models/0", False)],
)  # fmt: skip
def test_what_is_a_source_and_what_a_model(text: str, expected: bool) -> None:
    from fastscnn.runtime.doctor.source import is_source

    assert is_source(text) is expected


def test_a_source_that_gives_nothing_is_a_failure(doctor: Doctor) -> None:
    code, told, complained = doctor("absent.mp4")
    assert code == 1
    assert "absent.mp4 gives no frames; see the section source" in complained
    assert "absent.mp4 does not exist" in " ".join(told.split())
    assert re.search(r"ok +GStreamer", told)
