"""What runs on the robot: numpy and OpenCV; an inference engine is imported when a Segmenter needs it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .artifacts.artifact import Artifact
    from .artifacts.default_model import ready_model
    from .errors import (
        ArtifactError,
        BuildError,
        DeviceError,
        FastSCNNError,
        FrameError,
        OutputError,
        ParityError,
        SourceError,
        StalledError,
        UsageError,
    )
    from .feed import Captured
    from .flow import Camera
    from .latency import Latency
    from .media.sources import Source
    from .result import Result, Timings
    from .segmenter import Segmenter
    from .stream import Stream

__all__ = [
    "Artifact",
    "ArtifactError",
    "BuildError",
    "Camera",
    "Captured",
    "DeviceError",
    "FastSCNNError",
    "FrameError",
    "Latency",
    "OutputError",
    "ParityError",
    "Result",
    "Segmenter",
    "Source",
    "SourceError",
    "StalledError",
    "Stream",
    "Timings",
    "UsageError",
    "ready_model",
]

_PLACES = {
    "Artifact": "artifacts.artifact",
    "Camera": "flow",
    "Captured": "feed",
    "Latency": "latency",
    "Result": "result",
    "Segmenter": "segmenter",
    "Source": "media.sources",
    "Stream": "stream",
    "Timings": "result",
    "ready_model": "artifacts.default_model",
}


def __getattr__(name: str) -> Any:
    # Lazily: fastscnn-doctor must start where NumPy or OpenCV is what is broken.
    if name in __all__:
        return getattr(import_module(f".{_PLACES.get(name, 'errors')}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
