"""Frames in, pictures out: cameras, files and folders; nothing of models."""

from .sinks import open_sink
from .sources import Named, Source

__all__ = ["Named", "Source", "open_sink"]
