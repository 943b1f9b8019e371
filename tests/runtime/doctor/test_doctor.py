"""The doctor on healthy, sick and absurd machines: it always answers, and says what to do."""

import dataclasses
import importlib.util
import json
import os
import pty
import pwd
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastscnn.runtime import install
from fastscnn.runtime.artifacts import engine_file, onnx_file
from fastscnn.runtime.doctor import Finding, auto, examine, graphics, jetson, launch, look, machine, opencv, software
from fastscnn.runtime.doctor.cli import as_text, main
from fastscnn.runtime.doctor.examine import PROBES
from fastscnn.runtime.doctor.finding import FAILURE, OK, WARNING, worst
from fastscnn.runtime.doctor.look import UnansweredError

Command = Callable[..., subprocess.CompletedProcess[str]]
Exported = Callable[..., Path]
PACKAGE = Path(__file__).parents[3]
ORIN = {"gpus": [{"name": "Orin", "target": "sm87", "memory": 8 << 30}], "cuda": "12.6"}
JETSON = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "proc/cpuinfo": "processor : 0\nFeatures : fp asimd asimddp bf16\n",
    "proc/meminfo": "MemTotal: 7802880 kB\nMemAvailable: 5000000 kB\nSwapTotal: 3901440 kB\n",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_driver": "tegra194",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "729600",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1510400",
    "sys/class/thermal/thermal_zone0/temp": "52125",
    "sys/class/devfreq/17000000.gpu/cur_freq": "306000000",
    "sys/class/devfreq/17000000.gpu/max_freq": "624750000",
    "dev/video0": "",
    "dev/video1": "",
    "sys/class/video4linux/video0/name": "HD Pro Webcam",
    "sys/class/video4linux/video0/index": "0",
    "sys/class/video4linux/video1/name": "HD Pro Webcam",
    "sys/class/video4linux/video1/index": "1",
    "sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de",
    "sys/bus/pci/devices/0000:01:00.0/class": "0x030000",
    "usr/local/cuda/version.json": '{"cuda": {"version": "12.6.11"}}',
    "proc/self/cgroup": "0::/system.slice/robot.service",
    "proc/self/mountinfo": "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
    "sys/fs/cgroup/system.slice/robot.service/cpu.max": "150000 100000",
    "sys/fs/cgroup/memory.max": "max",
}
PROGRAMS = {
    "nvpmodel": "NV Power Mode: MAXN\n0",
    "dpkg-query": "6.2+b77",
    "nvidia-smi": "550.54, 1980, 1980, 41, 700.00, 700.00",
    "nvcc": "Cuda compilation tools, release 12.6, V12.6.85",
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A machine made of files and programs: a Jetson, but for the changes."""

    def make(files: dict[str, Any] | None = None, programs: dict[str, str] | None = None) -> Path:
        top = tmp_path / f"root{time.monotonic_ns()}"
        for name, content in {**JETSON, **(files or {})}.items():
            if content is None:
                continue
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is ...:
                path.mkdir()
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        (top / "bin").mkdir(parents=True)
        for name, said in {**PROGRAMS, **(programs or {})}.items():
            script = top / "bin" / name
            script.write_text(said if said.startswith("#!") else f"#!/bin/sh\ncat <<'END'\n{said}\nEND\n")
            script.chmod(0o755)
        monkeypatch.setattr(look, "ROOT", top)
        monkeypatch.setenv("PATH", f"{top / 'bin'}:/usr/bin:/bin")
        return top

    return make


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Answers in place of child processes; what has none fails."""

    def give(**answers: dict[str, Any]) -> None:
        def ask(question: str, **about: Any) -> dict[str, Any]:
            key = about["name"].partition(".")[0] if question == "module" else question
            if key not in answers:
                raise UnansweredError(f"no {key}")
            return answers[key]

        for module in (software, graphics, opencv):
            monkeypatch.setattr(module, "ask", ask)

        def find_spec(name: str) -> object:
            return object() if name in answers else None

        monkeypatch.setattr(software.importlib.util, "find_spec", find_spec)

    return give


def by_name(findings: Iterator[Finding]) -> dict[str, Finding]:
    found = {finding.name: finding for finding in findings}
    for finding in found.values():
        assert finding.found
        assert finding.status == OK or finding.remedy, f"{finding} lacks a remedy"
    return found


def test_this_machine(command: Command) -> None:
    done = command("fastscnn-doctor", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == {OK: 0, WARNING: 0, FAILURE: 1}[told["worst"]], done.stderr
    findings = [Finding(**finding) for finding in told["findings"]]
    assert told["worst"] == worst(findings)
    found = by_name(iter(findings))
    assert found["NumPy"].found == importlib.import_module("numpy").__version__
    assert found["ONNX Runtime"].found.startswith(importlib.import_module("onnxruntime").__version__)
    assert found["one that runs"].status != FAILURE if "one that runs" in found else True
    assert re.fullmatch(
        r"takes ONNX Runtime CPU, \d+ threads?: \d+\.\d ms for a frame of the model that ships, 640x960; FASTSCNN_DEVICE=cpu says so",
        found["auto"].found,
    )
    assert {finding.section for finding in findings} == {"software", "engines", "machine", "GPU", "cameras"}
    assert "Traceback" not in done.stderr


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


def test_auto_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(question: str, path: str) -> dict[str, Any]:
        raise UnansweredError("no ONNX Runtime")

    monkeypatch.setattr(auto, "ask", refuse)
    found = by_name(auto.auto())["auto"]
    assert found.status == WARNING and "no ONNX Runtime" in found.found and install.command("cpu") in found.remedy


def test_a_healthy_jetson(
    root: Callable[..., Path], asked: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    root()
    asked(gpus=ORIN, tensorrt={"version": "10.3.0", "extra": ""}, pycuda={"version": "2024.1", "extra": ""})
    found = by_name(finding for name in ("GPU", "Jetson", "CUDA toolkit") for finding in PROBES[name][1]())
    assert found["GPU 0"].found == "Orin, sm87, 8.6 GB"
    assert found["driver"].found == "runs CUDA up to 12.6"
    assert found["Jetson"].found == "NVIDIA Jetson Orin Nano Developer Kit, L4T 36.4.3, JetPack 6.2"
    assert found["power mode"].found == "MAXN"
    assert found["GPU clock"].found == "306 of 625 MHz now"
    assert found["CUDA toolkit"].found == "12.6.11"
    engines = by_name(software.engines())
    assert engines["TensorRT"].found == "10.3.0"
    assert "one that runs" not in engines
    rest = by_name(
        f for probe in (machine.clocks, machine.temperature, machine.memory, machine.cameras) for f in probe()
    )
    assert rest["clocks"].found == "governor schedutil, 0.73 of 1.51 GHz now"
    assert rest["temperature"].found == "52 °C at the hottest place"
    assert rest["memory"].found == "5.1 GB free of 8.0 GB, swap 4.0 GB"
    assert rest["video0"].found == "HD Pro Webcam"
    assert "video1" not in rest, "a webcam's second device gives no frames"
    processor = by_name(machine.processor())
    assert "asimd, asimddp, bf16" in processor["processor"].found
    assert processor["quota"].found == "its control group (a container, a systemd unit) may use 1.5 cores"
    assert worst([*found.values(), *engines.values(), *rest.values(), *processor.values()]) == OK


SICK = [
    (jetson.jetson, {"etc/nv_tegra_release": "# R32 (release), REVISION: 7.4"}, "Jetson", FAILURE, "L4T 32.7.4"),
    (jetson.jetson, {"etc/nv_tegra_release": None}, "Jetson", WARNING, "does not tell its release"),
    (machine.temperature, {"sys/class/thermal/thermal_zone1/temp": "96000"}, "temperature", WARNING, "96 °C"),
    (machine.memory, {"proc/meminfo": "MemTotal: 2000000 kB\nMemAvailable: 90000 kB\n"}, "memory", WARNING, "0.1 GB free"),
    (machine.memory, {"sys/fs/cgroup/memory.max": "512000000"}, "memory", WARNING, "0.5 GB for its control group"),
    (
        machine.clocks,
        {"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave"},
        "clocks",
        WARNING,
        "governor powersave",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("probe", "files", "name", "status", "told"), SICK, ids=[sick[4] for sick in SICK])
def test_sick_machines(
    root: Callable[..., Path], probe: Any, files: dict[str, Any], name: str, status: str, told: str
) -> None:
    root(files)
    finding = by_name(probe())[name]
    assert finding.status == status
    assert told in finding.found


SUPER = """# of an Orin Nano Super
< POWER_MODEL ID=0 NAME=15W >
GPU MAX_FREQ 612000000
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< PM_CONFIG DEFAULT=1 >
"""
NX = "< POWER_MODEL ID=0 NAME=MODE_10W_2CORE >\n< POWER_MODEL ID=3 NAME=MODE_20W_6CORE >\n"
AGX = "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=MODE_15W >\n"


@pytest.mark.parametrize(
    ("conf", "now", "status", "told"),
    [
        (SUPER, "15W", WARNING, "nvpmodel -m 2 (MAXN_SUPER)"),
        (SUPER, "25W", WARNING, "this board has 0 15W, 1 25W, 2 MAXN_SUPER"),
        (SUPER, "MAXN_SUPER", OK, "MAXN_SUPER"),
        (NX, "MODE_20W_6CORE", OK, "MODE_20W_6CORE"),
        (NX, "MODE_10W_2CORE", WARNING, "nvpmodel -m 3 (MODE_20W_6CORE)"),
        (AGX, "MODE_15W", WARNING, "nvpmodel -m 0 (MAXN)"),
        (None, "MODE_15W", WARNING, "the fastest mode of /etc/nvpmodel.conf"),
        (None, "MAXN", OK, "MAXN"),
    ],
)
def test_power_modes_by_their_names(
    root: Callable[..., Path], conf: str | None, now: str, status: str, told: str
) -> None:
    root({"etc/nvpmodel.conf": conf}, {"nvpmodel": f"NV Power Mode: {now}\n0"})
    finding = by_name(jetson.jetson())["power mode"]
    assert finding.status == status
    assert told in finding.found + finding.remedy


@pytest.mark.parametrize(
    ("version", "status", "told"),
    [
        ("R35 (release), REVISION: 5.0", WARNING, "JetPack 5: its TensorRT is for Python 3.8"),
        ("R36 (release), REVISION: 4.3", OK, "JetPack 6"),
        ("R38 (release), REVISION: 2.0", OK, "JetPack 7"),
        ("R39 (release), REVISION: 1.0", OK, "JetPack 7.2"),
        ("R99 (release), REVISION: 1.0", OK, "JetPack of an unknown version"),
    ],
)
def test_releases_of_jetpack(root: Callable[..., Path], version: str, status: str, told: str) -> None:
    root({"etc/nv_tegra_release": f"# {version}"}, {"dpkg-query": "#!/bin/sh\nexit 1\n"})
    finding = by_name(jetson.jetson())["Jetson"]
    assert (finding.status, told in finding.found) == (status, True), finding


READS = {"version": "4.8.0", "readers": {"FFmpeg": True, "V4L2": True, "GStreamer": False}, "place": "/venv/cv2"}
SYSTEM = {
    f"usr/lib/python3.{sys.version_info.minor}/dist-packages/{name}/__init__.py": "" for name in ("cv2", "tensorrt")
}


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


def test_a_processor_without_avx2(root: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    root({"proc/cpuinfo": "model name : Celeron\nflags : sse2 sse4_2\n"})
    assert by_name(machine.processor())["processor"].status == WARNING


def test_a_camera_that_this_user_may_not_open(root: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    root()
    monkeypatch.setattr(os, "access", lambda *_: False)
    finding = by_name(machine.cameras())["video0"]
    assert (finding.status, "usermod -aG video" in finding.remedy) == (FAILURE, True)


def test_a_full_disk_and_a_cache_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5_000_000))
    found = by_name(machine.disk())
    assert [finding.status for finding in found.values()] == [WARNING, WARNING]
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    assert "cannot be written" in by_name(machine.disk())["cache"].found
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", lambda _: {}["a user in no list"])
    assert "has no home folder" in by_name(machine.disk())["cache"].found


def test_a_gpu_that_is_there_and_does_not_answer(root: Callable[..., Path], asked: Callable[..., None]) -> None:
    root()
    asked()
    assert by_name(graphics.gpu())["driver"].status == FAILURE
    root({"etc/nv_tegra_release": None, "sys/bus/pci/devices/0000:01:00.0/vendor": "0x8086"})
    assert by_name(graphics.gpu())["GPU"].status == OK, "a machine without NVIDIA's GPU is not ill"


def test_a_gpu_whose_state_is_told(root: Callable[..., Path]) -> None:
    root()
    (finding,) = by_name(graphics.state()).values()
    assert finding.found == "driver 550.54, 1980 of 1980 MHz, 41 °C, 700.00 of 700.00 W allowed"
    root(programs={"nvidia-smi": "550.54, 210, 1980, 91, [N/A], [N/A]"})
    assert by_name(graphics.state())["state 0"].status == WARNING


ENGINE = {"version": "1.20", "extra": "with CPU"}


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


GARBAGE: dict[str, Any] = {"binary": b"\xff\x00\xfe:\n: :\n\x1b[2J" * 40, "empty": "", "folder": ..., "gone": None}


@pytest.mark.parametrize("kind", GARBAGE)
def test_a_machine_whose_files_hold_garbage(root: Callable[..., Path], asked: Callable[..., None], kind: str) -> None:
    """The looks themselves cope; nothing has to be caught around them."""
    root(dict.fromkeys(JETSON, GARBAGE[kind]), dict.fromkeys(PROGRAMS, "\x01\x02 %s\n,,,,,\n"))
    asked()
    for name, (_, probe) in PROBES.items():
        for finding in by_name(probe()).values():
            assert finding.section == PROBES[name][0]


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


def test_a_model_that_fits_and_a_damaged_one(command: Command, exported: Exported, tmp_path: Path) -> None:
    done = command("fastscnn-doctor", exported(), "--json")
    found = by_name(Finding(**finding) for finding in json.loads(done.stdout)["findings"])
    assert done.returncode == 0, done.stdout
    assert re.fullmatch(r"runs on .*, [\d.]+ ms a frame", found["fit"].found)
    assert "head cls, 128x256, 19 classes of cityscapes" in found["file"].found
    assert found["file"].status == WARNING, "its weights are random"
    (tmp_path / "half.onnx").write_bytes(exported().read_bytes()[:100_000])
    done = command("fastscnn-doctor", "half.onnx")
    assert done.returncode == 4
    assert done.stderr == "fastscnn-doctor: half.onnx does not fit this machine; see the section model\n"
    assert "fix: Export it again with fastscnn-export" in done.stdout


def test_an_engine_of_another_machine(command: Command, exported: Exported, tmp_path: Path) -> None:
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
    done = command("fastscnn-doctor", "m.plan")
    assert done.returncode == 4
    assert "engine for sm87, fp16" in done.stdout
    assert "built on Linux odd64" in " ".join(done.stdout.split())
    (tmp_path / "m.plan").write_bytes(b"gone")
    assert "is not the engine that m.plan.json describes" in " ".join(
        command("fastscnn-doctor", "m.plan").stdout.split()
    )


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
    assert {finding.status for finding in named.values()} == {OK}
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


def test_a_source_that_gives_nothing_is_a_failure(command: Command) -> None:
    done = command("fastscnn-doctor", "absent.mp4")
    assert done.returncode == 1
    assert "absent.mp4 gives no frames; see the section source" in done.stderr
    assert "absent.mp4 does not exist" in " ".join(done.stdout.split())
    assert re.search(r"ok +GStreamer", done.stdout)
