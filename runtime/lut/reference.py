"""reference.py: the integer operators in NumPy; they decide what every other form must give, bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from ..checks import check_array
from ..errors import UsageError
from .integer import IntegerTable
from .operators import (
    EXP_BITS,
    LARGEST_INPUT,
    LARGEST_SHIFT,
    LONGEST_ROW,
    MEAN_BITS,
    NORMAL_BITS,
    OUTPUT_SHIFT,
    RECIPROCAL_BITS,
    RSQRT_BITS,
    SUM_BITS,
    VARIANCE_BITS,
    NormTables,
    SoftmaxTables,
)

Integers = NDArray[np.integer]


def apply(x_q: npt.ArrayLike, table: IntegerTable) -> Integers:
    """Return the table at every integer, in its `dtype` and the shape of `x_q`.

    Args:
        x_q: any shape, integers that fit int32.

    Raises:
        UsageError: not such integers.
    """
    return np.asarray(_look_up(check_integers(x_q).astype(np.int64), table), table.dtype)


# One integer table does for every function of one number: its contents make the difference.
gelu = silu = sigmoid = tanh = exp = apply


def softmax(x_q: npt.ArrayLike, tables: SoftmaxTables) -> Integers:
    """Return the softmax over the last axis, in the tables' `dtype`; their `high` means 1.

    exp of x - max by a table; 1 / sum by a table of the sum's leading bits, moved by a power of two; then
    y = min((exp * reciprocal + half) >> shift, high).

    Args:
        x_q: (..., n) integers that fit int32, n <= 2^14.

    Raises:
        UsageError: not such integers.
    """
    values = check_rows(x_q).astype(np.int64)
    if values.size == 0:
        return values.astype(tables.dtype)
    below = values - values.max(axis=-1, keepdims=True)
    parts = _look_up(below, tables.exponential)
    total = np.maximum(parts.sum(axis=-1, keepdims=True), 1)
    exponent = _find_exponent(total)  # 2^exponent <= total
    moved = (total << np.maximum(SUM_BITS - exponent, 0)) >> np.maximum(exponent - SUM_BITS, 0)
    factor = _look_up(moved, tables.reciprocal)
    shift = np.clip(exponent + RECIPROCAL_BITS - tables.output_bits, 1, LARGEST_SHIFT)
    share = (parts * factor + (np.int64(1) << (shift - 1))) >> shift
    return np.asarray(np.minimum(share, tables.high), tables.dtype)


def layer_norm(
    x_q: npt.ArrayLike, tables: NormTables, gamma_q: NDArray[np.int32], beta_q: NDArray[np.int64]
) -> Integers:
    """Return the layer norm over the last axis, in the tables' `dtype`.

    Args:
        x_q: (..., n) integers that fit int32, n <= 2^14; saturated to +-LARGEST_INPUT.
        tables: from `build_norm`.
        gamma_q, beta_q: (n,) from `quantise_affine`.

    Raises:
        UsageError: not such arrays.
    """
    values = np.clip(check_rows(x_q).astype(np.int64), -LARGEST_INPUT, LARGEST_INPUT)
    check_affine(values.shape[-1], gamma_q, beta_q)
    length = max(values.shape[-1], 1)
    # Moved above 0 for the division, which then rounds down in every language.
    above = values.sum(axis=-1, keepdims=True) + length * (LARGEST_INPUT + 1)
    mean = ((above << MEAN_BITS) + length // 2) // length - ((LARGEST_INPUT + 1) << MEAN_BITS)
    return _normalise((values << MEAN_BITS) - mean, tables, gamma_q, beta_q)


def rms_norm(
    x_q: npt.ArrayLike, tables: NormTables, gamma_q: NDArray[np.int32], beta_q: NDArray[np.int64]
) -> Integers:
    """Return the root-mean-square norm over the last axis: as `layer_norm`, with a mean of 0."""
    values = np.clip(check_rows(x_q).astype(np.int64), -LARGEST_INPUT, LARGEST_INPUT)
    check_affine(values.shape[-1], gamma_q, beta_q)
    return _normalise(values << MEAN_BITS, tables, gamma_q, beta_q)


def check_integers(x_q: npt.ArrayLike) -> Integers:
    """Return integers that fit int32, as int32, or as they are where they are bytes.

    Raises:
        UsageError: they do not, or are none.
    """
    values = check_array("x_q", x_q, "iu")
    if values.dtype.itemsize > 4 or values.dtype == np.uint32:
        limits = np.iinfo(np.int32)
        if values.size and not (values.min() >= limits.min and values.max() <= limits.max):
            raise UsageError("x_q must fit int32; clip it, or use a coarser input scale")
    return values if values.dtype.itemsize == 1 else values.astype(np.int32, copy=False)


def check_rows(x_q: npt.ArrayLike) -> Integers:
    """Return rows (..., n) of integers that fit int32, n <= 2^14, as `check_integers`.

    Raises:
        UsageError: they do not, or are none.
    """
    values = check_integers(x_q)
    if values.ndim == 0 or values.shape[-1] > LONGEST_ROW:
        raise UsageError(f"x_q must be rows (..., n) with n at most {LONGEST_ROW}, got shape {values.shape}")
    return values


def check_affine(length: int, gamma_q: NDArray[Any], beta_q: NDArray[Any]) -> None:
    """Raise UsageError unless gamma_q is (length,) int32 and beta_q (length,) int64."""
    for name, array, dtype in (("gamma_q", gamma_q, np.int32), ("beta_q", beta_q, np.int64)):
        if not isinstance(array, np.ndarray) or array.shape != (length,) or array.dtype != dtype:
            kind = np.dtype(dtype)
            raise UsageError(f"{name} must be ({length},) {kind}, as quantise_affine returns it")


def _look_up(x: NDArray[np.int64], table: IntegerTable) -> NDArray[np.int64]:
    """Return the table at integers of any size, int64."""
    values = np.clip(x, table.input_low, table.input_high)
    index = np.searchsorted(table.breakpoints, values, side="right")
    sums = table.slopes.astype(np.int64)[index] * values + table.intercepts[index]
    return np.asarray(np.clip(sums >> table.shift, table.low, table.high), np.int64)


def _normalise(
    deviation: NDArray[np.int64], tables: NormTables, gamma_q: NDArray[np.int32], beta_q: NDArray[np.int64]
) -> Integers:
    """Divide deviations (..., n) by the root of their mean square; then gamma, beta, shift."""
    length = max(deviation.shape[-1], 1)
    variance = np.maximum((deviation * deviation).sum(axis=-1, keepdims=True) // length + tables.epsilon, 1)
    half_exponent = _find_exponent(variance) >> 1  # 4^half_exponent <= variance
    up, down = (
        np.maximum(VARIANCE_BITS - 2 * half_exponent, 0),
        np.maximum(2 * half_exponent - VARIANCE_BITS, 0),
    )
    factor = _look_up((variance << up) >> down, tables.rsqrt)
    shift = RSQRT_BITS - NORMAL_BITS + half_exponent
    normal = (deviation * factor + (np.int64(1) << (shift - 1))) >> shift
    sums = normal * gamma_q.astype(np.int64) + beta_q
    return np.asarray(np.clip(sums >> OUTPUT_SHIFT, tables.low, tables.high), tables.dtype)


def _find_exponent(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the position of the highest bit of numbers of 1 or more: a count of powers of two."""
    powers = np.int64(1) << np.arange(1, 63, dtype=np.int64)
    return np.searchsorted(powers, values, side="right").astype(np.int64)


assert EXP_BITS + RECIPROCAL_BITS <= 30, "the product of an exponential and a reciprocal fits int32"
