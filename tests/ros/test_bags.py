"""What `fastscnn-bag` writes, read by other hands: rclpy's type support, mcap's own reader and SQLite."""

import sqlite3

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rclpy.serialization import deserialize_message
from recordings import BEGINNING, STEP, record
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import LabelInfo

from fastscnn.model.street import Street
from fastscnn.runtime import Segmenter
from fastscnn.runtime.bags import Labeller
from fastscnn.runtime.bags.label import label_log
from fastscnn.runtime.bags.options import Options

KINDS = {"/segmentation/mask": Image, "/segmentation/overlay/compressed": CompressedImage}
KINDS |= {"/segmentation/label_info": LabelInfo, "/camera/image_raw": Image}


@pytest.fixture(scope="module")
def frames():
    street = Street(128, 256, seed=3)
    return [np.ascontiguousarray(street.frame(index * 5)[0]) for index in range(3)]


def test_rclpy_decodes_both_storages(tmp_path, model, frames) -> None:
    with Segmenter(model, "cpu") as segmenter:
        labels = [segmenter(frame).labels for frame in frames]
        classes = segmenter.artifact.classes
    for storage in ("sqlite3", "mcap"):
        source = record(tmp_path / storage, frames, storage)
        label_log(source, tmp_path / f"{storage}-out", Labeller(model, "cpu", 1), Options(overlay=True))
        messages = raw(tmp_path / f"{storage}-out")
        assert set(KINDS) <= set(messages)
        decoded = {
            topic: [(at, deserialize_message(d, kind)) for at, d in messages[topic]] for topic, kind in KINDS.items()
        }
        for index, (at, mask) in enumerate(decoded["/segmentation/mask"]):
            assert at == BEGINNING + index * STEP
            assert mask.header == decoded["/camera/image_raw"][index][1].header
            assert (mask.encoding, mask.step) == ("mono8", mask.width)
            np.testing.assert_array_equal(np.array(mask.data).reshape(mask.height, mask.width), labels[index])
        ((_, info),) = decoded["/segmentation/label_info"]
        assert [(one.class_id, one.class_name) for one in info.class_map] == list(enumerate(classes))


def test_mcaps_own_reader_decodes_everything(tmp_path, model, frames) -> None:
    source = record(tmp_path / "log", frames, "mcap")
    label_log(source, tmp_path / "out", Labeller(model, "cpu", 1), Options())
    with (tmp_path / "out/out.mcap").open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        found = [(channel.topic, m.log_time, told) for _, channel, m, told in reader.iter_decoded_messages()]
    wheels = [message.left for topic, _, message in found if topic == "/wheels"]
    assert wheels == [0.0, 0.5, 1.0]  # a type that only this robot has
    masks = [message for topic, _, message in found if topic == "/segmentation/mask"]
    images = [message for topic, _, message in found if topic == "/camera/image_raw"]
    stamps = [[(m.header.stamp.sec, m.header.stamp.nanosec) for m in some] for some in (masks, images)]
    assert stamps[0] == stamps[1]
    names = [message for topic, _, message in found if topic == "/segmentation/label_info"]
    assert names[0].class_map[0].class_name


def raw(bag) -> dict[str, list[tuple[int, bytes]]]:
    """Topic → (log time, bytes), without rosbags."""
    found: dict[str, list[tuple[int, bytes]]] = {}
    if files := list(bag.glob("*.db3")):
        query = "SELECT name, timestamp, data FROM messages JOIN topics ON topics.id = topic_id ORDER BY timestamp"
        database = sqlite3.connect(files[0])
        rows = [(name, at, bytes(data)) for name, at, data in database.execute(query)]
        database.close()
    else:
        with next(bag.glob("*.mcap")).open("rb") as file:
            rows = [(channel.topic, m.log_time, m.data) for _, channel, m in make_reader(file).iter_messages()]
    for topic, at, data in rows:
        found.setdefault(topic, []).append((at, data))
    return found
