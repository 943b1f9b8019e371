"""Files that break off, or that come in parts, are told whatever OpenCV makes of them: 4.8 shows what is left, without a word."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn.runtime import SourceError
from fastscnn.runtime.media.containers import breaks_off, frames_told
from fastscnn.runtime.media.sources import Source, read_image

FRAGMENTED = Path(__file__).with_name("fragmented.mp4")  # 100 frames of 64x96: 20 in the file's head, 80 in fragments

PICTURE = cv2.resize(np.random.default_rng(0).integers(0, 255, (8, 12, 3), np.uint8), (120, 80))
KINDS = {
    "baseline": [],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 2],
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_that_breaks_off_anywhere_is_refused(kind: str, tmp_path: Path) -> None:
    data = cv2.imencode(".jpg", PICTURE, KINDS[kind])[1].tobytes()
    path = tmp_path / "picture.jpg"
    for rest in (b"", b"\0" * 100, b"\xff\xd8 another picture, as phones append them"):
        path.write_bytes(data + rest)
        assert read_image(path).shape == PICTURE.shape
    for end in (*range(2, len(data), 97), len(data) - 2, len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.raises(SourceError, match="damaged"):
            read_image(path)


def test_only_jpeg_is_looked_into() -> None:
    assert not breaks_off(b"")
    assert not breaks_off(cv2.imencode(".png", PICTURE)[1].tobytes()[:50]), "OpenCV refuses those itself"


def test_a_fragmented_video_is_read_whole_or_refused() -> None:
    assert frames_told(FRAGMENTED) == 100
    with Source(str(FRAGMENTED)) as source:
        assert source.frames == 100, "OpenCV announces those of the first part alone"
        read = []
        try:
            read = [named.name for named in source]
        except SourceError as error:
            assert f"of 100 frames, which its fragments list: OpenCV {cv2.__version__} does not read" in str(error)
            assert "ffmpeg -i IN -c copy" in str(error)
        else:
            assert len(read) == 100


def test_a_video_in_one_part_is_left_to_opencv(tmp_path: Path) -> None:
    path = tmp_path / "plain.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, PICTURE.shape[1::-1])
    for _ in range(5):
        writer.write(PICTURE)
    writer.release()
    assert frames_told(path) == 0
    with Source(str(path)) as source:
        assert (source.frames, len(list(source))) == (5, 5)


def test_damaged_boxes_are_left_to_opencv(tmp_path: Path) -> None:
    data = FRAGMENTED.read_bytes()
    path = tmp_path / "damaged.mp4"
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(data[: rng.integers(1, len(data))])
        for at in rng.integers(0, len(broken), 20):
            broken[at] = rng.integers(0, 256)
        path.write_bytes(broken)
        frames_told(path)
    assert frames_told(tmp_path / "absent.mp4") == 0
