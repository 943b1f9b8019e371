"""What runs on the robot: numpy and OpenCV; an inference engine is imported when a Segmenter needs it."""

from .artifact import Artifact
from .errors import (
    ArtifactError,
    DeviceError,
    FastSCNNError,
    FrameError,
    OutputError,
    ParityError,
    SourceError,
    UsageError,
)
from .result import Result, Timings
from .segmenter import Segmenter

__all__ = [
    "Artifact",
    "ArtifactError",
    "DeviceError",
    "FastSCNNError",
    "FrameError",
    "OutputError",
    "ParityError",
    "Result",
    "Segmenter",
    "SourceError",
    "Timings",
    "UsageError",
]
