"""Models and frames that many tests share, made once a session by the project's own exporter."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from installing import StandInGpu, compiled_kernels

from fastscnn.export import export
from fastscnn.model.street import Street

# Under nohup and in a script's background SIGINT is ignored, and so it would be in every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("FASTSCNN_DEVICE", "cpu")  # tests that want another engine, or the choice of one, say so

ROOT = Path(__file__).parents[1]
HEIGHT, WIDTH = 128, 256
SIDE = 96  # of the labelled images


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data that lies beside a developer's checkout and is not part of the repository."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no ../shared beside this checkout")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in ("torch", "onnx") if importlib.util.find_spec(name) is None]
    for item in items:
        if missing and item.get_closest_marker("torch"):
            item.add_marker(pytest.mark.skip(reason=f"needs the export extra: no {' and no '.join(missing)} here"))


@pytest.fixture(scope="session")
def newly_exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Export the whole network, with random weights of 19 classes unless told otherwise; each combination once."""
    folder = tmp_path_factory.mktemp("models")
    made: dict[str, Path] = {}

    def give(head: str = "cls", resolution: tuple[int, int] = (HEIGHT, WIDTH), **options: object) -> Path:
        options.setdefault("classes", "cityscapes")
        key = f"{head}-{resolution}-{sorted(options.items())}"
        if key not in made:
            made[key] = export(head, resolution, output=folder / f"{len(made)}.onnx", **options)  # type: ignore[arg-type]
        return made[key]

    return give


@pytest.fixture(scope="session")
def exported(newly_exported: Callable[..., Path]) -> Callable[..., Path]:
    """The same; `tests/runtime` has recorded ones instead."""
    return newly_exported


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that a test runs in this process may send the package's messages elsewhere, as it would in one of its own."""
    ours = logging.getLogger("fastscnn")
    handlers, level, propagate = list(ours.handlers), ours.level, ours.propagate
    yield
    ours.handlers, ours.level, ours.propagate = handlers, level, propagate
    logging.disable(logging.NOTSET)
    for name, logger in logging.root.manager.loggerDict.items():
        if name.startswith("fastscnn") and isinstance(logger, logging.Logger):
            logger.disabled = False  # as another library's configuration leaves all that it does not know


@pytest.fixture(scope="session")
def frames() -> list[np.ndarray]:
    street = Street(HEIGHT, WIDTH, seed=3)
    return [street.frame(index * 5)[0] for index in range(6)]


@pytest.fixture(scope="session")
def rectangles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of three coloured bands each, in the layout of one's own data; train and val are the same."""
    root = tmp_path_factory.mktemp("rectangles")
    (root / "classes.yaml").write_text(
        "name: bands\nclasses: {red: [200, 0, 0], green: [0, 200, 0], blue: [0, 0, 200], grey: [90, 90, 90]}\n"
    )
    colours = np.array([[0, 0, 200], [0, 200, 0], [200, 0, 0], [90, 90, 90]], np.uint8)
    rng = np.random.default_rng(0)
    for index in range(6):
        labels = np.empty((SIDE, SIDE), np.uint8)
        order = rng.permutation(4)
        for band, train_id in enumerate(order[:3]):
            labels[band * SIDE // 3 : (band + 1) * SIDE // 3] = train_id
        if index % 2:
            labels = labels.T.copy()
        image = np.clip(colours[labels] + rng.integers(0, 40, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
        if index == 4:
            labels[SIDE // 8 :] = 255  # few labels: must not weigh more than the others'
        for split in ("train", "val"):
            for kind, content in (("images", image), ("labels", labels)):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(root / kind / split / f"{index}.png"), content)
    return root


@pytest.fixture(scope="session")
def oldest_python() -> str:
    """JetPack 6's Python 3.10 where there is one, else the one that runs the tests."""
    places = [shutil.which("python3.10") or "", *Path.home().glob(".pyenv/versions/3.10.*/bin/python")]
    for place in places:
        if place and subprocess.run([place, "--version"], capture_output=True).returncode == 0:
            return str(place)
    return sys.executable


@pytest.fixture(scope="session")
def kernels_library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The CUDA kernels, compiled by the host's compiler."""
    return compiled_kernels(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch, kernels_library: ctypes.CDLL, tmp_path: Path) -> Iterator[StandInGpu]:
    """A machine with a stand-in GPU; see tests/standins. Whatever a test leaves behind on it fails the test."""
    gpu = StandInGpu(monkeypatch, kernels_library, tmp_path).install()
    yield gpu
    gpu.assert_clean()


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run one of the project's commands as a user does: a process of its own, in an empty folder."""

    def run(name: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name(name)
        return subprocess.run(
            [program, *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            env=os.environ,
            **options,
        )

    return run
