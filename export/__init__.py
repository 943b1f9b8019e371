"""Checkpoint → ONNX, checked against PyTorch before it is left on disk."""

from .exporter import export

__all__ = ["export"]
