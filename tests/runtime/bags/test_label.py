"""Bags in, labelled bags out: nothing recorded is changed, masks are those of a Segmenter, and it happens whole or not at all."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from recordings import BEGINNING, KINDS, STEP, everything, fingerprint, record
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from fastscnn.model.datasets import open_dataset
from fastscnn.runtime import OutputError, Segmenter, SourceError, UsageError
from fastscnn.runtime.bags import Labeller
from fastscnn.runtime.bags.label import ENTRY, label_log
from fastscnn.runtime.bags.options import Options
from fastscnn.runtime.bags.reading import Bag
from fastscnn.runtime.ros import cdr

Exported = Callable[..., Path]
Frames = list[np.ndarray]
VISION = "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n"


@pytest.fixture(scope="module")
def labeller(exported: Exported) -> Labeller:
    return Labeller(exported(), "cpu", 1)


@pytest.fixture(scope="module")
def labels(exported: Exported, frames: Frames) -> Frames:
    with Segmenter(exported(), "cpu") as segmenter:
        return [segmenter(frame).labels for frame in frames]


def bag_in(target: Path) -> Path:
    found = list(target.glob("*.bag"))
    return found[0] if found else target


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_recorded_stays_and_masks_are_added(
    kind: str, tmp_path: Path, frames: Frames, labels: Frames, labeller: Labeller
) -> None:
    source = record(tmp_path / "log", frames, kind)
    before = fingerprint(source)
    entry = label_log(source, tmp_path / "out", labeller, Options(overlay=True))
    assert fingerprint(source) == before
    old, new = everything(source), everything(bag_in(tmp_path / "out"))
    assert {topic: new[topic] for topic in old} == old  # types, definitions, QoS, times and bytes
    added = {topic: new[topic] for topic in new if topic not in old}
    names = "/segmentation/label_info_json" if kind == "ros1" else "/segmentation/label_info"
    assert set(added) == {"/segmentation/mask", "/segmentation/overlay/compressed", names}
    store = get_typestore(Stores.ROS1_NOETIC if kind == "ros1" else Stores.ROS2_JAZZY)
    for text, name in (("uint16 class_id\nstring class_name\n", "VisionClass"), (VISION, "LabelInfo")):
        store.register(get_types_from_msg(text, f"vision_msgs/msg/{name}"))
    read = store.deserialize_ros1 if kind == "ros1" else store.deserialize_cdr
    masks = added["/segmentation/mask"][-1]
    assert [at for at, _ in masks] == [BEGINNING + index * STEP for index in range(len(frames))]
    for index, (at, data) in enumerate(masks):
        mask = read(data, "sensor_msgs/msg/Image")
        stamp = mask.header.stamp.sec * 1_000_000_000 + mask.header.stamp.nanosec
        assert (stamp, mask.header.frame_id, mask.encoding) == (at - 2_000_000, "front_optical", "mono8")
        assert mask.step == mask.width
        np.testing.assert_array_equal(mask.data.reshape(mask.height, mask.width), labels[index])
    at, data = added["/segmentation/overlay/compressed"][-1][0]
    overlay = read(data, "sensor_msgs/msg/CompressedImage")
    assert cv2.imdecode(overlay.data, cv2.IMREAD_COLOR).shape == frames[0].shape
    with Segmenter(labeller.model, "cpu") as segmenter:
        classes, palette = list(segmenter.artifact.classes), [list(c) for c in segmenter.artifact.palette]
    ((_, data),) = added[names][-1]
    if kind == "ros1":
        about = json.loads(read(data, "std_msgs/msg/String").data)
    else:
        told = read(data, "vision_msgs/msg/LabelInfo")
        assert [(one.class_id, one.class_name) for one in told.class_map] == list(enumerate(classes))
        assert "TRANSIENT_LOCAL" in added[names][3]
        from rosbags.rosbag2 import Reader

        with Reader(tmp_path / "out") as reader:
            about = json.loads(reader.storage.metadata.custom["fastscnn"])  # type: ignore[attr-defined]
    assert (about["classes"], about["palette"]) == (classes, palette)
    assert about["model_sha256"] == entry["model_sha256"]
    assert about["options"]["overlay"] is True
    assert entry["masks"] == entry["images"] == len(frames)
    rows = list(csv.reader((tmp_path / "out/shares.csv").read_text().splitlines()))
    assert rows[0] == ["topic", "stamp", *classes]
    assert len(rows) == 1 + len(frames)
    shares = [float(v) for v in rows[1][2:]]
    expected = np.bincount(labels[0].ravel(), minlength=len(classes)) / labels[0].size
    assert shares == pytest.approx(expected, abs=1e-5)
    picture = cv2.imread(str(tmp_path / "out/shares.png"))
    assert picture.shape[1] > 900


def test_windows_steps_and_masks_alone(tmp_path: Path, frames: Frames, labels: Frames, labeller: Labeller) -> None:
    source = record(tmp_path / "log", frames, "mcap")
    label_log(source, tmp_path / "a", labeller, Options(every=2, start=0.1, end=0.5))
    new = everything(tmp_path / "a")
    assert [at for at, _ in new["/camera/image_raw"][-1]] == [BEGINNING + i * STEP for i in (1, 2, 3, 4)]
    assert [at for at, _ in new["/segmentation/mask"][-1]] == [BEGINNING + i * STEP for i in (1, 3)]
    assert new["/robot_name"][-1] == []  # before the window; the topic is there
    entry = label_log(source, tmp_path / "b", labeller, Options(only_masks=True))
    assert set(everything(tmp_path / "b")) == {"/segmentation/mask", "/segmentation/label_info"}
    assert entry["messages_copied"] == 0


def test_topics(tmp_path: Path, frames: Frames, labeller: Labeller) -> None:
    source = record(tmp_path / "log", frames[:2], "sqlite3", cameras=("/left", "/right"))
    with pytest.raises(UsageError, match="images on /left/image_raw, /right/image_raw; choose with --topic"):
        label_log(source, tmp_path / "out", labeller, Options())
    with pytest.raises(UsageError, match="no images on /up; it has them on /depth/image_raw, /left"):
        label_log(source, tmp_path / "out", labeller, Options(topics=("/up",)))
    label_log(source, tmp_path / "one", labeller, Options(topics=("/left/image_raw",)))
    assert "/segmentation/mask" in everything(tmp_path / "one")
    label_log(source, tmp_path / "both", labeller, Options(topics=("/left/image_raw", "/right/image_raw")))
    found = set(everything(tmp_path / "both"))
    assert {"/segmentation/left/image_raw/mask", "/segmentation/right/image_raw/mask"} < found
    blind = record(tmp_path / "blind", frames[:1], "mcap", cameras=())
    with pytest.raises(SourceError, match=r"no topic with a camera's pictures; .*found /depth/image_raw"):
        label_log(blind, tmp_path / "out", labeller, Options())
    assert not (tmp_path / "out").exists()


def test_a_recording_without_definitions_is_copied_all_the_same(
    tmp_path: Path, frames: Frames, labeller: Labeller
) -> None:
    """As those of ROS 2 Humble in SQLite."""
    import sqlite3

    source = record(tmp_path / "log", frames[:2], "sqlite3")
    with sqlite3.connect(next(source.glob("*.db3"))) as database:
        database.execute("DELETE FROM message_definitions")
    label_log(source, tmp_path / "out", labeller, Options())
    old, new = everything(source), everything(tmp_path / "out")
    assert all(new[topic][-1] == old[topic][-1] and new[topic][0] == old[topic][0] for topic in old)
    assert "float64" not in new["/wheels"][1]


def test_the_same_again_is_done_already_and_anything_else_is_refused(
    tmp_path: Path, frames: Frames, labeller: Labeller, exported: Exported
) -> None:
    source, out = record(tmp_path / "log", frames[:2], "mcap"), tmp_path / "out"
    first = label_log(source, out, labeller, Options())
    before = fingerprint(out)
    assert label_log(source, out, Labeller(labeller.model, "cpu"), Options()) == first
    assert fingerprint(out) == before
    shutil.rmtree(out)
    assert label_log(source, out, labeller, Options()) == first  # to the byte, by its hashes
    with pytest.raises(UsageError, match="made with another options; choose another place"):
        label_log(source, out, labeller, Options(every=2))
    with pytest.raises(UsageError, match="made with another model"):
        label_log(source, out, Labeller(exported("logits"), "cpu"), Options())
    (tmp_path / "notes").mkdir()
    with pytest.raises(UsageError, match="exists and is no labelled log"):
        label_log(source, tmp_path / "notes", labeller, Options())


def test_killed_at_any_moment_nothing_is_there_and_the_next_run_completes(
    tmp_path: Path, frames: Frames, labeller: Labeller
) -> None:
    source, out = record(tmp_path / "log", frames * 25, "mcap"), tmp_path / "out"
    before = fingerprint(source)
    program = [Path(sys.executable).with_name("fastscnn-bag"), source, "-o", out, "-m", labeller.model]
    for _ in range(2):
        with subprocess.Popen([*map(str, program), "--device", "cpu"], stderr=subprocess.DEVNULL) as process:
            until = time.monotonic() + 60
            while not (parts := list(tmp_path.glob(".out.*.part/out/*.mcap"))) or parts[0].stat().st_size == 0:
                assert time.monotonic() < until and process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        assert not out.exists()
        assert len(list(tmp_path.glob(".out.*"))) == 1  # the next one sweeps the former's up
    label_log(source, out, labeller, Options())
    assert not list(tmp_path.glob(".out.*"))
    assert fingerprint(source) == before
    assert len(everything(out)["/segmentation/mask"][-1]) == len(frames) * 25


def test_damaged_bags_are_one_sentence(tmp_path: Path, frames: Frames, labeller: Labeller) -> None:
    def refused(source: Path, *says: str) -> None:
        with pytest.raises(SourceError) as caught:
            label_log(source, tmp_path / "out", labeller, Options())
        assert "\n" not in str(caught.value)
        assert all(text in str(caught.value) for text in says), caught.value
        assert not (tmp_path / "out").exists()
        assert not list(tmp_path.glob(".out.*"))

    for kind in KINDS:
        source = record(tmp_path / f"log_{kind}", frames, kind)
        file = source if source.is_file() else next(p for p in source.iterdir() if p.suffix in (".mcap", ".db3"))
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        refused(source, "is damaged or no bag", "Copy it again")
        file.write_bytes(whole[: len(whole) // 3] + bytes(len(whole) // 3) + whole[-(len(whole) // 3) :])
        if kind != "ros1":  # whose chunks have no checksums: zeros become messages of zeros
            refused(source, "damaged")
    (tmp_path / "log_mcap" / "metadata.yaml").write_text("version: [")
    refused(tmp_path / "log_mcap", "is damaged or no bag")
    refused(tmp_path / "absent", "does not exist; expected a bag")
    (tmp_path / "film.mp4").write_bytes(b"x")
    refused(tmp_path / "film.mp4", "is no bag; expected a folder with metadata.yaml")


def test_a_full_disk_is_one_sentence(tmp_path: Path, frames: Frames, labeller: Labeller) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        for kind in KINDS:
            source = record(tmp_path / kind, frames, kind)
            with pytest.raises(OutputError, match=r"cannot be written \(.*Free some space"):
                label_log(source, place / "out", labeller, Options())
            assert list(place.iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_a_recording_becomes_training_material(
    tmp_path: Path, frames: Frames, labels: Frames, labeller: Labeller
) -> None:
    source, data = (
        record(tmp_path / "my log.1", [f[..., ::-1] for f in frames], "mcap", encoding="rgb8"),
        tmp_path / "data",
    )
    run = [
        Path(sys.executable).with_name("fastscnn-bag"),
        source,
        "--extract",
        data,
        "-m",
        labeller.model,
        "--val",
        "0.34",
    ]
    for _ in range(2):  # the second time everything is there
        done = subprocess.run([*map(str, run), "--device", "cpu"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "6 images" in done.stderr
    train, val = open_dataset(data, "train"), open_dataset(data, "val")
    assert (len(train), len(val)) == (4, 2)
    assert next(sample.name for sample in train.samples) == "my_log_camera_image_raw_1699999999998000000"
    pairs = [pair for split in (train, val) for pair in split]
    for (_, image, given), frame, expected in zip(pairs, frames, labels, strict=True):
        np.testing.assert_array_equal(image, frame)
        np.testing.assert_array_equal(given, expected)
    done = subprocess.run(
        [Path(sys.executable).with_name("fastscnn-data"), data], capture_output=True, text=True, cwd=tmp_path
    )
    told = (
        done.stdout + done.stderr
    )  # that random weights see few of the classes counts as a problem of the split that is trained
    assert "train: cityscapes, 4 images (4 of 128x256)" in told
    assert "val: cityscapes, 2 images (2 of 128x256), 0 problems" in told
    (data / "classes.yaml").write_text("name: other\nclasses: {a: [0, 0, 0], b: [1, 1, 1]}\n")
    done = subprocess.run([*map(str, run)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "names other classes than the model has" in done.stderr


def test_the_command(tmp_path: Path, frames: Frames, labeller: Labeller) -> None:
    source = record(tmp_path / "log", frames, "sqlite3")
    program = str(Path(sys.executable).with_name("fastscnn-bag"))
    done = subprocess.run(
        [program, source, "-o", tmp_path / "out", "-m", labeller.model, "--device", "cpu", "--json", "-"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((tmp_path / "out" / ENTRY).read_text())
    assert "6 masks of 6 images" in done.stderr and "frames/s" in done.stderr
    for words, code, sentence in (
        ([source], 2, "nothing to make; expected -o OUT"),
        ([source, "-o", source / "in"], 2, "lies in the input, which is never changed"),
        ([source, "-o", tmp_path / "x", "--ray"], 2, "--ray labels a folder of bags"),
        ([source, "-o", tmp_path / "x", "--start", "3", "--end", "2"], 2, "expected an end behind its start"),
        ([tmp_path / "empty", "-o", tmp_path / "x"], 1, "does not exist"),
    ):
        done = subprocess.run(
            [program, *map(str, words), "-m", labeller.model], capture_output=True, text=True, cwd=tmp_path
        )
        assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
        assert sentence in done.stderr


def test_one_file_of_a_bag_is_enough(tmp_path: Path, frames: Frames, labeller: Labeller) -> None:
    source = record(tmp_path / "log", frames[:2], "mcap")
    entry = label_log(source / "log.mcap", tmp_path / "out", labeller, Options())
    assert entry["masks"] == 2
    with Bag(tmp_path / "out") as bag:
        assert bag.storage == "mcap"


def test_cdr_is_what_rosbags_writes(frames: Frames) -> None:
    """The bytes that this project writes and reads by itself, beside another's."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types
    for name in ("", "a", "front_camera_optical_frame"):
        header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](-5, 999_999_999), name)
        frame = frames[0]
        theirs = types["sensor_msgs/msg/Image"](header, 128, 256, "bgr8", 0, 768, frame.ravel())
        ours = cdr.write_image(cdr.Header(-5, 999_999_999, name), frame, "bgr8")
        assert ours == bytes(store.serialize_cdr(theirs, "sensor_msgs/msg/Image"))
        for little in (True, False):
            read = cdr.read_image(bytes(store.serialize_cdr(theirs, "sensor_msgs/msg/Image", little_endian=little)))
            assert (read.header, read.height, read.step) == (cdr.Header(-5, 999_999_999, name), 128, 768)
            np.testing.assert_array_equal(read.data, frame.ravel())
        packed = types["sensor_msgs/msg/CompressedImage"](header, "png", frame.ravel()[:999])
        assert cdr.write_compressed(cdr.Header(-5, 999_999_999, name), "png", frame.ravel()[:999]) == bytes(
            store.serialize_cdr(packed, "sensor_msgs/msg/CompressedImage")
        )
