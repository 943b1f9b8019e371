"""Publishers and subscribers of every reliability, other processes, another DDS, and a consumer as Nav2's layer is one."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from robots import HEIGHT, WIDTH, Process, pixels
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from fastscnn.runtime import Segmenter

HERE = Path(__file__).parent


@pytest.mark.parametrize("offered", [True, False], ids=["reliable camera", "best-effort camera"])
@pytest.mark.parametrize("asked", [True, False], ids=["reliable consumer", "best-effort consumer"])
def test_both_reliabilities_of_both_sides(robot, start, street, reference, offered, asked) -> None:
    robot.camera(reliable=offered)
    node = start()
    node.wait_for(f"subscribed {'reliable' if offered else 'best effort'}; published by robot")
    heard = robot.hear("/segmentation/mask", Image, reliable=asked)
    np.testing.assert_array_equal(pixels(robot.segmented(heard, street)), reference(street))


def test_a_publisher_that_comes_back_with_another_reliability(robot, start, street) -> None:
    robot.camera(reliable=True)
    node = start()
    node.wait_for("subscribed reliable")
    heard = robot.hear("/segmentation/mask", Image)
    robot.segmented(heard, street)
    robot.unplug()
    robot.camera(reliable=False)
    node.wait_for("/image: subscribed best effort; published by robot (best effort)")
    assert robot.segmented(heard, street)


def test_what_can_never_match_is_told(robot, start, street) -> None:
    robot.camera(reliable=False)
    node = start(qos="reliable")
    node.wait_for("published with best effort, which a reliable subscription never hears. Set qos to auto")
    robot.unplug()
    robot.camera(kind=CompressedImage)
    node.wait_for(
        "/image carries sensor_msgs/msg/CompressedImage; expected sensor_msgs/msg/Image. Set transport to compressed"
    )
    robot.unplug()
    robot.node.create_publisher(String, "/image", 1)
    node.wait_for("/image carries std_msgs/msg/String; expected sensor_msgs/msg/Image. Remap `image`")


def test_images_elsewhere_are_named(robot, start, street) -> None:
    robot.camera("/front/image_raw")
    node = start(patience=0.6)
    node.wait_for("images are published on /front/image_raw. Remap with -r image:=/front/image_raw")


def test_a_message_too_large_for_best_effort_is_told_with_the_remedy(robot, start, street) -> None:
    node = start()
    robot.hear("/segmentation/mask", Image)
    reliable = robot.hear("/segmentation/mask", Image, reliable=True)
    robot.segmented(reliable, cv2.resize(street, (1024, 600)))
    line = node.wait_for("/segmentation/mask has messages of 614,")
    assert "set mask_size to grid, or start all nodes with FASTDDS_BUILTIN_TRANSPORTS=" in line
    robot.rest(1.2)
    assert len([line for line in node.lines if "has messages of" in line]) == 1


def test_remapped_in_a_namespace(robot, start, street) -> None:
    node = start("-r", "__ns:=/front", "-r", "image:=/front/camera/image_raw", "-r", "__node:=eyes")
    assert "/front/camera/image_raw: subscribed" in node.text
    heard = robot.hear("/front/eyes/mask", Image)
    robot.camera("/front/camera/image_raw")
    assert robot.segmented(heard, street, topic="/front/camera/image_raw")


def test_three_processes_and_a_consumer_as_nav2s_layer(start, model, tmp_path) -> None:
    """The consumer comes when the stream runs: it must get the names of the classes all the same."""
    for size, cloud in (("input", (HEIGHT, WIDTH)), ("48x64", (48, 64))):
        node = start(mask_size=size)
        camera = Process(sys.executable, HERE / "camera_process.py", HEIGHT, WIDTH, *cloud)
        node.wait_for("published by camera")
        done = subprocess.run(
            [sys.executable, HERE / "consumer_process.py"], capture_output=True, text=True, timeout=180
        )
        camera.end()
        assert node.end() == 0
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads(done.stdout)
        assert found["matched"] >= 10
        assert found["problems"] == []
        with Segmenter(model, "cpu") as segmenter:
            assert found["names"] == list(segmenter.artifact.classes)


@pytest.fixture
def subnet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cyclone DDS does not know ROS's range of discovery, and would not be heard on the loopback address alone."""
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")


def test_an_independent_dds_reads_the_mask(subnet, robot, start, street, reference) -> None:
    start()
    reader = Process(sys.executable, HERE / "cyclone_process.py")
    heard = robot.hear("/segmentation/mask", Image)
    for _ in range(60):
        robot.segmented(heard, street)
        if any(line.startswith("{") for line in reader.lines):
            break
        robot.rest(0.2)
    found = json.loads(reader.wait_for("{"))
    reader.end()
    mask = pixels(heard[-1])
    assert (found["height"], found["width"], found["step"]) == (HEIGHT, WIDTH, WIDTH)
    assert (found["encoding"], found["frame_id"], found["nanosec"]) == ("mono8", "front_camera_optical", 123_456_789)
    assert found["sum"] == int(mask.sum())
    np.testing.assert_array_equal(mask, reference(street))
