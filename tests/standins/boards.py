"""Machines for the doctor, made of files and programs."""

import sys
from collections.abc import Iterator

from fastscnn.runtime.doctor import Finding
from fastscnn.runtime.doctor.finding import OK

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


def by_name(findings: Iterator[Finding]) -> dict[str, Finding]:
    found = {finding.name: finding for finding in findings}
    for finding in found.values():
        assert finding.found
        assert finding.status == OK or finding.remedy, f"{finding} lacks a remedy"
    return found


SYSTEM = {
    f"usr/lib/python3.{sys.version_info.minor}/dist-packages/{name}/__init__.py": "" for name in ("cv2", "tensorrt")
}
ENGINE = {"version": "1.20", "extra": "with CPU"}
