"""Frames turned and mirrored as ?flip= asks for, by the names of jetson-utils."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ..frame import Frame
from .uri import Place

_TURNS: dict[str, Callable[[Frame], object]] = {
    "counterclockwise": lambda frame: cv2.rotate(frame, cv2.ROTATE_90_COUNTERCLOCKWISE),
    "rotate-180": lambda frame: cv2.rotate(frame, cv2.ROTATE_180),
    "clockwise": lambda frame: cv2.rotate(frame, cv2.ROTATE_90_CLOCKWISE),
    "horizontal": lambda frame: cv2.flip(frame, 1),
    "vertical": lambda frame: cv2.flip(frame, 0),
    "upper-left-diagonal": lambda frame: cv2.transpose(frame),
    "upper-right-diagonal": lambda frame: cv2.flip(cv2.transpose(frame), -1),
}


def turned(frame: Frame, place: Place) -> Frame:
    turn = _TURNS.get(place.options.get("flip", "none"))
    return frame if turn is None else np.asarray(turn(frame), np.uint8)
