"""A page that any browser shows: the camera, its classes, and how the robot is doing. Needs nothing beyond Python."""

from .server import View, address

__all__ = ["View", "address"]
