"""The decode in NumPy and OpenCV: the reference of the compiled one, and what runs where there is none."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .axis import Axis, Floats
from .crew import Crew, parts

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


class InNumPy:
    """The steps of a `Decoder`; logits are float32 (C, h, w), contiguous."""

    def __init__(self, y: Axis, x: Axis, align_corners: bool, probability: str) -> None:
        self._y, self._x = y, x
        self._align_corners, self._probability = align_corners, probability
        self._patch: Floats | None = None
        if len(y.weights) == len(x.weights) == 1:
            down, across = y.weights[0][:, None], x.weights[0][None, :]
            corners = [(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across]
            self._patch = np.stack([corner.ravel() for corner in corners])

    def labels(self, logits: Floats, unknown_below: float, result: Labels, crew: Crew) -> None:
        # On one thread: the steps are so short that two would wait for the interpreter, and for each other.
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
        result[:] = canvas.reshape(-1, one.shape[1] * columns)[self._y.place][:, self._x.place]

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
            unsure = _certainty(values.reshape(len(values), 1, -1), self._probability).reshape(
                len(y), cells.shape[1], -1
            )
            labels = cells[y, :, x]
            labels[unsure < below] = UNKNOWN
            cells[y, :, x] = labels

    def _corners(self, logits: Floats, y: NDArray[np.intp], x: NDArray[np.intp]) -> Floats:
        """(C, 4, n) of the n cells at rows y and columns x."""
        width = logits.shape[2]
        near, far = self._y.near[y] * width, self._y.far[y] * width
        left, right = self._x.near[x], self._x.far[x]
        places = np.stack([near + left, near + right, far + left, far + right])
        return np.asarray(logits.reshape(len(logits), -1).take(places, axis=1), np.float32)

    def certainty(self, logits: Floats) -> Floats:
        return _certainty(logits, self._probability)

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

    def probabilities(self, logits: Floats, result: Floats, crew: Crew) -> None:
        sigmoid = self._probability == "sigmoid"
        exponents = -logits if sigmoid else logits - logits.max(axis=0)  # both commute with interpolation
        shifted = np.ascontiguousarray(exponents.transpose(1, 0, 2))  # (h, C, w): a row's classes together
        safe = sigmoid or _floor(shifted) > -_SAFE_SPREAD
        (samples, classes, _), width = shifted.shape, result.shape[2]
        wide = self._widened(shifted.reshape(samples * classes, -1), width).reshape(samples, classes, width)

        def settle(start: int, stop: int) -> None:
            some = slice(start, stop)
            near, far = wide[self._y.near[some]], wide[self._y.far[some]]
            far -= near
            weights = self._y.weights[some] if len(self._y.weights) > 1 else self._y.weights
            values = far[:, None] * weights[:, :, None, None]
            values += near[:, None]
            rows, place = self._y.places(start, stop)
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
        most = max(_BYTES_AT_ONCE // (self._y.slots * classes * width * 4), 1)
        step = min(most, -(-(last - first) // crew.threads)) if crew.threads > 1 else 1
        crew.share(settle, parts(first, last, step))

    def _widened(self, rows: Floats, width: int) -> Floats:
        """(n, w) → (n, W) by interpolation along the rows."""
        if not self._align_corners:  # OpenCV knows half-pixel centres only
            return np.asarray(cv2.resize(rows, (width, len(rows)), interpolation=cv2.INTER_LINEAR), np.float32)
        near = rows.take(self._x.near[self._x.cell], axis=1)
        wide = rows.take(self._x.far[self._x.cell], axis=1)
        wide -= near
        wide *= self._x.weight
        wide += near
        return wide


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
