"""Cameras; see tests/standins/live_cameras.py."""

from live_cameras import mjpeg

__all__ = ["mjpeg"]
