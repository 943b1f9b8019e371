"""The page: what it serves, whom it serves, and that nobody who watches slows the robot. A real browser looks at it."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

import chromium
import cv2
import numpy as np
import pytest

from fastscnn.runtime import OutputError, Result, Segmenter
from fastscnn.runtime.view import View, address
from fastscnn.runtime.view.hub import blended

Exported = Callable[..., Path]


@pytest.fixture
def view() -> Iterator[View]:
    with View("127.0.0.1", 0) as opened:
        yield opened


@pytest.fixture(scope="module")
def result(exported: Exported, frames: list[np.ndarray]) -> Result:
    with Segmenter(exported()) as segmenter:
        found = segmenter(frames[0])
        assert found.labels.size
        return found


def get(url: str, **headers: str) -> tuple[int, Any, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def parts(url: str, after: int = 0) -> dict[str, bytes]:
    status, headers, body = get(f"{url}picture?after={after}")
    assert status == 200
    message = message_from_bytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body)
    return {
        str(p.get_param("name", header="content-disposition")): p.get_payload(decode=True)
        for p in message.get_payload()
    }  # type: ignore[union-attr, misc]


def test_a_result_as_it_is_sent(view: View, result: Result, frames: list[np.ndarray]) -> None:
    assert get(f"{view.url}model")[0] == 204
    assert get(f"{view.url}still.png")[0] == 404
    view.show(frames[0], result, source="camera", p99=float("nan"), dropped=3)
    model = json.loads(get(f"{view.url}model")[2])
    assert model["classes"] == list(result.artifact.classes) and model["trained"] is False
    sent = parts(view.url)
    facts = json.loads(sent["facts"])
    assert (facts["source"], facts["p99"], facts["dropped"], facts["size"]) == ("camera", None, 3, [128, 256])
    assert sum(facts["shares"]) == pytest.approx(1, abs=0.01)
    labels = cv2.imdecode(np.frombuffer(sent["labels"], np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(labels, result.labels)
    assert cv2.imdecode(np.frombuffer(sent["frame"], np.uint8), cv2.IMREAD_COLOR).shape == (128, 256, 3)
    assert get(f"{view.url}absent")[0] == 404
    assert "default-src 'self'" in get(view.url)[1]["Content-Security-Policy"]


def test_a_still_is_what_the_page_shows(view: View, result: Result, frames: list[np.ndarray]) -> None:
    view.show(frames[0], result)
    hidden = int(np.bincount(result.labels.ravel()).argmax())
    status, headers, data = get(f"{view.url}still.png?opacity=0.8&hidden={hidden},999,x")
    assert status == 200 and "attachment" in headers["Content-Disposition"]
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(picture, blended(frames[0], result, 0.8, {hidden}))
    assert np.array_equal(picture[result.labels == hidden], frames[0][result.labels == hidden])
    whole = result.overlay(frames[0], 0.8)
    assert np.array_equal(picture[result.labels != hidden], whole[result.labels != hidden])
    for odd in ("opacity=nan", "opacity=9", "hidden=", "opacity=-1&hidden=-1", "hidden=99999999999"):
        assert get(f"{view.url}still.png?{odd}")[0] == 200


def test_who_may_look(view: View, result: Result, frames: list[np.ndarray]) -> None:
    view.show(frames[0], result)
    port = view.url.rpartition(":")[2].strip("/")
    assert view.url.startswith("http://127.0.0.1:")
    assert get(view.url, Host=f"localhost:{port}")[0] == 200
    for host in ("evil.example", f"evil.example:{port}", "", "[::1"):
        assert get(f"{view.url}still.png", Host=host)[0] == 403, "a name that was made to point here"
    with pytest.raises(
        OutputError, match=f"cannot listen on 127.0.0.1 port {port} .Address already in use.*another port"
    ):
        View("127.0.0.1", int(port))
    assert [address(text) for text in ("8080", "0.0.0.0:81", "[::1]:82", ":83")] == [
        ("127.0.0.1", 8080), ("0.0.0.0", 81), ("::1", 82), ("127.0.0.1", 83)
    ]  # fmt: skip


def test_nobody_who_watches_slows_the_robot(view: View, result: Result, frames: list[np.ndarray]) -> None:
    """Viewers that never read, half a request, and more of them than there are places."""
    host, port = "127.0.0.1", int(view.url.rpartition(":")[2].strip("/"))
    view.show(frames[0], result)
    stuck = []
    for index in range(40):
        viewer = socket.create_connection((host, port))
        viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        viewer.sendall(b"GET /picture?after=0 HTTP/1.1\r\nHost: localhost\r\n" + b"\r\n" * (index % 2))
        stuck.append(viewer)
    times = []
    for _ in range(300):
        started = time.perf_counter()
        view.show(frames[0], result)
        times.append(time.perf_counter() - started)
        time.sleep(0.001)
    assert np.median(times) < 0.001 and np.percentile(times, 95) < 0.05, "a reference is handed over"
    for viewer in stuck:
        viewer.close()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            assert json.loads(parts(view.url)["facts"])["number"] > 1, "the next viewer is served"
            break
        except OSError:  # places are not free yet
            time.sleep(0.1)
    else:
        pytest.fail("dead viewers keep their places")


def test_several_viewers_see_the_same_and_the_newest(view: View, result: Result, frames: list[np.ndarray]) -> None:
    view.show(frames[0], result)
    first, second = parts(view.url), parts(view.url)
    assert first == second
    number = json.loads(first["facts"])["number"]
    view.show(frames[0], result)
    view.show(frames[0], result)
    time.sleep(0.1)
    assert json.loads(parts(view.url, number)["facts"])["number"] == number + 2, "none in between"


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (390, 844)], ids=["desktop", "phone"])
def test_the_page_in_a_browser(
    view: View, exported: Exported, frames: list[np.ndarray], tmp_path: Path, width: int, height: int
) -> None:
    if chromium.program() is None:
        pytest.skip("no Chromium: apt install chromium")
    with Segmenter(exported()) as segmenter, chromium.Browser(tmp_path / "profile", width, height) as page:
        result = segmenter(frames[0])
        page.open(view.url)
        page.wait("document.getElementById('state')?.textContent.startsWith('waiting')")
        view.show(frames[0], result, source="front camera", device="a device", dropped=7, read=9, p99=12.5, milliseconds=3.0, battery="81 V")  # fmt: skip
        page.wait("document.getElementById('state').textContent === 'live'")
        text = page.run("document.body.innerText")
        for word in (
            "front camera",
            "a device",
            "7 of 9",
            "12.5 ms",
            "3.0 ms",
            "battery",
            "81 V",
            "road",
            "random weights",
        ):
            assert word in text, text
        assert page.run("document.querySelectorAll('#legend li').length") == 19
        assert page.run("document.documentElement.scrollWidth") <= width, "nothing sticks out"
        left, top = page.run("(() => { const r = document.getElementById('frame').getBoundingClientRect(); return [r.left, r.top]; })()")  # fmt: skip
        scale = page.run(
            "document.getElementById('frame').getBoundingClientRect().width / document.getElementById('frame').width"
        )

        def shown(y: int, x: int) -> np.ndarray:
            picture = cv2.imdecode(np.frombuffer(page.picture(), np.uint8), cv2.IMREAD_COLOR)
            return picture[round(top + (y + 0.5) * scale), round(left + (x + 0.5) * scale)].astype(int)

        def opacity(percent: int) -> None:
            page.run(f"(() => {{ const o = document.getElementById('opacity'); o.value = {percent}; o.dispatchEvent(new Event('input')); }})()")  # fmt: skip

        y, x = 64, 128
        label = int(result.labels[y, x])
        colour = np.array(result.artifact.palette[label][::-1])
        opacity(100)
        assert np.abs(shown(y, x) - colour).max() <= 3
        page.run(f"document.querySelectorAll('#legend input')[{label}].click()")
        assert np.abs(shown(y, x) - frames[0][y, x]).max() < 40, "the camera, but for JPEG"
        assert (
            page.run("document.getElementById('still').getAttribute('href')") == f"/still.png?opacity=1&hidden={label}"
        )
        page.run("document.getElementById('all').click()")
        opacity(0)
        assert np.abs(shown(y, x) - frames[0][y, x]).max() < 40
        assert page.complaints == []
        view.close()
        page.wait("document.getElementById('state').textContent.includes('does not answer')")


def test_the_command_shows_a_camera_until_ctrl_c(exported: Exported, mjpeg: Any, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("fastscnn-view")
    with mjpeg(20) as server:
        running = subprocess.Popen(
            [program, server.url, "-m", exported(), "--at", "0"], stderr=subprocess.PIPE, text=True, cwd=tmp_path
        )
        assert running.stderr is not None
        lines: list[str] = []
        while not (found := re.search(r"view: (http://\S+)", "".join(lines[-1:]))):
            lines.append(running.stderr.readline())
            assert lines[-1], lines
        sent = parts(found[1])
        facts = json.loads(sent["facts"])
        assert facts["source"] == server.url and facts["read"] >= 1 and facts["device"].startswith("ONNX Runtime")
        running.send_signal(signal.SIGINT)
        rest = running.stderr.read()
        assert running.wait(30) == 130
        running.stderr.close()
    assert "age when done: median" in rest and "interrupted" in rest and "Traceback" not in rest


def test_segment_shows_what_it_writes(exported: Exported, mjpeg: Any, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("fastscnn-segment")
    with mjpeg(20) as server:
        words = [program, server.url, "-m", exported(), "-o", "out.mkv", "--frames", "10", "--view", "0"]
        done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "view: http://127.0.0.1:" in done.stderr and "out.mkv: 10 frames" in done.stderr
