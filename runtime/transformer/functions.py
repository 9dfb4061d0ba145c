"""functions.py: the integer operators as model-local ONNX functions, so that any onnxruntime runs a file.

They give the same integers as `lut.reference`. A table is four inputs: breakpoints int32 (N-1,), slopes int32 (N,),
intercepts int64 (N,), limits int64 (5,): shift, least and largest input, least and largest output. The parameters of a
norm are three: levels int64 (3,): epsilon, least and largest output; gamma int32 (n,); beta int64 (n,).

| function | inputs | output |
|---|---|---|
| TableU8, TableI32 | x int32 (...); a table | uint8, int32 |
| SoftmaxU8, SoftmaxU16 | x int32 (..., n), |x| < 2^30; tables of exp and of the reciprocal | uint8, uint16 |
| LayerNormU8 and I32, RmsNormU8 and I32 | x int32 (..., n); table of 1/sqrt; parameters | uint8, int32 |

A table whose inputs have a short range is evaluated at all of them once: that part of the function depends on
constants alone, so onnxruntime computes it when it opens the file, and what runs is one GatherElements (a tenth of
the time of Gather).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..lut.operators import (
    LARGEST_INPUT,
    LARGEST_SHIFT,
    MEAN_BITS,
    NORMAL_BITS,
    OUTPUT_SHIFT,
    RECIPROCAL_BITS,
    RSQRT_BITS,
    SUM_BITS,
    VARIANCE_BITS,
)
from .function_writer import FunctionWriter

if TYPE_CHECKING:
    import onnx

WIDEST_TABLE = 2**18  # inputs of a table that is evaluated at all of them
TABLE = ("breakpoints", "slopes", "intercepts", "limits")
_EXPONENTIAL = tuple(f"exponential_{part}" for part in TABLE)
_RECIPROCAL = tuple(f"reciprocal_{part}" for part in TABLE)
_FORMATS = {"U8": np.uint8, "U16": np.uint16, "I32": np.int32}
_SUM_LIMIT = 31  # bits of a sum of exponentials
_VARIANCE_LIMIT = 63  # bits of a variance


def write_function(name: str, opset: int) -> onnx.FunctionProto:
    """Return one of the functions of the table above."""
    stem = name.rstrip("0123456789").rstrip("UI")
    dtype = _FORMATS[name[len(stem) :]]
    if stem == "Table":
        return _write_table(name, dtype, opset)
    if stem == "Softmax":
        return _write_softmax(name, dtype, opset)
    return _write_norm(name, dtype, stem == "LayerNorm", opset)


def _write_table(name: str, dtype: Any, opset: int) -> onnx.FunctionProto:
    writer = FunctionWriter(name, ["x", *TABLE], ["y"], opset)
    first, last = (writer.element("limits", place) for place in (1, 2))
    one = writer.constant(1, np.int64)
    every = writer.node("Range", [first, writer.node("Add", [last, one]), one])
    results = writer.cast(writer.look_up(every, *TABLE), dtype)
    ends = (writer.cast(end, np.int32) for end in (first, last))
    index = writer.node("Sub", [writer.clip("x", *ends), writer.cast(first, np.int32)])
    _take(writer, results, index, "x", "y")
    return writer.finish()


def _take(writer: FunctionWriter, table: str, index: str, like: str, output: str | None = None) -> str:
    """Look up int32 indices in a vector; the result has the shape of `like`."""
    flat = writer.node("Reshape", [index, writer.constant([-1], np.int64)])
    taken = writer.node("GatherElements", [table, flat], axis=0)
    return writer.node("Reshape", [taken, writer.node("Shape", [like])], output)


def _write_softmax(name: str, dtype: Any, opset: int) -> onnx.FunctionProto:
    writer = FunctionWriter(name, ["x", *_EXPONENTIAL, *_RECIPROCAL], ["y"], opset)
    parts = _write_exponentials(writer)
    one = writer.constant(1, np.int64)
    total = writer.node("Max", [writer.cast(writer.reduce("ReduceSum", parts), np.int64), one])
    exponent = writer.count_bits(total, _SUM_LIMIT)
    zero, place = writer.constant(0, np.int64), writer.constant(SUM_BITS, np.int64)
    up = writer.node("Max", [writer.node("Sub", [place, exponent]), zero])
    down = writer.node("Max", [writer.node("Sub", [exponent, place]), zero])
    moved = writer.shift_right(writer.shift_left(total, up), down, SUM_BITS + 3)
    factor = writer.cast(writer.look_up(moved, *_RECIPROCAL), np.int32)
    bits = 8 * np.dtype(dtype).itemsize
    spare = writer.node("Add", [exponent, writer.constant(RECIPROCAL_BITS - bits, np.int64)])
    shift = writer.clip(spare, one, writer.constant(LARGEST_SHIFT, np.int64))
    half = writer.shift_left(one, writer.node("Sub", [shift, one]))
    # A product is at most 2^30, and so is the half: the sum fits 32 bits without a sign.
    product = writer.node("Add", [writer.node("Mul", [parts, factor]), writer.cast(half, np.int32)])
    share = writer.node(
        "BitShift", [writer.cast(product, np.uint32), writer.cast(shift, np.uint32)], direction="RIGHT"
    )
    writer.cast(writer.node("Min", [share, writer.constant((1 << bits) - 1, np.uint32)]), dtype, "y")
    return writer.finish()


def _write_exponentials(writer: FunctionWriter) -> str:
    """Return exp(x - max) as int32; its table is laid out by how far x lies below the maximum."""
    lowest = writer.element(_EXPONENTIAL[3], 1)
    zero, one = writer.constant(0, np.int64), writer.constant(1, np.int64)
    end = writer.node("Sub", [lowest, one])
    every = writer.node("Range", [zero, end, writer.constant(-1, np.int64)])
    table = writer.cast(writer.look_up(every, *_EXPONENTIAL), np.int32)
    below = writer.node("Sub", [writer.reduce("ReduceMax", "x"), "x"])
    deepest = writer.cast(writer.node("Sub", [zero, lowest]), np.int32)
    return _take(writer, table, writer.node("Min", [below, deepest]), "x")


def _write_norm(name: str, dtype: Any, is_centred: bool, opset: int) -> onnx.FunctionProto:
    writer = FunctionWriter(name, ["x", *TABLE, "levels", "gamma", "beta"], ["y"], opset)
    reach = [writer.constant(sign * LARGEST_INPUT, np.int64) for sign in (-1, 1)]
    values = writer.clip(writer.cast("x", np.int64), *reach)
    length = writer.node("Gather", [writer.node("Shape", ["x"]), writer.constant(-1, np.int64)], axis=0)
    scale = writer.constant(1 << MEAN_BITS, np.int64)
    deviation = writer.node("Mul", [values, scale])
    if is_centred:
        deviation = writer.node("Sub", [deviation, _write_mean(writer, values, length, scale)])
    epsilon, low, high = (writer.element("levels", place) for place in range(3))
    squares = writer.reduce("ReduceSum", writer.node("Mul", [deviation, deviation]))
    raised = writer.node("Add", [writer.node("Div", [squares, length]), epsilon])
    variance = writer.node("Max", [raised, writer.constant(1, np.int64)])
    factor, shift = _write_inverse_root(writer, variance)
    half = writer.shift_left(
        writer.constant(1, np.int64), writer.node("Sub", [shift, writer.constant(1, np.int64)])
    )
    product = writer.node("Add", [writer.node("Mul", [deviation, factor]), half])
    normal = writer.shift_right(product, shift, 62)
    sums = writer.node("Add", [writer.node("Mul", [normal, writer.cast("gamma", np.int64)]), "beta"])
    result = writer.shift_right(sums, writer.constant(OUTPUT_SHIFT, np.int64), 62)
    writer.cast(writer.clip(result, low, high), dtype, "y")
    return writer.finish()


def _write_mean(writer: FunctionWriter, values: str, length: str, scale: str) -> str:
    """Return the rounded mean times 2^MEAN_BITS; moved above 0 for the division, which rounds to 0 in ONNX."""
    offset = writer.constant(LARGEST_INPUT + 1, np.int64)
    above = writer.node("Add", [writer.reduce("ReduceSum", values), writer.node("Mul", [length, offset])])
    half = writer.node("Div", [length, writer.constant(2, np.int64)])
    quotient = writer.node("Div", [writer.node("Add", [writer.node("Mul", [above, scale]), half]), length])
    return writer.node("Sub", [quotient, writer.node("Mul", [offset, scale])])


def _write_inverse_root(writer: FunctionWriter, variance: str) -> tuple[str, str]:
    """Return 1/sqrt(variance) as a factor and the shift that belongs to it."""
    exponent = writer.count_bits(variance, _VARIANCE_LIMIT)
    half = writer.shift_right(exponent, writer.constant(1, np.int64), 7)
    even = writer.node("Mul", [half, writer.constant(2, np.int64)])
    zero, place = writer.constant(0, np.int64), writer.constant(VARIANCE_BITS, np.int64)
    up = writer.node("Max", [writer.node("Sub", [place, even]), zero])
    down = writer.node("Max", [writer.node("Sub", [even, place]), zero])
    moved = writer.shift_right(writer.shift_left(variance, up), down, 62)
    factor = writer.look_up(moved, *TABLE)
    shift = writer.node("Add", [half, writer.constant(RSQRT_BITS - NORMAL_BITS, np.int64)])
    return factor, shift
