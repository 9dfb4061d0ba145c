"""formats.py: what every number format can do: find its levels for rows of numbers, then code and decode them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import check_array
from ..errors import UsageError

Floats = NDArray[np.float64]
Codes = NDArray[np.uint8]
Integers = NDArray[np.int8] | NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class IntegerImage:
    """Numbers as a sum of integer operands with scales: value = Σ over p of scale[p] * values[p].

    One plane in all formats but binary coding, which has one per bit.

    Attributes:
        values: (planes, rows, columns) int8; int16 for asymmetric numbers of 8 bits, which reach -255..255.
        scale: (planes, rows, groups) float64, each a float32 value, so that it can be stored as one.
    """

    values: Integers
    scale: Floats


class Levels(Protocol):
    """The numbers that can be represented, row by row; `rows` of them, or one that serves all rows.

    Codes are whole numbers 0..2^bits - 1.
    """

    @property
    def bits(self) -> int:
        """Bits of a code."""
        ...

    @property
    def overhead(self) -> int:
        """Bytes of what belongs to the levels themselves: scales as float32, zero-points as one byte."""
        ...

    def encode(self, values: Floats) -> Codes:
        """Return the code of each of (rows, n) numbers."""
        ...

    def decode(self, codes: Codes) -> Floats:
        """Return the number behind each of (rows, n) codes."""
        ...

    def image(self, codes: Codes) -> IntegerImage:
        """Return the same numbers as integers (planes, rows, n) with scales (planes, rows, 1)."""
        ...

    def take_rows(self, rows: slice) -> Levels:
        """Return the levels of some rows."""
        ...


class NumberFormat(Protocol):
    """A kind of levels, before any numbers were seen."""

    @property
    def bits(self) -> int:
        """Bits of a code."""
        ...

    def fit(self, values: Floats) -> Levels:
        """Return levels for each row of (rows, n) finite numbers, n >= 1."""
        ...


def check_matrix(name: str, value: ArrayLike, columns: int | None = None) -> Floats:
    """Return a matrix of finite numbers as float64.

    Raises:
        UsageError: it is no matrix, is empty, holds NaN or infinity, or has not as many columns as it must.
    """
    array = check_array(name, value)
    if array.ndim != 2 or array.size == 0:
        raise UsageError(f"{name} must be a matrix that is not empty, got one of shape {array.shape}")
    if columns is not None and array.shape[1] != columns:
        raise UsageError(f"{name} must have {columns} columns, got {array.shape[1]} (shape {array.shape})")
    matrix = np.ascontiguousarray(array, np.float64)
    broken = np.count_nonzero(~np.isfinite(matrix))
    if broken:
        raise UsageError(f"{name} must be finite; {broken} of {matrix.size} numbers are NaN or infinity")
    return matrix


def spread(parameter: NDArray[Any], rows: int, groups: int = 1) -> NDArray[Any]:
    """Return (rows, groups) parameters from those that one row or one group shares."""
    return np.broadcast_to(parameter, (rows, groups))


def as_float32(values: Floats) -> Floats:
    """Round to what float32 holds, so that a scale that is stored is the one that was used."""
    return values.astype(np.float32).astype(np.float64)
