"""TensorRT behind a Segmenter. Nothing here needs TensorRT, pycuda or CUDA to be imported."""

from .backend import TensorRTBackend
from .opening import open_engine

__all__ = ["TensorRTBackend", "open_engine"]
