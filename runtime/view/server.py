"""The web server of the view: one page, its pictures, and stills. It only answers; nothing can be set through it."""

from __future__ import annotations

import argparse
import json
import logging
import math
import socket
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from ..errors import OutputError
from ..frame import Frame
from ..result import Result
from .hub import Hub, still

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger(__name__)

_HERE = Path(__file__).parent
_FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_HOSTS = ("localhost", "127.0.0.1", "::1")
_WAIT = 5.0  # seconds that a request waits for a new picture
_DEAD = 10.0  # seconds after which a viewer that takes nothing is let go
_VIEWERS = 32  # connections at once
_BOUNDARY = "fastscnn-picture"
_SAFE = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class View:
    """Serves the page until it is closed. A context manager.

        with View("127.0.0.1", 8080) as view:
            for frame in camera:
                view.show(frame, segmenter(frame))

    Viewers have threads of their own and get the newest picture when they ask, so none of them slows the caller.

    Args:
        host: the address to listen on; whoever reaches another than this machine's own can watch.
        port: 0 takes a free one.

    Attributes:
        url: where the page is.

    Raises:
        OutputError: the port is taken, or the address is not this machine's.
    """

    def __init__(self, host: str, port: int) -> None:
        self._hub = Hub()
        try:
            self._server = _Server(host, port, self._hub)
        except (OSError, OverflowError) as error:
            raise OutputError(
                f"the view cannot listen on {host} port {port} ({getattr(error, 'strerror', None) or error}). Choose another port or address"
            ) from error
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._server.server_address[1]}/"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="fastscnn-view", daemon=True
        )
        self._thread.start()
        log.info("view: %s", self.url)
        if host not in _HOSTS:
            log.warning("whoever reaches this machine's port %d can watch", self._server.server_address[1])

    def show(self, frame: Frame, result: Result, **facts: Any) -> None:
        """Show a result, and `facts` beside it: numbers and words by name. Keeps references; change neither afterwards."""
        self._hub.show(frame, result, {name: _plain(value) for name, value in facts.items()})

    def close(self) -> None:
        """Stop serving; twice is harmless."""
        self._hub.close()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = _VIEWERS

    def __init__(self, host: str, port: int, hub: Hub) -> None:
        if ":" in host:
            self.address_family = socket.AF_INET6
        self.hub, self.loopback = hub, host in _HOSTS
        self._places = threading.Semaphore(_VIEWERS)
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # As in the parent's parent: HTTPServer's own asks for the host's name, which can take seconds without a network.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a viewer at %s went away", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "fastscnn", ""
    timeout = _DEAD

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        words = {name: values[-1] for name, values in parse_qs(split.query).items()}
        if self.server.hub.closed:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, b"the view is closed", "text/plain")
        elif self.server.loopback and not _is_loopback(self.headers.get("Host", "")):
            # A page elsewhere whose name was made to point here must not see the camera.
            self._answer(HTTPStatus.FORBIDDEN, b"this view is for this machine only", "text/plain")
        elif split.path in _FILES:
            name, kind = _FILES[split.path]
            self._answer(HTTPStatus.OK, (_HERE / name).read_bytes(), f"{kind}; charset=utf-8")
        elif split.path == "/model":
            self._model()
        elif split.path == "/picture":
            self._picture(words)
        elif split.path == "/still.png":
            self._still(words)
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"there is no such page", "text/plain")

    def _model(self) -> None:
        shown = self.server.hub.newest()
        if shown is None:
            self._answer(HTTPStatus.NO_CONTENT, b"", "text/plain")
            return
        artifact = shown.result.artifact
        told = {
            "classes": list(artifact.classes),
            "palette": [list(colour) for colour in artifact.palette],
            "head": artifact.head,
            "resolution": artifact.resolution,
            "class_set": artifact.class_set,
            "trained": artifact.trained,
        }
        self._answer(HTTPStatus.OK, json.dumps(told).encode(), "application/json")

    def _picture(self, words: Mapping[str, str]) -> None:
        made = self.server.hub.pictures(int(_number(words, "after", 0, 1 << 53)), _WAIT)
        if made is None:
            status = HTTPStatus.SERVICE_UNAVAILABLE if self.server.hub.closed else HTTPStatus.NO_CONTENT
            self._answer(status, b"", "text/plain")
            return
        _, facts, jpeg, png = made
        parts = (("facts", "application/json", facts), ("frame", "image/jpeg", jpeg), ("labels", "image/png", png))
        body = b"".join(
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
            f"Content-Type: {kind}\r\n\r\n".encode()
            + data
            + b"\r\n"
            for name, kind, data in parts
        )
        self._answer(
            HTTPStatus.OK, body + f"--{_BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={_BOUNDARY}"
        )

    def _still(self, words: Mapping[str, str]) -> None:
        shown = self.server.hub.newest()
        if shown is None:
            self._answer(HTTPStatus.NOT_FOUND, b"there is no picture yet", "text/plain")
            return
        hidden = {int(word) for word in words.get("hidden", "").split(",") if word.isdecimal() and int(word[:4]) < 256}
        data = still(shown, _number(words, "opacity", 0.5, 1.0), hidden)
        self._answer(HTTPStatus.OK, data, "image/png", {"Content-Disposition": 'attachment; filename="still.png"'})

    def _answer(self, status: HTTPStatus, body: bytes, kind: str, more: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in {**_SAFE, **(more or {})}.items():
            self.send_header(name, value)
        if self.server.hub.closed:  # a connection that is kept would be served for ever
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        log.debug(format, *arguments)


def address(text: str) -> tuple[str, int]:
    """`8080` → ("127.0.0.1", 8080); `0.0.0.0:8080` and `[::1]:8080` name another; for `type=` of an option."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; expected one such as 8080, or HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


def _is_loopback(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").hostname in _HOSTS
    except ValueError:
        return False


def _number(words: Mapping[str, str], name: str, default: float, most: float) -> float:
    try:
        value = float(words[name])
    except (KeyError, ValueError):
        return default
    return min(max(value, 0.0), most) if math.isfinite(value) else default


def _plain(value: Any) -> Any:
    """JSON knows no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
