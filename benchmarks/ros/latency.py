"""From an image's stamp to its mask, both nodes in turns on the same frames: `python -m fastscnn.benchmarks.ros.latency MODELS`.

One frame is under way at a time, so nothing waits in a queue. The camera and the consumer are this process, which sends
and receives bytes as they are; each node is a process of its own, and idle while it is the other's turn. CPU seconds are
the node's, by the kernel's count.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from ...model.street import Street
from ...runtime.commands import command
from ...runtime.errors import FastSCNNError
from ...runtime.ros import cdr
from ...runtime.ros.topics import TRANSPORT
from ..machine import machine, sentence

SIZES = {"VGA": (480, 640), "720p": (720, 1280), "1024x2048": (1024, 2048)}
WAYS = ("ours", "ours, with confidence and overlay", "tutorial")
_DIFFERENT = 4  # frames that are sent in turns
_PATIENCE = 120.0  # seconds for a mask
_WARM = 3
_PAUSE = 0.1  # seconds in which a node that uses no CPU is done


class Turn:
    """One node, its topics, and what was measured of it."""

    def __init__(self, robot: Any, name: str, program: list[str], image: str, mask: str, extra: list[str]) -> None:
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import Image

        self.name, self.milliseconds = name, []  # type: str, list[float]
        self._robot, self._got = robot, 0
        reliable = QoSProfile(depth=5)
        self._camera = robot.create_publisher(Image, image, reliable)
        robot.create_subscription(Image, mask, self._receive, reliable, raw=True)
        for topic in extra:
            robot.create_subscription(Image, topic, lambda message: None, reliable, raw=True)
        self._process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._cpu = psutil.Process(self._process.pid)
        self._cpu_before = 0.0

    def send(self, frame: np.ndarray[Any, Any], count: bool = True) -> None:
        """A frame there and its mask back."""
        import rclpy

        now = time.time_ns()
        header = cdr.Header(now // 1_000_000_000, now % 1_000_000_000, "camera")
        self._camera.publish(cdr.write_image(header, frame, "bgr8"))
        end = time.monotonic() + (_PATIENCE if count else 3.0)
        while self._got != now:
            if time.monotonic() > end:
                if count:
                    raise FastSCNNError(f"{self.name} gave no mask for {_PATIENCE:g} s")
                return
            rclpy.spin_once(self._robot, timeout_sec=0.5)
        if count:
            self.milliseconds.append((self._at - now) / 1e6)
        self._settle()

    def begin(self) -> None:
        """What came before was to warm up."""
        self.milliseconds, self._cpu_before = [], self._used()

    @property
    def cpu(self) -> float:
        """Seconds since `begin`; those in which it waits for its turn included."""
        return self._used() - self._cpu_before

    def _settle(self) -> None:
        """Until the node has done what it does after the mask, so that it does not disturb the other's turn."""
        end = time.monotonic() + _PATIENCE
        before = -1.0
        while before != (before := self._used()) and time.monotonic() < end:
            time.sleep(_PAUSE)

    def connect(self, frame: np.ndarray[Any, Any]) -> None:
        for _ in range(60):
            self.send(frame, count=False)
            if self._got:
                return
        raise FastSCNNError(f"{self.name} did not start")

    def close(self) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _receive(self, message: bytes) -> None:
        self._at = time.time_ns()
        self._got = cdr.read_image(message).header.stamp

    def _used(self) -> float:
        times = self._cpu.cpu_times()
        return float(times.user + times.system)


def measure(models: Path, name: str, frames: int, device: str) -> list[dict[str, Any]]:
    """Both nodes at one size."""
    import rclpy

    height, width = SIZES[name]
    rclpy.init()
    robot = rclpy.create_node("bench")
    size = f"{height}x{width}"
    turns = []
    for index, way in enumerate(WAYS):
        image, node = f"/bench/image{index}", f"bench{index}"
        if way == "tutorial":
            program = [sys.executable, "-m", "fastscnn.benchmarks.ros.tutorial_node", f"{models}/plain-{size}.onnx"]
            turns.append(Turn(robot, way, [*program, image, "/bench/mask"], image, "/bench/mask", []))
            continue
        program = [sys.executable, "-m", "fastscnn.runtime.ros", "-m", f"{models}/ours-{size}.onnx", "--ros-args"]
        program += ["-r", f"image:={image}", "-r", f"__node:={node}", "-p", f"device:={device}"]
        extra = [f"/{node}/confidence", f"/{node}/overlay"] if way != "ours" else []
        turns.append(Turn(robot, way, program, image, f"/{node}/mask", extra))
    street = Street(height, width, seed=3)
    pictures = [np.ascontiguousarray(street.frame(index * 7)[0]) for index in range(_DIFFERENT)]
    try:
        for turn in turns:
            turn.connect(pictures[0])
        for index in range(frames + _WARM):
            for turn in turns:
                turn.send(pictures[index % _DIFFERENT])
            if index < _WARM:
                for turn in turns:
                    turn.begin()
        spent = [turn.cpu for turn in turns]
    finally:
        for turn in turns:
            turn.close()
        robot.destroy_node()
        rclpy.try_shutdown()
    return [
        {
            "size": name,
            "node": turn.name,
            "frames": frames,
            "median_ms": round(float(np.median(turn.milliseconds)), 1),
            "p95_ms": round(float(np.percentile(turn.milliseconds, 95)), 1),
            "cpu_seconds_a_frame": round(seconds / frames, 3),
        }
        for turn, seconds in zip(turns, spent, strict=True)
    ]


def as_text(rows: Sequence[dict[str, Any]]) -> str:
    lines = [f"{'image':<11}{'node':<36}{'median':>9}{'p95':>9}{'CPU s':>9}{'latency':>11}{'CPU':>8}"]
    for row in rows:
        (theirs,) = [r for r in rows if r["size"] == row["size"] and r["node"] == "tutorial"]
        ratio = theirs["median_ms"] / row["median_ms"]
        cost = theirs["cpu_seconds_a_frame"] / max(row["cpu_seconds_a_frame"], 1e-3)
        beside = "" if row is theirs else f"{f'1/{ratio:.1f}':>11}{f'1/{cost:.1f}':>8}"
        lines.append(
            f"{row['size']:<11}{row['node']:<36}{row['median_ms']:>9.1f}{row['p95_ms']:>9.1f}{row['cpu_seconds_a_frame']:>9.3f}{beside}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser("fastscnn.benchmarks.ros.latency", "The node beside Nav2's tutorial's.")
    parser.add_argument("models", type=Path, help="folder that fastscnn.benchmarks.ros.models filled")
    parser.add_argument("--frames", type=command.positive, default=20, help="of each node at each size")
    parser.add_argument(
        "--device", default="cpu", help="of our node, whose own default is auto; the tutorial's has ONNX Runtime"
    )
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES), help="of the images")
    parser.add_argument("--json", metavar="PATH", help="write the numbers; - for stdout")

    def work(options: argparse.Namespace) -> None:
        facts = machine()
        rows = [row for size in options.sizes for row in measure(options.models, size, options.frames, options.device)]
        transport = os.environ.get(TRANSPORT, "its defaults")
        print(
            f"{sentence(facts)}\n{options.frames} frames of each, in turns; milliseconds from stamp to mask; "
            f"Fast DDS by {transport}; our node on {options.device}\n"
        )
        print(as_text(rows))
        if options.json:
            command.write_json(
                options.json,
                json.loads(
                    json.dumps({"machine": facts, "transport": transport, "device": options.device, "rows": rows})
                ),
            )

    return command.run(parser, work, arguments)


if __name__ == "__main__":
    sys.exit(main())
