"""The lifecycle node: images in, masks and what belongs to them out."""

from __future__ import annotations

import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_srvs.srv import SetBool

from ..artifacts.default_model import default_model
from ..errors import FastSCNNError
from ..frame import Frame
from ..segmenter import Segmenter
from . import cdr, diagnostics, parameters, topics
from .encodings import from_compressed, to_bgr
from .inbox import Arrived, Inbox
from .mask import MaskSize, Segmented
from .outputs import Outputs

_LOOK = 0.5  # seconds between two looks at the graph
_CLOUDS = {"sensor_msgs/msg/PointCloud2": PointCloud2, "sensor_msgs/msg/CameraInfo": CameraInfo}
_SHIPPED = (720, 1280)  # size of the frames that the default model is exported for
_DONE, _FAILED = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class SegmentationNode(LifecycleNode):
    """Loads the model in configure, opens its topics in activate, closes them in deactivate, lets go of the model in cleanup.

    Callbacks run on the executor's thread; a thread of its own segments the newest image and publishes.

    Raises:
        UsageError: a parameter that was given at the start is wrong.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("segmentation", **options)
        self.configured = False
        self.frames = 0  # segmented since the node was made
        self._segmenter: Segmenter | None = None
        self._told: dict[str, str] = {}  # what was said last about each subject
        self._worker: threading.Thread | None = None  # below: of an active node
        self._source: Any = None
        self._info_source: Any = None
        self._cloud_source: Any = None
        self._source_kind: tuple[Any, ...] = ()  # topic and reliability
        self._info: bytes | None = None  # the last CameraInfo
        self._cloud: tuple[int, int] | None = None  # its size
        self._seen: tuple[str, int, int] | None = None  # encoding and size of the last image
        self._threshold: float | None = None  # that the labels were told with
        self._ticks = 0
        parameters.declare(self)
        self.create_service(SetBool, "~/enable", self._set_enable)

    # Transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        get = self._parameter
        try:
            path = get("model") or default_model(_SHIPPED)
            self._segmenter = Segmenter(path, get("device"), threads=get("threads") or None, trust=get("trust"))
            median = self._segmenter.warm_up()
        except FastSCNNError as error:
            return self._not_configured(str(error))
        except Exception as error:
            return self._not_configured(f"{type(error).__name__}: {error}. This is a fault of the program")
        self.configured = True
        artifact = self._segmenter.artifact
        self.get_logger().info(
            f"{path}: {len(artifact.classes)} classes, height={artifact.height} width={artifact.width}, "
            f"on {self._segmenter.device}, {median:.1f} ms a frame"
        )
        if not artifact.trained:
            self.get_logger().warning("the model's weights are random: the classes mean nothing yet")
        return _DONE

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._segmenter is not None
        self._told.clear()
        self._record = diagnostics.Record(self._parameter("deadline_ms") or None)
        self._inbox = Inbox()
        self._outputs = Outputs(self, self._segmenter.artifact, self._tell)
        self._status = self.create_publisher(DiagnosticArray, "/diagnostics", topics.RESULTS)
        self._info_source = self.create_subscription(
            CameraInfo, "camera_info", self._keep_info, topics.NEWEST, raw=True
        )
        self._worker = threading.Thread(target=self._work, name="fastscnn-ros", daemon=True)
        self._worker.start()
        self._look()
        # By a steady clock: a simulation that stands still must not hide that no image comes.
        self._timer = self.create_timer(_LOOK, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        return _DONE

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._close_topics()
        return _DONE

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._release()

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._release()

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._release()

    def _not_configured(self, why: str) -> TransitionCallbackReturn:
        self._release()
        self.get_logger().error(f"{why} The node stays unconfigured: mend it, then configure it again")
        return _FAILED

    def _release(self) -> TransitionCallbackReturn:
        self._close_topics()
        if self._segmenter:
            self._segmenter.close()
        self._segmenter, self.configured = None, False
        return _DONE

    def _close_topics(self) -> None:
        if self._worker:
            self._inbox.shut()
            self._worker.join()
            self._outputs.close()
            self.destroy_timer(self._timer)
            self.destroy_publisher(self._status)
        for source in (self._source, self._info_source, self._cloud_source):
            if source:
                self.destroy_subscription(source)
        self._forget_topics()

    def _forget_topics(self) -> None:
        self._worker = None
        self._source = self._info_source = self._cloud_source = None
        self._source_kind = ()
        self._info = self._cloud = self._seen = self._threshold = None
        self._ticks = 0

    # What comes in

    def _received(self, message: bytes) -> None:
        if self._parameter("enable"):
            self._inbox.put(message)

    def _keep_info(self, message: bytes) -> None:
        self._info = message

    def _set_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        from rclpy.parameter import Parameter

        (result,) = self.set_parameters([Parameter("enable", value=request.data)])
        response.success, response.message = result.successful, result.reason
        if self._worker:
            self._look()
        return response

    def _look(self) -> None:
        """See who publishes and subscribes, and tell what has changed."""
        self._subscribe()
        if MaskSize.parse(self._parameter("mask_size")).kind == "cloud":
            self._look_for_cloud()
        else:
            self._leave_cloud()
        if self._threshold != self._parameter("unknown_below"):
            self._threshold = self._parameter("unknown_below")
            self._outputs.labels(self._threshold)
        self._warn_of_large_messages()
        silent = self._watch_camera()
        if self._ticks % round(1 / _LOOK) == 0:
            self._tell_status(silent)
        self._ticks += 1

    def _topic(self) -> str:
        topic: str = self.resolve_topic_name("image")
        if self._parameter("transport") == "raw":
            return topic
        return str(self.resolve_topic_name(f"{topic}/compressed"))

    def _subscribe(self) -> None:
        if not self._parameter("enable"):
            if self._source:
                self.destroy_subscription(self._source)
                self._source, self._source_kind = None, ()
                self.get_logger().info("disabled: images are left alone until `enable` is set")
            return
        raw, topic = self._parameter("transport") == "raw", self._topic()
        kind, expected = (Image, topics.IMAGE) if raw else (CompressedImage, topics.COMPRESSED)
        publishers = self.get_publishers_info_by_topic(topic)
        if problem := topics.mismatch(topic, expected, self._parameter("qos"), publishers):
            self._tell("match", problem)
        qos = topics.subscription_qos(self._parameter("qos"), publishers)
        wanted = (topic, qos.reliability)
        if self._source is None or (self._source_kind != wanted and publishers):
            if self._source:
                self.destroy_subscription(self._source)
            else:
                self._inbox.last = time.monotonic()
            self._source = self.create_subscription(kind, topic, self._received, qos, raw=True)
            self._source_kind = wanted
        how = self._source_kind[1].name.lower().replace("_", " ")
        self._inform("publishers", f"{topic}: subscribed {how}; published by {topics.listed(publishers)}")

    def _watch_camera(self) -> float:
        """Tell when images stop and when they are back; gives the seconds of silence, 0 where all is well."""
        quiet = time.monotonic() - self._inbox.last
        if self._source is None or quiet <= self._parameter("patience"):
            if self._told.pop("silent", "") and self._source:
                self.get_logger().info(f"{self._topic()}: images are back")
            return 0.0
        topic = self._topic()
        publishers = self.get_publishers_info_by_topic(topic)
        hint = ""
        if not publishers:
            hint = topics.elsewhere(self, topics.IMAGE if self._parameter("transport") == "raw" else topics.COMPRESSED)
        elif any(map(topics.best_effort, publishers)):
            hint = f". Large images are lost over best effort: publish them reliably, or {topics.remedy()}"
        why = f"published by {topics.listed(publishers)}{hint}"
        if self._told.get("silent") != why:
            self._told["silent"] = why
            since = f"after {self._inbox.received}" if self._inbox.received else "yet"
            self.get_logger().warning(f"no image on {topic} for {quiet:.1f} s, {since}; {why}")
        return quiet

    def _look_for_cloud(self) -> None:
        if self._cloud_source or self._cloud:
            return
        topic = self.resolve_topic_name("cloud")
        for one in self.get_publishers_info_by_topic(topic):
            if kind := _CLOUDS.get(one.topic_type):
                self._cloud_source = self.create_subscription(kind, topic, self._keep_cloud, topics.NEWEST, raw=True)
                return

    def _keep_cloud(self, message: bytes) -> None:
        """One message is enough, and clouds are large: its size is read and the topic left."""
        try:
            height, width = cdr.read_size(message)
        except FastSCNNError as error:
            self._tell("cloud", str(error))
            return
        if min(height, width) < 2:
            self._tell(
                "cloud",
                f"{self.resolve_topic_name('cloud')} is height={height} width={width}, a list of points; expected an organised "
                "cloud, with a point for each pixel. Set mask_size to the size that its camera has",
            )
            return
        self._cloud = height, width
        self.get_logger().info(f"masks of height={height} width={width}, as {self.resolve_topic_name('cloud')} has it")
        self.destroy_subscription(self._cloud_source)
        self._cloud_source = None

    def _leave_cloud(self) -> None:
        if self._cloud_source:
            self.destroy_subscription(self._cloud_source)
        self._cloud_source = self._cloud = None  # its size is read anew when it is asked for again

    # What goes out

    def _work(self) -> None:
        while arrived := self._inbox.take():
            try:
                self._segment(arrived)
            except FastSCNNError as error:
                self._record.refused += 1
                self._tell("frame", f"{error}. The image is left out")
            except Exception as error:
                self._record.refused += 1
                self._record.failure = f"{type(error).__name__}: {error}"
                self._tell("frame", f"an image could not be segmented: {self._record.failure}")

    def _segment(self, arrived: Arrived) -> None:
        wanted = self._outputs.wanted()
        if not wanted:
            return
        header, frame = self._read(arrived.message)
        asked = MaskSize.parse(self._parameter("mask_size"))
        cloud = self._cloud
        if asked.kind == "cloud" and cloud is None:
            self._tell(
                "cloud size",
                f"mask_size is cloud, but no PointCloud2 or CameraInfo came on {self.resolve_topic_name('cloud')} yet; no "
                "mask is published until then. Remap `cloud`, or set mask_size",
            )
            return
        assert self._segmenter is not None
        size = asked.pixels((frame.shape[0], frame.shape[1]), self._segmenter.artifact, cloud)
        found = Segmented(self._segmenter, frame, size, asked.kind, self._parameter("unknown_below"))
        info = deserialize_message(self._info, CameraInfo) if self._info and "camera_info" in wanted else None
        self._outputs.publish(header, found, wanted, self._parameter("opacity"), info)
        self._record.latency.deadline_ms = self._parameter("deadline_ms") or None
        age = (self.get_clock().now().nanoseconds - header.stamp) / 1e6
        self._record.count((time.perf_counter() - arrived.at) * 1e3, age)
        self.frames += 1
        self._told.pop("frame", None)

    def _read(self, message: bytes) -> tuple[cdr.Header, Frame]:
        if self._parameter("transport") == "compressed":
            packed = cdr.read_compressed(message)
            frame = from_compressed(packed.data)
            seen = packed.format, frame.shape[0], frame.shape[1]
            header = packed.header
        else:
            image = cdr.read_image(message)
            frame, header = to_bgr(image), image.header
            seen = image.encoding, image.height, image.width
        if self._seen not in (None, seen):
            old = "{} height={} width={}".format(*self._seen)  # type: ignore[misc]
            self.get_logger().warning("images changed from {} to {} height={} width={}".format(old, *seen))
        self._seen = seen
        return header, frame

    def _warn_of_large_messages(self) -> None:
        for name, size in list(self._outputs.sizes.items()):
            if not topics.too_large(size) or f"large {name}" in self._told:
                continue
            topic = self._outputs.topic(name)
            if any(map(topics.best_effort, self.get_subscriptions_info_by_topic(topic))):
                smaller = "set mask_size to grid" if name in ("mask", "confidence", "color") else "ask for it reliably"
                self._tell(
                    f"large {name}",
                    f"{topic} has messages of {size:,} bytes and a best-effort subscriber, which loses most of what is larger "
                    f"than {topics.CARRIED:,}; {smaller}, or {topics.remedy()}",
                )

    def _tell_status(self, silent: float) -> None:
        assert self._segmenter is not None
        record, inbox = self._record, self._inbox
        latency = record.latency
        level, sentence = DiagnosticStatus.OK, "segmenting"
        if record.failure:
            level, sentence = DiagnosticStatus.ERROR, record.failure
        elif not self._parameter("enable"):
            sentence = "disabled"
        elif silent:
            level, sentence = DiagnosticStatus.WARN, f"no image for {silent:.1f} s"
        elif not self._outputs.wanted():
            sentence = "nobody subscribes"
        values: dict[str, object] = {
            "frames per second": record.rate,
            "latency p50 (ms)": latency.percentile(50),
            "latency p99 (ms)": latency.p99,
            "deadline (ms)": latency.deadline_ms or "none",
            "deadline misses": latency.misses,
            "frames": latency.frames,
            "images received": inbox.received,
            "images dropped": inbox.dropped,
            "images refused": record.refused,
            "age of frames, median (ms)": record.age,
            "device": self._segmenter.device,
            "mask size": self._parameter("mask_size"),
        }
        name = f"{self.get_fully_qualified_name().strip('/')}: segmentation"
        status = diagnostics.message(name, self._segmenter.device, level, sentence, values)
        status.header.stamp = self.get_clock().now().to_msg()
        self._status.publish(status)

    # Small things

    def _parameter(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _tell(self, subject: str, sentence: str) -> None:
        """Warn, once for as long as there is nothing new to say about it."""
        if self._told.get(subject) != sentence:
            self._told[subject] = sentence
            self.get_logger().warning(sentence)

    def _inform(self, subject: str, sentence: str) -> None:
        """The same, of what is in order."""
        if self._told.get(subject) != sentence:
            self._told[subject] = sentence
            self.get_logger().info(sentence)
