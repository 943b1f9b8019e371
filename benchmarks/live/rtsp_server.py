"""An RTSP camera of this machine's own: H.264 of a moving pattern, a time stamp painted into each frame.

    python3 rtsp_server.py STAMP.PY RATE HEIGHT WIDTH [PORT]

A script for the system's Python, which has GStreamer's binding (python3-gst-1.0, gir1.2-gst-rtsp-server-1.0,
gstreamer1.0-plugins-ugly for x264enc or -bad for openh264enc); it imports nothing of this package. Prints its address.
"""

import importlib.util
import os
import sys
import threading
import time
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

_LONGEST = 3600  # seconds


def _load(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("stamp", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _patterns(height: int, width: int) -> list[tuple[bytes, bytes]]:
    """Some I420 frames of squares that move: bytes without the stamp."""
    made = []
    for shift in range(8):
        lines = []
        for y in range(height):
            line = bytes(64 + ((x + 12 * shift) // 40 * 53 + y // 40 * 31) % 128 for x in range(0, width, 4))
            lines.append(b"".join(bytes([value]) * 4 for value in line)[:width])
        chroma = bytes(128 for _ in range(width // 2 * (height // 2)))
        made.append((b"".join(lines), chroma * 2))
    return made


class Factory(GstRtspServer.RTSPMediaFactory):  # type: ignore[misc]
    def __init__(self, stamp: Any, rate: int, height: int, width: int) -> None:
        super().__init__()
        self.stamp, self.rate, self.height, self.width = stamp, rate, height, width
        self.patterns = _patterns(height, width)
        self.set_shared(False)

    def do_create_element(self, url: Any) -> Any:
        encoder = "x264enc tune=zerolatency speed-preset=ultrafast bitrate=8000 key-int-max=30 threads=1"
        if Gst.ElementFactory.find("x264enc") is None:
            encoder = "openh264enc complexity=low bitrate=8000000 gop-size=30"
        caps = f"video/x-raw,format=I420,width={self.width},height={self.height},framerate={self.rate}/1"
        source = f"appsrc name=source is-live=true format=time do-timestamp=true block=false max-buffers=2 leaky-type=downstream caps={caps}"
        return Gst.parse_launch(f"( {source} ! {encoder} ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=1 )")

    def do_configure(self, media: Any) -> None:
        source = media.get_element().get_child_by_name("source")
        over = threading.Event()
        media.connect("unprepared", lambda _: over.set())
        threading.Thread(target=self.feed, args=(source, over), daemon=True).start()

    def feed(self, source: Any, over: threading.Event) -> None:
        due, index, began = time.monotonic(), 0, time.monotonic()
        side, wide = self.stamp.SIDE, self.stamp.WIDTH
        while not over.is_set() and time.monotonic() - began < _LONGEST:
            due = max(due + 1 / self.rate, time.monotonic() - 1)
            time.sleep(max(0, due - time.monotonic()))
            luma, chroma = self.patterns[index % len(self.patterns)]
            picture = bytearray(luma)
            for row, line in enumerate(self.stamp.rows(round(time.monotonic() * 1000))):
                for y in range(row * side, (row + 1) * side):
                    picture[y * self.width : y * self.width + wide] = line
            source.emit("push-buffer", Gst.Buffer.new_wrapped(bytes(picture) + chroma))
            index += 1


def main() -> None:
    path, rate, height, width = sys.argv[1], *map(int, sys.argv[2:5])
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[5] if len(sys.argv) > 5 else "0")
    server.get_mount_points().add_factory("/camera", Factory(_load(path), rate, height, width))
    server.attach(None)
    loop = GLib.MainLoop()
    GLib.timeout_add_seconds(_LONGEST, loop.quit)
    parent = os.getppid()
    GLib.timeout_add_seconds(1, lambda: os.getppid() == parent or loop.quit())  # ends with who started it
    print(f"rtsp://127.0.0.1:{server.get_bound_port()}/camera", flush=True)
    loop.run()


if __name__ == "__main__":
    main()
