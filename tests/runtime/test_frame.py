import numpy as np
import pytest

from fastscnn.runtime import FrameError
from fastscnn.runtime.frame import checked, fitted, restored

COLOUR = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (COLOUR, COLOUR),
        (COLOUR[::2, ::-3], COLOUR[::2, ::-3]),
        (COLOUR[:, :, ::-1], COLOUR[:, :, ::-1]),
        (np.asfortranarray(COLOUR), COLOUR),
        (COLOUR[..., 0], COLOUR[..., :1].repeat(3, axis=2)),
        (COLOUR[..., :1], COLOUR[..., :1].repeat(3, axis=2)),
        (COLOUR[:1, :1], COLOUR[:1, :1]),
    ],
)
def test_what_converts_exactly_is_taken(frame: np.ndarray, expected: np.ndarray) -> None:
    frame.setflags(write=False)
    found = checked(frame)
    assert found.flags.c_contiguous
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (None, "None, as cv2 gives"),
        ("street.png", "is a str"),
        ([[1, 2], [3, 4]], "is a list"),
        (COLOUR.astype(np.float32) / 255, "holds float32"),
        (COLOUR.astype(np.int16), "holds int16"),
        (COLOUR > 3, "holds bool"),
        (np.array("x", object), "holds object"),
        (np.zeros((0, 5, 3), np.uint8), r"empty, shape \(0, 5, 3\)"),
        (np.zeros((5, 5, 4), np.uint8), "four channels"),
        (np.zeros((5, 5, 2), np.uint8), r"shape \(5, 5, 2\)"),
        (np.zeros((1, 5, 5, 3), np.uint8), r"shape \(1, 5, 5, 3\)"),
        (np.zeros(5, np.uint8), r"shape \(5,\)"),
        (np.zeros((40000, 1, 3), np.uint8), "height=40000"),
    ],
)
def test_the_rest_is_refused_by_name(frame: object, message: str) -> None:
    with pytest.raises(FrameError, match=message) as caught:
        checked(frame)
    assert "expected" in str(caught.value) or "at most" in str(caught.value)
    assert caught.value.exit_code == 2


def test_fitting_frames_are_not_copied() -> None:
    assert fitted(COLOUR, 48, 64) is COLOUR
    assert fitted(COLOUR, 64, 128).shape == (64, 128, 3)


def test_labels_come_back_by_nearest_neighbour() -> None:
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(restored(labels, 6, 8), labels.repeat(2, axis=0).repeat(2, axis=1))
    assert set(np.unique(restored(labels, 7, 5))) <= set(labels.ravel().tolist())
