"""operators.py: the operators that onnxruntime can be given, each a signature and a function that computes it.

All work in the domain "colonnade", version 1; the output has the shape of the first input. Rows are the last axis.
A table is four inputs, the contents of a `lut.IntegerTable`: breakpoints int32 (N-1,) or more, slopes int32 (N,),
intercepts int64 (N,), limits int64 (5,) = shift, input_low, input_high, low, high.

| operator | inputs | gives, as `lut.reference` has it |
|---|---|---|
| TableU8, TableI32 | x int32; table | `apply` |
| SoftmaxU8, SoftmaxU16 | x int32 (..., n); table of exp; table of 1/x | `softmax` |
| LayerNormU8, LayerNormI32 | x int32 (..., n); table of 1/sqrt; levels; gamma int32, beta int64 (n,) | `layer_norm` |
| RmsNormU8, RmsNormI32 | likewise | `rms_norm` |
| Quantised<operator>U8 | x float32; factor, reach float32 (1,); then as <operator>U8 | see `quantise`, then likewise |
| Quantised<operator>F32 | x float32; factor, reach; then as <operator>I32; scale float32 (1,) | and then `dequantise` |
| LookupU8 | x uint8; entries uint8 (256,) | entries[x] |

`Quantised` stands before Table, LayerNorm and RmsNorm: one pass for what is several operators and arrays otherwise.
`levels` are epsilon, low, high of `lut.NormTables`, int64 (3,). Inputs of a wrong size give an error of onnxruntime's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .float_operators import compute_table_f32, compute_table_u8, make_norm_f32, make_norm_u8
from .operator_inputs import (
    LONGEST_ROW,
    TABLE_INPUTS,
    carray,
    check_norm,
    check_table,
    view_bytes,
    view_longs,
    view_words,
)
from .operator_kernels import map_values
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
_FLOAT, _UINT8, _UINT16, _INT32, _INT64 = (
    ElementType.FLOAT,
    ElementType.UINT8,
    ElementType.UINT16,
    ElementType.INT32,
    ElementType.INT64,
)
_TABLE = (_INT32, _INT32, _INT64, _INT64)
_NORM = (*_TABLE, _INT64, _INT32, _INT64)
_QUANTISED = (_FLOAT, _FLOAT, _FLOAT)  # x, factor, reach
_FORMATS: tuple[tuple[str, ElementType, Any], ...] = (("U8", _UINT8, np.uint8), ("I32", _INT32, np.int32))


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


def _compute_lookup(api: int, context: int) -> Word:
    slots = reserve_slots()
    status = open_tensors(api, context, 2, slots)
    if status != 0:
        return status
    if count_elements(slots, 1) != 256:
        return refuse(api, place_text("LookupU8: there must be 256 entries"))
    values, entries, results = view_bytes(slots, 0), view_bytes(slots, 1), view_bytes(slots, 2)
    for index in range(values.size):
        results[index] = entries[values[index]]
    return 0


def _make_table(element: Any) -> Callable[[int, int], int]:
    def compute(api: int, context: int) -> Word:
        slots = reserve_slots()
        status = open_tensors(api, context, 1 + TABLE_INPUTS, slots)
        if status == 0:
            status = check_table(api, slots, 1)
        if status != 0:
            return status
        results = carray(point_to(find_data(slots, 5), element), (count_elements(slots, 5),))
        map_values(
            view_words(slots, 0),
            view_words(slots, 1),
            view_words(slots, 2),
            view_longs(slots, 3),
            view_longs(slots, 4),
            results,
        )
        return 0

    return compute


def _make_softmax(element: Any) -> Callable[[int, int], int]:
    bits, inputs = 8 * np.dtype(element).itemsize, 1 + 2 * TABLE_INPUTS

    def compute(api: int, context: int) -> Word:
        slots = reserve_slots()
        status = open_tensors(api, context, inputs, slots)
        if status == 0:
            status = check_table(api, slots, 1)
        if status == 0:
            status = check_table(api, slots, 5)
        if status != 0:
            return status
        length = find_last_size(slots, 0)
        if length > LONGEST_ROW:
            return refuse(api, place_text("rows must not be longer than 16384"))
        softmax_rows(
            view_words(slots, 0),
            max(length, 1),
            view_words(slots, 1),
            view_words(slots, 2),
            view_longs(slots, 3),
            view_longs(slots, 4),
            view_words(slots, 5),
            view_words(slots, 6),
            view_longs(slots, 7),
            view_longs(slots, 8),
            bits,
            carray(point_to(find_data(slots, inputs), element), (count_elements(slots, inputs),)),
        )
        return 0

    return compute


def _make_norm(element: Any, has_mean: bool) -> Callable[[int, int], int]:
    inputs = 1 + TABLE_INPUTS + 3

    def compute(api: int, context: int) -> Word:
        slots = reserve_slots()
        status = open_tensors(api, context, inputs, slots)
        if status == 0:
            status = check_norm(api, slots, 1)
        if status != 0:
            return status
        norm_rows(
            view_words(slots, 0),
            max(find_last_size(slots, 0), 1),
            has_mean,
            view_words(slots, 6),
            view_longs(slots, 7),
            view_words(slots, 1),
            view_words(slots, 2),
            view_longs(slots, 3),
            view_longs(slots, 4),
            view_longs(slots, 5),
            carray(point_to(find_data(slots, inputs), element), (count_elements(slots, inputs),)),
        )
        return 0

    return compute


def _list_operators() -> tuple[Operator, ...]:
    operators = [
        Operator("LookupU8", (_UINT8, _UINT8), _UINT8, _compute_lookup),
        Operator("SoftmaxU8", (_INT32, *_TABLE, *_TABLE), _UINT8, _make_softmax(np.uint8)),
        Operator("SoftmaxU16", (_INT32, *_TABLE, *_TABLE), _UINT16, _make_softmax(np.uint16)),
        Operator("QuantisedTableU8", (*_QUANTISED, *_TABLE), _UINT8, compute_table_u8),
        Operator("QuantisedTableF32", (*_QUANTISED, *_TABLE, _FLOAT), _FLOAT, compute_table_f32),
    ]
    for suffix, kind, element in _FORMATS:
        operators.append(Operator(f"Table{suffix}", (_INT32, *_TABLE), kind, _make_table(element)))
    for name, has_mean in (("LayerNorm", True), ("RmsNorm", False)):
        for suffix, kind, element in _FORMATS:
            compute = _make_norm(element, has_mean)
            operators.append(Operator(f"{name}{suffix}", (_INT32, *_NORM), kind, compute))
        inputs = (*_QUANTISED, *_NORM)
        operators += [
            Operator(f"Quantised{name}U8", inputs, _UINT8, make_norm_u8(has_mean)),
            Operator(f"Quantised{name}F32", (*inputs, _FLOAT), _FLOAT, make_norm_f32(has_mean)),
        ]
    return tuple(operators)


OPERATORS = _list_operators()
"""Every operator; each is compiled when a model first needs it."""
