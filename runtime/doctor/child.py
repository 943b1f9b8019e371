"""Runs in a process of its own and answers one question of the doctor's; see `look.ask`."""

from __future__ import annotations

import ctypes
import importlib
import statistics
import time
from collections.abc import Callable
from typing import Any

from .look import tell

_EXTRA: dict[str, Callable[[Any], str]] = {
    "cv2": lambda cv2: "with FFmpeg" if "FFMPEG:                      YES" in cv2.getBuildInformation() else "",
    "onnxruntime": lambda engine: "with " + ", ".join(n.removesuffix("ExecutionProvider") for n in engine.get_available_providers()),
    "openvino": lambda engine: "with " + ", ".join(engine.Core().available_devices),
}  # fmt: skip


def answer(question: dict[str, Any]) -> None:
    try:
        tell(_QUESTIONS[question["question"]](**question["about"]))
    except Exception as error:
        lines = str(error).strip().splitlines()
        tell({"failed": lines[0] if lines else type(error).__name__})


def module(name: str) -> dict[str, Any]:
    """Import it, as it will be, and give its version and what it was built with."""
    found = importlib.import_module(name)
    version = getattr(found, "__version__", None) or getattr(found, "VERSION_TEXT", None) or ""
    extra = _EXTRA[name](found) if name in _EXTRA else ""
    return {"version": str(version).partition("-")[0], "extra": extra}


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
    return {"device": segmenter.device, "milliseconds": statistics.median(times[1:]), "trained": artifact.trained}


_QUESTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "module": module,
    "gpus": gpus,
    "misfits": misfits,
    "trial": trial,
}
