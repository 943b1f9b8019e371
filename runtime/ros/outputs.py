"""The node's topics: each result is computed only while somebody subscribes to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import cv2
from rclpy.lifecycle import LifecycleNode
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String

from ..artifacts.artifact import Artifact
from . import camera, cdr
from .mask import Segmented
from .topics import LATCHED, RESULTS

_IMAGES = ("mask", "confidence", "overlay", "color")
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]  # masks are flat: more effort takes five times as long for a tenth less
_PNG_FORMAT = "mono8; png compressed mono8"


class Outputs:
    """Publishers of a node that is active.

    Attributes:
        sizes: bytes of the last message of each topic.
    """

    def __init__(self, node: LifecycleNode, artifact: Artifact, tell: Callable[[str, str], None]) -> None:
        self._node, self._artifact, self._tell = node, artifact, tell
        self._publishers = {name: node.create_publisher(Image, f"~/{name}", RESULTS) for name in _IMAGES}
        self._publishers["mask/compressed"] = node.create_publisher(CompressedImage, "~/mask/compressed", RESULTS)
        self._publishers["camera_info"] = node.create_publisher(CameraInfo, "~/camera_info", RESULTS)
        self._labels = _Labels(node, artifact, tell)
        self.sizes: dict[str, int] = {}

    def wanted(self) -> frozenset[str]:
        """Names of the topics that somebody subscribes to."""
        return frozenset(name for name, one in self._publishers.items() if one.get_subscription_count())

    def topic(self, name: str) -> str:
        return str(self._publishers[name].topic_name)

    def labels(self, threshold: float) -> None:
        """Tell the names of the classes, now and to whoever comes later."""
        self._labels.publish(threshold)

    def publish(
        self, header: cdr.Header, found: Segmented, wanted: frozenset[str], opacity: float, info: CameraInfo | None
    ) -> None:
        """The mask goes first: others wait for it, while pictures are for people."""
        if "mask" in wanted:
            self._send("mask", cdr.write_image(header, found.mask, "mono8"))
        if "camera_info" in wanted:
            self._send_camera(header, found, info)
        if "confidence" in wanted:
            if found.confidence is None:
                self._tell("confidence", "this engine keeps its logits, so there is no confidence; use an ONNX file")
            else:
                self._send("confidence", cdr.write_image(header, found.confidence, "mono8"))
        if "mask/compressed" in wanted:
            _, png = cv2.imencode(".png", found.mask, _PNG)
            self._send("mask/compressed", cdr.write_compressed(header, _PNG_FORMAT, png))
        if "color" in wanted:
            self._send("color", cdr.write_image(header, found.colour, "bgr8"))
        if "overlay" in wanted:
            self._send("overlay", cdr.write_image(header, found.overlay(opacity), "bgr8"))

    def close(self) -> None:
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._labels.close()

    def _send(self, name: str, message: bytes) -> None:
        self._publishers[name].publish(message)
        self.sizes[name] = len(message)

    def _send_camera(self, header: cdr.Header, found: Segmented, info: CameraInfo | None) -> None:
        if info is None:
            self._tell(
                "camera_info",
                f"somebody wants {self.topic('camera_info')}, but nothing came on "
                f"{self._node.resolve_topic_name('camera_info')} yet. Remap `camera_info` to the camera's",
            )
            return
        camera.scale(info, *found.size)
        info.header.stamp.sec, info.header.stamp.nanosec = header.seconds, header.nanoseconds
        info.header.frame_id = header.frame_id
        self._send("camera_info", serialize_message(info))


class _Labels:
    """Names of the classes: `vision_msgs/LabelInfo`, or JSON where that package is not installed."""

    def __init__(self, node: LifecycleNode, artifact: Artifact, tell: Callable[[str, str], None]) -> None:
        self._node, self._artifact = node, artifact
        try:
            from vision_msgs.msg import LabelInfo
        except ImportError:
            self._publisher = node.create_publisher(String, "~/label_info_json", LATCHED)
            self._make = self._json
            tell(
                "label_info",
                f"vision_msgs is not installed, so {self._publisher.topic_name} carries the class names as JSON and Nav2's layer "
                "gets none. Install it with: sudo apt install ros-$ROS_DISTRO-vision-msgs",
            )
        else:
            self._publisher = node.create_publisher(LabelInfo, "~/label_info", LATCHED)
            self._make = self._label_info

    def publish(self, threshold: float) -> None:
        self._publisher.publish(self._make(threshold))

    def close(self) -> None:
        self._node.destroy_publisher(self._publisher)

    def _label_info(self, threshold: float) -> Any:
        from vision_msgs.msg import LabelInfo, VisionClass

        classes = [VisionClass(class_id=i, class_name=name) for i, name in enumerate(self._artifact.classes)]
        message = LabelInfo(class_map=classes, threshold=float(threshold))
        message.header.stamp = self._node.get_clock().now().to_msg()
        return message

    def _json(self, threshold: float) -> String:
        names = {str(index): name for index, name in enumerate(self._artifact.classes)}
        return String(data=json.dumps({"class_map": names, "threshold": threshold}))
