"""Low-resolution logits → full-resolution labels or probabilities, exactly and without upsampling every class.

Bilinear interpolation is a convex combination of a cell's four corners. A class that wins at all four wins everywhere
between them, so such a cell is a constant fill; only cells whose corners disagree (5 to 10% of a street) are interpolated,
and only for the classes that can win there. Probabilities need every class everywhere, but subtracting each
low-resolution pixel's maximum first leaves the soft-max unchanged and keeps exponents below zero, so one exponential and
no second pass over the map suffices.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..artifacts.artifact import Artifact
from .axis import Axis, Floats, interpolated
from .memory import Recycler

Labels = NDArray[np.uint8]

_CELLS_AT_ONCE = 4096  # bounds the memory where hardly any cell agrees
_BYTES_AT_ONCE = 4_000_000  # of probabilities, that one of several threads computes at a time
_CACHED = 1_000_000  # bytes of interpolated logits that are looked at several times
# Multiplications that OpenBLAS still does on the caller's thread. Threads of its own would spin for tens of milliseconds
# after each product, beside the next frame's network, which then takes twice as long on two cores.
_ALONE = 1 << 18
_WHOLE: dict[int, type[np.generic]] = {2: np.uint16, 4: np.uint32, 8: np.uint64}  # bytes → a number of that size
_SURELY = 1 + 1e-5  # by more than rounding
UNKNOWN = 255  # the label of what is not known
_SAFE_SPREAD = 80.0  # exp(-80) is still a normal float32, so no sum of exponentials can vanish


class Decoder:
    """Decode logits of one geometry. Threads may share it; after `close` it still works, on the caller's thread alone.

    Args:
        logits_size: (h, w) of the logits.
        size: (H, W) of the result; any ratio.
        threads: that share the work of `probabilities`.
        align_corners: the first and last sample lie on the first and last pixel, as PyTorch's option of that name has it;
            otherwise pixels have half-pixel centres, as in this project's own exports.
        probability: "softmax" over the classes, or "sigmoid" of each class by itself.
    """

    def __init__(
        self,
        logits_size: tuple[int, int],
        size: tuple[int, int],
        threads: int = 1,
        *,
        align_corners: bool = False,
        probability: str = "softmax",
    ) -> None:
        self.logits_size, self.size, self.align_corners = logits_size, size, align_corners
        self.probability = probability
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "fastscnn-decode") if threads > 1 else None
        self._labels = Recycler(size, np.uint8)
        self._probabilities: Recycler | None = None
        self._y, self._x = (Axis.between(low, full, align_corners) for low, full in zip(logits_size, size, strict=True))
        self._patch: Floats | None = None
        if len(self._y.weights) == len(self._x.weights) == 1:
            y, x = self._y.weights[0][:, None], self._x.weights[0][None, :]
            corners = [(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x]
            self._patch = np.stack([corner.ravel() for corner in corners])

    @classmethod
    def of(cls, artifact: Artifact, threads: int = 1) -> Decoder:
        """For the logits of a model, as its description tells."""
        return cls(
            (artifact.logits_height, artifact.logits_width),
            (artifact.height, artifact.width),
            threads,
            align_corners=artifact.align_corners,
            probability=artifact.probability,
        )

    def labels(self, logits: NDArray[Any], unknown_below: float = 0.0) -> Labels:
        """(C, h, w) float16 or float32 → (H, W) uint8 arg-max of the bilinear upsampling; the lower class wins a tie.

        Where the winner's probability is below `unknown_below`, 255.
        """
        # On one thread: the steps are so short that two would wait for the interpreter, and for each other.
        logits = np.ascontiguousarray(logits, np.float32)
        rows, columns = self._y.slots, self._x.slots
        corners = cv2.copyMakeBorder(argmax(logits), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        one = corners[:-1, :-1]
        mixed = (one != corners[:-1, 1:]) | (one != corners[1:, :-1]) | (one != corners[1:, 1:])
        canvas = np.empty((one.shape[0], rows, one.shape[1] * columns), np.uint8)
        canvas[:] = np.repeat(one, columns, axis=1)[:, None]
        whole = _WHOLE.get(columns)  # a row of a cell is written as one number, where there is one of its size
        cells = canvas.view(whole or np.uint8).reshape(one.shape[0], rows, one.shape[1], -1)
        down, across = np.nonzero(mixed)
        for start in range(0, len(down), _CELLS_AT_ONCE):
            y, x = down[start : start + _CELLS_AT_ONCE], across[start : start + _CELLS_AT_ONCE]
            cells[y, :, x] = self._settled(logits, y, x).view(whole or np.uint8).reshape(len(y), rows, -1)
        if unknown_below > 0:
            # Along either axis the logarithm of a soft-max is concave, so a class is nowhere less sure than at some corner.
            sure = (
                cv2.copyMakeBorder(self.certainty(logits), 1, 1, 1, 1, cv2.BORDER_REPLICATE) >= unknown_below * _SURELY
            )
            doubtful = mixed | ~(sure[:-1, :-1] & sure[:-1, 1:] & sure[1:, :-1] & sure[1:, 1:])
            self._forget(logits, canvas.reshape(one.shape[0], rows, one.shape[1], columns), doubtful, unknown_below)
        result: Labels = self._labels.array()
        result[:] = canvas.reshape(-1, one.shape[1] * columns)[self._y.place][:, self._x.place]
        return result

    def _settled(self, logits: Floats, y: NDArray[np.intp], x: NDArray[np.intp]) -> Labels:
        """(n, slots) labels of the n cells at rows y and columns x, whose corners disagree."""
        corners = self._corners(logits, y, x)
        # A class that stays below another's lowest corner wins nowhere; two are left in most cells.
        possible = corners.max(axis=1) >= corners.min(axis=1).max(axis=0)
        lower, upper = possible.argmax(axis=0), len(possible) - 1 - possible[::-1].argmax(axis=0)
        # Between two, the sign of the difference decides.
        every = np.arange(len(y))
        above = self._patches((corners[upper, :, every] - corners[lower, :, every]).T, y, x) > 0
        winner = np.multiply(above.view(np.uint8), (upper - lower).astype(np.uint8)[:, None])
        winner += lower.astype(np.uint8)[:, None]
        many = np.flatnonzero(possible.sum(axis=0) > 2)
        if len(many):
            winner[many] = self._best_of_many(corners[:, :, many], possible[:, many], y[many], x[many])
        return winner

    def _forget(self, logits: Floats, cells: Labels, doubtful: NDArray[np.bool_], below: float) -> None:
        """255 where the best class of a doubtful cell stays below a probability; cells (h + 1, rows, w + 1, columns)."""
        down, across = np.nonzero(doubtful)
        step = max(_CACHED // (4 * len(logits) * self._y.slots * self._x.slots), 1)
        for start in range(0, len(down), step):
            y, x = down[start : start + step], across[start : start + step]
            corners = self._corners(logits, y, x)
            if self._patch is not None:
                values = np.matmul(corners.transpose(0, 2, 1), self._patch)
            else:
                values = np.stack([self._patches(each, y, x) for each in corners])
            unsure = _certainty(values.reshape(len(values), 1, -1), self.probability).reshape(
                len(y), cells.shape[1], -1
            )
            labels = cells[y, :, x]
            labels[unsure < below] = UNKNOWN
            cells[y, :, x] = labels

    def _corners(self, logits: Floats, y: NDArray[np.intp], x: NDArray[np.intp]) -> Floats:
        """(C, 4, n) of the n cells at rows y and columns x."""
        width = self.logits_size[1]
        near, far = self._y.near[y] * width, self._y.far[y] * width
        left, right = self._x.near[x], self._x.far[x]
        places = np.stack([near + left, near + right, far + left, far + right])
        return np.asarray(logits.reshape(len(logits), -1).take(places, axis=1), np.float32)

    def certainty(self, logits: NDArray[Any]) -> Floats:
        """(C, h, w) → (h, w) float32: the probability of each sample's best class, without upsampling."""
        return _certainty(np.ascontiguousarray(logits, np.float32), self.probability)

    def confidence(self, logits: NDArray[Any]) -> NDArray[np.uint8]:
        """(C, h, w) → (h, w) uint8: `certainty` from 0 to 255."""
        return np.asarray(cv2.convertScaleAbs(self.certainty(logits), alpha=255), np.uint8)

    def _best_of_many(
        self, corners: Floats, possible: NDArray[np.bool_], y: NDArray[np.intp], x: NDArray[np.intp]
    ) -> Labels:
        """(n, slots) labels of cells in which more than two classes may win; corners (C, 4, n), possible (C, n)."""
        best = np.full((len(y), self._y.slots * self._x.slots), -np.inf, np.float32)
        winner = np.zeros(best.shape, np.uint8)
        for index in np.flatnonzero(possible.any(axis=1)):
            cells = np.flatnonzero(possible[index])
            values = self._patches(corners[index][:, cells], y[cells], x[cells])
            leader = best[cells]
            above = (values > leader).view(np.uint8)
            best[cells] = np.maximum(values, leader)
            winner[cells] = np.maximum(winner[cells], above * np.uint8(index))  # indices rise, as in `argmax`
        return winner

    def _patches(self, corners: Floats, y: NDArray[np.intp], x: NDArray[np.intp]) -> Floats:
        """(4, n) corner values of one class → (n, slots) interpolated ones, in the cells at rows y and columns x."""
        if self._patch is not None:
            values = np.empty((corners.shape[1], self._patch.shape[1]), np.float32)
            step = max(_ALONE // self._patch.size, 1)
            for start in range(0, len(values), step):
                np.matmul(corners.T[start : start + step], self._patch, out=values[start : start + step])
            return values
        top_left, top_right, bottom_left, bottom_right = corners[:, :, None]
        across = self._x.weights[x if len(self._x.weights) > 1 else 0]
        down = self._y.weights[y if len(self._y.weights) > 1 else 0][..., None]
        top = top_left + across * (top_right - top_left)
        bottom = bottom_left + across * (bottom_right - bottom_left)
        return (top[:, None] + down * (bottom - top)[:, None]).reshape(corners.shape[1], -1)

    def probabilities(self, logits: NDArray[Any]) -> Floats:
        """(C, h, w) float16 or float32 → (C, H, W) float32 soft-max, or each class's sigmoid, of the bilinear upsampling."""
        logits = np.ascontiguousarray(logits, np.float32)
        sigmoid = self.probability == "sigmoid"
        exponents = -logits if sigmoid else logits - logits.max(axis=0)  # both commute with interpolation
        shifted = np.ascontiguousarray(exponents.transpose(1, 0, 2))  # (h, C, w): a row's classes together
        safe = sigmoid or _floor(shifted) > -_SAFE_SPREAD
        (samples, classes, _), width = shifted.shape, self.size[1]
        wide = self._widened(shifted.reshape(samples * classes, -1)).reshape(samples, classes, width)
        result = self._results(classes).array()

        def settle(cells: tuple[int, int]) -> None:
            some = slice(*cells)
            near, far = wide[self._y.near[some]], wide[self._y.far[some]]
            far -= near
            weights = self._y.weights[some] if len(self._y.weights) > 1 else self._y.weights
            values = far[:, None] * weights[:, :, None, None]
            values += near[:, None]
            rows, place = self._y.places(*cells)
            values = values.reshape(-1, classes, width)[place]
            if not safe:
                values -= values.max(axis=1, keepdims=True)
            flat = values.reshape(-1, width)
            cv2.exp(flat, dst=flat)
            if sigmoid:
                values += 1
                np.reciprocal(values.transpose(1, 0, 2), out=result[:, rows])
                return
            share = np.reciprocal(values.sum(axis=1))
            np.multiply(values.transpose(1, 0, 2), share, out=result[:, rows])

        # Large steps: before each, a thread waits for the interpreter.
        first, last = int(self._y.cell[0]), int(self._y.cell[-1]) + 1
        threads = self._threads if self._pool else 1
        most = max(_BYTES_AT_ONCE // (self._y.slots * classes * width * 4), 1)
        step = min(most, -(-(last - first) // threads)) if threads > 1 else 1
        parts = [(start, min(start + step, last)) for start in range(first, last, step)]
        for _ in (self._pool.map if self._pool else map)(settle, parts):
            pass
        return result

    def region(self, logits: NDArray[Any], rows: slice, columns: slice) -> Floats:
        """(C, h, w) → (C, rows, columns) float32: what `probabilities` gives there, at the cost of that part alone."""
        top, bottom, down = self._y.taps(rows)
        left, right, along = self._x.taps(columns)
        low = logits[:, top[0] : bottom[-1] + 1, left[0] : right[-1] + 1].astype(np.float32)
        top, bottom, left, right = top - top[0], bottom - top[0], left - left[0], right - left[0]
        if self.probability == "softmax":
            low -= low.max(axis=0)  # as in `probabilities`
        full = interpolated(low, (top, bottom, down), (left, right, along))
        if self.probability == "sigmoid":
            return np.reciprocal(1 + cv2.exp(-full.reshape(len(full), -1)).reshape(full.shape))
        full -= full.max(axis=0)
        np.exp(full, out=full)
        full /= full.sum(axis=0)
        return full

    def _widened(self, rows: Floats) -> Floats:
        """(n, w) → (n, W) by interpolation along the rows."""
        if not self.align_corners:  # OpenCV knows half-pixel centres only
            return np.asarray(cv2.resize(rows, (self.size[1], len(rows)), interpolation=cv2.INTER_LINEAR), np.float32)
        near = rows.take(self._x.near[self._x.cell], axis=1)
        wide = rows.take(self._x.far[self._x.cell], axis=1)
        wide -= near
        wide *= self._x.weight
        wide += near
        return wide

    def _results(self, classes: int) -> Recycler:
        if self._probabilities is None:
            self._probabilities = Recycler((classes, *self.size))
        return self._probabilities

    def close(self) -> None:
        """End the threads and keep no memory. Nothing may be decoding meanwhile."""
        self._labels.clear()
        if self._probabilities:
            self._probabilities.clear()
        if self._pool:
            self._pool.shutdown()
            self._pool = None


def _floor(shifted: Floats) -> float:
    """Lowest value that the largest interpolated logit can take anywhere, from (h, C, w) shifted logits.

    Between pixels of opposite opinion all of them may lie so low that every exponential vanishes.
    """
    lowest = shifted
    if lowest.shape[0] > 1:
        lowest = np.minimum(lowest[:-1], lowest[1:])
    if lowest.shape[2] > 1:
        lowest = np.minimum(lowest[..., :-1], lowest[..., 1:])
    return float(lowest.max(axis=1).min())


def _certainty(values: Floats, probability: str) -> Floats:
    """(C, …) → (…): the largest soft-max, or sigmoid, over the first axis. Class by class, so that all stays in the cache."""
    top = values.max(axis=0)
    if probability == "sigmoid":
        return np.asarray(1 / (1 + cv2.exp(-top)), np.float32)
    total, one = np.zeros(top.shape, np.float32), np.empty(top.shape, np.float32)
    for each in values:
        np.subtract(each, top, out=one)
        cv2.exp(one, dst=one)
        total += one
    return np.reciprocal(total, out=total)


def argmax(values: Floats) -> Labels:
    """Arg-max over the first axis, uint8; the first wins a tie. Twenty sweeps of SIMD beat NumPy's strided search ninefold."""
    best = values[0].copy()
    winner = np.zeros(best.shape, np.uint8)
    above = np.empty(best.shape, np.bool_)
    numbers = above.view(np.uint8)
    for index in range(1, len(values)):
        np.greater(values[index], best, out=above)
        np.maximum(best, values[index], out=best)
        np.multiply(numbers, np.uint8(index), out=numbers)
        np.maximum(winner, numbers, out=winner)  # indices rise, so the last class to lead has the highest
    return winner


def upsampled(plane: Floats, size: tuple[int, int], align_corners: bool) -> Floats:
    """(h, w) → (H, W) float32: bilinear, as the decode has it."""
    y, x = (
        Axis.between(low, full, align_corners).taps(slice(None)) for low, full in zip(plane.shape, size, strict=True)
    )
    return interpolated(plane, y, x)
