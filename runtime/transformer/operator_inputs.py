"""operator_inputs.py: what operators take: flat views of their tensors, and checks that tables and norms are whole."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..jit import kernel, numba
from .ort_calls import Word, count_elements, find_data, find_last_size, place_text, point_to, refuse

LONGEST_ROW = 2**14  # as in runtime/lut/operators.py
LIMITS, LEVELS = 5, 3  # numbers of a table, of a norm
TABLE_INPUTS = 4
carray: Any = numba.carray  # type: ignore[attr-defined]


@kernel
def view_words(slots: int, index: int) -> Any:
    """Return a slot's tensor as a flat array of int32."""
    return carray(point_to(find_data(slots, index), np.int32), (count_elements(slots, index),))


@kernel
def view_longs(slots: int, index: int) -> Any:
    """Return a slot's tensor as a flat array of int64."""
    return carray(point_to(find_data(slots, index), np.int64), (count_elements(slots, index),))


@kernel
def view_floats(slots: int, index: int) -> Any:
    """Return a slot's tensor as a flat array of float32."""
    return carray(point_to(find_data(slots, index), np.float32), (count_elements(slots, index),))


@kernel
def view_bytes(slots: int, index: int) -> Any:
    """Return a slot's tensor as a flat array of uint8."""
    return carray(point_to(find_data(slots, index), np.uint8), (count_elements(slots, index),))


@kernel
def view_table(slots: int, index: int) -> Any:
    """Return the table whose four inputs begin at `index`: breakpoints, slopes, intercepts, limits."""
    points, slopes = view_words(slots, index), view_words(slots, index + 1)
    return points, slopes, view_longs(slots, index + 2), view_longs(slots, index + 3)


@kernel
def check_table(api: int, slots: int, index: int) -> Word:
    """Return zero, or a status where the four inputs from `index` on are no table."""
    entries = count_elements(slots, index + 1)
    if entries < 1 or count_elements(slots, index + 2) != entries:
        return refuse(api, place_text("a table must have as many intercepts as slopes, one or more"))
    if count_elements(slots, index) < entries - 1:
        return refuse(api, place_text("a table must have a breakpoint between any two segments"))
    if count_elements(slots, index + 3) != LIMITS:
        return refuse(
            api, place_text("the limits of a table must be shift, input_low, input_high, low, high")
        )
    limits = view_longs(slots, index + 3)
    if limits[0] < 0 or limits[0] > 62:
        return refuse(api, place_text("the shift of a table must be 0..62"))
    return 0


@kernel
def check_norm(api: int, slots: int, first: int) -> Word:
    """Return zero, or a status where the inputs from the table on do not suit rows of the first input."""
    length = find_last_size(slots, 0)
    gamma = first + TABLE_INPUTS + 1
    if count_elements(slots, gamma) != length or count_elements(slots, gamma + 1) != length:
        return refuse(api, place_text("gamma and beta must be as long as the rows"))
    if length > LONGEST_ROW:
        return refuse(api, place_text("rows must not be longer than 16384"))
    if count_elements(slots, first + TABLE_INPUTS) != LEVELS:
        return refuse(api, place_text("the numbers of a norm must be epsilon, low, high"))
    return check_table(api, slots, first)
