"""Images as bytes and in every encoding, and a camera's matrix; without ROS."""

import contextlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from cameras import EXACT, encoded
from hypothesis import given
from hypothesis import strategies as st

from fastscnn.runtime import FrameError, UsageError
from fastscnn.runtime.ros import camera, cdr
from fastscnn.runtime.ros.encodings import ENCODINGS, from_compressed, to_bgr
from fastscnn.runtime.ros.inbox import Inbox
from fastscnn.runtime.ros.mask import MaskSize

HEADER = cdr.Header(12, 34, "camera")


def image(picture: np.ndarray, encoding: str, **fields: int) -> SimpleNamespace:
    rows = np.ascontiguousarray(picture).view(np.uint8).reshape(picture.shape[0], -1)
    about = {"height": picture.shape[0], "width": picture.shape[1], "step": rows.shape[1], "is_bigendian": 0}
    return SimpleNamespace(encoding=encoding, data=rows.ravel(), **about | fields)


def test_every_encoding_is_the_same_picture(frames: list[np.ndarray]) -> None:
    smooth = cv2.GaussianBlur(frames[0], (0, 0), 1.5)
    ways = encoded(smooth)
    assert {way.split()[0] for way in ways} >= set(ENCODINGS) - {
        "mono8",
        "mono16",
        "8UC1",
        "16UC1",
        "rgba16",
        "16UC3",
        "16UC4",
    } - {f"bayer_{pattern}16" for pattern in ("bggr", "gbrg", "grbg")}
    for way, (picture, fields, least) in ways.items():
        found = to_bgr(image(picture, way.split()[0], **fields))
        apart = np.abs(found[2:-2, 2:-2].astype(int) - smooth[2:-2, 2:-2]).mean()
        assert apart == 0 if least == EXACT else apart < 3, f"{way}: {apart:.2f}"
    grey = cv2.cvtColor(smooth, cv2.COLOR_BGR2GRAY)
    for encoding, picture in (("mono8", grey), ("8UC1", grey), ("mono16", grey.astype("<u2") * 257)):
        np.testing.assert_array_equal(to_bgr(image(picture, encoding)), cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))


def test_a_bgr_frame_is_not_copied(frames: list[np.ndarray]) -> None:
    message = cdr.write_image(HEADER, frames[0], "bgr8")
    view = to_bgr(cdr.read_image(message))
    assert np.shares_memory(view, np.frombuffer(message, np.uint8))
    assert view.flags.c_contiguous


def test_pictures_are_not_turned_by_exif() -> None:
    wide = np.zeros((20, 40, 3), np.uint8)
    jpeg = bytearray(cv2.imencode(".jpg", wide)[1].tobytes())
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6: a quarter turn
    jpeg[2:2] = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    data = np.frombuffer(bytes(jpeg), np.uint8)
    assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape == (40, 20, 3)  # the test's file does ask for it
    assert from_compressed(data).shape == (20, 40, 3)
    for nothing in (b"", b"\xff\xd8\xff", bytes(100)):
        with pytest.raises(FrameError, match="cannot be decoded; expected JPEG or PNG"):
            from_compressed(np.frombuffer(nothing, np.uint8))


@given(st.data())
def test_damaged_messages_raise_nothing_but_our_error(data: st.DataObject) -> None:
    whole = bytearray(cdr.write_image(HEADER, np.zeros((4, 6, 3), np.uint8), "bgr8"))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, 59))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with contextlib.suppress(FrameError):
        assert to_bgr(cdr.read_image(cut)).ndim == 3


def test_sizes_of_masks() -> None:
    assert MaskSize.parse("480x640").size == (480, 640)
    for text in ("", "0x5", "5", "16385x4", "input ", "-4x4", "4x4x4"):
        with pytest.raises(UsageError, match="mask_size"):
            MaskSize.parse(text)


def test_the_matrix_of_a_cropped_and_binned_image() -> None:
    """The ray through a pixel of the mask is the ray through the place of the sensor that it shows."""
    roi = SimpleNamespace(x_offset=100, y_offset=40, width=800, height=600, do_rectify=True)
    info = SimpleNamespace(height=1000, width=1200, binning_x=2, binning_y=2, roi=roi)
    info.k = [900.0, 2.0, 610.0, 0.0, 905.0, 480.0, 0.0, 0.0, 1.0]
    info.p = [900.0, 0.0, 610.0, -90.0, 0.0, 905.0, 480.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    camera.scale(info, 75, 100)
    assert (info.height, info.width, info.binning_x, roi.width, roi.x_offset) == (75, 100, 0, 0, 0)
    u, v = 7, 11
    x, y = 100 + (u + 0.5) * 8 - 0.5, 40 + (v + 0.5) * 8 - 0.5
    assert (u - info.k[2]) / info.k[0] == pytest.approx((x - 610) / 900)
    assert (v - info.p[6]) / info.p[5] == pytest.approx((y - 480) / 905)
    assert info.p[3] / info.p[0] == pytest.approx(-0.1)
    blank = SimpleNamespace(height=0, width=0, binning_x=0, binning_y=0, k=[0.0] * 9, p=[0.0] * 12)
    blank.roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False)
    camera.scale(blank, 75, 100)
    assert (blank.height, blank.width, set(blank.k)) == (75, 100, {0.0})


def test_the_newest_message_wins() -> None:
    inbox = Inbox()
    for message in (b"1", b"2", b"3"):
        inbox.put(message)
    taken = inbox.take()
    assert taken is not None and taken.message == b"3"
    assert (inbox.received, inbox.dropped) == (3, 2)
    inbox.shut()
    assert inbox.take() is None
