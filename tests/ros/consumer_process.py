"""Takes masks, confidences, labels and a cloud as Nav2's semantic segmentation layer does, and tells what breaks its rules.

The rules, from that layer's sources: sensor-data QoS of depth 50 for mask, confidence and cloud; labels reliable and
transient local; messages meet by exactly equal stamps; width × height of mask and cloud agree; pixel (u, v) is
`data[v * width + u]`; nothing is taken before the labels came; a class is found by its name.
"""

import json
import sys
import time

import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import Image, PointCloud2
from vision_msgs.msg import LabelInfo

sensor = qos_profile_sensor_data
sensor.depth = 50
latched = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
kinds = {"mask": "/segmentation/mask", "confidence": "/segmentation/confidence", "cloud": "/cloud"}
heard = {kind: {} for kind in kinds}
labels = []


def keep(kind, message):
    heard[kind][message.header.stamp.sec, message.header.stamp.nanosec] = message


rclpy.init()
node = rclpy.create_node("layer")
for kind, topic in kinds.items():
    node.create_subscription(
        PointCloud2 if kind == "cloud" else Image, topic, lambda m, kind=kind: keep(kind, m), sensor
    )
node.create_subscription(LabelInfo, "/segmentation/label_info", labels.append, latched)


def matched():
    return set.intersection(*(set(messages) for messages in heard.values()))


end = time.monotonic() + 60
while time.monotonic() < end and (len(matched()) < 10 or not labels):
    rclpy.spin_once(node, timeout_sec=0.1)
problems = [] if labels else ["no labels came"]
ids = {one.class_id: one.class_name for one in labels[-1].class_map} if labels else {}
for stamp in matched():
    mask, confidence, cloud = (heard[kind][stamp] for kind in kinds)
    for image in (mask, confidence):
        if image.encoding != "mono8" or image.step != image.width or len(image.data) != image.width * image.height:
            problems.append(f"{image.encoding} step={image.step} of {image.width}, {len(image.data)} bytes")
        if (image.height, image.width) != (cloud.height, cloud.width):
            problems.append(f"{image.height}x{image.width} beside a cloud of {cloud.height}x{cloud.width}")
        if image.header.frame_id != cloud.header.frame_id:
            problems.append(f"frame_id {image.header.frame_id}")
    if strange := {value for value in set(mask.data) if value not in ids and value != 255}:
        problems.append(f"ids without a name: {strange}")
    if not 0 < max(confidence.data) <= 255:
        problems.append("no confidence")
json.dump(
    {"matched": len(matched()), "names": [ids[i] for i in sorted(ids)], "problems": sorted(set(problems))[:5]},
    sys.stdout,
)
node.destroy_node()
rclpy.shutdown()
