"""kernels.py: the integer operators as Numba kernels, bit-equal to reference.py; none holds a float instruction."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from ..jit import kernel
from . import operators
from .integer import IntegerTable
from .operators import NormTables, SoftmaxTables
from .reference import Integers, check_affine, check_integers, check_rows
from .vectors import LANES, find_exponent, look_up_vectors, scale_part

_LANES = LANES
_SUM_BITS = operators.SUM_BITS
_RECIPROCAL_BITS = operators.RECIPROCAL_BITS
_LARGEST_SHIFT = operators.LARGEST_SHIFT
_LARGEST_INPUT = operators.LARGEST_INPUT
_LEAST32, _MOST32 = np.int32(-_LARGEST_INPUT), np.int32(_LARGEST_INPUT)
_MEAN_BITS = operators.MEAN_BITS
_VARIANCE_BITS = operators.VARIANCE_BITS
_NORMAL_SHIFT = operators.RSQRT_BITS - operators.NORMAL_BITS
_OUTPUT_SHIFT = operators.OUTPUT_SHIFT
_INT32_MIN, _INT32_MAX = -(2**31), 2**31 - 1
_BLOCK = 4  # rows whose steps go together: the steps of one row wait for each other, those of several do not
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Numbers = tuple[int, int, int, int, int, int]


def apply(x_q: npt.ArrayLike, table: IntegerTable) -> Integers:
    """As `reference.apply`."""
    values = check_integers(x_q)
    out = np.empty(values.shape, table.dtype)
    look_up(np.ascontiguousarray(values.reshape(-1)), *unpack(table), out.reshape(-1))
    return out


gelu = silu = sigmoid = tanh = exp = apply


def softmax(x_q: npt.ArrayLike, tables: SoftmaxTables) -> Integers:
    """As `reference.softmax`."""
    rows = np.ascontiguousarray(check_rows(x_q))
    out = np.empty(rows.shape, tables.dtype)
    if rows.size:
        width = rows.shape[-1]
        softmax_rows(
            rows.reshape(-1, width),
            *unpack(tables.exponential),
            *unpack(tables.reciprocal),
            tables.output_bits,
            out.reshape(-1, width),
        )
    return out


def layer_norm(x_q: npt.ArrayLike, tables: NormTables, gamma_q: Int32, beta_q: Int64) -> Integers:
    """As `reference.layer_norm`."""
    return _norm(x_q, tables, gamma_q, beta_q, centred=True)


def rms_norm(x_q: npt.ArrayLike, tables: NormTables, gamma_q: Int32, beta_q: Int64) -> Integers:
    """As `reference.rms_norm`."""
    return _norm(x_q, tables, gamma_q, beta_q, centred=False)


def _norm(x_q: npt.ArrayLike, tables: NormTables, gamma_q: Int32, beta_q: Int64, centred: bool) -> Integers:
    rows = np.ascontiguousarray(check_rows(x_q))
    width = rows.shape[-1]
    check_affine(width, gamma_q, beta_q)
    out = np.empty(rows.shape, tables.dtype)
    if rows.size:
        norm_rows(
            rows.reshape(-1, width),
            *unpack(tables.rsqrt),
            (int(centred), tables.epsilon, tables.low, tables.high),
            np.ascontiguousarray(gamma_q),
            np.ascontiguousarray(beta_q),
            out.reshape(-1, width),
        )
    return out


def unpack(table: IntegerTable) -> tuple[Int32, Int32, Int64, Numbers]:
    """Return what kernels take of a table: arrays of at least LANES entries, and its numbers."""
    numbers = (table.shift, table.input_low, table.input_high, table.low, table.high, int(table.narrow))
    return *table.padded, numbers


@kernel
def look_up(
    x: Integers, breakpoints: Int32, slopes: Int32, intercepts: Int64, numbers: Numbers, out: Integers
) -> None:
    """Write the table at every x to out.

    Args:
        x: (n,) contiguous, at most 32 bits.
        breakpoints, slopes, intercepts: from `IntegerTable.padded`.
        numbers: shift, input_low, input_high, low, high of the table, and 1 where it is narrow.
        out: (n,) contiguous, of an integer format that holds low..high.
    """
    done = _look_up_vectors(0, 0, x.size, 0, x, breakpoints, slopes, intercepts, numbers, out)
    for place in range(done, x.size):
        out[place] = look_up_one(np.int64(x[place]), breakpoints, slopes, intercepts, numbers)


@kernel
def _look_up_vectors(
    start: Any,
    out_start: Any,
    count: Any,
    offset: Any,
    x: Integers,
    breakpoints: Int32,
    slopes: Int32,
    intercepts: Int64,
    numbers: Numbers,
    out: Integers,
) -> Any:
    """As `look_up`, of items start.. of x, less the offset, to items out_start.. of out; return how many are done.

    The arrays are contiguous, of any dimensions: Numba's views and slices would count references, which takes
    longer than a short row, and its `reshape` compares sizes in floating point.
    """
    shift, input_low, input_high, low, high, narrow = numbers
    clip_low = max(input_low + offset, _INT32_MIN)
    clip_high = min(input_high + offset, _INT32_MAX)
    if slopes.size != _LANES:
        return 0
    return look_up_vectors(
        start,
        out_start,
        count,
        x,
        clip_low,
        clip_high,
        offset,
        breakpoints,
        slopes,
        intercepts,
        shift,
        low,
        high,
        narrow,
        out,
    )


@kernel
def look_up_one(x: Any, breakpoints: Int32, slopes: Int32, intercepts: Int64, numbers: Numbers) -> Any:
    """Return the table at one number, clipped to the table's inputs before; arguments as of `look_up`."""
    shift, input_low, input_high, low, high, _ = numbers
    value = min(max(x, input_low), input_high)
    index = np.int64(0)
    for place in range(slopes.size - 1):  # compares all of them: a search would mispredict its branches
        index += np.int64(value >= breakpoints[place])
    return min(max((slopes[index] * value + intercepts[index]) >> shift, low), high)


