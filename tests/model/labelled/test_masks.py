"""Label files of every depth and kind mean what they say, or are refused by their true reason."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import raw_png
from PIL import Image

from fastscnn.model.classes import ClassSet
from fastscnn.model.labelled.masks import Reading, read_mask
from fastscnn.runtime.errors import SourceError

FIELD = ClassSet("field", ("soil", "crop", "weed"), ((139, 90, 43), (0, 255, 0), (255, 0, 0)))
IDS = np.tile(np.array([[0, 1, 2, 1], [2, 2, 0, 1]], np.uint8), (3, 5))
READING = Reading.of_ids(FIELD, "field/classes.yaml", range(3))
COLOURED = np.array(FIELD.palette, np.uint8)[IDS]


@pytest.mark.parametrize("depth", [2, 4, 8, 16])
def test_grey_of_every_depth_is_its_numbers(tmp_path: Path, depth: int) -> None:
    path = raw_png.write(tmp_path / "a.png", IDS, depth)
    assert read_mask(path).kind == f"{depth}-bit grey"
    assert np.array_equal(READING.labels(path), IDS)


@pytest.mark.parametrize("depth", [2, 4, 8])
def test_palettes_are_their_indices(tmp_path: Path, depth: int) -> None:
    """Not the grey of their colours: these are in no order."""
    path = raw_png.write(
        tmp_path / "a.png", IDS, depth, raw_png.PALETTE, [9, 9, 9, 200, 0, 0, 0, 0, 0, 4, 4, 4][: 3 * 2**depth]
    )
    assert read_mask(path).kind == f"{depth}-bit palette"
    assert np.array_equal(READING.labels(path), IDS)


def test_one_bit_is_zero_and_one(tmp_path: Path) -> None:
    ones = IDS % 2
    for kind, palette in ((raw_png.GREY, None), (raw_png.PALETTE, [0, 0, 0, 255, 255, 255])):
        path = raw_png.write(tmp_path / "a.png", ones, 1, kind, palette)
        assert np.array_equal(READING.labels(path), ones)


def test_colours_and_equal_channels(tmp_path: Path) -> None:
    opaque = np.dstack([COLOURED, np.full(IDS.shape, 255, np.uint8)])
    holed = opaque.copy()
    holed[0, :, 3] = 0
    ignored = IDS.copy()
    ignored[0] = 255
    for pixels, kind, expected in (
        (np.dstack([IDS] * 3), raw_png.RGB, IDS),
        (COLOURED, raw_png.RGB, IDS),
        (opaque, raw_png.RGBA, IDS),
        (holed, raw_png.RGBA, ignored),
        (np.dstack([IDS, np.full(IDS.shape, 255)]), raw_png.GREY_ALPHA, IDS),
    ):
        assert np.array_equal(READING.labels(raw_png.write(tmp_path / "a.png", pixels, 8, kind)), expected)


def test_other_lossless_formats(tmp_path: Path) -> None:
    for suffix in (".tif", ".bmp"):
        Image.fromarray(IDS).save(tmp_path / f"a{suffix}")
        assert np.array_equal(READING.labels(tmp_path / f"a{suffix}"), IDS)


def test_what_is_refused_says_what_was_found_and_what_to_do(tmp_path: Path) -> None:
    off = COLOURED.copy()
    off[0, 0] = (0, 250, 3)
    from_one, with_background = IDS + 1, np.where(IDS == 0, 3, IDS).astype(np.uint8)
    with_background[0, 0] = 0
    for pixels, depth, kind, says in (
        (
            off,
            8,
            raw_png.RGB,
            r"\(RGB\) holds colours .*: \[0, 250, 3\] 0.8% \(nearest: crop \[0, 255, 0\]\); expected the colours",
        ),
        (IDS.astype(int) * 500, 16, raw_png.GREY, "16-bit numbers up to 1000; expected ids up to 255"),
        (from_one, 8, raw_png.GREY, r"holds ids 3, .* The ids seem to count from 1: write `ids: \[1, 2, 3\]`"),
        (with_background, 8, raw_png.GREY, "4 ids from 0 on for 3 classes: name the class of id 0"),
        (
            IDS * 40,
            8,
            raw_png.GREY,
            r"\(8-bit grey\) holds ids 40, 80, which field/classes.yaml does not define; expected 0 to 2, and 255",
        ),
        (np.dstack([IDS.astype(int) * 257] * 3), 16, raw_png.RGB, "16 bits a channel; expected class ids"),
    ):
        with pytest.raises(SourceError, match=says):
            READING.labels(raw_png.write(tmp_path / "a.png", pixels, depth, kind))
    cv2.imwrite(str(tmp_path / "a.jpg"), IDS)
    with pytest.raises(SourceError, match="JPEG or WebP, which mixes the numbers at every edge"):
        READING.labels(tmp_path / "a.jpg")
    (tmp_path / "b.png").write_bytes(raw_png.write(tmp_path / "a.png", IDS, 4).read_bytes()[:-30])
    with pytest.raises(SourceError, match="is damaged"):
        READING.labels(tmp_path / "b.png")


def test_grey_in_three_channels_with_two_meanings_is_refused(tmp_path: Path) -> None:
    """All black can be id 0, or the class whose colour is black."""
    night = ClassSet("night", ("lamp", "dark"), ((255, 255, 0), (0, 0, 0)))
    path = raw_png.write(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8), 8, raw_png.RGB)
    with pytest.raises(SourceError, match=r"can be ids or colours .* Write `labels: ids` or `labels: colours`"):
        Reading.of_ids(night, "classes.yaml", range(2)).labels(path)
    for stored, expected in (("ids", 0), ("colours", 1)):
        assert (Reading.of_ids(night, "classes.yaml", range(2), stored=stored).labels(path) == expected).all()  # type: ignore[arg-type]
    with pytest.raises(SourceError, match="says `labels: colours`; expected RGB"):
        Reading.of_ids(night, "c.yaml", range(2), stored="colours").labels(raw_png.write(tmp_path / "g.png", IDS))
    with pytest.raises(SourceError, match="says `labels: ids`"):
        Reading.of_ids(FIELD, "c.yaml", range(3), stored="ids").labels(
            raw_png.write(tmp_path / "c.png", COLOURED, 8, 2)
        )


def test_two_classes_of_one_colour_cannot_be_told_by_it(tmp_path: Path) -> None:
    twins = ClassSet("twins", ("a", "b"), ((1, 2, 3), (1, 2, 3)))
    path = raw_png.write(tmp_path / "a.png", np.full((4, 4, 3), (1, 2, 3), np.uint8), 8, raw_png.RGB)
    with pytest.raises(SourceError, match="the same colour for two classes"):
        Reading.of_ids(twins, "classes.yaml", range(2)).labels(path)


def test_a_palette_read_by_its_colours(tmp_path: Path) -> None:
    shuffled = [c for name in (2, 0, 1) for c in FIELD.palette[name]]
    path = raw_png.write(tmp_path / "a.png", np.array([[0, 1, 2]]), 8, raw_png.PALETTE, shuffled)
    assert Reading.of_ids(FIELD, "c.yaml", range(3), stored="colours").labels(path).tolist() == [[2, 0, 1]]
