"""Minutes of a camera in front of the node, and whether the node grows: `python -m fastscnn.benchmarks.ros.soak MODEL`.

The stream changes its size and encoding, subscribers come and go, parameters change, and now and then an image is none;
often enough that every combination comes in the warm-up, because each has buffers of a size of its own.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from ...model.street import Street
from ...runtime.commands import command
from ...runtime.errors import FastSCNNError
from ...runtime.ros import cdr
from ..machine import machine, sentence
from ..soak.leaks import Sample, Verdict, verdicts

_RATE = 20.0  # images a second
_SIZES = ((480, 640), (360, 640), (240, 320))
_SAMPLES = 120  # of the process, over the whole time
_PLACES = ("mask", "confidence", "overlay", "color")


def soak(model: Path, minutes: float) -> tuple[tuple[Verdict, ...], dict[str, int], list[Sample]]:
    """Gives a verdict on memory, files and threads, what was counted, and the samples that the verdict rests on.

    Raises:
        FastSCNNError: the node ended, or gave nothing for ten seconds.
    """
    import rclpy

    rclpy.init()
    robot = rclpy.create_node("soak")
    # One pool of memory: glibc otherwise keeps up to eight a core, which fill for an hour and hide what leaks.
    program = [sys.executable, "-m", "fastscnn.runtime.ros", "-m", str(model), "--ros-args", "-p", "device:=cpu"]
    node = subprocess.Popen(program, env=os.environ | {"MALLOC_ARENA_MAX": "1"}, stderr=subprocess.DEVNULL)
    try:
        return _observed(robot, node, minutes * 60)
    finally:
        node.send_signal(signal.SIGINT)
        try:
            code = node.wait(20)
        finally:
            node.kill()
            robot.destroy_node()
            rclpy.try_shutdown()
        if code:
            raise FastSCNNError(f"the node ended with {code}")


def _observed(robot: Any, node: subprocess.Popen[bytes], seconds: float) -> Any:
    import rclpy
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import Image

    counts = dict.fromkeys(("images", "masks", "subscribers", "changes"), 0)
    heard = [time.monotonic()]

    def hear(message: bytes) -> None:
        counts["masks"] += 1
        heard[0] = time.monotonic()

    camera = robot.create_publisher(Image, "/image", QoSProfile(depth=1))
    robot.create_subscription(Image, "/segmentation/mask", hear, QoSProfile(depth=5), raw=True)
    frames = [np.ascontiguousarray(Street(*size, seed=3).frame(5)[0]) for size in _SIZES]
    samples: list[Sample] = []
    process, other = psutil.Process(node.pid), None
    begun = time.monotonic()
    while (now := time.monotonic() - begun) < seconds:
        if node.poll() is not None or time.monotonic() - heard[0] > 10 + 20 * (counts["masks"] == 0):
            raise FastSCNNError(f"the node gave nothing for {time.monotonic() - heard[0]:.0f} s, after {counts}")
        at = counts["images"]
        frame = frames[at // 10 % len(frames)]
        encoding = "bgr8" if at // 5 % 2 else "rgb8"
        stamp = time.time_ns()
        header = cdr.Header(stamp // 1_000_000_000, stamp % 1_000_000_000, "camera")
        whole = cdr.write_image(header, frame, encoding if at % 100 != 99 else "32FC1")
        camera.publish(whole)
        counts["images"] += 1
        if at % 22 == 11:
            if other is not None:
                robot.destroy_subscription(other)
            place = _PLACES[at // 22 % len(_PLACES)]
            other = robot.create_subscription(
                Image, f"/segmentation/{place}", lambda message: None, QoSProfile(depth=1), raw=True
            )
            counts["subscribers"] += 1
        if at % 70 == 69:
            _change(robot, "mask_size", ("grid", "input", "100x200")[at // 70 % 3])
            counts["changes"] += 1
        if len(samples) < now / seconds * _SAMPLES:
            with process.oneshot():
                held = process.memory_info().rss, process.num_fds(), process.num_threads()
            samples.append(Sample(now, *held))
        until = begun + counts["images"] / _RATE
        while (rest := until - time.monotonic()) > 0:
            rclpy.spin_once(robot, timeout_sec=rest)
        rclpy.spin_once(robot, timeout_sec=0)
    return verdicts(samples), counts, samples


def _change(robot: Any, name: str, value: str) -> None:
    """Set a parameter, without waiting for the answer."""
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter

    if not hasattr(robot, "parameter_client"):
        robot.parameter_client = robot.create_client(SetParameters, "/segmentation/set_parameters")
    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    robot.parameter_client.call_async(request)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser("fastscnn.benchmarks.ros.soak", "Minutes of a camera in front of the node.")
    parser.add_argument("model", type=Path, help="a file that fastscnn-export wrote")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long")
    parser.add_argument("--json", metavar="PATH", help="write the samples; - for stdout")

    def work(options: argparse.Namespace) -> None:
        found, counts, samples = soak(options.model, options.minutes)
        print(f"{sentence(machine())}\n{options.minutes:g} minutes: {', '.join(f'{n} {k}' for k, n in counts.items())}")
        print(*found, sep="\n")
        if options.json:
            command.write_json(options.json, {"samples": [asdict(sample) for sample in samples]})
        if grown := [one.what for one in found if not one.flat]:
            raise FastSCNNError(f"{', '.join(grown)} grew")

    return command.run(parser, work, arguments)


if __name__ == "__main__":
    sys.exit(main())
