"""table_curves.py: which function an integer table of a quantised file stands for, told by its values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .curves import FUNCTIONS, CurveKind

_REACH = 8.0  # beyond, all curves are straight
_PLACES = 513
_KINDS: tuple[CurveKind, ...] = ("gelu", "silu", "sigmoid", "tanh")  # no table tells the two GELUs apart


def recognise_table(arrays: Sequence[NDArray[Any]]) -> CurveKind:
    """Return the curve that fits a table best, either GELU as "gelu".

    A table of a few segments is no exact image of any function, and the scale and zero-point of its outputs do not
    matter: the least sum of squares of y - (a f(x) + b) decides.

    Args:
        arrays: what a QuantisedTable takes behind x: factor, reach, breakpoints, slopes, intercepts, limits.
    """
    factor, reach = (float(array.reshape(())) for array in arrays[:2])
    breakpoints, slopes, intercepts, limits = (array.astype(np.float64) for array in arrays[2:6])
    most = min(reach, _REACH * factor)
    integers = np.linspace(-most, most, _PLACES)
    index = np.searchsorted(breakpoints, integers, side="right")
    values = (slopes[index] * integers + intercepts[index]) / 2.0 ** limits[0]
    inside = (values > limits[3]) & (values < limits[4])  # what saturates tells nothing
    x, y = integers[inside] / factor, values[inside]
    return min(_KINDS, key=lambda kind: _find_misfit(FUNCTIONS[kind](x), y))


def _find_misfit(function: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    design = np.stack([function, np.ones_like(function)], axis=1)
    solution = np.linalg.lstsq(design, y, rcond=None)[0]
    return float(np.square(y - design @ solution).sum())
