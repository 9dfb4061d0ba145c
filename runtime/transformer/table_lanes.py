"""table_lanes.py: looks 16 numbers up at once in a table of at most 16 segments.

With AVX-512 the whole table lies in registers, and four steps of a binary search find the segments: each step
permutes the breakpoints by the indices so far. Elsewhere fifteen comparisons each choose between two segments.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any

from llvmlite import ir

from ..cpu import find_usable_features
from ..jit import numba
from .lanes import INDEX, LANES, WORDS, LaneWriter, fill, open_arrays

_HAS_PERMUTE = "avx512f" in find_usable_features()
_PERMUTE = "llvm.x86.avx512.permvar.si.512"
_types: Any = numba.types
_intrinsic: Any = numba.extending.intrinsic


class Packed(IntEnum):
    """Places in a table packed for the lanes, counted in int32."""

    BREAKPOINTS = 0  # the missing ones are the largest int32, and as many again follow
    SLOPES = 32
    INTERCEPTS = 48
    SHIFT = 64
    INPUT_LOW = 65
    INPUT_HIGH = 66
    LOW = 67
    HIGH = 68
    WORDS = 80


@_intrinsic  # type: ignore[untyped-decorator]
def look_up_lanes(typing_context: Any, values: Any, packed: Any, results: Any) -> Any:
    """Write clip((slope * x + intercept) >> shift), x = clip(value), for each of the values.

    All arithmetic is in int32, which the table must be narrow for (`IntegerTable.narrow`).

    Args:
        values: (N,) int32, N at least 16.
        packed: (Packed.WORDS,) int32.
        results: (N,) int32, or narrower, and then they take the low bits; not in the memory of `values`.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, table, target = open_arrays(context, builder, signature.args, arguments)
        writer = _LookupWriter(builder, table.data)

        def body(at: Any, is_new: Any, total: Any) -> Any:
            numbers = writer.clip_input(writer.load(source.data, at))
            writer.store(writer.look_up(numbers), target.data, at)
            return total

        writer.loop(builder.extract_value(source.shape, 0), body)
        return context.get_dummy_value()

    return _types.void(values, packed, results), generate


@_intrinsic  # type: ignore[untyped-decorator]
def look_up_below_lanes(
    typing_context: Any, values: Any, floor: Any, offset: Any, packed: Any, results: Any
) -> Any:
    """Write the table at x = max(value, floor) - offset, and return the sum of what was written, an int64.

    Args:
        values: (N,) int32, N at least 16.
        floor, offset: int32 that bring every x into the table's domain.
        packed: (Packed.WORDS,) int32; all results 0 or more, their sum within int32.
        results: (N,) int32, not in the memory of `values`.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, low, middle, table, target = open_arrays(context, builder, signature.args, arguments)
        writer = _LookupWriter(builder, table.data)
        floors, offsets = writer.broadcast(low), writer.broadcast(middle)

        def body(at: Any, is_new: Any, total: Any) -> Any:
            numbers = builder.sub(writer.larger(writer.load(source.data, at), floors), offsets)
            looked_up = writer.look_up(numbers)
            writer.store(looked_up, target.data, at)
            counted = looked_up if is_new is None else builder.select(is_new, looked_up, fill(0))
            return builder.add(total, counted)

        return writer.sum_up(writer.loop(builder.extract_value(source.shape, 0), body))

    return _types.int64(values, _types.int32, _types.int32, packed, results), generate


@_intrinsic  # type: ignore[untyped-decorator]
def count_lanes(typing_context: Any, packed: Any, number: Any) -> Any:
    """Return how many breakpoints of a packed table are <= an int32, without a branch; an int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        table, value = open_arrays(context, builder, signature.args, arguments)
        writer = LaneWriter(builder)
        points = writer.load(table.data, INDEX(Packed.BREAKPOINTS))
        is_passed = builder.icmp_signed("<=", points, writer.broadcast(value))
        return builder.zext(builder.ctpop(builder.bitcast(is_passed, ir.IntType(LANES))), INDEX)

    return _types.int64(packed, _types.int32), generate


class _LookupWriter(LaneWriter):
    """Writes look-ups; what it loads of the table stays in registers."""

    def __init__(self, builder: Any, packed: Any) -> None:
        super().__init__(builder)
        self.packed = packed
        self.shift, self.input_low, self.input_high, self.low, self.high = (
            self.spread(packed, place)
            for place in (Packed.SHIFT, Packed.INPUT_LOW, Packed.INPUT_HIGH, Packed.LOW, Packed.HIGH)
        )
        prepare = self._prepare_permutes if _HAS_PERMUTE else self._prepare_choices
        self.find_segments: Callable[[Any], tuple[Any, Any]] = prepare()

    def clip_input(self, numbers: Any) -> Any:
        """Return numbers brought into the table's domain."""
        return self.smaller(self.larger(numbers, self.input_low), self.input_high)

    def look_up(self, numbers: Any) -> Any:
        """Return the table at numbers in its domain."""
        slopes, intercepts = self.find_segments(numbers)
        sums = self.builder.add(self.builder.mul(slopes, numbers), intercepts)
        return self.smaller(self.larger(self.builder.ashr(sums, self.shift), self.low), self.high)

    def _prepare_permutes(self) -> Callable[[Any], tuple[Any, Any]]:
        builder, module = self.builder, self.builder.module
        permute = module.globals.get(_PERMUTE) or ir.Function(
            module, ir.FunctionType(WORDS, [WORDS, WORDS]), _PERMUTE
        )
        slopes, intercepts = (
            self.load(self.packed, INDEX(place)) for place in (Packed.SLOPES, Packed.INTERCEPTS)
        )
        middle = self.spread(self.packed, Packed.BREAKPOINTS + 7)
        # Each step's breakpoints start where that step looks, so that the segment so far is the index.
        probes = [(step, self.load(self.packed, INDEX(Packed.BREAKPOINTS + step - 1))) for step in (4, 2, 1)]

        def find(numbers: Any) -> tuple[Any, Any]:
            segments = builder.select(builder.icmp_signed(">=", numbers, middle), fill(8), fill(0))
            for step, breakpoints in probes:  # the segment is at least that many further on?
                is_beyond = builder.icmp_signed(">=", numbers, builder.call(permute, [breakpoints, segments]))
                # The permute takes the low four bits. One more keeps the step of 1 from becoming a conversion of
                # the mask, which is slower.
                further = builder.add(segments, fill(step + (LANES if step == 1 else 0)))
                segments = builder.select(is_beyond, further, segments)
            return builder.call(permute, [slopes, segments]), builder.call(permute, [intercepts, segments])

        return find

    def _prepare_choices(self) -> Callable[[Any], tuple[Any, Any]]:
        builder = self.builder
        breakpoints = [self.spread(self.packed, Packed.BREAKPOINTS + k) for k in range(LANES - 1)]
        slopes = [self.spread(self.packed, Packed.SLOPES + k) for k in range(LANES)]
        intercepts = [self.spread(self.packed, Packed.INTERCEPTS + k) for k in range(LANES)]

        def find(numbers: Any) -> tuple[Any, Any]:
            slope, intercept = slopes[0], intercepts[0]
            for k in range(LANES - 1):
                is_beyond = builder.icmp_signed(">=", numbers, breakpoints[k])
                slope = builder.select(is_beyond, slopes[k + 1], slope)
                intercept = builder.select(is_beyond, intercepts[k + 1], intercept)
            return slope, intercept

        return find
