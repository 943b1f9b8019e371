"""The class that robot code embeds: a model file in, labels out."""

from __future__ import annotations

import time
import warnings
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .backends import Backend, open_backend
from .backends.fitting import takes_frames
from .errors import FrameError, UsageError
from .feed import Arrived, by_camera, captured, named
from .frame import Frame, expect_frame, restored, to_bgr
from .gate import Gate
from .latency import Latency
from .pixels import BGR8, PixelFormat
from .placement import Framing, Placement, Roi
from .result import Result, Timings

if TYPE_CHECKING:
    from .stream import OnError, Stream

_LAST_CALLS = 10.0  # seconds that the end of the process waits for threads in a Segmenter that nobody closed


class Segmenter:
    """Segments camera frames with an exported model.

        with Segmenter("model.onnx") as segmenter:
            result = segmenter(frame)

    Safe to call from several threads. Use it as a context manager, or call `close`; one that is let go unclosed warns
    (ResourceWarning) and is closed. After a fork only the process that opened it may call it.

    Args:
        path: a file that fastscnn-export wrote.
        device: "cpu" is ONNX Runtime, "openvino" OpenVINO in float32, "openvino-bf16" and "openvino-gpu" in what their names
            say, "cuda" ONNX Runtime on the GPU. "auto" takes CUDA where it is installed, else what a short trial finds fastest
            on this machine; the environment variable FASTSCNN_DEVICE can name what it takes.
        threads: CPU threads for network and decode; None takes all that this process may use.
        memory: of an engine's frames and results: "pinned", "mapped" or "managed"; "auto" takes the fastest. See
            `runtime/backends/tensorrt/memory.py`.
        trust: open a version-compatible engine, too, which brings native code of its own; see `trust.py`.
        deadline_ms: milliseconds that a frame may take; `latency` counts those that took longer.
        pixel_format: of the frames, as ROS and V4L2 call it: bgr8, rgb8, bgra8, rgba8, mono8, mono16, yuyv, uyvy, nv12, nv21,
            i420, bayer_rggb8 and the like. OpenCV converts; see `pixels.py` for what each array looks like. In bgr8 grey
            frames are taken, too.
        roi: the part of each frame that is segmented, slices of its rows and columns such as np.s_[400:1000, :]; None takes
            all. Labels are 255 elsewhere, so that they lie where the frame's pixels do.
        letterbox: keep the aspect ratio, with borders in the colour of the model's mean; else frames are stretched to the
            model's resolution.
        unknown_below: probability of the best class below which a pixel is labelled 255; None labels every pixel. On an engine,
            `Result.confidence` is there if this is a number, 0 included.
        try_again: hold the trial of engines once more, though an earlier one is kept: after one that a busy machine distorted,
            which `why` tells. Seconds; where there is no trial it changes nothing.

    Attributes:
        artifact: the description of the model.
        device: what it runs on, in words.
        latency: percentiles of recent frames, and missed deadlines; see `Latency`.

    Raises:
        ArtifactError: the file is missing, damaged or not this project's.
        DeviceError: this machine or an installed package cannot run it.
        UsageError: an unknown device or pixel format, a thread count that is none, a deadline that is not above 0, a region that
            is none, or a probability outside of 0 to 1.
        ParityError: a device of reduced precision was named whose results part from float32's.
    """

    def __init__(
        self,
        path: str | Path,
        device: str = "auto",
        *,
        threads: int | None = None,
        memory: str = "auto",
        trust: bool = False,
        deadline_ms: float | None = None,
        pixel_format: str = "bgr8",
        roi: tuple[slice, slice] | None = None,
        letterbox: bool = False,
        unknown_below: float | None = None,
        try_again: bool = False,
    ) -> None:
        self.latency = Latency(deadline_ms)
        self._framing = Framing.of(pixel_format, roi, letterbox)
        self._gate = Gate()
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self._backend = open_backend(path, device, threads, memory, trust, unknown_below, try_again)
        self._let_go = weakref.finalize(
            self, _close_unclosed, self._gate, self._backend, f"unclosed Segmenter of {path}"
        )
        self.artifact = self._backend.artifact
        self.device = self._backend.device
        self.precision = self._backend.precision  # of the arithmetic: "fp32", "fp16", "bf16"
        self.why = self._backend.why  # how "auto" came to choose the device, a sentence; empty where it was named
        self._network = takes_frames(self._backend)
        self._size = self.artifact.height, self.artifact.width

    def __call__(
        self,
        frame: Any,
        *,
        pixel_format: str | None = None,
        roi: tuple[slice, slice] | None = None,
        letterbox: bool | None = None,
    ) -> Result:
        """Segment one frame: uint8 (H, W, 3) BGR of any size, or what `pixel_format` says; or a `Captured`, or (frame, stamp).

        The frame is resized to the model's resolution, the labels back to the frame's by nearest neighbour.

        Args:
            pixel_format, roi, letterbox: of this frame; None takes those of the Segmenter, and np.s_[:, :] the whole frame.

        Raises:
            FrameError: for what is not such a frame.
        """
        return self.batch([frame], pixel_format=pixel_format, roi=roi, letterbox=letterbox)[0]

    async def call_async(self, frame: Any, **options: Any) -> Result:
        """As calling it, while other tasks of an asyncio program run."""
        import asyncio  # here, as in `stream`: half of what this module would take to be imported

        return await asyncio.get_running_loop().run_in_executor(None, lambda: self(frame, **options))

    def batch(
        self,
        frames: Sequence[Any],
        *,
        pixel_format: str | None = None,
        roi: tuple[slice, slice] | None = None,
        letterbox: bool | None = None,
    ) -> list[Result]:
        """Segment up to as many frames as the model's batch in one run; a smaller number costs as much as a full batch.

        Timings are the run's, divided by the number of frames.
        """
        now = time.perf_counter()
        framing = self._framing.changed(pixel_format, roi, letterbox)
        arrived = []
        for index, frame in enumerate(frames):
            one = captured(frame)
            arrived.append(Arrived(one.frame, index, now, one.stamp, one.tag, framing=framing))
        results = self._segment(arrived)
        took = (time.perf_counter() - now) * 1e3
        for _ in results:
            self.latency.count(took)
        return results

    def _segment(self, arrived: list[Arrived]) -> list[Result]:
        """Check, prepare and run, restore, hand over: a batch's way, in the order in which it is walked."""
        if not 1 <= len(arrived) <= self.artifact.batch:
            remedy = f" Export with --batch {len(arrived)} for more" if arrived else ""
            raise FrameError(f"{len(arrived)} frames; this model takes 1 to {self.artifact.batch} at a time.{remedy}")
        with self._gate.passing():
            started = time.perf_counter()
            places = [self._placed(one) for one in arrived]
            seen = time.perf_counter()
            forms = [self._taken(one, place) for one, place in zip(arrived, places, strict=True)]
            frames = [
                self._converted(one, place) if form is BGR8 else place.part(one.frame)
                for one, place, form in zip(arrived, places, forms, strict=True)
            ]
            converted = time.perf_counter()
            fit = [self._bordered(frame, place) for frame, place in zip(frames, places, strict=True)]
            bordered = time.perf_counter()
            raw = self._network.run_frames(fit, forms)
            ran = time.perf_counter()
            shares = [raw.one(index, place) for index, place in enumerate(places)]
            ended = time.perf_counter()
        # What is BGR already is only cut.
        convert = 0.0 if all(one.framing.pixel_format is BGR8 for one in arrived) else (converted - seen) * 1e3
        prepare = (bordered - started) * 1e3 - convert + raw.prepare
        stages = prepare, raw.forward, raw.decode + (ended - ran) * 1e3, convert
        timings = Timings(*(stage / len(frames) for stage in stages))
        return [
            Result(
                self.artifact,
                timings,
                place,
                share.labels,
                share.probabilities,
                share.logits,
                share.confidence,
                self._backend,
                pixel_format=one.framing.pixel_format,
                stamp=one.stamp,
                tag=one.tag,
                index=one.index,
                camera=one.camera,
            )
            for one, place, share in zip(arrived, places, shares, strict=True)
        ]

    def _placed(self, one: Arrived) -> Placement:
        """Check a frame, and find where it lies at the model's resolution."""
        size = expect_frame(one.frame, one.framing.pixel_format)
        return Placement.of(size, self._size, one.framing.roi, one.framing.letterbox)

    def _taken(self, one: Arrived, place: Placement) -> PixelFormat:
        """The format in which a frame goes to the network: its own where that is converted there, else BGR."""
        form = one.framing.pixel_format
        there = form.name in self._network.converts and not place.bordered and (form.pixelwise or not place.cropped)
        return form if there else BGR8

    def _converted(self, one: Arrived, place: Placement) -> Frame:
        """The part of a frame that is segmented, in BGR."""
        form = one.framing.pixel_format
        if form.pixelwise:
            return to_bgr(place.part(one.frame), form)
        return place.part(to_bgr(one.frame, form))

    def _bordered(self, frame: Frame, place: Placement) -> Frame:
        mean = [255 * level for level in self.artifact.mean]
        return place.bordering(frame, (mean[2], mean[1], mean[0])) if place.bordered else frame

    def stream(
        self,
        frames: Any,
        *,
        drop: str | None = "auto",
        timeout: float | None = None,
        on_error: OnError = "raise",
        pixel_format: str | Mapping[Any, str] | None = None,
        roi: Roi | Mapping[Any, Roi] | None = None,
        letterbox: bool | None = None,
    ) -> Stream:
        """Segment frames as they come, and iterate over their results, each as soon as it is computed.

        Args:
            frames: anything iterable, a `Source`, a cv2.VideoCapture, or a dict of these by name: several cameras, whose
                results tell in `camera` which they are of. Each is read on a thread of its own. What it gives is a frame,
                (frame, stamp), (frame, stamp, tag) or a `Captured`; results return stamp and tag. When a source fails, the
                frames that it gave before are yielded first.
            drop: None segments every frame in order: at most two batches are in flight, that in the caller's hands among
                them, and a slow caller holds the source back. "oldest" reads as fast as the source gives, and each time that
                a result is asked for segments the newest frames, as many as the model's batch, of several cameras one each
                and those first that have waited longest; the others are dropped and counted. "auto" is "oldest" for several
                cameras and live ones, else None.
            timeout: seconds that a result may take to come; then StalledError is raised, and the stream goes on.
            on_error: what becomes of a frame that is None or cannot be segmented. "raise" ends the stream, "skip" passes it
                over, counts it (`refused`) and logs it, a function is called with the error, on the reading thread. Of several
                cameras, one that fails as a whole then ends alone; otherwise it ends the stream.
            pixel_format, roi: of the frames, or a dict of them by camera; None, or a camera that is not in it, takes those of the
                Segmenter.
            letterbox: as at construction.

        The stream's `frame`, `index`, `read`, `dropped` and `refused` tell which frame the last result is of and what was left
        out, `cameras` the same of each. `latency` counts from a frame's arrival until its result is handed over.

        Raises:
            UsageError: another `drop`, `on_error` or `timeout`, or what gives no frames.
        """
        from .stream import Stream

        sources = named(frames)
        formats, regions = by_camera(pixel_format, sources), by_camera(roi, sources)
        framings = {name: self._framing.changed(formats.get(name), regions.get(name), letterbox) for name in sources}
        stream = Stream(
            frames,
            self._segment,
            self.artifact.batch,
            drop,
            timeout=timeout,
            on_error=on_error,
            framings=framings,
            count=self.latency.count,
        )
        self._streams.add(stream)
        return stream

    def warm_up(self, size: tuple[int, int] | None = None, *, frames: int = 10) -> float:
        """Segment some drawn frames, uncounted, so that the first real one takes no longer than the rest.

        Args:
            size: (height, width) of the frames that will come; None takes the model's resolution.
            frames: how many.

        Returns:
            The median of their milliseconds.

        Raises:
            UsageError: no frames, or a size without pixels.
        """
        height, width = size or (self.artifact.height, self.artifact.width)
        if frames < 1 or min(height, width) < 1:
            raise UsageError(
                f"warm_up with {frames} frames of height={height} width={width}; expected at least 1 of each"
            )
        # Blobs of colour: like a street, a few classes with borders between them.
        blobs = np.random.default_rng(0).integers(0, 256, (8, 16, 3)).astype(np.uint8)
        frame = restored(blobs, height, width)
        took = []
        with self._gate.passing():
            self._network.fill_slots()
        for _ in range(frames):
            started = time.perf_counter()
            for result in self._segment([Arrived(frame, 0, started)] * self.artifact.batch):
                _ = result.labels
            took.append((time.perf_counter() - started) * 1e3)
        return float(np.median(took))

    def close(self) -> None:
        """End its streams, wait for calls under way, then release the engine. Twice is harmless, as it is in a forked process."""
        for stream in list(self._streams):
            stream.close()
        if self._gate.shut():
            self._let_go.detach()
            self._backend.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise UsageError(
            "a Segmenter cannot be copied or sent to another process; send the model's path and open one there"
        )

    @property
    def backend(self) -> Backend:
        """What runs the model, for benchmarks and tests."""
        return self._backend


def _close_unclosed(gate: Gate, backend: Backend, message: str) -> None:
    """What happens when nobody refers to an unclosed Segmenter any more, or the process ends."""
    if gate.forked:  # the engine is the parent's
        return
    try:
        warnings.warn(message, ResourceWarning, stacklevel=2)
    finally:
        if gate.shut(_LAST_CALLS):
            backend.close()
