"""The CUDA kernels around an engine: their source, and how each is launched. Nothing here needs CUDA to be imported."""

from .launch import Launch, frame, labels, probabilities, winners
from .source import ENTRY_POINTS, FOLDER, MAIN, digest, texts

__all__ = [
    "ENTRY_POINTS",
    "FOLDER",
    "MAIN",
    "Launch",
    "digest",
    "frame",
    "labels",
    "probabilities",
    "texts",
    "winners",
]
