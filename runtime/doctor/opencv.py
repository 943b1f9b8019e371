"""Which OpenCV this Python takes, from where, and what it reads: any that can be imported and has the version serves."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from . import look
from .finding import FAILURE, OK, WARNING, Finding
from .look import UnansweredError, ask

OLDEST, BELOW = (4, 8), (6,)
_PACKAGES = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
_READERS = ("GStreamer", "FFmpeg", "V4L2")  # of cameras' pipelines, of files and streams, of USB cameras


def opencv() -> Iterator[Finding]:
    try:
        told = ask("opencv")
    except UnansweredError as error:
        yield Finding("software", "OpenCV", FAILURE, f"cannot be imported: {error}", _remedy(str(error)))
        return
    has = [name for name in _READERS if told["readers"].get(name)]
    lacks = [name for name in _READERS if name not in has]
    parts = [f"with {', '.join(has)}" * bool(has), f"without {', '.join(lacks)}" * bool(lacks)]
    found = f"{told['version']}, {' and '.join(filter(None, parts))}, {told['place']}"
    if told["version"] and not OLDEST <= look.numbers(told["version"]) < BELOW:
        remedy = "Install a version from 4.8 to 5: pip install 'opencv-python>=4.8,<6'"
        yield Finding("software", "OpenCV", FAILURE, f"{found}, which this project was not made for", remedy)
    else:
        yield Finding("software", "OpenCV", OK, found)
    hidden = system_folder("cv2")
    if hidden and "GStreamer" in lacks and "dist-packages" not in told["place"]:
        remedy = (
            f"For GStreamer's cameras: pip uninstall {' '.join(look.installed(_PACKAGES)) or 'opencv-python'}, "
            "in an environment made with python3 -m venv --system-site-packages; see docs/machines.md"
        )
        yield Finding("software", "the system's OpenCV", WARNING, f"is hidden by this one: {hidden}", remedy)


def conflicts() -> Iterator[Finding]:
    """Packages that overwrite each other's files."""
    for names in (("onnxruntime", "onnxruntime-gpu"), _PACKAGES):
        found = look.installed(names)
        if len(found) > 1:
            yield Finding(
                "software",
                "packages",
                WARNING,
                f"{' and '.join(found)} overwrite each other's files",
                f"Keep one: pip uninstall {' '.join(found)}, then install that one again",
            )


def system_folder(module: str) -> Path | None:
    """Where Debian's, Ubuntu's or JetPack's own packages have put a module for a Python of this version."""
    version = f"python3.{sys.version_info.minor}"
    for folder in ("python3", version):
        for place in look.matching(f"usr/lib/{folder}/dist-packages/{module}*"):
            return place
    return None


def _remedy(error: str) -> str:
    packages = look.installed(_PACKAGES)
    if "libGL" in error or "libgthread" in error or "libglib" in error:
        which = packages[0] if packages else "opencv-python"
        return (
            "Install libgl1 and libglib2.0-0 (apt), or do without windows: "
            f"pip uninstall {which} && pip install opencv-python-headless"
        )
    if packages:
        return f"Install it again: pip install --force-reinstall {packages[0]}"
    if system_folder("cv2") and sys.prefix != sys.base_prefix:
        return "The system has one, that this environment does not see: make it with python3 -m venv --system-site-packages"
    return "Install it: pip install opencv-python; on a Jetson apt install python3-opencv"
