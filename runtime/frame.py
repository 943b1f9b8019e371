"""Check a camera frame and bring it to the model's resolution and input layout."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .artifacts.artifact import Artifact
from .errors import FrameError

Frame = NDArray[np.uint8]

_LONGEST_SIDE = 32767  # OpenCV's resize counts pixels in signed 16-bit numbers


def checked(frame: Any) -> Frame:
    """The frame as contiguous uint8 (H, W, 3) BGR.

    What converts exactly is taken: grey (H, W) or (H, W, 1) is repeated into three channels, strided views are copied.

    Raises:
        FrameError: not an array, not uint8, empty, too large, or of another shape; each says which and how to convert.
    """
    if frame is None:
        raise FrameError(
            "the frame is None, as cv2 gives for a file or camera that it cannot read; expected uint8 (H, W, 3) BGR"
        )
    if not isinstance(frame, np.ndarray):
        raise FrameError(f"the frame is a {type(frame).__name__}; expected a numpy array, uint8 (H, W, 3) BGR")
    if frame.dtype != np.uint8:
        raise FrameError(
            f"the frame holds {frame.dtype}; expected uint8 from 0 to 255. "
            "Convert it where its range is known, for example (frame * 255).round().astype(np.uint8)"
        )
    if frame.size == 0:
        raise FrameError(f"the frame is empty, shape {frame.shape}; expected uint8 (H, W, 3) with pixels in it")
    if frame.ndim == 3 and frame.shape[2] == 4:
        raise FrameError(
            f"the frame has four channels, shape {frame.shape}; expected BGR. Drop alpha with frame[..., :3]"
        )
    if frame.ndim not in (2, 3) or (frame.ndim == 3 and frame.shape[2] not in (1, 3)):
        raise FrameError(f"the frame has shape {frame.shape}; expected (H, W, 3) BGR, or grey (H, W)")
    if max(frame.shape[:2]) > _LONGEST_SIDE:
        raise FrameError(
            f"the frame is height={frame.shape[0]} width={frame.shape[1]}; at most {_LONGEST_SIDE} a side. Cut it into tiles"
        )
    frame = np.ascontiguousarray(frame)
    return (
        frame
        if frame.ndim == 3 and frame.shape[2] == 3
        else np.asarray(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR), np.uint8)
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
        self._tables = (levels - mean[:, None]) / std[:, None]  # (3, 256): RGB channel, pixel value

    def __call__(self, frames: list[Frame]) -> NDArray[Any]:
        """N frames (H, W, 3) → uint8 (N, H, W, 3), or float32 (N, 3, H, W) normalised RGB where the graph takes floats."""
        if not self._float:
            return frames[0][None] if len(frames) == 1 else np.stack(frames)
        height, width = frames[0].shape[:2]
        out = np.empty((len(frames), 3, height, width), np.float32)
        for frame, planes in zip(frames, out, strict=True):
            for channel, table in enumerate(self._tables):
                cv2.LUT(cv2.extractChannel(frame, 2 - channel), table, dst=planes[channel])
        return out
