"""Whatever array a program hands over: the labels of what is in it, or a FrameError in words."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fastscnn.runtime import FrameError, Segmenter

Exported = Callable[..., Path]

DTYPES = st.one_of(
    st.just(np.dtype(np.uint8)),
    arrays.scalar_dtypes(),
    st.sampled_from([np.dtype(object), np.dtype("U3"), np.dtype("S2"), np.dtype([("a", "u1"), ("b", "<f4")]), np.dtype("V3")]),
)  # fmt: skip
SIDES = st.one_of(st.integers(0, 5), st.integers(60, 70))
SHAPES = st.one_of(
    st.tuples(SIDES, SIDES, st.sampled_from([0, 1, 2, 3, 3, 3, 4, 5])),
    st.tuples(SIDES, SIDES),
    st.lists(st.integers(0, 4), max_size=5).map(tuple),
)


@st.composite
def frames(draw: st.DrawFn, dtypes: st.SearchStrategy[np.dtype] = DTYPES) -> np.ndarray:
    """Arrays of any type, shape, stride and byte order, writable or not."""
    dtype, shape = draw(dtypes), draw(SHAPES)
    count = int(np.prod(shape, dtype=np.int64))
    content = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 256, count * max(dtype.itemsize, 1), np.uint8)
    if dtype.hasobject:
        frame = np.full(shape, None)
    else:
        frame = (
            np.frombuffer(content.tobytes(), dtype, count).reshape(shape) if dtype.itemsize else np.zeros(shape, dtype)
        )
    for axis in range(min(frame.ndim, 2)):
        frame = np.flip(frame, axis) if draw(st.booleans()) else frame
        step = draw(st.integers(1, 3))
        frame = frame[(slice(None),) * axis + (slice(None, None, step),)]
    if frame.ndim == 3 and draw(st.booleans()):
        frame = np.asfortranarray(frame) if draw(st.booleans()) else np.ascontiguousarray(frame.transpose(1, 0, 2))
    if frame.ndim >= 2 and frame.size and draw(st.integers(0, 9)) == 0:
        frame = np.broadcast_to(frame[:1], frame.shape)  # a stride of zero
    if draw(st.booleans()):
        frame = frame.copy(order="K")
    frame.flags.writeable = frame.flags.writeable and draw(st.booleans())
    return frame


@pytest.fixture(scope="module")
def segmenter(exported: Exported) -> Segmenter:
    with Segmenter(exported("cls", (64, 64)), "cpu", threads=1) as opened:
        yield opened


COMMON = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)


@settings(COMMON, max_examples=400)
@given(frame=frames())
def test_any_array_is_segmented_or_refused_in_words(segmenter: Segmenter, frame: np.ndarray) -> None:
    before = frame.copy()
    try:
        labels = segmenter(frame).labels
    except FrameError as error:
        assert "expected" in str(error)
        sound = (
            frame.dtype == np.uint8
            and frame.size
            and (frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] in (1, 3)))
        )
        assert not sound
        return
    assert labels.dtype == np.uint8 and labels.shape == frame.shape[:2]
    assert labels.max() < len(segmenter.artifact.classes)
    plain = np.array(before if before.ndim == 3 else before[..., None], np.uint8, order="C")
    assert np.array_equal(labels, segmenter(np.repeat(plain, 3 // plain.shape[2], axis=2)).labels)
    assert np.array_equal(frame, before), "the caller's frame is the caller's"


@settings(COMMON, max_examples=150)
@given(frame=frames(st.just(np.dtype(np.uint8))), opacity=st.floats(0, 1))
def test_what_was_segmented_can_be_shown(segmenter: Segmenter, frame: np.ndarray, opacity: float) -> None:
    try:
        result = segmenter(frame)
    except FrameError:
        return
    assert result.colour().shape == result.overlay(frame, opacity).shape == (*frame.shape[:2], 3)


THINGS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5),
    st.lists(st.integers(0, 255), max_size=4), st.builds(object), st.just(np.uint8(3)), st.just(range(3)), st.just(memoryview(b"abc")),
)  # fmt: skip


@settings(COMMON, max_examples=100)
@given(thing=THINGS)
def test_what_is_no_array_is_refused_in_words(segmenter: Segmenter, thing: object) -> None:
    with pytest.raises(FrameError, match="expected"):
        segmenter(thing)
