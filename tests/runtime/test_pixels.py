"""Pixel formats: what each means, pixel by pixel in plain arithmetic; message bytes with padded rows; what does not fit."""

from collections.abc import Callable

import numpy as np
import pytest

from fastscnn.runtime import FrameError, UsageError
from fastscnn.runtime.pixels import ALIASES, FORMATS, pixel_format

HEIGHT, WIDTH = 12, 16


def picture() -> np.ndarray:
    """Smooth colours, so that shared colour differences lose little; BGR."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([40 + 10 * y, 200 - 8 * x, 30 + 5 * y + 6 * x], axis=-1).astype(np.uint8)


def yuv(bgr: np.ndarray) -> np.ndarray:
    """BT.601, limited range."""
    blue, green, red = np.moveaxis(bgr.astype(np.float64), -1, 0)
    luma = 16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255
    u = 128 + (-37.797 * red - 74.203 * green + 112 * blue) / 255
    v = 128 + (112 * red - 93.786 * green - 18.214 * blue) / 255
    return np.stack([luma, u, v]).round().astype(np.uint8)


def shared(plane: np.ndarray, rows: int, columns: int) -> np.ndarray:
    return plane.reshape(HEIGHT // rows, rows, WIDTH // columns, columns).mean((1, 3)).round().astype(np.uint8)


def interleaved(first: int, bgr: np.ndarray) -> np.ndarray:
    """4:2:2, brightness at byte `first` of each pixel, U of the even ones, V of the odd ones at the other."""
    luma, u, v = yuv(bgr)
    out = np.empty((HEIGHT, WIDTH, 2), np.uint8)
    out[..., first] = luma
    out[:, ::2, 1 - first], out[:, 1::2, 1 - first] = shared(u, 1, 2), shared(v, 1, 2)
    return out


def semiplanar(bgr: np.ndarray, u_first: bool) -> np.ndarray:
    luma, u, v = yuv(bgr)
    pair = [shared(u, 2, 2), shared(v, 2, 2)]
    return np.vstack([luma, np.stack(pair if u_first else pair[::-1], axis=-1).reshape(HEIGHT // 2, WIDTH)])


def i420(bgr: np.ndarray) -> np.ndarray:
    luma, u, v = yuv(bgr)
    return np.vstack([luma, *(shared(plane, 2, 2).reshape(HEIGHT // 4, WIDTH) for plane in (u, v))])


def mosaic(pattern: str, bgr: np.ndarray) -> np.ndarray:
    """One colour a pixel: `pattern` names those of the first two rows' first two columns."""
    out = np.empty((HEIGHT, WIDTH), np.uint8)
    for place, letter in enumerate(pattern):
        row, column = divmod(place, 2)
        out[row::2, column::2] = bgr[row::2, column::2, "bgr".index(letter)]
    return out


CASES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {  # how a camera would give it, levels lost at most
    "bgr8": (lambda bgr: bgr, 0),
    "rgb8": (lambda bgr: bgr[..., ::-1], 0),
    "bgra8": (lambda bgr: np.dstack([bgr, bgr[..., :1]]), 0),
    "rgba8": (lambda bgr: np.dstack([bgr[..., ::-1], bgr[..., :1]]), 0),
    "yuyv": (lambda bgr: interleaved(0, bgr), 12),
    "uyvy": (lambda bgr: interleaved(1, bgr), 12),
    "nv12": (lambda bgr: semiplanar(bgr, True), 20),
    "nv21": (lambda bgr: semiplanar(bgr, False), 20),
    "i420": (i420, 20),
    **{f"bayer_{p}8": (lambda bgr, p=p: mosaic(p, bgr), 1) for p in ("rggb", "bggr", "gbrg", "grbg")},
    **{
        f"bayer_{p}16": (lambda bgr, p=p: mosaic(p, bgr).astype(np.uint16) * 257, 1)
        for p in ("rggb", "bggr", "gbrg", "grbg")
    },
}
GREYS = {"mono8", "mono16"}


def test_every_format_has_a_case() -> None:
    assert set(CASES) | GREYS == set(FORMATS)
    assert set(ALIASES.values()) <= set(FORMATS)


@pytest.mark.parametrize("name", CASES)
def test_colours_are_the_cameras(name: str) -> None:
    """Not those of the neighbouring name: mixed up, at least one channel would be tens of levels off."""
    make, lost = CASES[name]
    frame, expected = make(picture()), picture()
    one = pixel_format(name)
    assert one.size(frame) == (HEIGHT, WIDTH)
    found = one.to_bgr(frame)
    assert (found.dtype, found.shape) == (np.uint8, (HEIGHT, WIDTH, 3))
    inner = np.s_[2:-2, 2:-2] if one.mosaic else np.s_[:]  # a mosaic's edges have neighbours on one side only
    assert np.abs(found.astype(int) - expected)[inner].max() <= lost


