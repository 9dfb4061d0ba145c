"""operators.py: the operators that onnxruntime can be given, each a signature and a function that computes it.

All work in the domain "colonnade", version 1; the output has the shape of the first input. Rows are the last axis.
A table is four inputs, the contents of a `lut.IntegerTable`: breakpoints int32 (N-1,) or more, slopes int32 (N,),
intercepts int64 (N,), limits int64 (5,) = shift, input_low, input_high, low, high.

| operator | inputs | gives, as `lut.reference` has it |
|---|---|---|
| TableU8, TableI32 | x int32; table | `apply` |
| SoftmaxU8, SoftmaxU16 | x int32 (..., n); table of exp; table of 1/x | `softmax` |
| LayerNormU8, -I32 | x int32 (..., n); table of 1/sqrt; levels; gamma int32, beta int64 (n,) | `layer_norm` |
| RmsNormU8, -I32 | likewise | `rms_norm` |
| AddLayerNormU8, -I32 | residual int32 (..., n) after x, then as LayerNorm | `layer_norm` of the sum (in int32) |
| LookupU8 | x uint8; entries uint8 (256,) | entries[x] |
| RescaleTableU8 | sums int32 (..., n); scale, offset float32 (n,); table | `rescale`, then `apply` |

`levels` are epsilon, low, high of `lut.NormTables`, int64 (3,). Inputs of a wrong size give an error of onnxruntime's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..jit import kernel, numba
from .lanes import borrow
from .operator_kernels import map_values, rescale
from .ort_abi import ElementType
from .ort_calls import (
    Word,
    count_elements,
    find_data,
    find_last_size,
    open_tensors,
    place_text,
    point_to,
    refuse,
    reserve_slots,
)
from .row_kernels import norm_rows, softmax_rows

DOMAIN = "colonnade"
LONGEST_ROW = 2**14
_carray: Any = numba.carray  # type: ignore[attr-defined]
_FLOAT, _UINT8, _UINT16, _INT32, _INT64 = (
    ElementType.FLOAT,
    ElementType.UINT8,
    ElementType.UINT16,
    ElementType.INT32,
    ElementType.INT64,
)
_TABLE = (_INT32, _INT32, _INT64, _INT64)
_FORMATS: tuple[tuple[str, ElementType, Any], ...] = (("U8", _UINT8, np.uint8), ("I32", _INT32, np.int32))
_LIMITS, _SETTINGS = 5, 3  # numbers of a table, of a norm
_TABLE_INPUTS = len(_TABLE)
_MOST_EXACT = 2**24  # float32 holds every integer up to here


@dataclass(frozen=True)
class Operator:
    """An operator.

    Attributes:
        name: in the domain "colonnade".
        inputs: the types of their elements.
        output: likewise.
        compute: takes the addresses of onnxruntime's functions and of the call; returns a status or zero.
    """

    name: str
    inputs: tuple[ElementType, ...]
    output: ElementType
    compute: Callable[[int, int], int]


@kernel
def _view_words(slots: int, index: int) -> Any:
    return _carray(point_to(find_data(slots, index), np.int32), (count_elements(slots, index),))


@kernel
def _view_longs(slots: int, index: int) -> Any:
    return _carray(point_to(find_data(slots, index), np.int64), (count_elements(slots, index),))


@kernel
def _view_floats(slots: int, index: int) -> Any:
    return _carray(point_to(find_data(slots, index), np.float32), (count_elements(slots, index),))


@kernel
def _view_bytes(slots: int, index: int) -> Any:
    return _carray(point_to(find_data(slots, index), np.uint8), (count_elements(slots, index),))


@kernel
def _check_table(api: int, slots: int, index: int) -> Word:
    """Return zero, or a status where the four inputs from `index` on are no table."""
    entries = count_elements(slots, index + 1)
    if entries < 1 or count_elements(slots, index + 2) != entries:
        return refuse(api, place_text("a table must have as many intercepts as slopes, one or more"))
    if count_elements(slots, index) < entries - 1:
        return refuse(api, place_text("a table must have a breakpoint between any two segments"))
    if count_elements(slots, index + 3) != _LIMITS:
        return refuse(
            api, place_text("the limits of a table must be shift, input_low, input_high, low, high")
        )
    limits = _view_longs(slots, index + 3)
    if limits[0] < 0 or limits[0] > 62:
        return refuse(api, place_text("the shift of a table must be 0..62"))
    return 0


@kernel
def _check_norm(api: int, slots: int, first: int) -> Word:
    """Return zero, or a status where the inputs from the table on do not suit rows of the first input."""
    length = find_last_size(slots, 0)
    gamma = first + _TABLE_INPUTS + 1
    if count_elements(slots, gamma) != length or count_elements(slots, gamma + 1) != length:
        return refuse(api, place_text("gamma and beta must be as long as the rows"))
    if length > LONGEST_ROW:
        return refuse(api, place_text("rows must not be longer than 16384"))
    if count_elements(slots, first + _TABLE_INPUTS) != _SETTINGS:
        return refuse(api, place_text("the numbers of a norm must be epsilon, low, high"))
    return _check_table(api, slots, first)


def _compute_lookup(api: int, context: int) -> Word:
    slots = reserve_slots()
    status = open_tensors(api, context, 2, slots)
    if status != 0:
        return status
    if count_elements(slots, 1) != 256:
        return refuse(api, place_text("LookupU8: there must be 256 entries"))
    values, entries, results = _view_bytes(slots, 0), _view_bytes(slots, 1), _view_bytes(slots, 2)
    for index in range(values.size):
        results[index] = entries[values[index]]
    return 0


def _make_table(element: Any) -> Callable[[int, int], int]:
    def compute(api: int, context: int) -> Word:
        slots = reserve_slots()
        status = open_tensors(api, context, 1 + _TABLE_INPUTS, slots)
        if status == 0:
            status = _check_table(api, slots, 1)
        if status != 0:
            return status
        results = _carray(point_to(find_data(slots, 5), element), (count_elements(slots, 5),))
        map_values(
            _view_words(slots, 0),
            _view_words(slots, 1),
            _view_words(slots, 2),
            _view_longs(slots, 3),
            _view_longs(slots, 4),
            results,
        )
        return 0

    return compute


def _compute_rescale_table(api: int, context: int) -> Word:
    slots = reserve_slots()
    status = open_tensors(api, context, 3 + _TABLE_INPUTS, slots)
    if status == 0:
        status = _check_table(api, slots, 3)
    if status != 0:
        return status
    channels = find_last_size(slots, 0)
    if count_elements(slots, 1) != channels or count_elements(slots, 2) != channels:
        return refuse(api, place_text("RescaleTableU8: scale and offset must be as long as the rows"))
    sums, limits, results = _view_words(slots, 0), _view_longs(slots, 6), _view_bytes(slots, 7)
    if limits[1] < -_MOST_EXACT or limits[2] > _MOST_EXACT:
        return refuse(api, place_text("RescaleTableU8: the table's inputs must be within 2^24"))
    row = np.empty(channels, np.int32)
    scale, offset = _view_floats(slots, 1), _view_floats(slots, 2)
    for start in range(0, sums.size, max(channels, 1)):
        rescale(borrow(sums, start, channels), scale, offset, limits[1], limits[2], row)
        map_values(
            row,
            _view_words(slots, 3),
            _view_words(slots, 4),
            _view_longs(slots, 5),
            limits,
            borrow(results, start, channels),
        )
    return 0


def _make_softmax(element: Any) -> Callable[[int, int], int]:
    bits, inputs = 8 * np.dtype(element).itemsize, 1 + 2 * _TABLE_INPUTS

    def compute(api: int, context: int) -> Word:
        slots = reserve_slots()
        status = open_tensors(api, context, inputs, slots)
        if status == 0:
            status = _check_table(api, slots, 1)
        if status == 0:
            status = _check_table(api, slots, 5)
        if status != 0:
            return status
        length = find_last_size(slots, 0)
        if length > LONGEST_ROW:
            return refuse(api, place_text("rows must not be longer than 16384"))
        softmax_rows(
            _view_words(slots, 0),
            max(length, 1),
            _view_words(slots, 1),
            _view_words(slots, 2),
            _view_longs(slots, 3),
            _view_longs(slots, 4),
            _view_words(slots, 5),
            _view_words(slots, 6),
            _view_longs(slots, 7),
            _view_longs(slots, 8),
            bits,
            _carray(point_to(find_data(slots, inputs), element), (count_elements(slots, inputs),)),
        )
        return 0

    return compute


def _make_norm(element: Any, has_mean: bool, has_residual: bool) -> Callable[[int, int], int]:
    first = 2 if has_residual else 1  # place of the table
    inputs = first + _TABLE_INPUTS + 3

    def compute(api: int, context: int) -> Word:
        slots = reserve_slots()
        status = open_tensors(api, context, inputs, slots)
        if status == 0:
            status = _check_norm(api, slots, first)
        if status != 0:
            return status
        values = _view_words(slots, 0)
        if has_residual:
            others = _view_words(slots, 1)
            if others.size != values.size:
                return refuse(api, place_text("AddLayerNorm: the residual must have the shape of the input"))
            values = _add(values, others)
        norm_rows(
            values,
            max(find_last_size(slots, 0), 1),
            has_mean,
            _view_words(slots, first + 5),
            _view_longs(slots, first + 6),
            _view_words(slots, first),
            _view_words(slots, first + 1),
            _view_longs(slots, first + 2),
            _view_longs(slots, first + 3),
            _view_longs(slots, first + 4),
            _carray(point_to(find_data(slots, inputs), element), (count_elements(slots, inputs),)),
        )
        return 0

    return compute


@kernel
def _add(values: Any, others: Any) -> Any:
    sums = np.empty(values.size, np.int32)
    for index in range(values.size):
        sums[index] = values[index] + others[index]
    return sums


def _list_operators() -> tuple[Operator, ...]:
    norm = (*_TABLE, _INT64, _INT32, _INT64)
    operators = [
        Operator("LookupU8", (_UINT8, _UINT8), _UINT8, _compute_lookup),
        Operator("SoftmaxU8", (_INT32, *_TABLE, *_TABLE), _UINT8, _make_softmax(np.uint8)),
        Operator("SoftmaxU16", (_INT32, *_TABLE, *_TABLE), _UINT16, _make_softmax(np.uint16)),
        Operator("RescaleTableU8", (_INT32, _FLOAT, _FLOAT, *_TABLE), _UINT8, _compute_rescale_table),
    ]
    for suffix, kind, element in _FORMATS:
        operators += [
            Operator(f"Table{suffix}", (_INT32, *_TABLE), kind, _make_table(element)),
            Operator(f"LayerNorm{suffix}", (_INT32, *norm), kind, _make_norm(element, True, False)),
            Operator(f"RmsNorm{suffix}", (_INT32, *norm), kind, _make_norm(element, False, False)),
            Operator(f"AddLayerNorm{suffix}", (_INT32, _INT32, *norm), kind, _make_norm(element, True, True)),
        ]
    return tuple(operators)


OPERATORS = _list_operators()
"""Every operator; each is compiled when a model first needs it."""
