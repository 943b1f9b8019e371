"""What goes on between publishers and subscribers, told in words: reliability, types, and messages too large to arrive."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

QOS = ("auto", "reliable", "best_effort")
TRANSPORTS = ("raw", "compressed")
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CARRIED = 512 * 1024  # bytes of Fast DDS's segment of shared memory; larger messages go by UDP, in pieces
TRANSPORT = "FASTDDS_BUILTIN_TRANSPORTS"
_SETTINGS = (TRANSPORT, "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE", "CYCLONEDDS_URI")

NEWEST = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
# A few, because a reliable reader may still be fetching the last one's pieces when the next is written.
RESULTS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


def subscription_qos(asked: str, publishers: Sequence[Any]) -> QoSProfile:
    """Depth 1. A reliable subscription loses nothing of a large image, but hears no best-effort publisher."""
    reliable = bool(publishers) and not any(best_effort(one) for one in publishers)
    if asked != "auto":
        reliable = asked == "reliable"
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.VOLATILE,
    )


def best_effort(endpoint: Any) -> bool:
    return bool(endpoint.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT)


def listed(publishers: Iterable[Any]) -> str:
    """The publishers of a topic for a log line."""
    kinds = [f"{one.node_name} ({'best effort' if best_effort(one) else 'reliable'})" for one in publishers]
    return ", ".join(sorted(kinds)) or "nobody yet"


def mismatch(topic: str, expected: str, asked: str, publishers: Sequence[Any]) -> str:
    """Why no message can come from these publishers; empty where one can."""
    kinds = {one.topic_type for one in publishers}
    if kinds and expected not in kinds:
        other = {IMAGE: "compressed", COMPRESSED: "raw"}[expected]
        remedy = f"Set transport to {other}, or remap `image`" if kinds & {IMAGE, COMPRESSED} else "Remap `image`"
        return f"{topic} carries {', '.join(sorted(kinds))}; expected {expected}. {remedy}"
    if asked == "reliable" and publishers and all(map(best_effort, publishers)):
        return f"{topic} is published with best effort, which a reliable subscription never hears. Set qos to auto"
    return ""


def elsewhere(node: Node, expected: str) -> str:
    """Topics of that type that somebody publishes, for whoever listens to the wrong one."""
    prefix = node.get_fully_qualified_name() + "/"
    found = [
        name
        for name, kinds in node.get_topic_names_and_types()
        if expected in kinds and not name.startswith(prefix) and node.count_publishers(name)
    ]
    return (
        f"; images are published on {', '.join(sorted(found)[:5])}. Remap with -r image:={sorted(found)[0]}"
        if found
        else ""
    )


def too_large(size: int) -> bool:
    """Whether best effort tends to lose a message of so many bytes, and nobody has seen to it."""
    return size > CARRIED and not any(os.environ.get(name) for name in _SETTINGS)


def remedy() -> str:
    """What carries large messages by the middleware in use."""
    from rclpy.utilities import get_rmw_implementation_identifier

    if "fastrtps" in get_rmw_implementation_identifier():
        return f"start all nodes with {TRANSPORT}='SHM?max_msg_size=16MB&sockets_size=16MB'"
    return "raise the kernel's net.core.rmem_max and the middleware's buffers"
