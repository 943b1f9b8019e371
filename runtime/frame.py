"""Check a camera frame and bring it to the model's resolution and input layout."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .artifacts.artifact import Artifact
from .errors import FrameError
from .pixels import BGR8, MONO8, PixelFormat

Frame = NDArray[np.uint8]

_CAMERA_SHAPES = (4 / 3, 16 / 9, 16 / 10, 5 / 4)  # width to height; in 4:2:0 they look like 8:9, 32:27, 16:15 and 5:6
_LEAST_CAMERA = 120  # rows of the smallest
_LONGEST_SIDE = 32767  # OpenCV's resize counts pixels in signed 16-bit numbers


def expect_frame(frame: Any, form: PixelFormat = BGR8) -> tuple[int, int]:
    """(height, width) of what can be segmented: an array in this format; in BGR also a grey one, which converts exactly.

    Raises:
        FrameError: not an array, another type, empty, too large, or of another shape; each says which and how to convert.
    """
    if frame is None:
        raise FrameError(
            f"the frame is None, as cv2 gives for a file or camera that it cannot read; expected {form.layout} in {form.name}"
        )
    if not isinstance(frame, np.ndarray):
        raise FrameError(f"the frame is a {type(frame).__name__}; expected a numpy array, {form.layout} in {form.name}")
    if frame.size == 0:
        raise FrameError(f"the frame is empty, shape {frame.shape}; expected {form.layout} with pixels in it")
    grey = form is BGR8 and frame.dtype == np.uint8 and (frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] == 1))
    if grey:
        _expect_no_planes(frame)
    elif form is BGR8:
        _expect_bgr(frame)
    height, width = (MONO8 if grey else form).size(frame)
    if max(height, width) > _LONGEST_SIDE:
        raise FrameError(
            f"the frame is height={height} width={width}; at most {_LONGEST_SIDE} a side. Cut it into tiles"
        )
    return height, width


def checked(frame: Any, form: PixelFormat = BGR8) -> Frame:
    """The frame as contiguous uint8 (H, W, 3) BGR; errors as in `expect_frame`. Strided views are copied."""
    expect_frame(frame, form)
    return np.ascontiguousarray(to_bgr(frame, form))


def to_bgr(frame: NDArray[Any], form: PixelFormat) -> Frame:
    """What `expect_frame` accepts, as uint8 (H, W, 3) BGR; the array itself where it is that."""
    grey = form is BGR8 and (frame.ndim == 2 or frame.shape[2] == 1)
    return (MONO8 if grey else form).to_bgr(frame)


def _expect_bgr(frame: NDArray[Any]) -> None:
    """What other formats look like, and how each is named."""
    kind, shape = frame.dtype, frame.shape
    channels = shape[2] if frame.ndim == 3 else 1 if frame.ndim == 2 else 0
    if kind == np.uint8 and channels == 3:  # as nearly all are: nothing is put into words
        return
    found = f"the frame holds {kind}, shape {shape}"
    if kind.kind == "f" and channels in (1, 3):
        top = float(np.nanmax(frame))
        how = "(frame * 255).round().astype(np.uint8)" if top <= 1 else "frame.round().clip(0, 255).astype(np.uint8)"
        raise FrameError(f"{found}, up to {top:g}; expected uint8 (H, W, 3) BGR. Convert it with {how}")
    if kind.newbyteorder("=") == np.uint16:
        how = (
            "Pass pixel_format='mono16' (or 'bayer_rggb16' and the like for a raw sensor)"
            if channels == 1
            else "At full range it converts with cv2.convertScaleAbs(frame, alpha=255 / 65535)"
        )
        raise FrameError(f"{found}; expected uint8 (H, W, 3) BGR. {how}; values of 10 or 12 bits are shifted up first")
    if kind != np.uint8:
        raise FrameError(
            f"{found}; expected uint8 (H, W, 3) BGR, 0 to 255. Convert it where its range is known, with .astype(np.uint8)"
        )
    if channels == 4:
        raise FrameError(f"{found}: four channels; expected (H, W, 3) BGR. Pass pixel_format='bgra8' or 'rgba8'")
    if channels == 2:
        raise FrameError(
            f"{found}: two bytes a pixel, as in YUV 4:2:2; expected (H, W, 3) BGR. Pass pixel_format='yuyv' (as most USB "
            "cameras have it) or 'uyvy'"
        )
    if frame.ndim == 1:
        raise FrameError(
            f"{found}: bytes without a size; expected (H, W, 3) BGR, or grey (H, W). Reshape them as the camera's format has it"
        )
    if frame.ndim != 3 or channels != 3:
        raise FrameError(f"{found}; expected (H, W, 3) BGR, or grey (H, W)")


def _expect_no_planes(frame: NDArray[Any]) -> None:
    """Grey pictures are taken, but not of those shapes that cameras' YUV 4:2:0 has and their pictures have not."""
    rows, width = frame.shape[:2]
    height = rows * 2 // 3
    if rows % 3 == 0 and height >= _LEAST_CAMERA and not (height % 2 or width % 2) and width / height in _CAMERA_SHAPES:
        raise FrameError(
            f"the frame has shape {frame.shape}, as YUV 4:2:0 of height={height} width={width} has it; expected (H, W, 3) BGR. "
            "Pass pixel_format='nv12', 'nv21' or 'i420', or 'mono8' if it is a grey picture indeed"
        )


def fitted(frame: Frame, height: int, width: int) -> Frame:
    """Bilinear resize to height × width; the frame itself where it fits. The aspect ratio is not kept."""
    if frame.shape[:2] == (height, width):
        return frame
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def restored(labels: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Nearest-neighbour resize of labels (H, W) back to the frame's size."""
    if labels.shape == (height, width):
        return labels
    return np.asarray(cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), labels.dtype)


class InputLayout:
    """Turns fitted frames into the tensor that the artefact's graph takes."""

    def __init__(self, artifact: Artifact) -> None:
        self._float = artifact.input == "float"
        mean, std = np.array(artifact.mean, np.float32), np.array(artifact.std, np.float32)
        levels = np.arange(256, dtype=np.float32)[None] / np.float32(255)
        self._planes = (2, 1, 0) if artifact.order == "rgb" else (0, 1, 2)  # of a BGR frame, in the order of the output
        self._tables = (levels - mean[:, None]) / std[:, None]  # (3, 256): RGB channel, pixel value

    def __call__(self, frames: list[Frame]) -> NDArray[Any]:
        """N frames (H, W, 3) → uint8 (N, H, W, 3), or float32 (N, 3, H, W) normalised planes where the graph takes floats."""
        if not self._float:
            return np.ascontiguousarray(frames[0])[None] if len(frames) == 1 else np.stack(frames)
        height, width = frames[0].shape[:2]
        out = np.empty((len(frames), 3, height, width), np.float32)
        for frame, planes in zip(frames, out, strict=True):
            for channel, plane in enumerate(self._planes):
                cv2.LUT(cv2.extractChannel(frame, plane), self._tables[2 - plane], dst=planes[channel])
        return out
