"""What runs on the robot: numpy and OpenCV; an inference engine is imported when a Segmenter needs it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .artifacts.artifact import Artifact
    from .errors import (
        ArtifactError,
        BuildError,
        DeviceError,
        FastSCNNError,
        FrameError,
        OutputError,
        ParityError,
        SourceError,
        UsageError,
    )
    from .latency import Latency
    from .result import Result, Timings
    from .segmenter import Segmenter
    from .stream import Stream

__all__ = [
    "Artifact",
    "ArtifactError",
    "BuildError",
    "DeviceError",
    "FastSCNNError",
    "FrameError",
    "Latency",
    "OutputError",
    "ParityError",
    "Result",
    "Segmenter",
    "SourceError",
    "Stream",
    "Timings",
    "UsageError",
]

_PLACES = {
    "Artifact": "artifacts.artifact",
    "Latency": "latency",
    "Result": "result",
    "Segmenter": "segmenter",
    "Stream": "stream",
    "Timings": "result",
}


def __getattr__(name: str) -> Any:
    # Lazily: fastscnn-doctor must start where NumPy or OpenCV is what is broken.
    if name in __all__:
        return getattr(import_module(f".{_PLACES.get(name, 'errors')}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
