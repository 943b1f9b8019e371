"""From labels to a steering hint: the middle of the widest free corridor ahead, -1 (left) to 1 (right).

    python examples/free_road.py street.jpg         # draws it into free_road.png

A hint to start from, not a planner: it knows neither depth nor the robot's width.
"""

import sys

import cv2
import numpy as np

from fastscnn import Segmenter, ready_model

ROWS = 12  # looked at, from the bottom of the frame to its middle


def widest(free: np.ndarray) -> tuple[int, int]:
    """Begin and end of the longest run of True in a row; (0, 0) where there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], free, [False]]).astype(np.int8)))
    runs = edges.reshape(-1, 2)
    return tuple(runs[np.argmax(runs[:, 1] - runs[:, 0])]) if len(runs) else (0, 0)


def corridor(labels: np.ndarray, road: int) -> tuple[float | None, list[tuple[int, int, int]]]:
    """The hint, None where no road is seen; and each row with the corridor's begin and end.

    Wide and near rows count most.
    """
    height, width = labels.shape
    rows = np.linspace(height - 1, height // 2, ROWS).astype(int)
    spans = [(int(row), *widest(labels[row] == road)) for row in rows]
    weights = np.array([(end - begin) * (row / height) for row, begin, end in spans])
    if not weights.any():
        return None, spans
    centres = np.array([(begin + end) / width - 1 for _, begin, end in spans])
    return float(np.average(centres, weights=weights)), spans


def draw(picture: np.ndarray, spans: list[tuple[int, int, int]]) -> None:
    for row, begin, end in spans:
        cv2.line(picture, (begin, row), (end, row), (255, 255, 255), 2)
        cv2.circle(picture, ((begin + end) // 2, row), 5, (0, 255, 255), -1)


def main(place: str, model: str | None = None) -> int:
    frame = cv2.imread(place)
    with Segmenter(model or ready_model()) as segmenter:
        result = segmenter(frame)
    hint, spans = corridor(result.labels, result.artifact.classes.index("road"))
    drawn = result.overlay(frame, 0.35)
    draw(drawn, spans)
    cv2.imwrite("free_road.png", drawn)
    print("no road" if hint is None else f"steer {hint:+.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