@kernel
def softmax_rows(
    x: Integers,
    exp_breakpoints: Int32,
    exp_slopes: Int32,
    exp_intercepts: Int64,
    exp_numbers: Numbers,
    div_breakpoints: Int32,
    div_slopes: Int32,
    div_intercepts: Int64,
    div_numbers: Numbers,
    output_bits: int,
    out: Integers,
) -> None:
    """Write the softmax of each row.

    Args:
        x: (rows, n) contiguous, n >= 1.
        exp_breakpoints...: the table `exponential` of SoftmaxTables, as of `look_up`.
        div_breakpoints...: the table `reciprocal`.
        output_bits: of SoftmaxTables.
        out: (rows, n) contiguous, unsigned.
    """
    width = np.int64(x.shape[1])
    parts = np.empty((_BLOCK, width), np.int32)
    totals, factors, shifts = (
        np.empty(_BLOCK, np.int64),
        np.empty(_BLOCK, np.int32),
        np.empty(_BLOCK, np.int32),
    )
    high = np.int32((1 << output_bits) - 1)
    for first in range(0, x.shape[0], _BLOCK):
        rows = min(_BLOCK, x.shape[0] - first)
        for row in range(rows):
            largest: Any = np.int32(x[first + row, 0])
            for place in range(width):
                largest = max(largest, np.int32(x[first + row, place]))
            done = _look_up_vectors(
                (first + row) * width,
                row * width,
                width,
                np.int64(largest),
                x,
                exp_breakpoints,
                exp_slopes,
                exp_intercepts,
                exp_numbers,
                parts,
            )
            for place in range(done, width):
                distance = np.int64(x[first + row, place]) - largest
                parts[row, place] = look_up_one(
                    distance, exp_breakpoints, exp_slopes, exp_intercepts, exp_numbers
                )
        for row in range(rows):
            part_sum: Any = np.int32(0)  # at most 2^14 times 2^15
            for place in range(width):
                part_sum = np.int32(part_sum + parts[row, place])
            totals[row] = max(part_sum, 1)
        for row in range(rows):
            factors[row], shifts[row] = _find_reciprocal(
                totals[row], output_bits, div_breakpoints, div_slopes, div_intercepts, div_numbers
            )
        for row in range(rows):
            factor, shift = factors[row], shifts[row]
            half = np.int32(np.int64(1) << (shift - 1))
            for place in range(width):
                share: Any = scale_part(parts[row, place], factor, half, shift)
                out[first + row, place] = min(share, high)


