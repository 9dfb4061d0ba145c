"""operator_kernels.py: tables on flat arrays; `runtime/lut/reference.py` decides what they give.

A table is the four arrays and numbers of an `IntegerTable`; `limits` (5,) int64 holds its shift, input_low,
input_high, low and high. Tables of at most 16 segments whose arithmetic fits int32 are looked up 16 numbers at once;
all others one by one, in int64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..jit import kernel
from .lanes import LANES
from .ort_calls import Word
from .table_lanes import Packed, look_up_lanes

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Array = NDArray[Any]
Floats = NDArray[np.float32]

_LANES, _PACKED_WORDS = int(LANES), int(Packed.WORDS)
_SLOPES, _INTERCEPTS, _SCALARS = int(Packed.SLOPES), int(Packed.INTERCEPTS), int(Packed.SHIFT)
_SMALLEST, _LARGEST = -(2**31), 2**31 - 1
_NARROW_SUM = 2**30


@kernel
def look_up_one(number: Word, breakpoints: Int32, slopes: Int32, intercepts: Int64, limits: Int64) -> Word:
    """Return the table at one integer, with int64 arithmetic."""
    x = min(max(number, limits[1]), limits[2])
    segment, left = np.int64(0), slopes.size - 1
    while left > 0:  # without a branch, which would be a surprise in every step
        half = (left + 1) >> 1
        segment += half * np.int64(breakpoints[segment + half - 1] <= x)
        left -= half
    y = (np.int64(slopes[segment]) * x + intercepts[segment]) >> limits[0]
    return min(max(y, limits[3]), limits[4])


@kernel
def is_narrow(breakpoints: Int32, slopes: Int32, intercepts: Int64, limits: Int64) -> bool:
    """Return whether a table fits 16 lanes of int32: at most 16 segments, no sum beyond int32 in any of them."""
    if slopes.size > _LANES or limits[0] > 30 or limits[3] < _SMALLEST or limits[4] > _LARGEST:
        return False
    start = limits[1]
    for segment in range(slopes.size):
        end = np.int64(breakpoints[segment]) if segment < slopes.size - 1 else limits[2]
        reach = max(abs(start), abs(end))
        if reach >= _NARROW_SUM or abs(np.int64(slopes[segment])) * reach >= _NARROW_SUM:
            return False
        if abs(intercepts[segment]) >= _NARROW_SUM:
            return False
        start = end
    return True


@kernel
def pack_table(breakpoints: Int32, slopes: Int32, intercepts: Int64, limits: Int64) -> Int32:
    """Return a narrow table as `look_up_lanes` takes it: (Packed.WORDS,) int32."""
    packed = np.empty(_PACKED_WORDS, np.int32)
    for place in range(_SLOPES):
        packed[place] = breakpoints[place] if place < slopes.size - 1 else _LARGEST
    for segment in range(_LANES):
        known = min(segment, slopes.size - 1)
        packed[_SLOPES + segment] = slopes[known]
        packed[_INTERCEPTS + segment] = intercepts[known]
    for place in range(5):
        packed[_SCALARS + place] = limits[place]
    return packed


@kernel
def map_values(
    values: Int32, breakpoints: Int32, slopes: Int32, intercepts: Int64, limits: Int64, results: Array
) -> None:
    """Write the table at every value (N,) int32 to results (N,) int32, uint8 or int8."""
    if values.size >= _LANES and is_narrow(breakpoints, slopes, intercepts, limits):
        packed = pack_table(breakpoints, slopes, intercepts, limits)
        look_up_lanes(values, packed, results)
        return
    for index in range(values.size):
        results[index] = look_up_one(values[index], breakpoints, slopes, intercepts, limits)


@kernel
def quantise(values: Floats, factor: float, reach: float, results: Int32) -> None:
    """Write round(clip(value * factor, -reach, reach)) as int32, halves to even.

    Every step rounds to float32, as the operators Mul, Clip, Round and Cast do one after the other.

    Args:
        values: (N,) float32, finite.
        factor, reach: float32; reach at most 2^24, up to which float32 holds every integer.
        results: (N,) int32.
    """
    for index in range(values.size):
        clipped: Word = min(max(np.float32(values[index] * factor), -reach), reach)
        results[index] = np.int32(np.rint(clipped))


@kernel
def dequantise(values: Int32, scale: float, results: Floats) -> None:
    """Write float32(value) * scale, as the operators Cast and Mul do."""
    for index in range(values.size):
        results[index] = np.float32(values[index]) * scale
