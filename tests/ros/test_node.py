"""The node as a program: its states, its parameters, and what it says when something is wrong."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from rcl_interfaces.srv import DescribeParameters, ListParameters
from robots import PATIENCE, Process, pixels, stamp_of
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool
from vision_msgs.msg import LabelInfo

from fastscnn.runtime import Segmenter


def test_lifecycle_by_its_services(robot, start, street, model) -> None:
    node = start(autostart="false", ready="")
    assert robot.state() == "unconfigured"
    masks = robot.hear("/segmentation/mask", Image)
    resting = memory(node)
    assert robot.transition(Transition.TRANSITION_CONFIGURE)
    assert robot.state() == "inactive"
    assert memory(node) > resting + 15e6  # the model
    assert robot.node.count_publishers("/segmentation/mask") == 0
    assert robot.transition(Transition.TRANSITION_ACTIVATE)
    assert robot.state() == "active"
    first = pixels(robot.segmented(masks, street))
    assert robot.transition(Transition.TRANSITION_DEACTIVATE)
    robot.spin(lambda: robot.node.count_publishers("/segmentation/mask") == 0)
    before = len(masks)
    robot.send(street)
    robot.rest(0.5)
    assert len(masks) == before
    assert robot.transition(Transition.TRANSITION_ACTIVATE)  # with the model that it still has
    np.testing.assert_array_equal(pixels(robot.segmented(masks, street)), first)
    assert robot.transition(Transition.TRANSITION_DEACTIVATE)
    assert robot.transition(Transition.TRANSITION_CLEANUP)
    assert robot.state() == "unconfigured"
    names = robot.hear("/segmentation/label_info", LabelInfo, latched=True)
    assert robot.transition(Transition.TRANSITION_CONFIGURE)
    assert robot.transition(Transition.TRANSITION_ACTIVATE)
    assert robot.segmented(masks, street)
    robot.spin(lambda: names)
    assert robot.transition(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert robot.state() == "finalized"


def test_parameters_are_described_judged_and_changed(robot, start, street) -> None:
    node = start()
    kind = "/segmentation/describe_parameters"
    names = set(robot.call(ListParameters, "/segmentation/list_parameters").result.names)
    ours = {"model", "device", "threads", "trust", "transport", "qos", "autostart", "enable"}
    ours |= {"mask_size", "opacity", "deadline_ms", "unknown_below", "patience"}
    assert ours <= names
    described = robot.call(DescribeParameters, kind, names=sorted(ours)).descriptors
    assert all(one.description for one in described)
    ranged = {one.name for one in described if one.floating_point_range or one.integer_range}
    assert ranged == {"opacity", "deadline_ms", "unknown_below", "threads", "patience"}

    for wrong, sentence in (
        ({"mask_size": "gird"}, "mask_size 'gird' is unknown; expected input, model, grid, cloud, or HEIGHTxWIDTH"),
        ({"mask_size": "0x10"}, "mask_size '0x10' is unknown"),
        ({"opacity": 1.5}, ""),  # the range is ROS's own affair
        ({"model": "other.onnx"}, "model is read when the node configures; clean the node up, set it"),
        ({"qos": "fast"}, "qos 'fast' is unknown; expected one of auto, reliable, best_effort"),
        ({"autostart": False}, ""),
    ):
        (result,) = robot.set(**wrong)
        assert not result.successful, wrong
        assert sentence in result.reason
    masks, status = robot.hear("/segmentation/mask", Image), robot.hear("/diagnostics", DiagnosticArray)
    assert all(one.successful for one in robot.set(mask_size="40x80", deadline_ms=0.001, opacity=1.0))
    assert robot.segmented(masks, street).height == 40
    stream(robot, street, lambda: status and int(value(status[-1], "deadline misses")) > 0)
    node.wait_for("the deadline is 0.001 ms")

    answer = robot.call(SetBool, "/segmentation/enable", data=False)
    assert answer.success
    node.wait_for("disabled")
    robot.rest(0.3)
    before = len(masks)
    robot.send(street)
    robot.rest(0.5)
    assert len(masks) == before
    robot.spin(lambda: status[-1].status[0].message == "disabled")
    assert all(one.successful for one in robot.set(enable=True))
    assert robot.segmented(masks, street)


def test_a_model_that_does_not_fit_leaves_the_node_unconfigured(robot, start, tmp_path, street, model) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"no model" * 100)
    node = start(model=damaged, ready="stays unconfigured")
    errors = [line for line in node.lines if "ERROR" in line]
    assert len(errors) == 1
    assert "damaged.onnx" in errors[0]
    assert robot.state() == "unconfigured"
    assert all(one.successful for one in robot.set(model=str(model)))
    assert robot.transition(Transition.TRANSITION_CONFIGURE)
    assert robot.transition(Transition.TRANSITION_ACTIVATE)
    assert robot.segmented(robot.hear("/segmentation/mask", Image), street)


ADOPT = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import torch
from foreign_networks import HEIGHT, TOLD, WIDTH, Net, up, write
from fastscnn.export.adopt import adopt
write(Path("theirs.onnx"), Net(lambda z, x: up(z, x).argmax(1), classes=4), torch.zeros(1, 3, HEIGHT, WIDTH))
adopt("theirs.onnx", "adopted.onnx", **TOLD)
"""


