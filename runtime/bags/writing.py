"""Bags as they go: what was recorded, byte for byte, and what is added to it, in the recording's own format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ..artifacts.artifact import Artifact
from ..frame import Frame
from ..ros import cdr

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

    from .reading import Bag

_VISION = {
    "vision_msgs/msg/VisionClass": "uint16 class_id\nstring class_name\n",
    "vision_msgs/msg/LabelInfo": "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n",
}
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 85]
_KINDS = {
    "mask": "sensor_msgs/msg/Image",
    "overlay/compressed": "sensor_msgs/msg/CompressedImage",
    "label_info": "vision_msgs/msg/LabelInfo",
    "label_info_json": "std_msgs/msg/String",
}


class LabelledBag:
    """A bag under construction in a folder that exists. A context manager; left by an exception, it completes nothing.

    Args:
        like: the recording, whose format and storage it takes.
        about: what is written into the metadata of the bag: names, palette, hashes, options.
    """

    def __init__(self, folder: Path, name: str, like: Bag, artifact: Artifact, about: Mapping[str, Any]) -> None:
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore

        self._ros1, self._artifact = like.ros1, artifact
        self._folder, self._name = folder, name
        self._store: Any = get_typestore(Stores.ROS1_NOETIC if like.ros1 else Stores.LATEST)
        for kind, text in _VISION.items():
            self._store.register(get_types_from_msg(text, kind))
        self._copies: dict[int, Connection] = {}
        self._added: dict[str, Connection] = {}
        text = json.dumps(about, sort_keys=True)
        self._writer: Any
        if like.ros1:
            from rosbags.rosbag1 import Writer as Writer1

            self._writer = Writer1(folder / f"{name}.bag")
            self._writer.open()
        else:
            from rosbags.rosbag2 import StoragePlugin
            from rosbags.rosbag2 import Writer as Writer2

            plugin = StoragePlugin.MCAP if like.storage == "mcap" else StoragePlugin.SQLITE3
            self._writer = Writer2(folder / name, version=9, storage_plugin=plugin)
            self._writer.set_custom_data("fastscnn", text)
            self._writer.open()
        self._about = text

    def copy(self, connection: Connection, at: int, data: bytes) -> None:
        """A message as it was recorded, with its topic's type, definition and QoS."""
        if connection.id not in self._copies:
            self._copies[connection.id] = self._copied(connection)
        self._writer.write(self._copies[connection.id], at, data)

    def declare(self, connection: Connection) -> None:
        """The topic, also where it carries no message."""
        if connection.id not in self._copies:
            self._copies[connection.id] = self._copied(connection)

    def mask(self, base: str, header: cdr.Header, at: int, labels: Frame) -> None:
        """`mono8`, with the image's header, at the image's log time."""
        if f"{base}/mask" not in self._added:
            self._names(base, header, at)
        if self._ros1:
            data = self._ros1_bytes("sensor_msgs/msg/Image", header, labels)
        else:
            data = cdr.write_image(header, labels, "mono8")
        self._write(base, "mask", at, data)

    def overlay(self, base: str, header: cdr.Header, at: int, picture: Frame) -> None:
        """A JPEG for people: masks of ids look black in viewers."""
        jpeg = cv2.imencode(".jpg", picture, _JPEG)[1]
        form = "bgr8; jpeg compressed bgr8"
        if self._ros1:
            kinds = self._store.types
            message = kinds["sensor_msgs/msg/CompressedImage"](self._header(header), form, jpeg.ravel())
            data: Any = self._store.serialize_ros1(message, "sensor_msgs/msg/CompressedImage")
        else:
            data = cdr.write_compressed(header, form, jpeg)
        self._write(base, "overlay/compressed", at, data)

    def close(self) -> None:
        self._writer.close()
        if not self._ros1:  # rosbags makes a folder of its own; the one that is there is to be the bag
            for path in (self._folder / self._name).iterdir():
                path.rename(self._folder / path.name)
            (self._folder / self._name).rmdir()

    def __enter__(self) -> LabelledBag:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._writer.abort()

    def _copied(self, connection: Connection) -> Connection:
        from rosbags.interfaces import ConnectionExtRosbag1, ConnectionExtRosbag2

        ext: Any = connection.ext
        definition, digest = connection.msgdef.data, connection.digest
        if isinstance(ext, ConnectionExtRosbag1):
            made: Connection = self._writer.add_connection(
                connection.topic,
                connection.msgtype,
                msgdef=definition,
                md5sum=digest,
                callerid=ext.callerid,
                latching=ext.latching,
            )
            return made
        assert isinstance(ext, ConnectionExtRosbag2)
        if not definition or not digest:
            definition, digest = self._definition(connection.msgtype)
        return self._writer.add_connection(
            connection.topic,
            connection.msgtype,
            msgdef=definition,
            rihs01=digest,
            serialization_format=ext.serialization_format,
            offered_qos_profiles=ext.offered_qos_profiles,
        )

    def _definition(self, kind: str) -> tuple[str, str]:
        """Of a type that the recording does not define, as those before 2023: ROS's own, or none."""
        if kind not in self._store.fielddefs:
            self._store.register({kind: ([], [])})
        text: str = self._store.generate_msgdef(kind, ros_version=2)[0]
        digest: str = self._store.hash_rihs01(kind)
        return text, digest

    def _write(self, base: str, name: str, at: int, data: bytes | memoryview) -> None:
        topic = f"{base}/{name}"
        if topic not in self._added:
            extra: dict[str, Any] = {}
            if name.startswith("label_info"):
                extra = {"latching": 1} if self._ros1 else {"offered_qos_profiles": [_latched()]}
            self._added[topic] = self._writer.add_connection(topic, _KINDS[name], typestore=self._store, **extra)
        self._writer.write(self._added[topic], at, data)

    def _names(self, base: str, header: cdr.Header, at: int) -> None:
        """The names of the classes, before the first mask: as Nav2's layer reads them, and for ROS 1 as text."""
        kinds = self._store.types
        if self._ros1:
            message = kinds["std_msgs/msg/String"](self._about)
            self._write(base, "label_info_json", at, self._store.serialize_ros1(message, "std_msgs/msg/String"))
            return
        one = kinds["vision_msgs/msg/VisionClass"]
        classes = [one(index, name) for index, name in enumerate(self._artifact.classes)]
        message = kinds["vision_msgs/msg/LabelInfo"](self._header(header), classes, 0.0)
        self._write(base, "label_info", at, self._store.serialize_cdr(message, "vision_msgs/msg/LabelInfo"))

    def _header(self, header: cdr.Header) -> Any:
        kinds = self._store.types
        stamp = kinds["builtin_interfaces/msg/Time"](header.seconds, header.nanoseconds)
        fields = (0, stamp, header.frame_id) if self._ros1 else (stamp, header.frame_id)
        return kinds["std_msgs/msg/Header"](*fields)

    def _ros1_bytes(self, kind: str, header: cdr.Header, labels: Frame) -> Any:
        height, width = labels.shape
        data = np.ascontiguousarray(labels).ravel()
        message = self._store.types[kind](self._header(header), height, width, "mono8", 0, width, data)
        return self._store.serialize_ros1(message, kind)


def _latched() -> Any:
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    never = QosTime(2147483647, 4294967295)
    return Qos(
        QosHistory.KEEP_LAST,
        1,
        QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL,
        never,
        never,
        QosLiveliness.AUTOMATIC,
        never,
        False,
    )
