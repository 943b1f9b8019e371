"""Regions of interest and letterboxing: labels lie where the frame's pixels do. Formats and what else a frame may be."""

import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn.runtime import FrameError, Segmenter, UsageError
from fastscnn.runtime.frame import checked
from fastscnn.runtime.placement import Placement

Exported = Callable[..., Path]
Frames = list[np.ndarray]
FULL = (128, 256)
HEADS = ["cls", "prob", "logits"]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("roi", [np.s_[10:90, 30:200], np.s_[-60:, :], np.s_[:, 7:]])
@pytest.mark.parametrize("letterbox", [False, True])
def test_a_region_is_segmented_as_a_frame_of_its_own(
    exported: Exported, frames: Frames, head: str, roi: tuple[slice, slice], letterbox: bool
) -> None:
    frame = cv2.resize(frames[0], (320, 200))
    with Segmenter(exported(head), roi=roi, letterbox=letterbox) as segmenter:
        result = segmenter(frame)
        alone = segmenter(np.ascontiguousarray(frame[roi]), roi=np.s_[:, :])
        assert result.labels.shape == (200, 320)
        assert np.array_equal(result.labels[roi], alone.labels)
        outside = np.ones((200, 320), bool)
        outside[roi] = False
        assert np.all(result.labels[outside] == 255)
        assert np.array_equal(result.overlay(frame)[outside], frame[outside])
        assert np.array_equal(result.overlay(frame)[roi], alone.overlay(np.ascontiguousarray(frame[roi])))
        assert np.array_equal(result.confidence, alone.confidence)
        confidence = result.confidence_map()
        assert not confidence[outside].any()
        assert np.array_equal(confidence[roi], alone.confidence_map())
        if head == "prob":
            assert result.probabilities is not None and alone.probabilities is not None
            assert np.array_equal(result.probabilities[(slice(None), *roi)], alone.probabilities)
            assert not result.probabilities[:, outside].any()
        (rows, columns) = (slice(*part.indices(size)) for part, size in zip(roi, (200, 320), strict=True))
        part = result.region(slice(rows.start + 3, rows.start + 9), slice(columns.start + 50, columns.stop))
        width = alone.labels.shape[1]
        assert np.array_equal(part, alone.region(slice(3, 9), slice(50, width)))
        if head != "prob":
            assert np.array_equal(part.argmax(axis=0), alone.labels[3:9, 50:])
        if rows.start:
            with pytest.raises(UsageError, match="reach beyond the region of interest"):
                result.region(slice(rows.start - 1, rows.stop), columns)
        again = pickle.loads(pickle.dumps(result))
        assert np.array_equal(again.labels, result.labels)
        assert np.array_equal(again.overlay(frame), result.overlay(frame))
        assert np.array_equal(again.confidence_map(), confidence)


