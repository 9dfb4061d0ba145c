"""folds.py: passes of vectors over an array that holds one block of weights: how long each occupies the array."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .spec import ArraySpec


def occupy(array: ArraySpec, vectors: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the cycles from the first vector of a fold to that of the next, of folds of `vectors` cycles; 0 for none.

    "double_buffered": max(T, R), as the next weights take R cycles to shift in behind the running ones. "serial":
    R + T + (R - 1) + (C - 1), fill, stream, skew and drain. "per_tap_fill": T + R.
    """
    if array.weight_preload == "double_buffered":
        cycles = np.maximum(vectors, array.rows)
    elif array.weight_preload == "serial":
        cycles = vectors + 2 * array.rows + array.columns - 2
    else:
        cycles = vectors + array.rows
    return np.where(vectors > 0, cycles, 0)


def drain(array: ArraySpec, last: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the cycles from where the next fold may follow until the sums of a fold of `last` vectors have left.

    "double_buffered": T + R + C - 2 in all, of which max(T, R) are counted as occupied. The others drain within.
    """
    if array.weight_preload != "double_buffered":
        return np.zeros_like(last)
    return np.minimum(last, array.rows) + array.columns - 2


def lead(array: ArraySpec) -> int:
    """Return the cycles in which the first weights shift in before anything streams."""
    return array.rows if array.weight_preload == "double_buffered" else 0
