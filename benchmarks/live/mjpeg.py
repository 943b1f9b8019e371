"""A camera of this machine's own: motion JPEG over HTTP, a time stamp painted into each frame.

    python -m fastscnn.benchmarks.live.mjpeg --rate 30 --size 540x960

Prints its address. `after` frames it hangs up, like a camera whose cable is pulled, and serves whoever comes next.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np

from ...model.street import Street
from ...runtime.commands import command
from ...runtime.frame import Frame
from . import stamp

_LONGEST = 3600.0  # seconds that one viewer is served


def painted(frame: Frame, now: float) -> Frame:
    """A copy of a frame, uint8 (H, W, 3), with a time in its corner."""
    picture = frame.copy()
    for row, line in enumerate(stamp.rows(round(now * 1000))):
        picture[row * stamp.SIDE : (row + 1) * stamp.SIDE, : stamp.WIDTH] = np.frombuffer(line, np.uint8)[:, None]
    return picture


class _Camera(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        camera = self.server
        self.connection.settimeout(10)
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        due, sent, began = time.monotonic(), 0, time.monotonic()
        while not camera.over.is_set() and sent != camera.after and time.monotonic() - began < _LONGEST:
            due = max(due + 1 / camera.rate, time.monotonic() - 1)  # a network that is too slow makes it fall behind
            if (wait := due - time.monotonic()) > 0:
                time.sleep(wait)
            picture = painted(camera.frames[sent % len(camera.frames)], time.monotonic())
            data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
            try:
                self.wfile.write(head + data + b"\r\n")
            except OSError:  # the viewer went away
                return
            sent += 1

    def log_message(self, *_: object) -> None: ...


class Server(ThreadingHTTPServer):
    """Serves until `over` is set.

    Args:
        frames: repeated in order.
        rate: frames per second.
        after: frames after which it hangs up on a viewer; -1 never.
    """

    daemon_threads = True

    def __init__(self, frames: Sequence[Frame], rate: float, after: int = -1, port: int = 0) -> None:
        self.frames, self.rate, self.after = frames, rate, after
        self.over = threading.Event()
        super().__init__(("127.0.0.1", port), _Camera)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/stream.mjpg"

    def handle_error(self, request: Any, client_address: Any) -> None: ...


@contextmanager
def served(frames: Sequence[Frame], rate: float, after: int = -1, port: int = 0) -> Iterator[Server]:
    """A server on a thread of this process."""
    server = Server(frames, rate, after, port)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="mjpeg")
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser("mjpeg", "Serve a drawn street as motion JPEG, with time stamps painted in.")
    parser.add_argument("--rate", type=float, default=30.0, help="frames per second")
    parser.add_argument("--size", type=command.resolution, default=(540, 960), metavar="HxW", help="of the frames")
    parser.add_argument("--after", type=command.positive, metavar="N", help="hang up after N frames; default: never")
    parser.add_argument("--port", type=command.whole, default=0, help="0 takes a free one")
    return command.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    street = Street(*options.size)
    frames = [street.frame(index * 4)[0] for index in range(16)]
    with served(frames, options.rate, options.after or -1, options.port) as server:
        print(server.url, flush=True)
        time.sleep(_LONGEST)


if __name__ == "__main__":
    raise SystemExit(main())
