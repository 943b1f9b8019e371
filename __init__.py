"""Fast-SCNN from training to a robot: PyTorch → ONNX → TensorRT or ONNX Runtime → `Segmenter`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .runtime import (
        ArtifactError,
        BuildError,
        DeviceError,
        FastSCNNError,
        FrameError,
        OutputError,
        ParityError,
        Segmenter,
        SourceError,
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
    "SourceError",
    "UsageError",
    "__version__",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name in __all__:  # lazily: reading the version should not load OpenCV
        from . import runtime

        return getattr(runtime, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
