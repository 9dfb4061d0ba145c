"""row_lanes.py: the last steps of softmax and norms on 16 numbers at a time."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ..jit import numba
from .lanes import INDEX, LANES, LONGS, WORDS, LaneWriter, fill, open_arrays

_types: Any = numba.types
_intrinsic: Any = numba.extending.intrinsic


@_intrinsic  # type: ignore[untyped-decorator]
def find_exponent(typing_context: Any, value: Any) -> Any:
    """Return the position of the highest bit of an int64 of 1 or more."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zeros = builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 1))
        return builder.sub(INDEX(63), zeros)

    return _types.int64(_types.int64), generate


@_intrinsic  # type: ignore[untyped-decorator]
def share_lanes(typing_context: Any, parts: Any, factor: Any, half: Any, shift: Any, results: Any) -> Any:
    """Write min((part * factor + half) >> shift, the largest result) in uint32.

    Args:
        parts: (N,) int32, N at least 16.
        factor, half, shift: int32, 0 or more; shift below 32.
        results: (N,) uint8 or uint16.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, *numbers, target = open_arrays(context, builder, signature.args, arguments)
        writer = LaneWriter(builder)
        factors, halves, shifts = (writer.broadcast(number) for number in numbers)
        highs = fill((1 << min(results.dtype.bitwidth, 16)) - 1)

        def body(at: Any, is_new: Any, total: Any) -> Any:
            sums = builder.add(builder.mul(writer.load(source.data, at), factors), halves)
            shares = builder.lshr(sums, shifts)
            # Without a sign, so that one instruction narrows and saturates bytes.
            least = builder.select(builder.icmp_unsigned("<", shares, highs), shares, highs)
            writer.store(least, target.data, at)
            return total

        writer.loop(builder.extract_value(source.shape, 0), body)
        return context.get_dummy_value()

    word = _types.int32
    return _types.void(parts, word, word, word, results), generate


@_intrinsic  # type: ignore[untyped-decorator]
def find_largest_lanes(typing_context: Any, values: Any) -> Any:
    """Return the largest of (N,) int32, N at least 16."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (source,) = open_arrays(context, builder, signature.args, arguments)
        writer = LaneWriter(builder)
        least = ir.Constant(WORDS, [-(2**31)] * LANES)

        def body(at: Any, is_new: Any, largest: Any) -> Any:
            return writer.larger(writer.load(source.data, at), largest)

        lanes = writer.loop(builder.extract_value(source.shape, 0), body, start=least)
        return writer.reduce("smax", lanes)

    return _types.int32(values), generate


@_intrinsic  # type: ignore[untyped-decorator]
def sum_lanes(typing_context: Any, values: Any, bound: Any) -> Any:
    """Return the sum of clip(value, -bound, bound), an int64.

    Args:
        values: (N,) int32, N at least 16.
        bound: int32, 0 or more.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, bound = open_arrays(context, builder, signature.args, arguments)
        writer = LaneWriter(builder)
        highs, lows = writer.broadcast(bound), writer.broadcast(builder.neg(bound))

        def body(at: Any, is_new: Any, total: Any) -> Any:
            clipped = writer.smaller(writer.larger(writer.load(source.data, at), lows), highs)
            counted = clipped if is_new is None else builder.select(is_new, clipped, fill(0))
            return builder.add(total, builder.sext(counted, LONGS))

        return writer.sum_up(
            writer.loop(builder.extract_value(source.shape, 0), body, ir.Constant(LONGS, [0] * LANES))
        )

    return _types.int64(values, _types.int32), generate


@_intrinsic  # type: ignore[untyped-decorator]
def subtract_lanes(typing_context: Any, values: Any, bound: Any, bits: Any, mean: Any, results: Any) -> Any:
    """Write (clip(value, -bound, bound) << bits) - mean, and return the sum of its squares, an int64.

    Args:
        values: (N,) int32, N at least 16.
        bound, bits, mean: int32; all results fit int32.
        results: (N,) int32.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, *numbers, target = open_arrays(context, builder, signature.args, arguments)
        writer = LaneWriter(builder)
        highs, moves, means = (writer.broadcast(number) for number in numbers)
        lows = writer.broadcast(builder.neg(numbers[0]))

        def body(at: Any, is_new: Any, total: Any) -> Any:
            clipped = writer.smaller(writer.larger(writer.load(source.data, at), lows), highs)
            deviation = builder.sub(builder.shl(clipped, moves), means)
            writer.store(deviation, target.data, at)
            counted = deviation if is_new is None else builder.select(is_new, deviation, fill(0))
            long = builder.sext(counted, LONGS)
            return builder.add(total, builder.mul(long, long))

        return writer.sum_up(
            writer.loop(builder.extract_value(source.shape, 0), body, ir.Constant(LONGS, [0] * LANES))
        )

    word = _types.int32
    return _types.int64(values, word, word, word, results), generate


@_intrinsic  # type: ignore[untyped-decorator]
def scale_lanes(
    typing_context: Any,
    deviations: Any,
    factor: Any,
    half: Any,
    shift: Any,
    gamma: Any,
    beta: Any,
    last_shift: Any,
    low: Any,
    high: Any,
    results: Any,
) -> Any:
    """Write clip((((deviation * factor + half) >> shift) * gamma + beta) >> last_shift, low, high) in int64.

    Args:
        deviations: (N,) int32, N at least 16.
        factor, half, shift: int64; the normal value, what is multiplied by gamma, fits int32, and so does factor.
        gamma, beta: (N,) int32 and (N,) int64.
        last_shift, low, high: int64.
        results: (N,) int32, or narrower, and then they take the low bits.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        opened = open_arrays(context, builder, signature.args, arguments)
        source, gains, shifts, target = opened[0], opened[4], opened[5], opened[9]
        writer = LaneWriter(builder)
        factors, halves, moves, last_moves, lows, highs = (
            writer.broadcast(opened[k]) for k in (1, 2, 3, 6, 7, 8)
        )

        def body(at: Any, is_new: Any, total: Any) -> Any:
            products = builder.mul(builder.sext(writer.load(source.data, at), LONGS), factors)
            normal = builder.trunc(builder.ashr(builder.add(products, halves), moves), WORDS)
            gain = builder.sext(writer.load(gains.data, at), LONGS)
            sums = builder.add(
                builder.mul(builder.sext(normal, LONGS), gain), writer.load(shifts.data, at, LONGS)
            )
            scaled = writer.smaller(writer.larger(builder.ashr(sums, last_moves), lows), highs)
            writer.store(scaled, target.data, at)
            return total

        writer.loop(builder.extract_value(source.shape, 0), body)
        return context.get_dummy_value()

    long = _types.int64
    return _types.void(deviations, long, long, long, gamma, beta, long, long, long, results), generate
