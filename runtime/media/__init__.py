"""Frames in, pictures out: cameras, files and folders; nothing of models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .named import Named
    from .sinks import open_sink
    from .sources import Source

__all__ = ["Named", "Source", "open_sink"]

_PLACES = {"Named": "named", "Source": "sources", "open_sink": "sinks"}


def __getattr__(name: str) -> Any:
    # Lazily: fastscnn-doctor reads names of sources where NumPy or OpenCV is what is broken.
    if name in _PLACES:
        return getattr(import_module(f".{_PLACES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
