"""Bags as they come: ROS 1, and rosbag2 in SQLite and MCAP, through `rosbags`; no ROS is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import install
from ..artifacts.files import there
from ..errors import DeviceError, FastSCNNError, SourceError, UsageError
from ..frame import Frame
from ..ros import cdr
from ..ros.encodings import ENCODINGS, from_compressed, to_bgr
from ..text import first_line

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.typesys.store import Typestore

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
SUFFIXES = (".bag", ".mcap", ".db3")
_DEPTHS = ("mono16", "16UC1", "32FC1")  # what depth cameras send; nothing to segment
_INSTALL = "bags are read by rosbags, which cannot be imported ({}). Install it with: {}"
Message = tuple["Connection", int, bytes]


def is_log(path: Path) -> bool:
    """Whether this is one recording: a folder with metadata.yaml, or a file of a bag's suffix."""
    return (path / "metadata.yaml").is_file() if path.is_dir() else path.suffix in SUFFIXES


def find_logs(folder: Path) -> list[Path]:
    """The recordings in a folder, at any depth, by name. Hidden ones are left alone.

    Raises:
        SourceError: there is none.
    """
    found: list[Path] = []
    waiting = [folder]
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            if path.name.startswith("."):
                continue
            if is_log(path):
                found.append(path)
            elif path.is_dir():
                waiting.append(path)
    if not found:
        raise SourceError(
            f"{folder} holds no recordings; expected bags (folders with metadata.yaml, {', '.join(SUFFIXES)})"
        )
    return sorted(found)


class Bag:
    """One recording, open for reading. A context manager.

    Attributes:
        ros1: whether it is a ROS 1 bag.
        connections: its topics, as rosbags has them.

    Raises:
        DeviceError: rosbags is not installed.
        SourceError: missing, damaged, or no bag; here and while it is read.
    """

    def __init__(self, path: Path) -> None:
        if not there(path):
            raise SourceError(
                f"{path} does not exist; expected a bag: a folder with metadata.yaml, {', '.join(SUFFIXES)}"
            )
        if not is_log(path):
            raise SourceError(
                f"{path} is no bag; expected a folder with metadata.yaml, or a file ending in {', '.join(SUFFIXES)}"
            )
        self.path, self.ros1 = path, path.suffix == ".bag"
        try:
            from rosbags.rosbag1 import Reader as Reader1
            from rosbags.rosbag2 import Reader as Reader2
        except ImportError as error:
            raise DeviceError(_INSTALL.format(error, install.command("bag"))) from None
        with self._explained():
            self._reader: Any = Reader1(path) if self.ros1 else Reader2(path)
            self._reader.open()
        self.connections: list[Connection] = self._reader.connections
        self.start, self.end = int(self._reader.start_time), int(self._reader.end_time)  # nanoseconds
        self.messages: int = self._reader.message_count
        self._read_image: Callable[[bytes, str], Any] = self._of_ros1() if self.ros1 else _of_ros2

    @property
    def storage(self) -> str:
        """ "ros1", "sqlite3" or "mcap"."""
        if self.ros1:
            return "ros1"
        files = [self.path] if self.path.is_file() else list(self.path.iterdir())
        return "mcap" if any(".mcap" in file.suffixes for file in files) else "sqlite3"

    def read(self, connections: list[Connection] | None, start: int | None, stop: int | None) -> Iterator[Message]:
        """Messages with their log times in nanoseconds, in order, from `start` and before `stop`."""
        with self._explained():
            yield from self._reader.messages(connections=connections or (), start=start, stop=stop)

    def picture(self, connection: Connection, data: bytes) -> tuple[cdr.Header, Frame]:
        """A message's header, and its image as uint8 (H, W, 3) BGR.

        Raises:
            FrameError: no camera's image.
        """
        with self._explained():
            message = self._read_image(data, connection.msgtype)
            frame = to_bgr(message) if connection.msgtype == IMAGE else from_compressed(message.data)
            return message.header, frame

    def image_topics(self, asked: list[str]) -> list[Connection]:
        """The connections to label: those asked for, or the one that carries a camera's pictures.

        Raises:
            UsageError: no such topic, or several and none asked for; lists what there is.
            SourceError: no topic with pictures.
        """
        images = [one for one in self.connections if one.msgtype in (IMAGE, COMPRESSED) and one.msgcount != 0]
        names = sorted({one.topic for one in images})
        if asked:
            if missing := [topic for topic in asked if topic not in names]:
                raise UsageError(
                    f"{self.path} has no images on {missing[0]}; it has them on {', '.join(names) or 'no topic'}"
                )
            return [one for one in images if one.topic in asked]
        coloured = [one for one in images if self._coloured(one)]
        topics = sorted({one.topic for one in coloured})
        if not topics:
            kinds = sorted({one.msgtype for one in self.connections})
            raise SourceError(
                f"{self.path} has no topic with a camera's pictures; expected {IMAGE} or {COMPRESSED} in colour or grey, found "
                f"{', '.join(names or kinds) or 'nothing'}"
            )
        if len(topics) > 1:
            raise UsageError(f"{self.path} has images on {', '.join(topics)}; choose with --topic, once for each")
        return coloured

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _coloured(self, connection: Connection) -> bool:
        """Whether the first message is a picture, not a depth."""
        for _, _, data in self.read([connection], None, None):
            if connection.msgtype == COMPRESSED:
                return "compressedDepth" not in str(self._read_image(data, COMPRESSED).format)
            encoding = str(self._read_image(data, IMAGE).encoding)
            return encoding in ENCODINGS and encoding not in _DEPTHS
        return False

    def _of_ros1(self) -> Callable[[bytes, str], Any]:
        from rosbags.typesys import Stores, get_typestore

        store: Typestore = get_typestore(Stores.ROS1_NOETIC)

        def read(data: bytes, kind: str) -> Any:
            message: Any = store.deserialize_ros1(data, kind)
            header = message.header
            about = cdr.Header(header.stamp.sec, header.stamp.nanosec, header.frame_id)
            if kind == COMPRESSED:
                return cdr.CompressedView(about, message.format, np.asarray(message.data))
            m = message
            return cdr.ImageView(about, m.height, m.width, m.encoding, m.is_bigendian, m.step, np.asarray(m.data))

        return read

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Whatever a parser trips over in a damaged file becomes one sentence."""
        try:
            yield
        except (FastSCNNError, GeneratorExit):
            raise
        except OSError as error:
            raise SourceError(
                f"{self.path} cannot be read ({error.strerror or error}). Check the file and its disk"
            ) from error
        except Exception as error:  # rosbags', SQLite's, zstd's and Python's own
            raise SourceError(
                f"{self.path} is damaged or no bag ({type(error).__name__}: {first_line(error)}). Copy it again, or mend it with "
                "`ros2 bag reindex`, `mcap recover` or `rosbag reindex`"
            ) from error


def _of_ros2(data: bytes, kind: str) -> Any:
    return cdr.read_image(data) if kind == IMAGE else cdr.read_compressed(data)
