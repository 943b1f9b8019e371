"""FP32 ONNX → INT8 ONNX with explicit Q/DQ nodes, checked against the FP32 file before it is left on disk."""

from .quantizer import Quantised, quantise

__all__ = ["Quantised", "quantise"]
