"""For tests with the real ROS 2: processes whose lines are read, and a node of cameras, consumers and clients."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

HEIGHT, WIDTH = 128, 256
PATIENCE = 60.0  # seconds, on a machine that has other work
ANSWER = 5.0  # seconds; Fast DDS drops an answer whose client it has not found within a tenth of one
# The states that lifecycle_msgs/Transition's numbers lead to: configure, cleanup, activate, deactivate, three shutdowns.
_REACHED = dict(enumerate(["inactive", "unconfigured", "active", "inactive", *["finalized"] * 3], start=1))


class Process:
    """A process whose lines are read as they come."""

    def __init__(self, *command: object, **environment: str) -> None:
        self.process = subprocess.Popen(
            [str(word) for word in command],
            env=os.environ | {"PYTHONUNBUFFERED": "1"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, text: str, seconds: float = PATIENCE, count: int = 1) -> str:
        """The last line that holds `text`, once `count` of them came."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = [line for line in list(self.lines) if text in line]
            if len(found) >= count:
                return found[-1]
            time.sleep(0.02)
        raise AssertionError(f"no line with {text!r} in {seconds} s:\n{self.text}")

    def end(self, number: int = signal.SIGINT, seconds: float = PATIENCE) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"still there {seconds} s after signal {number}:\n{self.text}") from None
        self._reader.join(5)
        assert self.process.stdout
        self.process.stdout.close()
        return code


class Robot:
    """A ROS node in the test's own process: cameras, consumers and clients."""

    def __init__(self, domain: int) -> None:
        import rclpy
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor

        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("robot", context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._cameras: dict[str, Any] = {}
        self._stamp = itertools.count(1)

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    def spin(self, until: Callable[[], object], seconds: float = PATIENCE) -> None:
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds} s")
            self._executor.spin_once(timeout_sec=0.02)

    def rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.02)

    def hear(self, topic: str, kind: Any, *, reliable: bool = False, latched: bool = False) -> list[Any]:
        """The list into which messages come."""
        from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

        qos = QoSProfile(
            depth=50,
            reliability=ReliabilityPolicy.RELIABLE if reliable or latched else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
        heard: list[Any] = []
        self.node.create_subscription(kind, topic, heard.append, qos)
        return heard

    def camera(self, topic: str = "/image", kind: Any = None, *, reliable: bool = True) -> Any:
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import Image

        if topic not in self._cameras:
            policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
            self._cameras[topic] = self.node.create_publisher(
                kind or Image, topic, QoSProfile(depth=1, reliability=policy)
            )
        return self._cameras[topic]

    def unplug(self, topic: str = "/image") -> None:
        self.node.destroy_publisher(self._cameras.pop(topic))

    def send(self, frame: np.ndarray, encoding: str = "bgr8", topic: str = "/image", **fields: Any) -> tuple[int, int]:
        """Publish an image; gives its stamp, which no other has."""
        from sensor_msgs.msg import Image

        about = {"height": frame.shape[0], "width": frame.shape[1], "encoding": encoding}
        message = Image(**about | {"step": frame.nbytes // frame.shape[0]} | fields)
        message.data = np.ascontiguousarray(frame).tobytes()
        return self.publish(self.camera(topic), message)

    def publish(self, camera: Any, message: Any) -> tuple[int, int]:
        message.header.stamp.sec, message.header.stamp.nanosec = 1_700_000_000 + next(self._stamp), 123_456_789
        message.header.frame_id = "front_camera_optical"
        camera.publish(message)
        return message.header.stamp.sec, message.header.stamp.nanosec

    def segmented(self, heard: list[Any], frame: np.ndarray, encoding: str = "bgr8", **fields: Any) -> Any:
        """Publish an image until its result is heard: a topic may lose some while both ends look for each other."""
        for attempt in range(12):
            stamp = self.send(frame, encoding, **fields)
            try:
                self.spin(lambda stamp=stamp: any(stamp_of(m) == stamp for m in heard), 1.0 + attempt)
            except AssertionError:
                continue
            return next(m for m in heard if stamp_of(m) == stamp)
        raise AssertionError(f"no result for {encoding}")

    def call(self, kind: Any, name: str, **request: Any) -> Any:
        """The answer of a service that may be asked twice: one is lost where the server has not found the client yet."""
        client = self._client(kind, name)
        asked: list[Any] = []
        for _ in range(round(PATIENCE / ANSWER)):
            asked.append(client.call_async(kind.Request(**request)))
            with contextlib.suppress(AssertionError):
                self.spin(lambda: any(one.done() for one in asked), ANSWER)
                break
        self.node.destroy_client(client)
        answers = [one.result() for one in asked if one.done()]
        assert answers, f"{name} does not answer"
        return answers[0]

    def _client(self, kind: Any, name: str) -> Any:
        client = self.node.create_client(kind, name)
        assert client.wait_for_service(PATIENCE), name
        return client

    def set(self, **values: Any) -> list[Any]:
        """Set parameters of the node as any other would; gives the results."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        wanted = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        return list(self.call(SetParameters, "/segmentation/set_parameters", parameters=wanted).results)

    def transition(self, number: int) -> bool:
        """Whether it succeeded. Asked twice, it would fail: where its answer is lost, the state tells."""
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request()
        request.transition.id = number
        client = self._client(ChangeState, "/segmentation/change_state")
        future = client.call_async(request)
        try:
            self.spin(future.done, ANSWER)
        except AssertionError:
            self.spin(lambda: future.done() or self.state() == _REACHED[number])
        self.node.destroy_client(client)
        return not future.done() or bool(future.result().success)

    def state(self) -> str:
        from lifecycle_msgs.srv import GetState

        return str(self.call(GetState, "/segmentation/get_state").current_state.label)


def stamp_of(message: Any) -> tuple[int, int]:
    return message.header.stamp.sec, message.header.stamp.nanosec


def pixels(message: Any) -> np.ndarray:
    """The picture of an `Image` that was received, through rclpy's own types; `step` must have no padding."""
    channels = {"mono8": 1, "bgr8": 3}[message.encoding]
    assert message.step == message.width * channels
    shape = (message.height, message.width) + ((channels,) if channels > 1 else ())
    return np.array(message.data, np.uint8).reshape(shape)
