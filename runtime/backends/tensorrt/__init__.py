"""TensorRT behind a Segmenter. Nothing here needs TensorRT, pycuda or CUDA to be imported."""

from .backend import TensorRTBackend
from .memory import MEMORY, MODES
from .opening import open_engine

__all__ = ["MEMORY", "MODES", "TensorRTBackend", "open_engine"]
