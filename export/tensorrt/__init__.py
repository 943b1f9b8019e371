"""ONNX → TensorRT engine, with its description. Imports neither PyTorch nor TensorRT until they are used."""

from .engine import Built, build
from .options import BuildOptions
from .verification import Comparison, Verification, verify

__all__ = ["BuildOptions", "Built", "Comparison", "Verification", "build", "verify"]
