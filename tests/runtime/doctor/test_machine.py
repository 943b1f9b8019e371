"""The doctor on boards, processors, disks, cameras and GPUs, healthy and sick."""

import os
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from boards import ORIN, by_name

from fastscnn.runtime.doctor import graphics, jetson, machine, software
from fastscnn.runtime.doctor.examine import PROBES
from fastscnn.runtime.doctor.finding import FAILURE, OK, WARNING, worst


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
