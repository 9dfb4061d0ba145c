"""float_operators.py: operators that take floats, round them to integers, and give bytes or floats, in one pass.

Where its neighbours work on floats, a table has Mul, Clip, Round and Cast before it and Cast and Mul behind it, each
with an array of its own. These operators do the same arithmetic row by row.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..jit import kernel
from .lanes import borrow
from .operator_inputs import (
    TABLE_INPUTS,
    check_norm,
    check_table,
    view_bytes,
    view_floats,
    view_longs,
    view_table,
    view_words,
)
from .operator_kernels import dequantise, map_values, quantise
from .ort_calls import (
    Word,
    count_elements,
    find_last_size,
    open_tensors,
    place_text,
    refuse,
    reserve_slots,
)
from .row_kernels import norm_rows

_BLOCK = 4096  # numbers that stay in the nearest cache
_FIRST = 3  # place of the table, behind x, factor and reach
_MOST_EXACT = 2.0**24


@kernel
def _check_factors(api: int, slots: int, scale: int) -> Word:
    """Return zero, or a status where factor, reach or scale (at a place, or 0 where there is none) are wrong."""
    if count_elements(slots, 1) != 1 or count_elements(slots, 2) != 1:
        return refuse(api, place_text("factor and reach must be one number each"))
    reach = view_floats(slots, 2)[0]
    if not (reach >= 0.0 and reach <= _MOST_EXACT):
        return refuse(api, place_text("reach must be 0..2^24"))
    if scale > 0 and count_elements(slots, scale) != 1:
        return refuse(api, place_text("scale must be one number"))
    return 0


def compute_table_u8(api: int, context: int) -> Word:
    """QuantisedTableU8."""
    slots = reserve_slots()
    status = open_tensors(api, context, _FIRST + TABLE_INPUTS, slots)
    if status == 0:
        status = check_table(api, slots, _FIRST)
    if status == 0:
        status = _check_factors(api, slots, 0)
    if status != 0:
        return status
    values, results = view_floats(slots, 0), view_bytes(slots, 7)
    factor, reach = view_floats(slots, 1)[0], view_floats(slots, 2)[0]
    points, slopes, intercepts, limits = view_table(slots, _FIRST)
    block = np.empty(_BLOCK, np.int32)
    for start in range(0, values.size, _BLOCK):
        count = min(_BLOCK, values.size - start)
        part = borrow(block, 0, count)
        quantise(borrow(values, start, count), factor, reach, part)
        map_values(part, points, slopes, intercepts, limits, borrow(results, start, count))
    return 0


def compute_table_f32(api: int, context: int) -> Word:
    """QuantisedTableF32."""
    slots = reserve_slots()
    status = open_tensors(api, context, _FIRST + TABLE_INPUTS + 1, slots)
    if status == 0:
        status = check_table(api, slots, _FIRST)
    if status == 0:
        status = _check_factors(api, slots, 7)
    if status != 0:
        return status
    values, results = view_floats(slots, 0), view_floats(slots, 8)
    factor, reach, scale = view_floats(slots, 1)[0], view_floats(slots, 2)[0], view_floats(slots, 7)[0]
    points, slopes, intercepts, limits = view_table(slots, _FIRST)
    block, looked_up = np.empty(_BLOCK, np.int32), np.empty(_BLOCK, np.int32)
    for start in range(0, values.size, _BLOCK):
        count = min(_BLOCK, values.size - start)
        part, found = borrow(block, 0, count), borrow(looked_up, 0, count)
        quantise(borrow(values, start, count), factor, reach, part)
        map_values(part, points, slopes, intercepts, limits, found)
        dequantise(found, scale, borrow(results, start, count))
    return 0


def make_norm_u8(has_mean: bool) -> Callable[[int, int], int]:
    """Return QuantisedLayerNormU8, or QuantisedRmsNormU8."""

    def compute(api: int, context: int) -> Word:
        slots = reserve_slots()
        status = open_tensors(api, context, _FIRST + TABLE_INPUTS + 3, slots)
        if status == 0:
            status = check_norm(api, slots, _FIRST)
        if status == 0:
            status = _check_factors(api, slots, 0)
        if status != 0:
            return status
        values, results = view_floats(slots, 0), view_bytes(slots, 10)
        factor, reach = view_floats(slots, 1)[0], view_floats(slots, 2)[0]
        gamma, beta, levels = view_words(slots, 8), view_longs(slots, 9), view_longs(slots, 7)
        points, slopes, intercepts, limits = view_table(slots, _FIRST)
        length = max(find_last_size(slots, 0), 1)
        step = length * max(_BLOCK // length, 1)
        words = np.empty(step, np.int32)
        for start in range(0, values.size, step):
            count = min(step, values.size - start)
            rows = borrow(words, 0, count)
            quantise(borrow(values, start, count), factor, reach, rows)
            norm_rows(
                rows,
                length,
                has_mean,
                gamma,
                beta,
                points,
                slopes,
                intercepts,
                limits,
                levels,
                borrow(results, start, count),
            )
        return 0

    return compute


def make_norm_f32(has_mean: bool) -> Callable[[int, int], int]:
    """Return QuantisedLayerNormF32, or QuantisedRmsNormF32."""

    def compute(api: int, context: int) -> Word:
        slots = reserve_slots()
        status = open_tensors(api, context, _FIRST + TABLE_INPUTS + 4, slots)
        if status == 0:
            status = check_norm(api, slots, _FIRST)
        if status == 0:
            status = _check_factors(api, slots, 10)
        if status != 0:
            return status
        values, results = view_floats(slots, 0), view_floats(slots, 11)
        factor, reach, scale = view_floats(slots, 1)[0], view_floats(slots, 2)[0], view_floats(slots, 10)[0]
        gamma, beta, levels = view_words(slots, 8), view_longs(slots, 9), view_longs(slots, 7)
        points, slopes, intercepts, limits = view_table(slots, _FIRST)
        length = max(find_last_size(slots, 0), 1)
        step = length * max(_BLOCK // length, 1)
        words, normed = np.empty(step, np.int32), np.empty(step, np.int32)
        for start in range(0, values.size, step):
            count = min(step, values.size - start)
            rows, found = borrow(words, 0, count), borrow(normed, 0, count)
            quantise(borrow(values, start, count), factor, reach, rows)
            norm_rows(rows, length, has_mean, gamma, beta, points, slopes, intercepts, limits, levels, found)
            dequantise(found, scale, borrow(results, start, count))
        return 0

    return compute
