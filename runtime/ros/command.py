"""`fastscnn-ros`: starts the node, and ends it when it is told to."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

from ..commands import command
from ..errors import DeviceError, UsageError
from ..text import first_line

log = logging.getLogger(__name__)

_PAUSE = 0.2  # seconds after which a signal is seen at the latest


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = command.parser(
        "fastscnn-ros",
        "Segment a camera's images as a ROS 2 lifecycle node. ROS's own arguments follow --ros-args; "
        "`ros2 param describe /segmentation NAME` explains each parameter, and docs/ros.md has them all.",
        "fastscnn-ros -m model.onnx",
        "fastscnn-ros -m model.onnx --ros-args -r image:=/camera/image_raw -p mask_size:=grid",
    )
    parser.add_argument("-m", "--model", metavar="FILE", help="the parameter `model`, in short")
    parser.add_argument("--ros-args", dest="ros", action="store_true", help="what follows is ROS's")
    ours, theirs = _parted(given)

    def work(options: Any) -> None:
        model = ["--ros-args", "-p", f"model:={options.model}"] if options.model else []
        _spin([*theirs, *model])

    return command.run(parser, work, ours)


def _parted(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Ours, and ROS's: from `--ros-args` to `--` or the end."""
    ours: list[str] = []
    theirs: list[str] = []
    inside = False
    for word in arguments:
        inside = (inside or word == "--ros-args") and word != "--"
        (theirs if inside or (word == "--" and theirs) else ours).append(word)
    return ours, theirs


def _spin(arguments: list[str]) -> None:
    try:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        from .node import SegmentationNode
    except ImportError as error:
        raise DeviceError(
            f"ROS 2 cannot be imported ({error}); expected its environment and the Python that it was built for. "
            "Source it first, for example: source /opt/ros/jazzy/setup.bash"
        ) from None
    try:
        rclpy.init(args=["fastscnn-ros", *arguments], signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # arguments that rcl cannot read
        raise UsageError(
            f"ROS's arguments cannot be read: {first_line(error)}. Expected --ros-args with -p NAME:=VALUE or -r FROM:=TO"
        ) from None
    asked = _Ending()
    try:
        node = SegmentationNode()
        _log_to(node.get_logger())
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        try:
            if node.get_parameter("autostart").value and _succeeded(node.trigger_configure()):
                node.trigger_activate()
            while not asked:
                executor.spin_once(timeout_sec=_PAUSE)
        finally:
            node.on_shutdown(None)
            node.get_logger().info(f"stopped after {node.frames} frames")
            executor.shutdown()
            node.destroy_node()
    finally:
        asked.restore()
        rclpy.try_shutdown()


def _succeeded(outcome: Any) -> bool:
    return bool(outcome == type(outcome).SUCCESS)


class _Ending:
    """True once the process was told to end by SIGINT or SIGTERM; a second signal ends it at once."""

    def __init__(self) -> None:
        self._asked = False
        self._former = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}

    def __bool__(self) -> bool:
        return self._asked

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise SystemExit(128 + number)
        self._asked = True

    def restore(self) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)


class _ToRos(logging.Handler):
    """This package's log lines, told by the node."""

    def __init__(self, logger: Any) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        # One call a level: rclpy remembers each place that logs, and refuses to log two levels from one.
        if record.levelno >= logging.ERROR:
            self._logger.error(record.getMessage())
        elif record.levelno >= logging.WARNING:
            self._logger.warning(record.getMessage())
        else:
            self._logger.info(record.getMessage())


def _log_to(logger: Any) -> None:
    ours = logging.getLogger("fastscnn")
    ours.addHandler(_ToRos(logger))
    ours.propagate = False
