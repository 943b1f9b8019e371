"""What speaks ROS: the lifecycle node, and messages as bytes. Only `node` and what it imports import rclpy, when it is started."""

from __future__ import annotations
