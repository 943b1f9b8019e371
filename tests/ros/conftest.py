"""A robot for tests: real processes of the node on a DDS domain of their own, and cameras and consumers beside them."""

from __future__ import annotations

import importlib.util
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from robots import HEIGHT, WIDTH, Process, Robot

if importlib.util.find_spec("rclpy") is None:
    collect_ignore_glob = ["test_*.py"]  # `make test-ros` brings an environment that has it

HERE = Path(__file__).parent
# Domains of which a test's processes hear each other and no other test's; DDS's ports allow some hundred. Workers take turns.
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_domains = itertools.count(os.getppid() * _workers + _worker, _workers)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("FASTSCNN_DEVICE", "cpu")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Export the weights that ship, by the environment that has torch; each combination once."""
    folder = tmp_path_factory.mktemp("models")

    def give(head: str = "cls", resolution: str = f"{HEIGHT}x{WIDTH}") -> Path:
        path = folder / f"{head}-{resolution}.onnx"
        if not path.exists():
            program = [os.environ["FASTSCNN_EXPORTER"], "-m", "fastscnn.export.exporter"]
            plain = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "LD_LIBRARY_PATH")}
            done = subprocess.run(
                [*program, "--head", head, "--res", resolution, "-o", path],
                cwd=folder,
                env=plain,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
        return path

    return give


@pytest.fixture(scope="session")
def model(exported: Callable[..., Path]) -> Path:
    return exported()


@pytest.fixture(scope="session")
def street() -> np.ndarray:
    from fastscnn.model.street import Street

    return Street(HEIGHT, WIDTH, seed=3).frame(5)[0]


@pytest.fixture
def domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    number = 1 + next(_domains) % 100
    monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "ros-log"))
    return number


@pytest.fixture
def robot(domain: int) -> Iterator[Robot]:
    made = Robot(domain)
    yield made
    made.close()


@pytest.fixture
def start(domain: int, model: Path) -> Iterator[Callable[..., Process]]:
    """Start the node as a user does; at the end of the test it must end by SIGINT, in order, and without a traceback."""
    running: list[Process] = []

    def begin(
        *arguments: object, model: Path | None = model, ready: str = "subscribed", **parameters: object
    ) -> Process:
        given = itertools.chain.from_iterable(("-p", f"{name}:={value}") for name, value in parameters.items())
        chosen = ("-m", model) if model else ()
        environment = {str(a[0]): str(a[1]) for a in arguments if isinstance(a, tuple)}
        words = [a for a in arguments if not isinstance(a, tuple)]
        command = [sys.executable, "-m", "fastscnn.runtime.ros", *chosen, "--ros-args", *given, *words]
        process = Process(*command, **environment)
        running.append(process)
        if ready:
            process.wait_for(ready)
        return process

    yield begin
    for process in running:
        finished = process.process.poll() is not None
        code = process.end()
        assert "Traceback" not in process.text, process.text
        assert finished or code == 0, process.text


@pytest.fixture
def reference(model: Path) -> Iterator[Callable[[np.ndarray], np.ndarray]]:
    """What a Segmenter gives for the same frame, in the test's own process."""
    from fastscnn.runtime import Segmenter

    with Segmenter(model, "cpu") as segmenter:
        yield lambda frame: np.asarray(segmenter(frame).labels)
