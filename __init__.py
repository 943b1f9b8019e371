"""Fast-SCNN from training to a robot: PyTorch → ONNX → TensorRT or ONNX Runtime → `Segmenter`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from .runtime import privacy
from .version import __version__

if TYPE_CHECKING:
    from .runtime import Segmenter, Source, ready_model
    from .runtime.errors import (
        ArtifactError,
        BuildError,
        DeviceError,
        FastSCNNError,
        FrameError,
        OutputError,
        ParityError,
        SourceError,
        StalledError,
        TrainingError,
        UsageError,
    )

__all__ = [
    "ArtifactError",
    "BuildError",
    "DeviceError",
    "FastSCNNError",
    "FrameError",
    "OutputError",
    "ParityError",
    "Segmenter",
    "Source",
    "SourceError",
    "StalledError",
    "TrainingError",
    "UsageError",
    "__version__",
    "ready_model",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())
privacy.withhold()


def __getattr__(name: str) -> Any:
    # Lazily: reading the version should not load OpenCV.
    if name in ("Segmenter", "Source", "ready_model"):
        from . import runtime

        return getattr(runtime, name)
    if name in __all__:
        from .runtime import errors

        return getattr(errors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