@kernel
def _find_reciprocal(
    total: Any, output_bits: int, breakpoints: Int32, slopes: Int32, intercepts: Int64, numbers: Numbers
) -> tuple[Any, Any]:
    """Return factor and shift by which a softmax divides by the total of its row, 1 or more."""
    exponent = find_exponent(total)
    moved = (total << max(_SUM_BITS - exponent, 0)) >> max(exponent - _SUM_BITS, 0)
    factor = look_up_one(moved, breakpoints, slopes, intercepts, numbers)
    return factor, min(max(exponent + _RECIPROCAL_BITS - output_bits, 1), _LARGEST_SHIFT)


@kernel
def norm_rows(
    x: Integers,
    breakpoints: Int32,
    slopes: Int32,
    intercepts: Int64,
    numbers: Numbers,
    limits: tuple[int, int, int, int],
    gamma: Int32,
    beta: Int64,
    out: Integers,
) -> None:
    """Write the layer norm or RMS norm of each row.

    Args:
        x: (rows, n) contiguous, n >= 1.
        breakpoints, slopes, intercepts, numbers: the table `rsqrt` of NormTables, as of `look_up`.
        limits: 1 for the layer norm, 0 for the RMS norm; epsilon, low and high of NormTables.
        gamma, beta: (n,) contiguous.
        out: (rows, n) contiguous, of an integer format that holds low..high.
    """
    centred, epsilon, low, high = limits
    length = np.int64(x.shape[1])
    totals, squares = np.empty(_BLOCK, np.int64), np.empty(_BLOCK, np.int64)
    factors, shifts = np.empty(_BLOCK, np.int32), np.empty(_BLOCK, np.int64)
    for first in range(0, x.shape[0], _BLOCK):
        rows = min(_BLOCK, x.shape[0] - first)
        for row in range(rows):
            total, square = np.int64(0), np.int64(0)
            for place in range(length):
                value = np.int64(min(max(np.int32(x[first + row, place]), _LEAST32), _MOST32))
                total += value
                square += value * value
            totals[row], squares[row] = total, square
        for row in range(rows):
            above = totals[row] + length * (_LARGEST_INPUT + 1)
            mean = ((above << _MEAN_BITS) + (length >> 1)) // length - ((_LARGEST_INPUT + 1) << _MEAN_BITS)
            mean *= centred
            # The sum of (2^bits x - mean)^2; its parts may wrap, the whole is below 2^63.
            spread = (squares[row] << (2 * _MEAN_BITS)) - mean * (
                (totals[row] << (_MEAN_BITS + 1)) - mean * length
            )
            variance = max(spread // length + epsilon, 1)
            half_exponent = find_exponent(variance) >> 1
            up, down = max(_VARIANCE_BITS - 2 * half_exponent, 0), max(2 * half_exponent - _VARIANCE_BITS, 0)
            factor = look_up_one((variance << up) >> down, breakpoints, slopes, intercepts, numbers)
            shifts[row] = _NORMAL_SHIFT + half_exponent
            factors[row] = factor << _MEAN_BITS
            totals[row] = (np.int64(1) << (shifts[row] - 1)) - mean * factor
        for row in range(rows):
            factor, offset, shift = np.int64(factors[row]), totals[row], shifts[row]
            for place in range(length):
                value = np.int64(min(max(np.int32(x[first + row, place]), _LEAST32), _MOST32))
                normal = np.int32((value * factor + offset) >> shift)
                scaled = (np.int64(normal) * np.int64(gamma[place]) + beta[place]) >> _OUTPUT_SHIFT
                out[first + row, place] = min(max(scaled, low), high)
