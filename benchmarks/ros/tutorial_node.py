"""A segmentation node in the way of Nav2's tutorial: whole messages, FP32 NCHW in NumPy, soft-max and arg-max of every pixel.

Written here for comparison: `python -m fastscnn.benchmarks.ros.tutorial_node MODEL IMAGE_TOPIC MASK_TOPIC`. Where the
tutorial calls cv_bridge, whose wheels and NumPy 2 do not go together, it makes the same copies.
"""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
import onnxruntime
import rclpy
from numpy.typing import NDArray
from sensor_msgs.msg import Image

MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)
STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)


def to_cv2(message: Any) -> NDArray[np.uint8]:
    """`imgmsg_to_cv2`: one copy out of the message."""
    return np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.width, 3).copy()


def to_message(picture: NDArray[Any], encoding: str, header: Any) -> Any:
    """`cv2_to_imgmsg`: one copy into the message."""
    message = Image(height=picture.shape[0], width=picture.shape[1], encoding=encoding, header=header)
    message.step = picture.nbytes // picture.shape[0]
    message.data = picture.tobytes()
    return message


def main() -> int:
    model, image, mask = sys.argv[1:4]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    rclpy.init()
    node = rclpy.create_node("tutorial")
    masks = node.create_publisher(Image, mask, 10)
    confidences = node.create_publisher(Image, f"{mask}/confidence", 10)
    overlays = node.create_publisher(Image, f"{mask}/overlay", 10)
    colours = np.random.default_rng(0).integers(0, 256, (256, 3)).astype(np.uint8)

    def segment(message: Any) -> None:
        frame = to_cv2(message)
        rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        tensor = (rgb.transpose(2, 0, 1).astype(np.float32) / 255.0 - MEAN) / STD
        (logits,) = session.run(None, {name: np.expand_dims(tensor, 0)})
        labels = np.argmax(logits, axis=1).squeeze(0).astype(np.uint8)
        exponents = np.exp(logits - np.max(logits, axis=1, keepdims=True))
        probabilities = exponents / np.sum(exponents, axis=1, keepdims=True)
        confidence = (np.max(probabilities, axis=1).squeeze(0) * 255.0).astype(np.uint8)
        masks.publish(to_message(labels, "mono8", message.header))
        confidences.publish(to_message(confidence, "mono8", message.header))
        painted = np.zeros_like(frame)
        for index in range(logits.shape[1]):
            painted[labels == index] = colours[index]
        overlays.publish(to_message(cv2.addWeighted(frame, 0.7, painted, 0.3, 0), "bgr8", message.header))

    node.create_subscription(Image, image, segment, 10)
    print("ready", flush=True)
    rclpy.spin(node)
    return 0


if __name__ == "__main__":
    sys.exit(main())