def test_a_network_of_others_is_segmented_as_by_a_segmenter(robot, start, street, tmp_path) -> None:
    plain = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "LD_LIBRARY_PATH")}
    program = [os.environ["FASTSCNN_EXPORTER"], "-c", ADOPT, Path(__file__).parents[1] / "standins"]
    subprocess.run(program, cwd=tmp_path, env=plain, check=True, timeout=120)
    node = start(model=tmp_path / "adopted.onnx")
    names = robot.hear("/segmentation/label_info", LabelInfo, latched=True)
    mask = pixels(robot.segmented(robot.hear("/segmentation/mask", Image), street))
    with Segmenter(tmp_path / "adopted.onnx", "cpu") as segmenter:
        np.testing.assert_array_equal(mask, segmenter(street).labels)
    assert len(np.unique(mask)) > 1
    robot.spin(lambda: names)
    assert [one.class_name for one in names[0].class_map] == list("0123"), node.text


def test_wrong_parameters_at_the_start_are_one_sentence(domain, model) -> None:
    for words, sentence in (
        (["-p", "mask_size:=gird"], "parameter mask_size:"),
        (["-p", "opacity:=2.0"], "parameter opacity:"),
        (["-p", "deadline_ms:=soon"], "parameter deadline_ms:"),
        (["-p", "nonsense"], "ROS's arguments cannot be read"),
    ):
        node = Process(sys.executable, "-m", "fastscnn.runtime.ros", "-m", model, "--ros-args", *words)
        assert node.process.wait(PATIENCE) == 2, node.text
        node.end()
        ours = [line for line in node.lines if "[rcl]" not in line]  # which says first what it could not read
        assert len(ours) == 1, node.text
        assert sentence in ours[0]


def test_a_camera_that_stops_and_comes_back(robot, start, street) -> None:
    node = start(patience=0.6)
    node.wait_for("no image on /image for")
    assert "published by nobody yet" in node.text
    status = robot.hear("/diagnostics", DiagnosticArray)
    masks = robot.hear("/segmentation/mask", Image)
    stream(robot, street, lambda: "images are back" in node.text)
    robot.spin(lambda: status and "no image for" in status[-1].status[0].message)
    assert status[-1].status[0].level == b"\x01"
    node.wait_for("no image on /image for", count=2)
    assert robot.state() == "active"
    stream(robot, street, lambda: node.text.count("images are back") == 2)
    assert robot.segmented(masks, street)


def test_both_signals_end_it_in_the_middle_of_a_stream(robot, start, street) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        node = start()
        masks = robot.hear("/segmentation/mask", Image)
        robot.segmented(masks, street)
        for _ in range(20):
            robot.send(street)
            robot.rest(0.01)
        node.process.send_signal(number)
        started = time.monotonic()
        while node.process.poll() is None and time.monotonic() - started < PATIENCE:
            robot.send(street)
            robot.rest(0.01)
        assert node.end() == 0
        assert "stopped after" in node.lines[-1]
        masks.clear()


def test_only_the_newest_image_is_segmented_and_drops_are_counted(robot, start, street, exported) -> None:
    start(model=exported(resolution="768x1536"))
    masks, status = robot.hear("/segmentation/mask", Image, reliable=True), robot.hear("/diagnostics", DiagnosticArray)
    robot.segmented(masks, street)
    robot.spin(lambda: status)
    masks.clear()
    sent = []
    for _ in range(60):
        sent.append(robot.send(street))
        robot.rest(0.003)
    robot.spin(lambda: masks and stamp_of(masks[-1]) == sent[-1])
    robot.rest(1.5)
    got = [stamp_of(m) for m in masks]
    assert got == sorted(got)
    assert len(got) < 50
    received, dropped = int(value(status[-1], "images received")), int(value(status[-1], "images dropped"))
    assert dropped > 0
    assert received == int(value(status[-1], "frames")) + dropped


def stream(robot, street, until) -> None:
    for _ in range(600):
        robot.send(street)
        robot.rest(0.1)
        if until():
            return
    raise AssertionError("not within a minute")


def value(status, key: str) -> str:
    return next(pair.value for pair in status.status[0].values if pair.key == key)


def memory(node: Process) -> int:
    return int(psutil.Process(node.process.pid).memory_info().rss)
