"""The same logs on a real Ray on this machine, with a worker killed in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from recordings import record

from fastscnn.model.street import Street
from fastscnn.runtime.bags.fleet import MANIFEST

COMMAND = [sys.executable, "-c", "import sys; from fastscnn.commands import bag; sys.exit(bag())"]


def kill_if_writing(process: Path) -> int:
    """SIGKILL for the worker that has the long log's file open; gives its id."""
    try:
        if not (process / "comm").read_text().startswith("ray::"):
            return 0
        if not any("/labels/.a." in str(link.readlink()) for link in (process / "fd").iterdir()):
            return 0
        os.kill(int(process.name), signal.SIGKILL)
    except OSError:  # gone meanwhile
        return 0
    return int(process.name)


def test_ray_gives_the_same_manifest_though_a_worker_is_killed(tmp_path, model) -> None:
    street = Street(128, 256, seed=3)
    frames = [np.ascontiguousarray(street.frame(index * 5)[0]) for index in range(3)]
    for name in ("a", "b", "old/c", "d"):
        record(tmp_path / "logs" / name, frames * (80 if name == "a" else 4), "mcap")
    (tmp_path / "logs" / "torn.bag").write_bytes(b"#ROSBAG V2.0\n")
    words = [tmp_path / "logs", "-m", model, "--device", "cpu", "--threads", "1"]
    expected = subprocess.run([*COMMAND, *words, "-o", tmp_path / "expected"], capture_output=True, text=True)
    assert expected.returncode == 1, expected.stderr  # for the torn one
    quiet = {"RAY_AUTH_MODE": "disabled", "HOME": str(tmp_path), "RAY_TMPDIR": "/tmp"}
    with subprocess.Popen(
        [*COMMAND, *words, "-o", tmp_path / "labels", "--ray"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | quiet,
    ) as process:
        killed = 0
        until = time.monotonic() + 600
        while not killed and process.poll() is None:
            assert time.monotonic() < until
            killed = next(filter(None, map(kill_if_writing, Path("/proc").glob("[0-9]*"))), 0)
            time.sleep(0.01)
        _, said = process.communicate(timeout=400)
    if "timed out during startup" in said.splitlines()[-1]:
        pytest.skip("Ray itself did not start in time, three times: this machine has too much other work")
    assert killed, said
    assert process.returncode == 1, said
    assert "Traceback" not in said
    assert "1 of 5 bags could not be labelled" in said.splitlines()[-1]
    assert not list((tmp_path / "labels").glob(".*"))
    found, wanted = (json.loads((tmp_path / name / MANIFEST).read_text()) for name in ("labels", "expected"))
    assert found == wanted
    assert [entry.get("masks") for entry in found["logs"]] == [240, 12, 12, 12, None]
