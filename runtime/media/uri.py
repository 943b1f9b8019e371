"""What a source is called: paths, patterns, cameras' numbers and URIs, in the forms that people know from jetson-utils.

    0  /dev/video0  v4l2:///dev/video0          a USB camera: ?width=1920&height=1080&fps=30&format=yuyv
    csi://0                                     a CSI camera, through GStreamer: ?width=&height=&fps=
    rtsp://user:password@host/path              a network camera: ?transport=udp&latency=100
    rtp://@:5004                                H.264 that comes by RTP, through GStreamer: ?codec=h265&latency=50
    http://host/stream.mjpg  udp://@:1234       whatever else FFmpeg opens
    clip.mp4  file:///data/clip.mp4             a video
    picture.png  folder  'run/*.jpg'  img_%04d.png   images
    -                                           a video on standard input
    gst://PIPELINE  'videotestsrc ! …'          a GStreamer pipeline

Each takes ?flip=. What an address of the network has in its query beyond the names above is the server's.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from ..artifacts.files import there
from ..errors import SourceError, UsageError
from ..text import did_you_mean

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
CLIPS = (".mp4", ".mkv", ".mov", ".m4v", ".avi", ".webm", ".ts", ".mpg", ".mpeg", ".m3u8")
FLIPS = (
    "none", "counterclockwise", "rotate-180", "clockwise", "horizontal", "vertical",
    "upper-right-diagonal", "upper-left-diagonal",
)  # fmt: skip
CODECS = ("h264", "h265", "jpeg", "vp8", "vp9")  # of rtp://
TRANSPORTS = ("tcp", "udp")
_CAMERA_DIGITS = 5
_NUMBER = re.compile(r"%(0\d+)?d")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_LARGEST = 32768  # of a number in a query

_SIZED = ("width", "height", "fps")
_OPTIONS = {
    "camera": (*_SIZED, "format", "flip"),
    "csi": (*_SIZED, "flip"),
    "rtsp": ("transport", "latency", "flip"),
    "rtsps": ("transport", "latency", "flip"),
    "rtp": ("codec", "latency", "flip"),
}
_WORDS: Mapping[str, tuple[str, ...]] = {
    "flip": FLIPS,
    "codec": CODECS,
    "transport": TRANSPORTS,
    "format": ("mjpg", "yuyv"),
}


@dataclass(frozen=True)
class Place:
    """A source's name, taken apart.

    Attributes:
        kind: "images", "file", "pipe", "camera", "csi", "rtp", "network" or "pipeline".
        target: a path, a device, an address or a pipeline.
        shown: what to call it in messages and reports, without a password.
        options: from the query.
    """

    kind: str
    target: str
    shown: str
    options: Mapping[str, str] = field(default_factory=dict)

    def number(self, name: str) -> int | None:
        return int(self.options[name]) if name in self.options else None

    @property
    def local(self) -> bool:
        """Whether it lies on a disk, and so answers at once."""
        return self.kind in ("images", "file")


def parsed(text: str) -> Place:
    """Take a source's name apart. Nothing is opened.

    Raises:
        SourceError: no such file.
        UsageError: an option that is unknown or has an impossible value.
    """
    if text == "-":
        return Place("pipe", "pipe:0", "standard input")
    if there(text):
        return _path(text, {}, text)
    if match := _SCHEME.fullmatch(text):
        return _uri(match[1].lower(), match[2], text)
    if re.search(r"\S\s+!\s+\S", text):
        return Place("pipeline", text, _short(text))
    bare, options = _split(text)
    if (bare.isdecimal() and len(bare) <= _CAMERA_DIGITS) or re.fullmatch(r"/dev/video\d+", bare):
        return Place("camera", bare, bare, _checked(options, "camera", text))
    if options and there(bare):
        return _path(bare, _checked(options, "file", text), bare)
    for pattern in (text, bare):
        if pattern_of_images(pattern):
            return Place("images", pattern, pattern, _checked(options, "file", text) if pattern != text else {})
    raise SourceError(
        f"{text} does not exist; expected an image, a folder, a pattern, a video, a URI such as rtsp://…, "
        "a camera's number, a GStreamer pipeline, or - for standard input"
    )


def pattern_of_images(pattern: str) -> list[Path]:
    """The files that `run/*.jpg` or `img_%04d.png` stands for; none for what is no pattern."""
    if _NUMBER.search(pattern):
        name = re.escape(_NUMBER.sub("\0", pattern)).replace(re.escape("\0"), r"\d+")
        found = glob.glob(_NUMBER.sub("*", glob.escape(pattern)))  # noqa: PTH207
        return [Path(path) for path in found if re.fullmatch(name, path)]
    if not re.search(r"[*?\[]", pattern):
        return []
    return [Path(path) for path in glob.glob(pattern, recursive=True)]  # noqa: PTH207


def _uri(scheme: str, rest: str, text: str) -> Place:
    if scheme == "gst":
        return Place("pipeline", rest, _short(rest))
    if scheme == "file":
        bare, options = _split(rest)
        path = unquote(bare.removeprefix("localhost"))
        if not there(path):
            raise SourceError(f"{path} does not exist; expected an image, a folder or a video")
        return _path(path, _checked(options, "file", text), path)
    if scheme == "v4l2":
        bare, options = _split(rest)
        return Place("camera", bare or "0", bare or "0", _checked(options, "camera", text))
    if scheme == "csi":
        bare, options = _split(rest)
        if not bare.isdecimal():
            raise UsageError(f"{text} names no camera; expected csi://0, with the camera's number")
        return Place("csi", bare, f"csi://{bare}", _checked(options, "csi", text))
    if scheme == "rtp":
        bare, options = _split(rest)
        if not re.fullmatch(r"[^:]*:\d{1,5}", bare):
            raise UsageError(f"{text} has no port; expected rtp://@:5004, or rtp://ADDRESS:PORT")
        return Place("rtp", bare.lstrip("@"), f"rtp://{bare}", _checked(options, "rtp", text))
    return _address(scheme, text)


def _address(scheme: str, text: str) -> Place:
    """Only what is ours is taken out of the query: cameras have channels and sizes of their own there."""
    bare, _, query = text.partition("?")
    ours = _OPTIONS.get(scheme, ("flip",))
    own, theirs = {}, []
    for part in query.split("&") if query else []:
        name, _, value = part.partition("=")
        if name in ours and (scheme in _OPTIONS or value in FLIPS):
            own[name] = value
        else:
            theirs.append(part)
    target = f"{bare}?{'&'.join(theirs)}" if theirs else bare
    return Place("network", target, without_password(target), _checked(own, scheme, text))


def _path(path: str, options: Mapping[str, str], shown: str) -> Place:
    if re.fullmatch(r"/dev/video\d+", path):
        return Place("camera", path, path, options)
    if Path(path).is_fifo():  # it ends when its writer does, and may wait for ever
        return Place("pipe", path, shown, options)
    kind = "images" if Path(path).is_dir() or Path(path).suffix.lower() in IMAGES else "file"
    return Place(kind, path, shown, options)


def _split(text: str) -> tuple[str, dict[str, str]]:
    bare, _, query = text.partition("?")
    return bare, dict(parse_qsl(query, keep_blank_values=True))


def _checked(options: Mapping[str, str], kind: str, text: str) -> Mapping[str, str]:
    known = _OPTIONS.get(kind, ("flip",))
    for name, value in options.items():
        if name not in known:
            raise UsageError(
                f"{without_password(text)}: the option {name!r} is unknown here; expected {', '.join(known)}.{did_you_mean(name, known)}"
            )
        if name in _WORDS and value not in _WORDS[name]:
            raise UsageError(
                f"{without_password(text)}: {name}={value} is unknown; expected one of {', '.join(_WORDS[name])}"
            )
        least = 0 if name == "latency" else 1
        if name not in _WORDS and not (value.isdecimal() and least <= int(value[:6]) <= _LARGEST and len(value) < 6):
            raise UsageError(
                f"{without_password(text)}: {name}={value} is no number; expected a whole one from {least} up"
            )
    if ("width" in options) != ("height" in options):
        raise UsageError(f"{text}: a size has two sides; expected ?width=…&height=…")
    return options


def without_password(text: str) -> str:
    """The address with its user's name and password replaced: messages are copied into bug reports."""
    return re.sub(r"(?<=://)[^/\s]+@", "…@", text)


def _short(pipeline: str) -> str:
    words = without_password(" ".join(pipeline.split()))
    return words if len(words) <= 60 else f"{words[:57]}…"


__all__ = ["CLIPS", "FLIPS", "IMAGES", "Place", "parsed", "pattern_of_images", "without_password"]
