"""The CUDA kernels around an engine: their source, and how each is launched. Nothing here needs CUDA to be imported."""

from .launch import FORMS, Launch, confidence, frame, known_labels, labels, probabilities, winners
from .source import ENTRY_POINTS, FOLDER, MAIN, digest, texts

__all__ = [
    "ENTRY_POINTS",
    "FOLDER",
    "FORMS",
    "MAIN",
    "Launch",
    "confidence",
    "digest",
    "frame",
    "known_labels",
    "labels",
    "probabilities",
    "texts",
    "winners",
]
