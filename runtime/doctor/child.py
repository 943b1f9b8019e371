"""The doctor's questions, which are answered in a process of their own; see `look.ask`."""

from __future__ import annotations

import ctypes
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import privacy

_STAMPED = 1.0  # milliseconds; younger ones carry the time of their arrival
_EXTRA: dict[str, Callable[[Any], str]] = {
    "onnxruntime": lambda engine: "with " + ", ".join(n.removesuffix("ExecutionProvider") for n in engine.get_available_providers()),
    "openvino": lambda engine: "with " + ", ".join(engine.Core().available_devices),
}  # fmt: skip


def module(name: str) -> dict[str, Any]:
    """Import it, as it will be, and give its version and what it was built with."""
    found = privacy.engine(name)
    version = getattr(found, "__version__", None) or getattr(found, "VERSION_TEXT", None) or ""
    extra = _EXTRA[name](found) if name in _EXTRA else ""
    return {"version": str(version).partition("-")[0], "extra": extra}


def opencv() -> dict[str, Any]:
    """Which cv2 is imported, and which readers of cameras, files and streams it was built with."""
    import re

    import cv2
    import numpy as np

    built = cv2.getBuildInformation()
    names = {"GStreamer": "GStreamer", "FFmpeg": "FFMPEG", "V4L2": r"v4l/v4l2"}
    readers = {name: re.search(rf"^\s*{word}:\s*YES", built, re.MULTILINE) is not None for name, word in names.items()}
    cv2.resize(np.zeros((8, 8, 3), np.uint8), (4, 4))  # an OpenCV for another NumPy imports and does not work
    return {"version": cv2.__version__.partition("-")[0], "readers": readers, "place": str(Path(cv2.__file__).parent)}


def decode() -> dict[str, Any]:
    """What turns logits into labels on the CPU, and why it is not the compiled decode where it is not."""
    from ..decode import native
    from ..decode.decoder import described

    chosen = os.environ.get(native.CHOICE) == "numpy"
    return {"found": described(), "sound": chosen or native.found()[0] is not None}


def gpus() -> dict[str, Any]:
    """The GPUs that the CUDA driver gives, and the newest CUDA that it runs."""
    from ..artifacts.gpu import _LIBRARY
    from ..artifacts.gpu import gpus as find

    found = find()
    version = ctypes.c_int()
    ctypes.CDLL(_LIBRARY).cuDriverGetVersion(ctypes.byref(version))
    return {
        "gpus": [{"name": gpu.name, "target": gpu.target, "memory": gpu.memory} for gpu in found],
        "cuda": f"{version.value // 1000}.{version.value % 1000 // 10}",
    }


def misfits(path: str) -> dict[str, Any]:
    """Reasons why an engine cannot run here."""
    from ..artifacts import engine_file, engine_fit

    _, description = engine_file.read(path)
    return {"reasons": engine_fit.misfits(description)}


def trial(path: str) -> dict[str, Any]:
    """Run it on a grey frame of its own size."""
    import numpy as np

    from ..segmenter import Segmenter

    with Segmenter(path) as segmenter:
        artifact = segmenter.artifact
        frames = [np.full((artifact.height, artifact.width, 3), 127, np.uint8)] * artifact.batch
        times = []
        for _ in range(4):
            started = time.perf_counter()
            segmenter.batch(frames)
            times.append((time.perf_counter() - started) * 1e3 / len(frames))
    return {
        "device": segmenter.device,
        "why": segmenter.why,
        "milliseconds": statistics.median(times[1:]),
        "resolution": artifact.resolution,
        "trained": artifact.trained,
    }


_LOOK = 3.0  # seconds that a source is read
_MOST = 200  # frames of it


def source(place: str) -> dict[str, Any]:
    """Open it, read for some seconds, pause for one, and count what waited."""
    from ..media.sources import Source

    began = time.monotonic()
    with Source(place) as opened:
        took = time.monotonic() - began
        frames, times, ages = iter(opened), [], []
        for named in frames:
            times.append(time.monotonic())
            if named.stamp is not None:
                ages.append((times[-1] - named.stamp) * 1e3)
            shape = named.frame.shape
            if len(times) == _MOST or times[-1] - times[0] > _LOOK:
                break
        spent = times[-1] - times[0]
        rate = (len(times) - 1) / spent if len(times) > 1 and spent > 0 else None
        stamped = opened.live and bool(ages) and statistics.median(ages) > _STAMPED
        told = {
            "shown": opened.shown, "about": opened.about, "live": opened.live, "opened": took,
            "height": shape[0], "width": shape[1], "rate": rate, "announced": opened.rate,
            "age": statistics.median(ages) if stamped else None, "waited": 0, "oldest": 0.0,
        }  # fmt: skip
        if opened.live and rate and not stamped:
            time.sleep(1)
            while True:
                before = time.monotonic()
                if next(frames, None) is None or time.monotonic() - before > 0.5 / rate or told["waited"] == _MOST:
                    break
                told["waited"] += 1
            told["oldest"] = told["waited"] / rate * 1e3
        return told


def gstreamer() -> dict[str, Any]:
    """GStreamer's version, and the elements for CSI cameras that it has."""
    import gi

    gi.require_version("Gst", "1.0")
    from gi.repository import Gst

    Gst.init(None)
    elements = [name for name in ("nvarguscamerasrc", "libcamerasrc") if Gst.ElementFactory.find(name)]
    return {"version": Gst.version_string(), "elements": elements}