def test_greys() -> None:
    grey = picture()[..., 0]
    for frame in (grey, grey[..., None]):
        assert np.array_equal(pixel_format("mono8").to_bgr(frame), grey[..., None].repeat(3, axis=2))
    levels = np.arange(0, 65536, 7, dtype=np.uint16).reshape(-1, 1)
    expected = np.rint(levels / 257.0).astype(np.uint8)
    for order in "<>":
        found = pixel_format("mono16").to_bgr(levels.astype(f"{order}u2"))
        assert np.array_equal(found, expected[..., None].repeat(3, axis=2))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("pad", [0, 6])
def test_messages_are_viewed_without_a_copy(name: str, pad: int) -> None:
    one = pixel_format(name)
    grey = picture()[..., 0]
    frame = np.ascontiguousarray(
        CASES[name][0](picture()) if name in CASES else grey if name == "mono8" else grey.astype(np.uint16) * 257
    )
    row = frame[0].nbytes
    data = b"".join(line.tobytes() + b"\xff" * pad for line in frame)
    if name == "i420" and pad:
        with pytest.raises(FrameError, match="exactly 16 are expected"):
            one.view(data, HEIGHT, WIDTH, row + pad)
        return
    for bytes_there in (data, data[: len(data) - pad] if pad else data):  # drivers leave out the last row's padding
        found = one.view(bytes_there, HEIGHT, WIDTH, row + pad)
        assert np.shares_memory(found, np.frombuffer(bytes_there, np.uint8))
        assert np.array_equal(found, frame)
        assert one.size(found) == (HEIGHT, WIDTH)
        assert np.array_equal(one.to_bgr(found), one.to_bgr(frame))
    with pytest.raises(FrameError, match=f"{len(data) - pad - 1} bytes of image; .* expects {len(data) - pad}"):
        one.view(data[: len(data) - pad - 1], HEIGHT, WIDTH, row + pad)
    with pytest.raises(FrameError, match="step of"):
        one.view(data, HEIGHT, WIDTH, row - 1)


def test_big_endian_messages() -> None:
    levels = (np.arange(HEIGHT * WIDTH) * 300).astype(np.uint16).reshape(HEIGHT, WIDTH)
    found = pixel_format("mono16").view(levels.astype(">u2").tobytes(), HEIGHT, WIDTH, big_endian=True)
    assert np.array_equal(found, levels)


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "expected"),
    [
        ("nv12", (480, 640, 3), "uint8", r"expects uint8 \(H \* 3/2, W\), H and W even"),
        ("nv12", (721, 640), "uint8", "expects"),
        ("nv12", (9, 17), "uint8", "expects"),
        ("nv21", (12, 15), "uint8", "expects"),
        ("yuyv", (8, 15, 2), "uint8", "W even"),
        ("yuyv", (8, 30), "uint8", r"\(H, W, 2\)"),
        ("mono16", (8, 8), "uint8", "holds uint8.*expects uint16"),
        ("mono8", (8, 8), "uint16", "expects uint8"),
        ("rgba8", (8, 8, 3), "uint8", r"\(H, W, 4\)"),
        ("rgb8", (8, 8), "uint8", r"\(H, W, 3\)"),
        ("rgb8", (), "uint8", r"\(H, W, 3\)"),
        ("bayer_rggb8", (8, 8, 3), "uint8", r"\(H, W\)"),
    ],
)
def test_other_arrays_are_refused_by_the_formats_name(
    name: str, shape: tuple[int, ...], dtype: str, expected: str
) -> None:
    with pytest.raises(FrameError, match=expected) as caught:
        pixel_format(name).size(np.zeros(shape, dtype))
    assert f"pixel_format {name!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("8UC3", "bgr8"),
        ("yuv422_yuy2", "yuyv"),
        ("yuv422", "uyvy"),
        ("NV12", "nv12"),
        ("BGRx", "bgra8"),
        ("Y16", "mono16"),
    ],
)
def test_names_of_others(name: str, found: str) -> None:
    assert pixel_format(name).name == found
    assert pixel_format(pixel_format(name)) is FORMATS[found]


def test_unknown_names_are_refused_with_a_near_one() -> None:
    with pytest.raises(UsageError, match=r"'rgb_8' is unknown; expected one of bgr8, .*Did you mean 'rgb8'\?"):
        pixel_format("rgb_8")
    with pytest.raises(UsageError, match="'jpeg' is unknown"):
        pixel_format("jpeg")
