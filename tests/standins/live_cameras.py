"""Cameras on the loopback address, and GStreamer where the machine has it."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastscnn.benchmarks.live import cameras
from fastscnn.benchmarks.live.mjpeg import Server, served

Serve = Callable[..., Any]


@pytest.fixture
def mjpeg(frames: list[np.ndarray]) -> Serve:
    """`with mjpeg(rate, after) as server:` a camera on a thread; `after` frames it hangs up."""

    @contextmanager
    def serve(rate: float, after: int = -1, port: int = 0, height: int = 96) -> Iterator[Server]:
        wide = [np.hstack([frame, frame])[:height] for frame in frames]  # with room for a stamp
        with served(wide, rate, after, port) as server:
            yield server

    return serve


@pytest.fixture(scope="session")
def rtsp_server() -> None:
    if cameras.system_python() is None:
        pytest.skip(f"no Python here can serve RTSP: {cameras.INSTALL}")


@pytest.fixture(scope="session")
def gi(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """GStreamer's binding, taken from the system's packages where this Python can load them."""
    places = [Path("/usr/lib/python3/dist-packages/gi"), *Path("/usr/lib64").glob("python3*/site-packages/gi")]
    folder = tmp_path_factory.mktemp("gi")
    for place in places:
        if place.is_dir():
            (folder / "gi").symlink_to(place)
            break
    sys.path.append(str(folder))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Debian 12's importer is of an older Python's kind
            found = importlib.import_module("gi")
            for name in ("Gst", "GstApp"):
                found.require_version(name, "1.0")
                importlib.import_module(f"gi.repository.{name}")
    except (ImportError, ValueError) as error:
        pytest.skip(f"no GStreamer for this Python ({error}): apt install python3-gst-1.0")
    finally:
        sys.path.remove(str(folder))
    return found
