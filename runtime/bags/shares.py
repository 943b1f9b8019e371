"""How much of the picture each class covers, over the time of a log: as a table and as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ..artifacts.artifact import Artifact

_HEIGHT, _WIDTH, _EDGE, _ROW = 360, 900, 46, 22  # pixels of the plot, its margin and a line of the legend
_COLUMN = 210  # of the legend
_INK, _PAPER = (40, 40, 40), 255
_FONT, _SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.45


class Shares:
    """Counts the pixels of each class, image by image."""

    def __init__(self, artifact: Artifact) -> None:
        self._classes, self._palette = artifact.classes, artifact.palette
        self._rows: list[tuple[str, int, NDArray[np.float64]]] = []
        self.pixels = np.zeros(256, np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def count(self, topic: str, stamp: int, labels: NDArray[np.uint8]) -> None:
        """`stamp`: of the image's header, nanoseconds."""
        found = np.bincount(labels.ravel(), minlength=256)
        self.pixels += found
        self._rows.append((topic, stamp, found[: len(self._classes)] / labels.size))

    def total(self) -> dict[str, float]:
        """Share of each class over the whole log."""
        everything = max(int(self.pixels.sum()), 1)
        return {name: round(int(self.pixels[i]) / everything, 6) for i, name in enumerate(self._classes)}

    def csv(self) -> bytes:
        """topic, stamp in nanoseconds, then a column a class."""
        out = io.StringIO()
        out.write(",".join(["topic", "stamp", *(_quoted(name) for name in self._classes)]) + "\n")
        for topic, stamp, shares in self._rows:
            out.write(f"{topic},{stamp}," + ",".join(f"{share:.5f}" for share in shares) + "\n")
        return out.getvalue().encode()

    def png(self) -> bytes:
        """The classes stacked over time, in their colours, with the names of those that occur."""
        seen = [i for i in np.argsort(-self.pixels[: len(self._classes)]) if self.pixels[i]]
        legend = -(-max(len(seen), 1) // (_WIDTH // _COLUMN)) * _ROW + _ROW // 2
        page = np.full((_HEIGHT + 2 * _EDGE + legend, _WIDTH + 2 * _EDGE, 3), _PAPER, np.uint8)
        page[_EDGE : _EDGE + _HEIGHT, _EDGE : _EDGE + _WIDTH] = self._stack()
        cv2.rectangle(page, (_EDGE, _EDGE), (_EDGE + _WIDTH, _EDGE + _HEIGHT), _INK, 1)
        stamps = [stamp for _, stamp, _ in self._rows] or [0]
        seconds = (max(stamps) - min(stamps)) / 1e9
        _text(page, "share of the picture", (_EDGE, _EDGE - 14))
        for share in (0.0, 0.5, 1.0):
            _text(page, f"{share:.0%}", (4, _EDGE + round((1 - share) * _HEIGHT) + 5))
        _text(page, "0 s", (_EDGE, _EDGE + _HEIGHT + 18))
        _text(page, f"{seconds:.1f} s", (_EDGE + _WIDTH - 60, _EDGE + _HEIGHT + 18))
        for place, index in enumerate(seen):
            row, column = divmod(place, _WIDTH // _COLUMN)
            x, y = _EDGE + column * _COLUMN, _EDGE + _HEIGHT + 36 + row * _ROW
            cv2.rectangle(page, (x, y), (x + 14, y + 14), _bgr(self._palette[index]), -1)
            cv2.rectangle(page, (x, y), (x + 14, y + 14), _INK, 1)
            _text(page, f"{self._classes[index]} {self.total()[self._classes[index]]:.1%}", (x + 20, y + 12))
        return bytes(cv2.imencode(".png", page)[1].tobytes())

    def _stack(self) -> NDArray[np.uint8]:
        plot = np.full((_HEIGHT, _WIDTH, 3), _PAPER, np.uint8)
        if not self._rows:
            return plot
        rows = sorted(self._rows, key=lambda row: row[1])
        stamps = np.array([stamp for _, stamp, _ in rows], np.float64)
        shares = np.array([share for *_, share in rows])
        times = np.linspace(stamps[0], stamps[-1], _WIDTH)
        tops = np.cumsum([np.interp(times, stamps, column) for column in shares.T], axis=0)
        levels = 1 - (np.arange(_HEIGHT) + 0.5) / _HEIGHT
        for index in reversed(range(len(tops))):
            plot[levels[:, None] < tops[index]] = _bgr(self._palette[index])
        return plot


def _bgr(colour: Sequence[int]) -> tuple[int, int, int]:
    return int(colour[2]), int(colour[1]), int(colour[0])


def _text(page: NDArray[np.uint8], text: str, place: tuple[int, int]) -> None:
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(page, plain, place, _FONT, _SIZE, _INK, 1, cv2.LINE_AA)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if set(name) & set(',"') else name
