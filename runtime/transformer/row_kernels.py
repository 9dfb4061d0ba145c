"""row_kernels.py: softmax and norms over rows; `runtime/lut/reference.py` decides what they give, bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..jit import kernel
from .lanes import LANES, borrow
from .operator_kernels import Int32, Int64, is_narrow, look_up_one, pack_table
from .ort_calls import Word
from .row_lanes import find_exponent, find_largest_lanes, scale_lanes, share_lanes, subtract_lanes, sum_lanes
from .table_lanes import count_lanes, look_up_below_lanes

Array = NDArray[Any]

# The places of the binary points: see runtime/lut/operators.py.
SUM_BITS, RECIPROCAL_BITS, LARGEST_SHIFT, LARGEST_EXPONENTIAL = 28, 15, 31, 2**15
LARGEST_INPUT, MEAN_BITS, VARIANCE_BITS, RSQRT_BITS, NORMAL_BITS, OUTPUT_SHIFT = 2**18 - 1, 6, 28, 15, 10, 20
_BLOCK, _MOST_ROWS = 4096, 16  # numbers that stay in the nearest cache
_SMALLEST, _LANES = -(2**31), int(LANES)


@kernel
def softmax_rows(
    values: Int32,
    length: int,
    exp_breakpoints: Int32,
    exp_slopes: Int32,
    exp_intercepts: Int64,
    exp_limits: Int64,
    breakpoints: Int32,
    slopes: Int32,
    intercepts: Int64,
    limits: Int64,
    output_bits: int,
    results: Array,
) -> None:
    """Write the softmax of each row of values (rows * length,) int32 to results, uint8 or uint16 of `output_bits`."""
    is_fast = length >= _LANES and slopes.size <= _LANES and limits[4] <= LARGEST_EXPONENTIAL
    if not (is_fast and fits_lanes(exp_breakpoints, exp_slopes, exp_intercepts, exp_limits)):
        for start in range(0, values.size, length):
            _softmax_row(
                borrow(values, start, length),
                exp_breakpoints,
                exp_slopes,
                exp_intercepts,
                exp_limits,
                breakpoints,
                slopes,
                intercepts,
                limits,
                output_bits,
                borrow(results, start, length),
            )
        return
    packed = pack_table(exp_breakpoints, exp_slopes, exp_intercepts, exp_limits)
    inverse = pack_table(breakpoints, slopes, intercepts, limits)
    # Several rows at a time: the search for 1/sum, one step after the other, then overlaps with that of other rows.
    together = min(max(_BLOCK // length, 1), _MOST_ROWS)
    parts, largest = np.empty(together * length, np.int32), np.empty(together, np.int32)
    factors, shifts = np.empty(together, np.int64), np.empty(together, np.int64)
    for block in range(0, values.size, together * length):
        rows = min(together, (values.size - block) // length)
        for row in range(rows):
            largest[row] = find_largest_lanes(borrow(values, block + row * length, length))
        for row in range(rows):
            floor = np.int32(max(np.int64(largest[row]) + exp_limits[1], np.int64(_SMALLEST)))
            source, own = borrow(values, block + row * length, length), borrow(parts, row * length, length)
            factors[row] = look_up_below_lanes(source, floor, largest[row], packed, own)
        for row in range(rows):
            moved, shifts[row] = _normalise(factors[row], output_bits)
            x = min(max(moved, limits[1]), limits[2])
            segment = min(count_lanes(inverse, np.int32(x)), slopes.size - 1)
            share = (np.int64(slopes[segment]) * x + intercepts[segment]) >> limits[0]
            factors[row] = min(max(share, limits[3]), limits[4])
        for row in range(rows):
            own, half = borrow(parts, row * length, length), np.int64(1) << (shifts[row] - 1)
            shares = borrow(results, block + row * length, length)
            share_lanes(own, np.int32(factors[row]), np.int32(half), np.int32(shifts[row]), shares)


@kernel
def _normalise(total: Word, output_bits: int) -> Word:
    """Return a sum of exponentials moved to 2^SUM_BITS or above, and the shift of the division by it."""
    total = max(total, np.int64(1))
    exponent = find_exponent(total)
    moved = (total << max(SUM_BITS - exponent, 0)) >> max(exponent - SUM_BITS, 0)
    return moved, min(max(exponent + RECIPROCAL_BITS - output_bits, 1), LARGEST_SHIFT)


@kernel
def _softmax_row(
    row: Int32,
    exp_breakpoints: Int32,
    exp_slopes: Int32,
    exp_intercepts: Int64,
    exp_limits: Int64,
    breakpoints: Int32,
    slopes: Int32,
    intercepts: Int64,
    limits: Int64,
    output_bits: int,
    results: Array,
) -> None:
    """Write the softmax of one row, number by number."""
    parts, largest, total = np.empty(row.size, np.int64), row[0], np.int64(0)
    for value in row:
        largest = max(largest, value)
    for index in range(row.size):
        below = np.int64(row[index]) - largest
        parts[index] = look_up_one(below, exp_breakpoints, exp_slopes, exp_intercepts, exp_limits)
        total += parts[index]
    moved, shift = _normalise(total, output_bits)
    factor = look_up_one(moved, breakpoints, slopes, intercepts, limits)
    half = np.int64(1) << (shift - 1)
    for index in range(row.size):
        results[index] = min((parts[index] * factor + half) >> shift, (1 << output_bits) - 1)


@kernel
def fits_lanes(breakpoints: Int32, slopes: Int32, intercepts: Int64, limits: Int64) -> bool:
    """Return whether a table of exponentials is as `build_softmax` makes it: of -input_low..0, to 0..2^15."""
    in_range = limits[1] <= 0 and limits[2] == 0 and limits[3] == 0 and limits[4] <= LARGEST_EXPONENTIAL
    return in_range and is_narrow(breakpoints, slopes, intercepts, limits)


@kernel
def norm_rows(
    values: Int32,
    length: int,
    has_mean: bool,
    gamma: Int32,
    beta: Int64,
    breakpoints: Int32,
    slopes: Int32,
    intercepts: Int64,
    limits: Int64,
    settings: Int64,
    results: Array,
) -> None:
    """Write the layer norm, or RMS norm, of each row of values (rows * length,) int32 to results.

    `settings` (3,) int64 holds epsilon, low and high of `NormTables`.
    """
    deviations = np.empty(length, np.int32)
    for start in range(0, values.size, length):
        row = borrow(values, start, length)
        mean = find_mean(row) if has_mean else 0
        squares = subtract_mean(row, mean, deviations)
        variance = max(squares // length + settings[0], 1)
        half_exponent = find_exponent(variance) >> 1
        up, down = max(VARIANCE_BITS - 2 * half_exponent, 0), max(2 * half_exponent - VARIANCE_BITS, 0)
        factor = look_up_one((variance << up) >> down, breakpoints, slopes, intercepts, limits)
        shift = RSQRT_BITS - NORMAL_BITS + half_exponent
        scale_row(
            deviations, factor, shift, gamma, beta, settings[1], settings[2], borrow(results, start, length)
        )


@kernel
def find_mean(row: Int32) -> Word:
    """Return the rounded mean of saturated integers, with MEAN_BITS bits below the point."""
    total = np.int64(0)
    if row.size >= _LANES:
        total = sum_lanes(row, LARGEST_INPUT)
    else:
        for value in row:
            total += min(max(value, -LARGEST_INPUT), LARGEST_INPUT)
    above = total + row.size * (LARGEST_INPUT + 1)
    return ((above << MEAN_BITS) + (row.size >> 1)) // row.size - ((LARGEST_INPUT + 1) << MEAN_BITS)


@kernel
def subtract_mean(row: Int32, mean: int, deviations: Int32) -> Word:
    """Write (saturated integer << MEAN_BITS) - mean, which fits 26 bits; return the sum of squares."""
    if row.size >= _LANES:
        return subtract_lanes(row, LARGEST_INPUT, MEAN_BITS, np.int32(mean), deviations)
    total = np.int64(0)
    for index in range(row.size):
        value = min(max(row[index], -LARGEST_INPUT), LARGEST_INPUT)
        deviation = (np.int64(value) << MEAN_BITS) - mean
        deviations[index] = deviation
        total += deviation * deviation
    return total


@kernel
def scale_row(
    deviations: Int32,
    factor: int,
    shift: int,
    gamma: Int32,
    beta: Int64,
    low: int,
    high: int,
    results: Array,
) -> None:
    """Write clip((((deviation * factor + half) >> shift) * gamma + beta) >> OUTPUT_SHIFT, low, high)."""
    half = np.int64(1) << (shift - 1)
    if deviations.size >= _LANES:
        scale_lanes(deviations, factor, half, shift, gamma, beta, OUTPUT_SHIFT, low, high, results)
        return
    for index in range(deviations.size):
        normal = (np.int64(deviations[index]) * factor + half) >> shift
        results[index] = min(max((normal * gamma[index] + beta[index]) >> OUTPUT_SHIFT, low), high)
