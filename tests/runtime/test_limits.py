"""Quotas of control groups, of both versions, as systemd, containers and batch systems set them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastscnn.runtime import limits
from fastscnn.runtime.backends import cores

V2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1_CPU = "33 32 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
V1_MEMORY = "34 32 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
UNIT = "/system.slice/robot.service"
V1_OWN = f"5:cpu,cpuacct:{UNIT}\n4:memory:{UNIT}\n0::/init.scope"

MACHINES = {
    "a container of version 2": ("0::/", [V2], {"cpu.max": "150000 100000", "memory.max": "2000000000"}, (1.5, 2_000_000_000)),
    "systemd's CPUQuota": (
        f"0::{UNIT}", [V2], {f"{UNIT}/cpu.max": "100000 100000", f"{UNIT}/memory.max": "max", "system.slice/memory.max": "4096"}, (1.0, 4096),
    ),
    "the group above is the tighter one": (
        f"0::{UNIT}", [V2], {f"{UNIT}/cpu.max": "400000 100000", "system.slice/cpu.max": "50000 100000"}, (0.5, None),
    ),
    "another's limit is not ours": (f"0::{UNIT}", [V2], {"user.slice/cpu.max": "50000 100000"}, (None, None)),
    "version 1": (
        V1_OWN, [V1_CPU, V1_MEMORY],
        {f"cpu,cpuacct/{UNIT}/cpu.cfs_quota_us": "200000", f"cpu,cpuacct/{UNIT}/cpu.cfs_period_us": "100000",
         f"memory/{UNIT}/memory.limit_in_bytes": "512000000", "memory/memory.limit_in_bytes": "9223372036854771712"},
        (2.0, 512_000_000),
    ),
    "version 1 without limits": (
        V1_OWN, [V1_CPU, V1_MEMORY],
        {f"cpu,cpuacct/{UNIT}/cpu.cfs_quota_us": "-1", f"cpu,cpuacct/{UNIT}/cpu.cfs_period_us": "100000",
         "memory/memory.limit_in_bytes": "9223372036854771712"},
        (None, None),
    ),
    "a container of version 1, which sees its own part": (
        "5:cpu,cpuacct:/docker/ab12", [V1_CPU.replace(" / ", " /docker/ab12 ", 1)],
        {"cpu,cpuacct/cpu.cfs_quota_us": "100000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, (1.0, None),
    ),
    "a group outside of what is mounted": ("0::/../other", [V2], {"cpu.max": "100000 100000"}, (1.0, None)),
    "garbage": ("\xff:\n:::", ["- - -", "x - cgroup2"], {"cpu.max": "1 1"}, (None, None)),
}  # fmt: skip


@pytest.mark.parametrize("name", MACHINES)
def test_limits(tmp_path: Path, name: str) -> None:
    own, mounts, files, expected = MACHINES[name]
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(own)
    (tmp_path / "proc/self/mountinfo").write_text("\n".join(mounts))
    for place, content in files.items():
        path = tmp_path / "sys/fs/cgroup" / place.lstrip("/").replace("//", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert (limits.cores(tmp_path), limits.memory(tmp_path)) == expected


@pytest.mark.parametrize(("quota", "expected"), [(None, 4), (0.5, 1), (1.5, 1), (3.0, 3), (64.0, 4)])
def test_whole_cores_of_those_that_the_mask_allows(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.setattr(limits, "cores", lambda: quota)
    assert cores.usable_cores() == expected


@pytest.fixture
def group() -> Iterator[Path]:
    """A real control group within our own, with half a core; skips where this user may make none."""
    places = [folder for folder in limits._groups(Path("/"), "cpu") if (folder / "cgroup.procs").exists()]
    for folder in places[:1]:
        made = folder / "fastscnn-test" / "inner"
        try:
            made.mkdir(parents=True)
            if (made.parent / "cpu.max").exists():
                (made.parent / "cpu.max").write_text("50000 100000")
            else:
                (made.parent / "cpu.cfs_quota_us").write_text("50000")
        except OSError:
            pytest.skip("this user may make no control group")
        yield made
        made.rmdir()
        made.parent.rmdir()
        return
    pytest.skip("no control groups here")


def test_a_real_quota_on_the_group_above(group: Path) -> None:
    code = "from fastscnn.runtime import limits; print(limits.cores())"
    program = f"echo $$ > {group / 'cgroup.procs'}; exec {sys.executable} -c '{code}'"
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True)
    if "cgroup.procs" in done.stderr:
        pytest.skip("this user may move no process into a control group")
    assert done.stdout == "0.5\n", done.stderr
