"""CSI cameras, RTP and any pipeline, through GStreamer's own Python binding: OpenCV from PyPI is built without GStreamer."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

from ..errors import SourceError, UsageError
from ..frame import Frame
from .uri import Place

INSTALL = (
    "Install it with apt: sudo apt install python3-gi python3-gst-1.0 gstreamer1.0-plugins-good gstreamer1.0-plugins-bad; "
    "a virtual environment sees it when it was made with --system-site-packages"
)
_SINK = "fastscnn"
_CAPS = "video/x-raw,format=BGR"
_TAIL = f"videoconvert ! {_CAPS} ! appsink name={_SINK} max-buffers=1 sync=false"
_DEPAY = {"h264": "rtph264depay", "h265": "rtph265depay", "jpeg": "rtpjpegdepay", "vp8": "rtpvp8depay", "vp9": "rtpvp9depay"}  # fmt: skip
_ENCODINGS = {"h264": "H264", "h265": "H265", "jpeg": "JPEG", "vp8": "VP8", "vp9": "VP9"}
_SLICE = 0.2  # seconds of waiting between two looks at the pipeline's errors
_starting = threading.Lock()


class GStreamerReader:
    """See `Reader`."""

    announced: int | None = None

    def __init__(self, place: Place, patience: float) -> None:
        self._gst, self._patience, self._place = _binding(place), patience, place
        text = pipeline(place, self._has)
        try:
            self._pipeline = self._gst.parse_launch(text)
        except Exception as error:  # GLib.Error, whose class comes with the binding
            raise SourceError(
                f"the pipeline {place.shown} cannot be built ({_sentence(error)}). Try it with gst-launch-1.0"
            ) from error
        self._sink: Any = None
        try:
            self._sink = self._appsink()
            self._play()
        except BaseException:
            self.close()
            raise

    def read(self) -> tuple[Frame, float] | None:
        sample = self._pulled("try-pull-sample", self._patience)
        now = time.monotonic()
        if sample is None:
            return None
        buffer = sample.get_buffer()
        if not self.live:
            return self._pixels(sample, buffer), buffer.pts / self._gst.SECOND
        return self._pixels(sample, buffer), now - self._age(buffer)

    def close(self) -> None:
        self._pipeline.set_state(self._gst.State.NULL)

    def _has(self, element: str) -> bool:
        return self._gst.ElementFactory.find(element) is not None

    def _appsink(self) -> Any:
        found = [e for e in self._pipeline.iterate_elements() if e.get_factory() and e.get_factory().get_name() == "appsink"]  # fmt: skip
        if len(found) != 1:
            raise UsageError(
                f"the pipeline {self._place.shown} has {len(found)} appsinks; expected one, or none, which is then added"
            )
        found[0].set_property("emit-signals", False)
        return found[0]

    def _play(self) -> None:
        """Up to the first frame; a live pipeline tells that it is one by having none before it plays."""
        gst = self._gst
        change = self._pipeline.set_state(gst.State.PAUSED)
        until = time.monotonic() + self._patience * 3
        while change == gst.StateChangeReturn.ASYNC and time.monotonic() < until:
            self._raise_error()
            change, _, _ = self._pipeline.get_state(int(_SLICE * gst.SECOND))
        if change in (gst.StateChangeReturn.FAILURE, gst.StateChangeReturn.ASYNC):
            self._raise_error()
            raise SourceError(f"{self._place.shown} cannot be opened. Try its pipeline with gst-launch-1.0")
        self.live = change == gst.StateChangeReturn.NO_PREROLL
        self._sink.set_property("drop", self.live)
        self._pipeline.set_state(gst.State.PLAYING)
        sample = self._pulled("try-pull-preroll", self._patience * 3)
        if sample is None:
            raise SourceError(f"{self._place.shown} opened, but gave no frame. Check its cable, power and network")
        shape = sample.get_caps().get_structure(0)
        if shape.get_string("format") not in ("BGR", None):
            raise UsageError(
                f"the appsink of {self._place.shown} gives {shape.get_string('format')}; expected BGR. Put videoconvert ! {_CAPS} before it"
            )
        known, numerator, denominator = shape.get_fraction("framerate")
        self.rate = numerator / denominator if known and numerator and denominator else None
        self.about = f"height={shape.get_value('height')} width={shape.get_value('width')}, through GStreamer"

    def _pulled(self, signal: str, patience: float) -> Any:
        """A sample; None where none comes in time, or at the end. An error of the pipeline's ends the wait."""
        until = time.monotonic() + patience
        while True:
            sample = self._sink.emit(signal, int(_SLICE * self._gst.SECOND))
            if sample is not None:
                return sample
            self._raise_error()
            if self._sink.get_property("eos") or time.monotonic() > until:
                return None

    def _pixels(self, sample: Any, buffer: Any) -> Frame:
        shape = sample.get_caps().get_structure(0)
        height, width = shape.get_value("height"), shape.get_value("width")
        mapped, info = buffer.map(self._gst.MapFlags.READ)
        if not mapped:
            raise SourceError(f"{self._place.shown}: a frame of GStreamer's cannot be read")
        try:
            row = -(-width * 3 // 4) * 4  # rows are padded to four bytes
            data = np.frombuffer(info.data, np.uint8, row * height).reshape(height, row)
            return np.array(data[:, : width * 3]).reshape(height, width, 3)
        finally:
            buffer.unmap(info)

    def _age(self, buffer: Any) -> float:
        """Seconds since the frame was captured, by the pipeline's clock; 0 where the source does not stamp."""
        clock = self._pipeline.get_clock()
        if clock is None or buffer.pts == self._gst.CLOCK_TIME_NONE:
            return 0.0
        age = (clock.get_time() - self._pipeline.get_base_time() - buffer.pts) / self._gst.SECOND
        return float(age) if 0 <= age < 10 else 0.0

    def _raise_error(self) -> None:
        """What the pipeline complained about, if it did."""
        message = self._pipeline.get_bus().pop_filtered(self._gst.MessageType.ERROR)
        if message is not None:
            error, _ = message.parse_error()
            raise SourceError(
                f"{self._place.shown} failed in {message.src.get_name()} ({_sentence(error)}). {_remedy(error)}"
            )


def pipeline(place: Place, has: Any) -> str:
    """The description of the pipeline for a place; `has` tells whether an element is installed.

    Raises:
        SourceError: a camera or a codec for which there is no element.
    """
    if place.kind == "csi":
        return f"{_csi(place, has)} ! {_TAIL}"
    if place.kind == "rtp":
        codec = place.options.get("codec", "h264")
        host, _, port = place.target.rpartition(":")
        caps = f"application/x-rtp,media=video,clock-rate=90000,encoding-name={_ENCODINGS[codec]}"
        source = f'udpsrc port={port} {f"address={host} " if host else ""}caps="{caps}"'
        jitter = f"rtpjitterbuffer latency={place.number('latency') or 0}"
        return f"{source} ! {jitter} ! {_DEPAY[codec]} ! decodebin ! {_TAIL}"
    text = place.target.strip().rstrip("!").strip()
    return text if "appsink" in text else f"{text} ! {_TAIL}"


def _csi(place: Place, has: Any) -> str:
    width, height = place.number("width") or 1280, place.number("height") or 720
    size = f"width={width},height={height},framerate={place.number('fps') or 30}/1"
    if has("nvarguscamerasrc"):
        return (
            f"nvarguscamerasrc sensor-id={place.target} ! video/x-raw(memory:NVMM),{size},format=NV12 ! "
            "nvvidconv ! video/x-raw,format=BGRx"
        )
    if has("libcamerasrc"):
        return f"libcamerasrc ! video/x-raw,{size}"
    raise SourceError(
        f"{place.shown} needs nvarguscamerasrc, which a Jetson's JetPack brings, or libcamerasrc; GStreamer has neither here. "
        "On a Jetson: sudo apt install nvidia-l4t-gstreamer"
    )


def _binding(place: Place) -> Any:
    """Gst, initialised.

    Raises:
        SourceError: it is not installed, with the line that installs it.
    """
    try:
        import gi

        gi.require_version("Gst", "1.0")
        gi.require_version("GstApp", "1.0")
        from gi.repository import Gst, GstApp
    except (ImportError, ValueError) as error:
        raise SourceError(f"{place.shown} needs GStreamer through PyGObject ({error}). {INSTALL}") from error
    with _starting:
        if not Gst.is_initialized():
            Gst.init(None)
    return Gst if GstApp else None


def _remedy(error: Any) -> str:
    if "plug-in" in _sentence(error) or "plugin" in _sentence(error) or "decoder" in _sentence(error):
        return "Install what is missing, for one: sudo apt install gstreamer1.0-libav gstreamer1.0-plugins-bad"
    return "Check its cable, power and network"


def _sentence(error: Any) -> str:
    return " ".join(str(getattr(error, "message", error)).split())[:200].rstrip(".")
