"""Ten kinds of healthy video files, written by PyAV: those whose announcements are right, and those whose are not."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from ...runtime.frame import Frame

_SIZE = (96, 128)
_REGULAR = tuple(index / 25 for index in range(50))
_FINE = Fraction(1, 90_000)


@dataclass(frozen=True)
class Clip:
    """What a file holds, as another library reads it: the first time stamps to the last, and the last one's duration."""

    frames: int
    seconds: float
    times: tuple[float, ...]  # since the first


def kinds() -> Mapping[str, Callable[[Path], None]]:
    """File names by kind, and what writes them."""
    steps = random.Random(1)
    uneven = [0.0]
    for _ in range(49):
        uneven.append(round(uneven[-1] + steps.choice((0.02, 0.04, 0.1, 0.3)), 3))
    return {
        "regular.mp4": lambda path: write(path, _REGULAR),
        "variable.mp4": lambda path: write(path, uneven),
        "ntsc.mov": lambda path: write(path, [i * 1001 / 30000 for i in range(60)], clock=Fraction(1001, 30000), rate=Fraction(30000, 1001)),
        "longer-sound.mkv": lambda path: write(path, _REGULAR, sound=6.0),
        "variable.webm": lambda path: write(path, uneven, codec="libvpx-vp9", clock=Fraction(1, 1000), rate=Fraction(1000), settings={"cpu-used": "8", "deadline": "realtime"}),
        "recorded-live.mkv": lambda path: write(path, [3 + t for t in uneven], clock=Fraction(1, 1000), rate=Fraction(1000)),
        "offset.ts": lambda path: write(path, [10 + t for t in _REGULAR], format="mpegts"),
        "intra.avi": lambda path: write(path, _REGULAR, codec="mjpeg", pixels="yuvj420p", clock=Fraction(1, 25)),
        "fragmented.mp4": lambda path: write(path, _REGULAR, options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
        "cut-by-copying.mp4": _cut,
    }  # fmt: skip


def picture(index: int) -> Frame:
    """uint8 (96, 128, 3): grey that changes, with a bar that moves."""
    made = np.full((*_SIZE, 3), index * 7 % 200, np.uint8)
    made[:, index * 3 % _SIZE[1]] = 255
    return made


def write(
    path: Path,
    times: Sequence[float],
    *,
    codec: str = "libx264",
    format: str | None = None,
    options: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    clock: Fraction = _FINE,
    rate: Fraction = Fraction(25),
    pixels: str = "yuv420p",
    sound: float = 0.0,
) -> None:
    """A clip whose frames are shown at `times`, in seconds."""
    import av

    with av.open(str(path), "w", format=format, options=dict(options or {})) as container:
        video = container.add_stream(codec, rate=rate, options=dict(settings or {}))
        video.height, video.width = _SIZE
        video.pix_fmt = pixels
        video.time_base = video.codec_context.time_base = clock
        audio = container.add_stream("aac", rate=48_000, layout="mono") if sound else None
        for index, seconds in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(index), "bgr24")
            frame.pts, frame.time_base = round(Fraction(seconds) / clock), clock
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            for start in range(0, int(48_000 * sound), 1024):
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                silence.sample_rate, silence.pts, silence.time_base = 48_000, start, Fraction(1, 48_000)
                container.mux(audio.encode(silence))
            container.mux(audio.encode(None))


def _cut(path: Path) -> None:
    """From the key frame before the cut on, as every lossless cutter does."""
    import av

    whole = path.with_name("whole.mp4")
    write(whole, [index / 25 for index in range(100)], settings={"g": "40"})
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        video = source.streams.video[0]
        copy = target.add_stream_from_template(video)
        source.seek(int(2.2 / video.time_base), stream=video, backward=True)
        for packet in source.demux(video):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    whole.unlink()


def read(path: Path) -> Clip:
    """By PyAV, whose packets know their durations."""
    import av

    with av.open(str(path)) as container:
        video = container.streams.video[0]
        packets = sorted(
            (float(packet.pts * packet.time_base), float((packet.duration or 0) * packet.time_base))
            for packet in container.demux(video)
            if packet.pts is not None
        )
    first, (last, lasts) = packets[0][0], packets[-1]
    if not lasts and len(packets) > 1:  # MPEG-TS does not say
        lasts = last - packets[-2][0]
    return Clip(len(packets), last - first + lasts, tuple(pts - first for pts, _ in packets))
