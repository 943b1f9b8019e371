"""Cameras of this machine's own, as processes: motion JPEG, and RTSP where the system's Python has GStreamer's server."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...runtime.errors import FastSCNNError
from . import stamp

_HERE = Path(__file__).parent
_IMPORTS = (
    "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0'); "
    "from gi.repository import Gst, GstRtspServer; Gst.init(None); "
    "raise SystemExit(not any(map(Gst.ElementFactory.find, ('x264enc', 'openh264enc'))))"
)
INSTALL = "apt install python3-gst-1.0 gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"


def system_python() -> str | None:
    """A Python that can serve RTSP; None where there is none (see `INSTALL`)."""
    for name in ("/usr/bin/python3", "python3"):
        path = shutil.which(name)
        if path and subprocess.run([path, "-c", _IMPORTS], capture_output=True).returncode == 0:
            return path
    return None


@contextmanager
def mjpeg(rate: float, size: tuple[int, int], after: int | None = None) -> Iterator[str]:
    """Gives its address."""
    more = [] if after is None else ["--after", str(after)]
    program = [sys.executable, "-m", "fastscnn.benchmarks.live.mjpeg"]
    with _served([*program, "--rate", str(rate), "--size", f"{size[0]}x{size[1]}", *more]) as address:
        yield address


@contextmanager
def rtsp(rate: float, size: tuple[int, int], port: int = 0) -> Iterator[str]:
    """Gives its address; whole frames per second, even sides.

    Raises:
        FastSCNNError: this machine has no server for it.
    """
    python = system_python()
    if python is None:
        raise FastSCNNError(f"no Python here can serve RTSP. Install what it needs: {INSTALL}")
    script = [str(_HERE / "rtsp_server.py"), stamp.__file__]
    with _served([python, *script, str(max(1, round(rate))), str(size[0]), str(size[1]), str(port)]) as address:
        yield address


@contextmanager
def gstreamer(rate: float, size: tuple[int, int]) -> Iterator[str]:
    """The camera of `rtsp`; gives a pipeline that reads it, for GStreamer in place of FFmpeg."""
    with rtsp(rate, size) as address:
        yield f"rtspsrc location={address} protocols=tcp latency=0 ! rtph264depay ! h264parse ! decodebin"


PROTOCOLS = {"mjpeg": mjpeg, "rtsp": rtsp, "gstreamer": gstreamer}


@contextmanager
def _served(command: list[str]) -> Iterator[str]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        if not address:
            raise FastSCNNError(f"a camera did not start; try it by hand: {' '.join(command)}")
        yield address
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
