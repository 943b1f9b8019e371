"""How each kernel is launched: its name, grid and block, and the numbers that follow its pointers.

The pointers, all of device memory, come first and stand in each function's docstring; alignment is told in the .cu files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    pitch: int | None = None,
    precision: str | None = None,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
) -> Launch:
    """Camera frame → engine input. Pointers: source (h, w, 3) uint8 BGR, out.

    Args:
        pitch: bytes from row to row of the source; None where rows follow each other.
        precision: None for out (H, W, 3) uint8 BGR; "fp32" or "fp16" for out (3, H, W) normalised RGB.
        mean, std: RGB, of pixels scaled to 0-1, as in the artefact; only for the second.

    Raises:
        UsageError: sizes that the kernel's 32-bit positions cannot hold, a pitch shorter than a row.
    """
    _check_sizes(source_size, size)
    pitch = 3 * source_size[1] if pitch is None else pitch
    if not 3 * source_size[1] <= pitch < _LARGEST_PRODUCT:
        raise UsageError(
            f"the pitch is {pitch} bytes; expected at least the {3 * source_size[1]} of a row of {source_size[1]} BGR pixels"
        )
    numbers: tuple[np.int32 | np.float32, ...] = tuple(map(np.int32, (pitch, *source_size, *size)))
    if precision is not None:
        scales = [1 / (255 * deviation) for deviation in std]
        offsets = [-average / deviation for average, deviation in zip(mean, std, strict=True)]
        numbers += tuple(map(np.float32, scales + offsets))
    return _of_pixels(f"fastscnn_frame_{'u8' if precision is None else _type(precision)}", size, 1, numbers)


def winners(classes: int, logits_size: Size, *, precision: str, batch: int = 1) -> Launch:
    """First pass of the labels. Pointers: logits (N, C, h, w), winners (N, h, w) uint8 to be written."""
    _check_classes(classes)
    samples = logits_size[0] * logits_size[1]
    entry = f"fastscnn_winners_{_type(precision)}"
    numbers = tuple(map(np.int32, (classes, *logits_size)))
    return Launch(entry, _grid((_blocks(samples, 128), 1, batch), logits_size), (128, 1, 1), numbers)


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
    if probability not in PROBABILITIES:
        raise UsageError(f"probability {probability!r} is unknown; expected one of {', '.join(PROBABILITIES)}")
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


def _type(precision: str) -> str:
    if precision not in _TYPES:
        raise UsageError(f"precision {precision!r} is unknown; expected one of {', '.join(_TYPES)}")
    return _TYPES[precision]
