"""Fast-SCNN from training to a robot: PyTorch → ONNX → TensorRT or ONNX Runtime → `Segmenter`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .runtime import Segmenter

__version__ = "0.1.0"
__all__ = ["Segmenter", "__version__"]

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name == "Segmenter":  # lazily: reading the version should not load OpenCV
        from .runtime import Segmenter

        return Segmenter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
