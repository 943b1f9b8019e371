"""Does a camera, a stream or a file give frames: how many, of what size, and how old? Looked at in a process of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..media.uri import CLIPS, IMAGES
from .finding import FAILURE, OK, WARNING, Finding
from .look import UnansweredError, ask

_SLOW = 0.8  # share of the announced rate below which a camera is worth a word
_WAITING = 2  # frames that may wait after a pause
_OLD = 100.0  # milliseconds


def is_source(text: str) -> bool:
    """Whether it names a source rather than a model."""
    return (
        "://" in text
        or text.partition("?")[0].isdecimal()
        or re.match(r"/dev/video\d", text) is not None
        or re.search(r"\S\s+!\s+\S", text) is not None
        or Path(text).suffix.lower() in (*CLIPS, *IMAGES)
    )


def source(place: str) -> Iterator[Finding]:
    """Opens it, reads for a few seconds, pauses, and reads what waited."""
    try:
        told = ask("source", place=place)
    except UnansweredError as error:
        found, _, remedy = str(error).partition(". ")
        yield Finding("source", "opens", FAILURE, found, remedy or "Look with fastscnn-segment --debug")
        return
    size = "" if told["about"] else f"height={told['height']} width={told['width']}"
    what = " ".join(filter(None, (told["shown"], told["about"], size)))
    yield Finding("source", "opens", OK, f"in {told['opened']:.1f} s: {what}")
    yield from _rate(told)
    if not told["live"]:
        return
    if told["age"] is not None:
        remedy = "Ask for MJPG or a smaller size (?width=640&height=480), or give the camera more light: long exposures are old"
        found = f"{told['age']:.0f} ms from capture to arrival (median)"
        yield _judged("age", told["age"] <= _OLD, found, remedy)
        return
    waited = f"{told['waited']} frames waited after a pause of one second"
    if told["waited"] <= _WAITING:
        yield Finding("source", "age", OK, f"{waited}: the newest one is what comes next")
    else:
        yield Finding(
            "source",
            "age",
            OK,
            f"{waited}, the oldest {told['oldest']:.0f} ms old: a loop that is slower than the source falls behind, "
            "fastscnn-segment and stream(drop='oldest') do not",
        )


def _rate(told: dict[str, float]) -> Iterator[Finding]:
    rate, announced = told["rate"], told["announced"]
    if rate is None:  # one picture
        return
    if not told["live"]:
        yield Finding(
            "source", "frames", OK, f"{rate:.0f}/s can be read{f', {announced:g}/s announced' if announced else ''}"
        )
        return
    found = f"{rate:.1f}/s{f', {announced:g}/s announced' if announced else ''}"
    remedy = "Look at exposure (a dark room halves the rate), cable, USB hub or network, or ask for less (?fps=, ?width=&height=)"
    yield _judged("frames", not announced or rate >= _SLOW * announced, found, remedy)


def _judged(name: str, sound: bool, found: str, remedy: str) -> Finding:
    return Finding("source", name, OK if sound else WARNING, found, "" if sound else remedy)


def gstreamer() -> Iterator[Finding]:
    """What CSI cameras, RTP and pipelines need."""
    from ..media.gstreamer import INSTALL

    try:
        told = ask("gstreamer")
    except UnansweredError as error:
        yield Finding(
            "cameras", "GStreamer", OK, f"not there ({error}), which csi://, rtp:// and pipelines need. {INSTALL}"
        )
        return
    cameras = f", with {' and '.join(told['elements'])}" if told["elements"] else ", without CSI cameras"
    yield Finding("cameras", "GStreamer", OK, f"{told['version']} through PyGObject{cameras}")
