"""Robot logs for tests, written by rosbags: a camera, a depth camera, a latched name and a type that only this robot has."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

BEGINNING = 1_700_000_000_000_000_000  # nanoseconds
STEP = 100_000_000
KINDS = ("ros1", "sqlite3", "mcap")
_NEVER = QosTime(2147483647, 4294967295)


def qos(reliability: QosReliability, durability: QosDurability, depth: int) -> Qos:
    return Qos(
        QosHistory.KEEP_LAST,
        depth,
        reliability,
        durability,
        _NEVER,
        _NEVER,
        QosLiveliness.AUTOMATIC,
        _NEVER,
        False,
    )


def record(
    path: Path, frames: list[np.ndarray], kind: str, *, encoding: str = "bgr8", cameras: tuple[str, ...] = ("/camera",)
) -> Path:
    """One log of these frames, ten a second; the path that it has. Stamps are 2 ms older than log times."""
    ros1 = kind == "ros1"
    store: Any = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_JAZZY)
    store.register(get_types_from_msg("float64 left\nfloat64 right\n", "yard_msgs/msg/Wheels"))
    types = store.types
    path = path.with_suffix(".bag") if ros1 else path
    path.parent.mkdir(parents=True, exist_ok=True)
    writer: Any
    writer = Writer1(path) if ros1 else Writer2(path, version=9, storage_plugin=StoragePlugin[kind.upper()])

    def header(at: int) -> Any:
        stamp = types["builtin_interfaces/msg/Time"](*divmod(at - 2_000_000, 1_000_000_000))
        return types["std_msgs/msg/Header"](*((7,) if ros1 else ()), stamp, "front_optical")

    def dump(message: Any, name: str) -> Any:
        return store.serialize_ros1(message, name) if ros1 else store.serialize_cdr(message, name)

    def add(topic: str, name: str, one: Qos, latching: int) -> Any:
        extra: dict[str, Any] = (
            {"callerid": "/robot", "latching": latching} if ros1 else {"offered_qos_profiles": [one]}
        )
        return writer.add_connection(topic, name, typestore=store, **extra)

    with writer:
        sensor = qos(QosReliability.BEST_EFFORT, QosDurability.VOLATILE, 5)
        latched = qos(QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL, 1)
        images = [add(f"{name}/image_raw", "sensor_msgs/msg/Image", sensor, 0) for name in cameras]
        depth = add("/depth/image_raw", "sensor_msgs/msg/Image", sensor, 0)
        wheels = add("/wheels", "yard_msgs/msg/Wheels", sensor, 0)
        name = add("/robot_name", "std_msgs/msg/String", latched, 1)
        writer.write(name, BEGINNING, dump(types["std_msgs/msg/String"]("mower 7"), "std_msgs/msg/String"))
        for index, frame in enumerate(frames):
            at = BEGINNING + index * STEP
            height, width = frame.shape[:2]
            image = types["sensor_msgs/msg/Image"]
            rows = np.ascontiguousarray(frame)
            for one in images:
                data = image(header(at), height, width, encoding, 0, rows.nbytes // height, rows.ravel())
                writer.write(one, at, dump(data, "sensor_msgs/msg/Image"))
            far = np.full(height * width * 2, 9, np.uint8)
            data = image(header(at), height, width, "16UC1", 0, width * 2, far)
            writer.write(depth, at + 1, dump(data, "sensor_msgs/msg/Image"))
            turned = types["yard_msgs/msg/Wheels"](index * 0.5, -index * 0.5)
            writer.write(wheels, at + 2, dump(turned, "yard_msgs/msg/Wheels"))
    return path


def everything(path: Path) -> dict[str, tuple[Any, ...]]:
    """Each topic's type, definition's digest and QoS or latching, and all of its messages as (log time, bytes)."""
    from rosbags.rosbag1 import Reader as Reader1
    from rosbags.rosbag2 import Reader as Reader2

    reader: Any = Reader1(path) if path.suffix == ".bag" else Reader2(path)
    with reader:
        found = {one.topic: (one.msgtype, one.msgdef.data, one.digest, str(one.ext), []) for one in reader.connections}
        for one, at, data in reader.messages():
            found[one.topic][-1].append((at, bytes(data)))
    return found


def fingerprint(path: Path) -> str:
    """Of all files, names and bytes."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return hashlib.sha256(b"".join(str(f).encode() + f.read_bytes() for f in files)).hexdigest()
