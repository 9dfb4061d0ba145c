"""dense_array.py: cycles of a systolic array on a matrix product, in closed form, for three dataflows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .spec import ArraySpec

Times = Sequence[int] | NDArray[np.integer]


@dataclass(frozen=True)
class Gemm:
    """A convolution as the matrix product (T, Sr) × (Sr, Sc).

    Attributes:
        positions: T, outputs of a convolution, or inputs of a transposed one.
        taps: K, kernel² of a convolution, 1 of a transposed one.
        in_channels: Cin; the product is Sr = K · Cin deep.
        columns: Sc, Cout of a convolution, stride² · Cout of a transposed one.
    """

    positions: int
    taps: int
    in_channels: int
    columns: int

    @property
    def depth(self) -> int:
        """Sr, products of one sum."""
        return self.taps * self.in_channels

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.positions * self.depth * self.columns


def count_row_folds(gemm: Gemm, array: ArraySpec) -> int:
    """Return how many times the depth of the product fills the rows of a weight-stationary array.

    "by_tap": K · ceil(Cin / R); "packed": ceil(K · Cin / R); equal where R divides Cin. The m multipliers of an
    element (`macs_per_pe`) take m input channels: R counts as R · m here, and as R where weights shift in.
    """
    rows = array.fold_inputs
    if array.tap_packing == "packed":
        return -(-gemm.depth // rows)
    return gemm.taps * -(-gemm.in_channels // rows)


def count_column_folds(gemm: Gemm, array: ArraySpec) -> int:
    """Return ceil(Sc / C)."""
    return -(-gemm.columns // array.columns)


def count_serial(times: Times, rows: int, columns: int) -> int:
    """Return cycles of weight-stationary folds one after the other, without overlap.

        sum over folds of (2R + C + T - 2)

    R to fill the weights, T vectors in, R - 1 of skew, C - 1 to drain. Equals SCALE-Sim 3 plus one: it prints the last
    index, counted from 0 (its issue 125). Folds at the edges are charged the whole array.

    Args:
        times: T, vectors streamed by each fold; folds of 0 vectors cost nothing.
        rows, columns: R and C.
    """
    folds = np.asarray(times, np.int64)
    return int(folds.sum() + np.count_nonzero(folds) * (2 * rows + columns - 2))


def count_double_buffered(times: Times, rows: int, columns: int) -> int:
    """Return cycles of weight-stationary folds whose weights shift in behind the running ones.

        R + sum over folds but the last of max(T, R) + T of the last + R + C - 2

    Arguments as `count_serial`.
    """
    folds = np.asarray(times, np.int64)
    folds = folds[folds > 0]
    if not folds.size:
        return 0
    return int(rows + np.maximum(folds[:-1], rows).sum() + folds[-1] + rows + columns - 2)


def count_per_tap_fill(times: Times, rows: int) -> int:
    """Return cycles of a first-order form: sum over folds of (T + R); no skew and no drain.

    Arguments as `count_serial`.
    """
    folds = np.asarray(times, np.int64)
    return int(folds.sum() + np.count_nonzero(folds) * rows)


def count_weight_stationary(gemm: Gemm, array: ArraySpec) -> int:
    """Return cycles of a product on a weight-stationary array with all partial sums in reach, without memory."""
    folds = count_row_folds(gemm, array) * count_column_folds(gemm, array)
    if not gemm.positions:
        return 0
    stream = time_stream(gemm.positions, folds, gemm.positions, array)
    return stream + count_lead(array) + count_tail(gemm.positions, array)


def count_input_stationary(gemm: Gemm, rows: int, columns: int) -> int:
    """Return cycles of an array that keeps inputs, serially filled: F · (2R + C + T - 2).

    Inputs lie Sr × T on the array, F = ceil(Sr / R) · ceil(positions / C), and T = Sc filters are streamed.
    Equals SCALE-Sim 3 plus one.
    """
    folds = -(-gemm.depth // rows) * -(-gemm.positions // columns)
    return folds * (2 * rows + columns + gemm.columns - 2)


def count_output_stationary(gemm: Gemm, rows: int, columns: int) -> int:
    """Return cycles of an array that keeps sums: F · (R + C + T - 2).

    F = ceil(positions / R) · ceil(Sc / C), and T = Sr products are streamed. Equals SCALE-Sim 3 plus one, and as there
    the results need no cycles to leave the array.
    """
    folds = -(-gemm.positions // rows) * -(-gemm.columns // columns)
    return folds * (rows + columns + gemm.depth - 2)


def time_stream(positions: int, folds: int, most: int, array: ArraySpec) -> int:
    """Return cycles from a tile's first vector until the next tile's first may follow.

    Where the partial sums of `most` positions fit at a time, the tile is cut into p = ceil(T / most) pieces, as equal
    as can be, and each piece repeats all folds, so weights are read p times.

    Args:
        positions: T of the tile.
        folds: of each piece.
        most: positions whose partial sums of one column fold fit their buffer.
        array: whose `weight_preload` tells the form: "serial" folds · (T + p · (2R + C - 2)), "per_tap_fill"
            folds · (T + p · R), "double_buffered" folds · (sum over pieces of max(T_piece, R)), to which the first
            and the last tile of a layer add `count_lead` and `count_tail`.
    """
    if not positions:
        return 0
    pieces = -(-positions // most)
    if array.weight_preload == "serial":
        return folds * (positions + pieces * (2 * array.rows + array.columns - 2))
    if array.weight_preload == "per_tap_fill":
        return folds * (positions + pieces * array.rows)
    small, larger = divmod(positions, pieces)
    return folds * (larger * max(small + 1, array.rows) + (pieces - larger) * max(small, array.rows))


def count_lead(array: ArraySpec) -> int:
    """Return cycles before a layer's first vector that `time_stream` does not hold: R to fill the first weights."""
    return array.rows if array.weight_preload == "double_buffered" else 0


def count_tail(last: int, array: ArraySpec) -> int:
    """Return cycles that the last fold of a layer, of `last` vectors, adds to `time_stream`.

    No weights follow it, so it takes T instead of max(T, R), and its last sum needs R + C - 2 more to leave.
    """
    if array.weight_preload != "double_buffered":
        return 0
    return last - max(last, array.rows) + array.rows + array.columns - 2
