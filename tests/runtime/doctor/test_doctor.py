"""The doctor on this machine and on absurd ones: it always answers, and says what to do."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from boards import JETSON, ORIN, PROGRAMS, by_name
from emulation import in_time

from fastscnn.runtime.decode.decoder import described
from fastscnn.runtime.doctor import Finding, examine, look
from fastscnn.runtime.doctor.examine import PROBES
from fastscnn.runtime.doctor.finding import FAILURE, OK, WARNING, worst
from fastscnn.runtime.doctor.look import UnansweredError

Command = Callable[..., subprocess.CompletedProcess[str]]
PACKAGE = Path(__file__).parents[3]


@in_time
def test_this_machine(command: Command) -> None:
    done = command("fastscnn-doctor", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == {OK: 0, WARNING: 0, FAILURE: 1}[told["worst"]], done.stderr
    findings = [Finding(**finding) for finding in told["findings"]]
    assert told["worst"] == worst(findings)
    found = by_name(iter(findings))
    assert found["NumPy"].found == importlib.import_module("numpy").__version__
    assert found["decode"].found == described()
    assert found["ONNX Runtime"].found.startswith(importlib.import_module("onnxruntime").__version__)
    assert found["one that runs"].status != FAILURE if "one that runs" in found else True
    assert re.fullmatch(
        r"takes ONNX Runtime CPU, \d+ threads?: \d+\.\d ms for a frame of the model that ships, 640x960; FASTSCNN_DEVICE=cpu says so",
        found["auto"].found,
    )
    assert {finding.section for finding in findings} == {"software", "engines", "machine", "GPU", "cameras"}
    assert "Traceback" not in done.stderr


GARBAGE: dict[str, Any] = {"binary": b"\xff\x00\xfe:\n: :\n\x1b[2J" * 40, "empty": "", "folder": ..., "gone": None}


@pytest.mark.parametrize("kind", GARBAGE)
def test_a_machine_whose_files_hold_garbage(root: Callable[..., Path], asked: Callable[..., None], kind: str) -> None:
    """The looks themselves cope; nothing has to be caught around them."""
    root(dict.fromkeys(JETSON, GARBAGE[kind]), dict.fromkeys(PROGRAMS, "\x01\x02 %s\n,,,,,\n"))
    asked()
    for name, (section, probe) in PROBES.items():
        if name == "commands":  # are the same whatever the files hold
            continue
        assert {finding.section for finding in by_name(probe()).values()} <= {section}


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 3\n", "#!/bin/sh\nkill -9 $$\n", "#!/nowhere\n"])
def test_programs_that_fail(root: Callable[..., Path], asked: Callable[..., None], script: str) -> None:
    root({"usr/local/cuda/version.json": None}, dict.fromkeys(PROGRAMS, script))
    asked(gpus=ORIN)
    found = by_name(finding for name in ("GPU state", "Jetson", "CUDA toolkit") for finding in PROBES[name][1]())
    assert found["power mode"].status == WARNING
    assert found["Jetson"].found.endswith("JetPack 6")


def test_a_program_that_hangs(root: Callable[..., Path]) -> None:
    root(programs={"nvpmodel": "#!/bin/sh\nexec sleep 60\n"})
    started = time.monotonic()
    assert look.output("nvpmodel", "-q", patience=0.2) == ""
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("error", [OSError("gone"), SystemExit(3), RecursionError(), KeyboardInterrupt()])
def test_a_look_that_breaks_costs_only_itself(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    def well(section: str) -> Iterator[Finding]:
        yield Finding(section, "well", OK, "well")

    def broken() -> Iterator[Finding]:
        raise error
        yield

    for other, (section, _) in PROBES.items():
        monkeypatch.setitem(PROBES, other, (section, lambda section=section: well(section)))
    monkeypatch.setitem(PROBES, name, (PROBES[name][0], broken))
    findings = examine()
    assert len(findings) == len(PROBES)
    (hurt,) = (finding for finding in findings if finding.status != OK)
    assert (hurt.name, hurt.status) == (name, WARNING)
    assert type(error).__name__ in hurt.found
    assert hurt.remedy


def test_a_look_that_hangs_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def stuck() -> Iterator[Finding]:
        release.wait(60)
        yield Finding("machine", "late", OK, "late")

    for name, (section, _) in PROBES.items():
        monkeypatch.setitem(PROBES, name, (section, lambda section=section: iter([Finding(section, "x", OK, "x")])))
    monkeypatch.setitem(PROBES, "disk", ("machine", stuck))
    findings = examine(patience=0.5)
    release.set()
    assert [finding.found for finding in findings if finding.status != OK] == ["has not answered for 0.5 s"]
    assert len(findings) == len(PROBES)


BROKEN = {
    "numpy": "raise RuntimeError('this CPU lacks POPCNT')",
    "cv2": "import ctypes; ctypes.string_at(0)",
    "onnxruntime": "import sys; sys.exit('no licence')",
    "openvino": "raise ImportError('libopenvino.so: cannot open shared object file')",
    "tensorrt": "import os; os._exit(0)",
    "tensorrt_rtx": "print('noise ' * 1000); __version__ = b'odd'",
    "packaging": "raise OSError('disk')",
}


def test_packages_broken_in_every_way(command: Command, tmp_path: Path) -> None:
    for name, code in BROKEN.items():
        (tmp_path / "broken" / name).mkdir(parents=True)
        (tmp_path / "broken" / name / "__init__.py").write_text(code)
    code = "import sys; sys.argv[0] = 'fastscnn-doctor'; from fastscnn.commands import doctor; sys.exit(doctor())"
    paths = [str(tmp_path / "broken"), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, "-c", code, "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr == "fastscnn-doctor: this machine needs attention; see the failures\n"
    found = by_name(Finding(**finding) for finding in json.loads(done.stdout)["findings"])
    assert found["NumPy"].found == "cannot be imported: this CPU lacks POPCNT"
    assert "crashes (SIGSEGV)" in found["OpenCV"].found
    assert "ends the process (no licence)" in found["ONNX Runtime"].found
    assert "libopenvino.so" in found["OpenVINO"].found
    assert "ends the process (exit code 0)" in found["TensorRT"].found
    assert found["TensorRT for RTX"].status == OK
    assert found["one that runs"].status == FAILURE
    assert "(OSError: disk)" in found["fastscnn"].found
    assert {found[name].status for name in ("memory", "Python", "disk, here")} <= {OK, WARNING}


def test_a_package_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hanging_package.py").write_text("import time; time.sleep(100)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(look, "PATIENCE", 2.0)
    with pytest.raises(UnansweredError, match="it hangs: no answer for 2 s"):
        look.ask("module", name="hanging_package")


def test_a_bare_python_without_any_package(oldest_python: str, tmp_path: Path) -> None:
    """JetPack's Python before anything is installed: the doctor needs only the standard library."""
    (tmp_path / "fastscnn").symlink_to(PACKAGE)
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); sys.argv[0] = 'fastscnn-doctor'\n"
        "from fastscnn.commands import doctor; sys.exit(doctor())"
    )
    program = [oldest_python, "-S", "-E", "-B", "-c", code, tmp_path]
    done = subprocess.run([*program, "--json"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    found = by_name(Finding(**finding) for finding in json.loads(done.stdout)["findings"])
    assert {found[name].status for name in ("NumPy", "OpenCV", "one that runs")} == {FAILURE}
    assert found["Python"].status == OK
    done = subprocess.run([*program, "absent.onnx"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    assert "absent.onnx does not exist" in done.stdout
