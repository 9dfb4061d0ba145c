"""register_simulator.py: a weight-stationary array, register by register, which checks that the right values meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """Inputs (T, R) that stream through weights (R, C)."""

    inputs: Int64
    weights: Int64


class Array:
    """R × C elements: inputs move right, sums and shadow weights move down, one element per cycle.

    Element (r, c) works r + c cycles after element (0, 0). Inputs carry the number of their vector over all folds,
    weights the number of their fold; a number that does not fit is an AssertionError.
    """

    def __init__(self, rows: int, columns: int) -> None:
        shape = (rows, columns)
        self.value, self.vector = np.zeros(shape, np.int64), np.full(shape, -1)  # inputs on their way right
        self.sum = np.zeros(shape, np.int64)
        self.active, self.active_fold = np.zeros(shape, np.int64), np.full(shape, -1)
        self.shadow, self.shadow_fold = np.zeros(shape, np.int64), np.full(shape, -1)
        self.passed, self.passed_fold = (
            np.zeros(shape, np.int64),
            np.full(shape, -1),
        )  # weights on their way down

    def step(self, value: Int64, vector: Int64, fold_of: Int64, shifting: Int64, weights: Int64) -> None:
        """Take one cycle.

        Args:
            value, vector: (R) inputs that enter at the left, and their numbers, -1 for none.
            fold_of: fold of each vector.
            shifting: (R, C) fold whose weights an element shifts in, -1 for none.
            weights: (C) what enters at the top, where the top row shifts.
        """
        value = np.column_stack([value, self.value[:, :-1]])
        vector = np.column_stack([vector, self.vector[:, :-1]])
        used = vector >= 0
        met = np.vstack([vector[:1], self.vector[:-1]])  # numbers of the sums that come from above
        assert (met == vector)[used].all(), "a sum meets the input of another vector"
        # The first input of a fold, on its way through, makes the shadow weight the active one.
        swap = used & (fold_of[vector] != self.active_fold)
        self.active = np.where(swap, self.shadow, self.active)
        self.active_fold = np.where(swap, self.shadow_fold, self.active_fold)
        assert (self.active_fold == fold_of[vector])[used].all(), "an input meets a weight of another fold"
        above = np.vstack([np.zeros_like(self.sum[:1]), self.sum[:-1]])
        self.sum = np.where(used, above + value * self.active, 0)
        self.value, self.vector = value, vector
        self._shift(shifting, weights)

    def _shift(self, shifting: Int64, weights: Int64) -> None:
        shifts = shifting >= 0
        handed = np.vstack([weights, self.passed[:-1]])
        handed_fold = np.vstack([shifting[:1], self.passed_fold[:-1]])
        self.passed, self.passed_fold = self.shadow, self.shadow_fold
        self.shadow = np.where(shifts, handed, self.shadow)
        self.shadow_fold = np.where(shifts, handed_fold, self.shadow_fold)


def run_double_buffered(folds: Sequence[Fold], hurry: int = 0) -> tuple[int, list[Int64]]:
    """Return cycles and the product of every fold, while the next weights shift in behind the running ones.

    A fold's weights start to shift with the first vector of the fold before; its own first vector follows when the
    vectors before it and R shifts are through, less `hurry` cycles, which is too early.
    """
    rows, columns = folds[0].weights.shape
    loads, starts = _plan(folds, rows, hurry)
    inputs = np.vstack([fold.inputs for fold in folds])
    fold_of = np.repeat(np.arange(len(folds)), [len(fold.inputs) for fold in folds])
    entry = np.concatenate(
        [start + np.arange(len(fold.inputs)) for start, fold in zip(starts, folds, strict=True)]
    )
    array, outputs = Array(rows, columns), np.zeros((len(inputs), columns), np.int64)
    missing, time = outputs.size, 0
    delay = np.add.outer(np.arange(rows), np.arange(columns))
    while missing:
        vector = np.full(rows, -1)
        for number in np.flatnonzero((entry <= time) & (entry > time - rows)):
            assert vector[time - entry[number]] < 0, "two vectors enter at once"
            vector[time - entry[number]] = number
        shifting, weights = np.full((rows, columns), -1), np.zeros(columns, np.int64)
        for fold, load in enumerate(loads):
            shift = time - load - delay
            running = (shift >= 0) & (shift < rows)
            shifting[running] = fold
            top = np.flatnonzero(running[0])
            weights[top] = folds[fold].weights[rows - 1 - shift[0, top], top]
        array.step(inputs[vector, np.arange(rows)], vector, fold_of, shifting, weights)
        leaving = np.flatnonzero(array.vector[-1] >= 0)
        outputs[array.vector[-1, leaving], leaving] = array.sum[-1, leaving]
        missing -= leaving.size
        time += 1
    return time, np.split(outputs, np.flatnonzero(np.diff(fold_of)) + 1)


def _plan(folds: Sequence[Fold], rows: int, hurry: int) -> tuple[list[int], list[int]]:
    loads, starts = [0], [rows]
    for before in folds[:-1]:
        loads.append(starts[-1])
        starts.append(max(starts[-1] + len(before.inputs), loads[-1] + rows) - hurry)
    return loads, starts


def run_serial(folds: Sequence[Fold]) -> tuple[int, list[Int64]]:
    """Return cycles and the product of every fold; a fold begins when the one before has left the array."""
    runs = [run_double_buffered([fold]) for fold in folds]
    return sum(cycles for cycles, _ in runs), [product for _, products in runs for product in products]