@pytest.mark.parametrize(
    ("size", "inside"),
    [((64, 256), (64, 256)), ((128, 64), (128, 64)), ((32, 128), (64, 256)), ((240, 320), (128, 171))],
)
def test_letterboxing_keeps_the_aspect_ratio_and_the_place(
    exported: Exported, size: tuple[int, int], inside: tuple[int, int]
) -> None:
    """The network sees the frame in the middle of its input; labels and logits of that part are the frame's."""
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    with Segmenter(exported("logits"), letterbox=True) as segmenter:
        place = Placement.of(size, FULL, None, True)
        assert (place.down.stop - place.down.start, place.across.stop - place.across.start) == inside
        mean = np.rint([255 * level for level in segmenter.artifact.mean[::-1]]).astype(np.uint8)
        boxed = np.empty((*FULL, 3), np.uint8)
        boxed[:] = mean
        boxed[place.down, place.across] = cv2.resize(frame, inside[::-1])
        result, whole = segmenter(frame), segmenter(boxed, letterbox=False)
        assert result.logits is not None and whole.logits is not None
        assert np.array_equal(result.logits, whole.logits)
        part = np.ascontiguousarray(whole.labels[place.down, place.across])
        expected = cv2.resize(part, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        assert np.array_equal(result.labels, expected)


def test_a_mark_lies_where_it_was(exported: Exported) -> None:
    """Whatever the way there: a border between two halves of a frame comes back on its column."""
    for size, roi, letterbox in [
        ((100, 300), None, True),
        ((300, 100), None, True),
        ((90, 170), np.s_[20:80, 10:130], True),
    ]:
        place = Placement.of(size, FULL, roi, letterbox)
        rows, columns = place.rows, place.columns
        middle = (columns.start + columns.stop) // 2
        seen = np.zeros(FULL, np.uint8)
        half = (place.across.start + place.across.stop) / 2
        seen[:, round(half) :] = 1
        back = place.restored(seen, 255)
        edge = int(np.argmax(back[rows.start] == 1))
        assert abs(edge - middle) <= (columns.stop - columns.start) / (place.across.stop - place.across.start)


@pytest.mark.parametrize(
    ("roi", "message"),
    [
        (np.s_[10:10, :], "10 to 10 of 128 pixels"),
        (np.s_[:200, :], "None to 200 of 128 pixels"),
        (np.s_[-200:, :], "-200 to None"),
    ],
)
def test_a_region_that_is_not_in_the_frame(
    exported: Exported, frames: Frames, roi: tuple[slice, slice], message: str
) -> None:
    with Segmenter(exported(), roi=roi) as segmenter, pytest.raises(FrameError, match=message):
        segmenter(frames[0])


@pytest.mark.parametrize("roi", [(0, 0, 10, 10), slice(3), "all", np.s_[::2, :]])
def test_regions_that_are_none(exported: Exported, roi: object) -> None:
    with pytest.raises(UsageError, match="expected slices"):
        Segmenter(exported(), roi=roi)  # type: ignore[arg-type]


def test_formats_at_construction_by_call_and_by_camera(exported: Exported, frames: Frames) -> None:
    frame, swapped = frames[0], frames[0][..., ::-1]
    with Segmenter(exported(), pixel_format="rgb8") as segmenter:
        expected = segmenter(frame, pixel_format="bgr8")
        result = segmenter(swapped)
        assert np.array_equal(result.labels, expected.labels)
        assert np.array_equal(result.overlay(swapped), expected.overlay(frame))
        assert np.array_equal(pickle.loads(pickle.dumps(result)).overlay(swapped), expected.overlay(frame))
        assert np.array_equal(result.overlay(frame, pixel_format="bgr8"), expected.overlay(frame))
        assert not np.array_equal(segmenter(frame).labels, expected.labels), "else this proves nothing"
        assert result.timings.convert > 0
        assert result.timings.total >= result.timings.convert + result.timings.forward
        wide = np.zeros((128, 256, 4), np.uint8)
        wide[..., :3] = swapped
        cameras = {"a": [swapped], "b": [frame], "c": [wide]}
        formats = {"b": "bgr8", "c": "rgba8"}
        for drop in (None, "oldest"):
            found = list(segmenter.stream(cameras, drop=drop, pixel_format=formats))
            assert {one.camera for one in found} == {"a", "b", "c"}
            assert all(np.array_equal(one.labels, expected.labels) for one in found)
        with pytest.raises(UsageError, match="camera 'd' is unknown"):
            segmenter.stream(cameras, pixel_format={"d": "bgr8"})
        with pytest.raises(FrameError, match=r"frame 0 of camera 'a': .*pixel_format 'rgba8'"):
            list(segmenter.stream({"a": [frame]}, pixel_format="rgba8"))
    with pytest.raises(UsageError, match="expected one of bgr8"):
        Segmenter(exported(), pixel_format="rbg8")


def test_yuv_frames_with_padded_rows_and_a_region(exported: Exported, frames: Frames) -> None:
    """Regions of shared colours are cut after the conversion, so odd borders are as good as even ones."""
    planes = cv2.cvtColor(frames[0], cv2.COLOR_BGR2YUV_I420)
    padded = np.zeros((planes.shape[0], 320), np.uint8)
    padded[:, :256] = planes
    luma, u, v = planes[:128], planes[128:160].reshape(64, 128), planes[160:].reshape(64, 128)
    padded[128:, 0:256:2], padded[128:, 1:256:2] = u, v
    padded[:128, :256] = luma
    with Segmenter(exported(), roi=np.s_[31:127, 3:]) as segmenter:
        expected = segmenter(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420)).labels
        assert np.array_equal(segmenter(padded[:, :256], pixel_format="nv12").labels, expected)
        assert np.array_equal(segmenter(planes, pixel_format="i420").labels, expected)


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        ((720, 640), "nv12"),  # of 480x640
        ((1620, 1920), "nv12"),
        ((1620, 1920, 1), "nv12"),
        ((1200, 1280), "nv12"),  # 800x1280
        ((480, 640, 2), "yuyv"),
        ((480, 640, 4), "bgra8' or 'rgba8"),
        ((480 * 640 * 3,), "Reshape"),
    ],
)
def test_shapes_of_other_formats_are_told_by_name(shape: tuple[int, ...], remedy: str) -> None:
    with pytest.raises(FrameError, match=remedy):
        checked(np.zeros(shape, np.uint8))


def test_greys_of_usual_shapes_are_taken() -> None:
    for shape in [(480, 640), (1080, 1920), (1536, 2048), (512, 512), (1024, 2048), (640, 480), (96, 80)]:
        assert checked(np.zeros(shape, np.uint8)).shape == (*shape, 3)


@pytest.mark.parametrize(
    ("frame", "remedy"),
    [
        (np.linspace(0, 1, 48, dtype=np.float32).reshape(4, 4, 3), r"up to 1; .*\(frame \* 255\)"),
        (np.linspace(0, 255, 48).reshape(4, 4, 3), r"up to 255; .*frame.round\(\).clip\(0, 255\)"),
        (np.zeros((4, 4), np.uint16), "pixel_format='mono16'"),
        (np.zeros((4, 4, 3), np.uint16), r"convertScaleAbs\(frame, alpha=255 / 65535\)"),
        (np.zeros((4, 4, 3), np.int32), "astype"),
    ],
)
def test_advice_for_other_numbers_gives_a_frame(frame: np.ndarray, remedy: str) -> None:
    with pytest.raises(FrameError, match=remedy) as caught:
        checked(frame)
    line = str(caught.value)
    for start in ("(frame * 255)", "frame.round()", "cv2.convertScaleAbs"):
        if start in line:
            code = start + line.split(start)[1].split(";")[0]
            assert checked(eval(code, {"frame": frame, "np": np, "cv2": cv2})).shape == (4, 4, 3)
