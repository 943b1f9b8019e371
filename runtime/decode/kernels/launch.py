"""How each kernel is launched: its name, grid and block, and the numbers that follow its pointers.

The pointers, all of device memory, come first and stand in each function's docstring; alignment is told in the .cu files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...artifacts.artifact import PROBABILITIES
from ...errors import UsageError

Size = tuple[int, int]  # height, width
Dimensions = tuple[int, int, int]  # x, y, z

_LARGEST_PRODUCT = 2**31  # positions along an axis are 32-bit numbers
_MOST_BLOCKS = 65535  # of a grid, along y and z
_TYPES = {"fp32": "f32", "fp16": "f16"}
_BESIDE = 4  # pixels that a thread of the frame and probabilities kernels writes
_TOGETHER = 16  # labels that a thread stores at once

# Bytes of a pixel, and where in it blue, green and red are.
_PACKED = {"rgb8": (3, 2, 1, 0), "bgra8": (4, 0, 1, 2), "rgba8": (4, 2, 1, 0), "mono8": (1, 0, 0, 0)}
# Bytes of a pixel, and where in a pair brightness, U and V begin.
_INTERLEAVED = {"yuyv": (2, 0, 1, 3), "uyvy": (2, 1, 0, 2)}
FORMS = ("bgr8", *_PACKED, *_INTERLEAVED, "nv12", "nv21", "i420")  # formats that `frame` reads; see `runtime/pixels.py`


@dataclass(frozen=True)
class Launch:
    """One kernel launch, apart from its pointers."""

    entry: str
    grid: Dimensions
    block: Dimensions
    numbers: tuple[np.int32 | np.float32, ...]  # the arguments after the pointers, in their order and types


def frame(
    source_size: Size,
    size: Size,
    *,
    form: str = "bgr8",
    pitch: int | None = None,
    precision: str | None = None,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
) -> Launch:
    """Camera frame → engine input. Pointers: source, uint8 in this format, out.

    Args:
        source_size: (h, w) of the picture; an array in nv12 has half as many rows more.
        form: one of FORMS.
        pitch: bytes from row to row of the source; None where rows follow each other.
        precision: None for out (H, W, 3) uint8 BGR; "fp32" or "fp16" for out (3, H, W) normalised RGB.
        mean, std: RGB, of pixels scaled to 0-1, as in the artefact; only for the second.

    Raises:
        UsageError: sizes that the kernel's 32-bit positions cannot hold, a pitch shorter than a row.
    """
    _check_sizes(source_size, size)
    if form not in FORMS:
        raise UsageError(f"format {form!r} is unknown to the kernels; expected one of {', '.join(FORMS)}")
    row = source_size[1] * {"bgr8": (3,), **_PACKED, **_INTERLEAVED}.get(form, (1,))[0]
    pitch = row if pitch is None else pitch
    if not row <= pitch < _LARGEST_PRODUCT:
        raise UsageError(
            f"the pitch is {pitch} bytes; expected at least the {row} of a row of {source_size[1]} pixels in {form}"
        )
    numbers: tuple[np.int32 | np.float32, ...] = tuple(map(np.int32, (pitch, *source_size, *size)))
    kind = "frame" if form == "bgr8" else "packed" if form in _PACKED else "yuv"
    if kind == "packed":
        numbers += tuple(map(np.int32, _PACKED[form]))
    elif kind == "yuv":
        numbers += tuple(map(np.int32, _yuv(form, source_size, pitch)))
    if precision is not None:
        scales = [1 / (255 * deviation) for deviation in std]
        offsets = [-average / deviation for average, deviation in zip(mean, std, strict=True)]
        numbers += tuple(map(np.float32, scales + offsets))
    return _of_pixels(f"fastscnn_{kind}_{'u8' if precision is None else _type(precision)}", size, 1, numbers)


def _yuv(form: str, size: Size, pitch: int) -> tuple[int, ...]:
    """The numbers of `Yuv` in pixels.cuh, after the pitch."""
    if form in _INTERLEAVED:
        step, luma, u, v = _INTERLEAVED[form]
        return step, luma, 0, pitch, 4, 0, u, v
    if form == "i420":
        quarter = (size[0] // 2) * (pitch // 2)
        return 1, 0, size[0] * pitch, pitch // 2, 1, 1, 0, quarter
    u = int(form == "nv21")
    return 1, 0, size[0] * pitch, pitch, 2, 1, u, 1 - u


def winners(classes: int, logits_size: Size, *, precision: str, batch: int = 1) -> Launch:
    """First pass of the labels. Pointers: logits (N, C, h, w), winners (N, h, w) uint8 to be written."""
    _check_classes(classes)
    samples = logits_size[0] * logits_size[1]
    entry = f"fastscnn_winners_{_type(precision)}"
    numbers = tuple(map(np.int32, (classes, *logits_size)))
    return Launch(entry, _grid((_blocks(samples, 128), 1, batch), logits_size), (128, 1, 1), numbers)


def confidence(
    classes: int, logits_size: Size, *, precision: str, probability: str = "softmax", batch: int = 1
) -> Launch:
    """Pointers: logits (N, C, h, w), confidence (N, h, w) uint8 to be written, 255 times each sample's best probability."""
    _check_probability(probability)
    return replace(
        winners(classes, logits_size, precision=precision, batch=batch),
        entry=f"fastscnn_confidence_{probability}_{_type(precision)}",
    )


