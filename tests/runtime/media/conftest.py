"""Cameras and GStreamer; see tests/standins/live_cameras.py."""

from live_cameras import gi, mjpeg, rtsp_server

__all__ = ["gi", "mjpeg", "rtsp_server"]
