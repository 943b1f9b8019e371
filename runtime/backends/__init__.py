"""What runs a network: one engine a file, the choice among them, and what they share. Nothing of cameras, files or robots."""

from .choice import DEVICES, open_backend
from .protocol import Backend, FrameBackend, Raw

__all__ = ["DEVICES", "Backend", "FrameBackend", "Raw", "open_backend"]