def known_labels(
    classes: int,
    logits_size: Size,
    size: Size,
    below: float,
    *,
    precision: str,
    probability: str = "softmax",
    align_corners: bool = False,
    batch: int = 1,
) -> Launch:
    """As `labels`, 255 where the best probability is below a bound. Pointers: logits, winners, confidence, labels."""
    _check_probability(probability)
    plain = labels(classes, logits_size, size, precision=precision, align_corners=align_corners, batch=batch)
    sure_from = math.ceil(255 * below) + 1  # the confidence is rounded
    return replace(
        plain,
        entry=f"fastscnn_known_{probability}_{_type(precision)}",
        numbers=(*plain.numbers, np.int32(sure_from), np.float32(below)),
    )


def labels(
    classes: int, logits_size: Size, size: Size, *, precision: str, align_corners: bool = False, batch: int = 1
) -> Launch:
    """Second pass. Pointers: logits, winners as above, labels (N, H, W) uint8 to be written.

    Raises:
        UsageError: more than 255 classes, sizes that the kernel's 32-bit positions cannot hold.
    """
    entry = f"fastscnn_labels_{_type(precision)}"
    numbers = _decoded(classes, logits_size, size, align_corners)
    # A row may begin anywhere within 16 bytes, so it may touch one group more than it fills.
    groups = _blocks(size[1] + _TOGETHER - 1, _TOGETHER)
    return Launch(entry, _grid((_blocks(groups, 8), _blocks(size[0], 16), batch), size), (8, 16, 1), numbers)


def probabilities(
    classes: int,
    logits_size: Size,
    size: Size,
    *,
    precision: str,
    result: str = "fp32",
    probability: str = "softmax",
    align_corners: bool = False,
    batch: int = 1,
) -> Launch:
    """At full resolution. Pointers: logits (N, C, h, w) of `precision`, probabilities (N, C, H, W) of `result`.

    Args:
        probability: "softmax" over the classes, or "sigmoid" of each class by itself, as the artefact tells.

    Raises:
        UsageError: as for `labels`, and for another word.
    """
    _check_probability(probability)
    entry = f"fastscnn_{probability}_{_type(precision)}_{_type(result)}"
    return _of_pixels(entry, size, batch, _decoded(classes, logits_size, size, align_corners))


def _of_pixels(entry: str, size: Size, batch: int, numbers: tuple[np.int32 | np.float32, ...]) -> Launch:
    quads = _blocks(size[1], _BESIDE)
    return Launch(entry, _grid((_blocks(quads, 32), _blocks(size[0], 4), batch), size), (32, 4, 1), numbers)


def _decoded(classes: int, logits_size: Size, size: Size, align_corners: bool) -> tuple[np.int32, ...]:
    _check_classes(classes)
    _check_sizes(logits_size, size)
    return tuple(map(np.int32, (classes, *logits_size, *size, align_corners)))


def _blocks(work: int, share: int) -> int:
    return -(-work // share)


def _grid(grid: Dimensions, size: Size) -> Dimensions:
    if max(grid[1:]) > _MOST_BLOCKS or min(grid) < 1:
        raise UsageError(
            f"height={size[0]} width={size[1]} of {grid[2]} frames takes a grid of {grid}; expected 1 to {_MOST_BLOCKS} blocks "
            "along y and z. Decode fewer frames at a time"
        )
    return grid


def _check_sizes(source: Size, size: Size) -> None:
    if min(*source, *size) < 1 or any(
        2 * (samples + 1) * pixels >= _LARGEST_PRODUCT for samples, pixels in zip(source, size, strict=True)
    ):
        raise UsageError(
            f"height={source[0]} width={source[1]} to height={size[0]} width={size[1]}; expected sides of at least 1 pixel "
            "whose product along an axis stays below 2^30"
        )


def _check_classes(classes: int) -> None:
    if not 2 <= classes <= 255:
        raise UsageError(f"{classes} classes; expected 2 to 255, as labels are bytes and 255 means ignore")


def _check_probability(word: str) -> None:
    if word not in PROBABILITIES:
        raise UsageError(f"probability {word!r} is unknown; expected one of {', '.join(PROBABILITIES)}")


def _type(precision: str) -> str:
    if precision not in _TYPES:
        raise UsageError(f"precision {precision!r} is unknown; expected one of {', '.join(_TYPES)}")
    return _TYPES[precision]
