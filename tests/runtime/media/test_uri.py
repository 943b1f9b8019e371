"""What a source may be called."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn.runtime import SourceError, UsageError
from fastscnn.runtime.media.sources import Source
from fastscnn.runtime.media.uri import parsed, without_password


@pytest.mark.parametrize(
    ("text", "kind", "target", "options"),
    [
        ("-", "pipe", "pipe:0", {}),
        ("0", "camera", "0", {}),
        ("0?width=1920&height=1080&fps=30&format=yuyv", "camera", "0", {"width": "1920", "height": "1080", "fps": "30", "format": "yuyv"}),
        ("/dev/video3", "camera", "/dev/video3", {}),
        ("v4l2:///dev/video1?flip=rotate-180", "camera", "/dev/video1", {"flip": "rotate-180"}),
        ("v4l2://", "camera", "0", {}),
        ("csi://1?width=1280&height=720", "csi", "1", {"width": "1280", "height": "720"}),
        ("rtp://@:5004?codec=h265&latency=50", "rtp", ":5004", {"codec": "h265", "latency": "50"}),
        ("rtsp://host/a?channel=1&latency=100&subtype=0", "network", "rtsp://host/a?channel=1&subtype=0", {"latency": "100"}),
        ("rtsp://host/a?transport=udp", "network", "rtsp://host/a", {"transport": "udp"}),
        ("http://host/a.mjpg?width=640&flip=vertical", "network", "http://host/a.mjpg?width=640", {"flip": "vertical"}),
        ("http://host/a?flip=1", "network", "http://host/a?flip=1", {}),
        ("udp://@:1234", "network", "udp://@:1234", {}),
        ("gst://videotestsrc ! videoconvert", "pipeline", "videotestsrc ! videoconvert", {}),
        ("videotestsrc ! videoconvert", "pipeline", "videotestsrc ! videoconvert", {}),
    ],
)  # fmt: skip
def test_names_are_taken_apart(text: str, kind: str, target: str, options: dict[str, str]) -> None:
    place = parsed(text)
    assert (place.kind, place.target, dict(place.options)) == (kind, target, options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0?widht=640&height=480", "'widht' is unknown here; expected width, height.*Did you mean 'width'"),
        ("0?width=640", "a size has two sides"),
        ("0?width=-1&height=9", "width=-1 is no number; expected a whole one from 1 up"),
        ("0?fps=999999", "fps=999999 is no number"),
        ("0?flip=upside-down", "flip=upside-down is unknown; expected one of none, counterclockwise"),
        ("csi://front", "names no camera"),
        ("rtp://@?codec=h264", "has no port"),
        ("rtp://@:5004?codec=prores", "codec=prores is unknown"),
        ("rtsp://u:secret@host/a?transport=pigeon", "rtsp://…@host/a.transport=pigeon: transport=pigeon is unknown"),
    ],
)
def test_impossible_options_are_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parsed(text)


@pytest.mark.parametrize("text", ["absent.mp4", "absent/*.jpg", "img_%04d.png", "file:///absent.mp4", "absent.mp4?flip=vertical"])  # fmt: skip
def test_what_is_not_there_says_what_could_be(text: str) -> None:
    with pytest.raises(SourceError, match=r"does not exist; expected an image, a folder"):
        parsed(text)


def test_passwords_are_not_repeated() -> None:
    assert without_password("rtsp://admin:p@ss@10.0.0.1/x") == "rtsp://…@10.0.0.1/x"
    assert without_password("rtp://@:5004") == "rtp://@:5004"
    assert without_password("rtspsrc location=rtsp://u:p@h/x ! fakesink") == "rtspsrc location=rtsp://…@h/x ! fakesink"
    assert parsed("rtsp://u:p@h/x").shown == "rtsp://…@h/x"
    with pytest.raises(SourceError, match=r"^(?!.*secret).*rtsp://…@127\.0\.0\.1:9/x cannot be opened"):
        Source("rtsp://u:secret@127.0.0.1:9/x", patience=1)


def test_files_patterns_and_turned_pictures(tmp_path: Path) -> None:
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[0, 0] = 255
    for name in ("img_0002.png", "img_0010.png", "img_x.png", "other 1?.png"):
        cv2.imwrite(str(tmp_path / name), picture)

    def names(place: str) -> list[str]:
        with Source(place) as source:
            assert source.folder and not source.live
            return [named.name for named in source]

    assert names(f"{tmp_path}/img_%04d.png") == ["img_0002", "img_0010"]
    assert names(f"{tmp_path}/img_*.png") == ["img_0002", "img_0010", "img_x"]
    assert names(f"{tmp_path}/**/img_?.png") == ["img_x"]
    with Source(f"file://{tmp_path}/other%201%3F.png?flip=clockwise") as source:
        (named,) = source
    assert named.frame.shape == (6, 4, 3) and named.frame[0, 3].tolist() == [255] * 3
    corners = {"counterclockwise": (5, 0), "rotate-180": (3, 5), "horizontal": (0, 5), "vertical": (3, 0), "upper-left-diagonal": (0, 0), "upper-right-diagonal": (5, 3)}  # fmt: skip
    for flip, corner in corners.items():
        with Source(f"{tmp_path}/img_x.png?flip={flip}") as source:
            assert next(iter(source)).frame[corner].tolist() == [255] * 3, flip


def test_a_pattern_over_folders_loses_no_picture(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "x.png"), np.zeros((4, 4, 3), np.uint8))
    with Source(f"{tmp_path}/*/x.png") as source:
        assert sorted(named.name for named in source) == ["a_x_png", "b_x_png"]
