"""Logits → labels and probabilities, on the CPU and as CUDA kernels; nothing of files, frames or engines."""

from .decoder import Decoder

__all__ = ["Decoder"]
