"""What a stream reads from: anything iterable, a `Source`, a cv2.VideoCapture; frames with or without stamp and tag."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from .errors import FrameError, SourceError, UsageError
from .placement import BGR, Framing


@dataclass(frozen=True)
class Captured:
    """A frame with what belongs to it, which its result returns.

    Args:
        frame: as the Segmenter takes it.
        stamp: when it was captured, in whatever clock and type the caller has; (frame, stamp) is short for it.
        tag: anything else of the caller's.
    """

    frame: Any
    stamp: Any = None
    tag: Any = None


@dataclass(frozen=True)
class Arrived:
    """A frame from a source."""

    frame: Any
    index: int  # its place in the source, from 0
    at: float  # time.perf_counter()
    stamp: Any = None
    tag: Any = None
    camera: Any = None  # the name of its source, where there are several
    framing: Framing = BGR


def captured(item: Any) -> Captured:
    """What a source gave, as frame, stamp and tag: an array, a tuple of up to three, or any object that has a `frame`; the frames of
    a `Source` have their name as tag.

    Raises:
        FrameError: a tuple that is none of these.
    """
    if isinstance(item, tuple) and not hasattr(item, "frame"):
        if len(item) == 2 and isinstance(item[0], bool):
            raise FrameError(
                "the frame is a pair as VideoCapture.read() gives it; expected frames. Pass the VideoCapture itself to stream()"
            )
        if not 1 <= len(item) <= 3:
            raise FrameError(f"the frame is a tuple of {len(item)}; expected (frame, stamp) or (frame, stamp, tag)")
        return Captured(*item)
    if isinstance(item, np.ndarray) or not hasattr(item, "frame"):
        return Captured(item)
    return Captured(item.frame, getattr(item, "stamp", None), getattr(item, "tag", getattr(item, "name", None)))


def items(source: Any) -> Iterator[Any]:
    """Iterate over a source.

    Raises:
        UsageError: it is none; the message says what is.
    """
    if hasattr(source, "read") and hasattr(source, "isOpened"):  # cv2.VideoCapture, or what stands in for it
        return _read(source)
    if isinstance(source, (str, bytes)):
        raise UsageError(f"{source!r} is a name; expected frames. Open it first, with Source({source!r})")
    if isinstance(source, np.ndarray) and source.ndim < 4:
        raise UsageError(f"one frame, shape {source.shape}, is no stream; expected several. Call the Segmenter with it")
    try:
        return iter(source)
    except TypeError:
        raise UsageError(
            f"a {type(source).__name__} gives no frames; expected an iterable, a Source or a cv2.VideoCapture"
        ) from None


def live(source: Any) -> bool:
    """Whether frames come whether or not somebody takes them."""
    if hasattr(source, "read") and hasattr(source, "isOpened"):
        return not source.get(cv2.CAP_PROP_FRAME_COUNT) > 0
    return bool(getattr(source, "live", False))


def _read(capture: Any) -> Iterator[Any]:
    """The frames of a cv2.VideoCapture; a file's end is the end, a camera's is a failure."""
    if not capture.isOpened():
        raise SourceError("the VideoCapture is not open; expected one that is. Look at what it was made with")
    endless, count = live(capture), 0
    while True:
        read, frame = capture.read()
        if not read:
            break
        yield frame
        count += 1
    if endless:
        raise SourceError(f"the camera stopped giving frames after {count}. Check its cable, power and network")


def named(frames: Any) -> dict[Any, Any]:
    """Sources by name: those of several cameras, or the only one's by None."""
    if not isinstance(frames, dict):
        return {None: frames}
    if not frames:
        raise UsageError("no cameras; expected at least one, such as {'front': camera}")
    return dict(frames)


def by_camera(given: Any, sources: Mapping[Any, Any]) -> dict[Any, Any]:
    """An option of each camera, from a dict by name or one for all.

    Raises:
        UsageError: for a camera that is not there.
    """
    if not isinstance(given, Mapping):
        return dict.fromkeys(sources, given)
    for name in given:
        if name not in sources:
            raise UsageError(f"camera {name!r} is unknown; expected one of {', '.join(map(repr, sources))}")
    return dict(given)
