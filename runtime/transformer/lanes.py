"""lanes.py: writes LLVM IR that works on 16 integers at a time, where Numba's own loops would use half the register."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

LANES = 16
INDEX, WORD, BYTE = ir.IntType(64), ir.IntType(32), ir.IntType(8)
WORDS, LONGS, BYTES = (ir.VectorType(kind, LANES) for kind in (WORD, INDEX, BYTE))

# Takes where the lanes start, which of them are new (None: all), and the sum so far; returns the sum.
Body = Callable[[Any, Any, Any], Any]


class LaneWriter:
    """Writes loops over arrays, and the arithmetic of their lanes, at the place of an `IRBuilder`."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def loop(self, count: Any, body: Body) -> Any:
        """Write a loop over at least 16 elements; return the last sum.

        Where their number is no multiple of 16, the last lanes start earlier, and only some are new.
        """
        builder = self.builder
        full = builder.and_(count, INDEX(-LANES))
        before, lanes, check, tail, done = (
            builder.block,
            *(builder.append_basic_block(name) for name in ("lanes", "check", "tail", "done")),
        )
        builder.branch(lanes)
        builder.position_at_end(lanes)
        start, total = builder.phi(INDEX), builder.phi(WORDS)
        start.add_incoming(INDEX(0), before)
        total.add_incoming(fill(0), before)
        next_total = body(start, None, total)
        next_start = builder.add(start, INDEX(LANES))
        start.add_incoming(next_start, builder.block)
        total.add_incoming(next_total, builder.block)
        builder.cbranch(builder.icmp_signed("<", next_start, full), lanes, check)
        builder.position_at_end(check)
        builder.cbranch(builder.icmp_signed("<", full, count), tail, done)
        builder.position_at_end(tail)
        at = builder.sub(count, INDEX(LANES))
        positions = ir.Constant(WORDS, list(range(LANES)))
        seen = self.broadcast(builder.trunc(builder.sub(full, at), WORD))
        last_total = body(at, builder.icmp_signed(">=", positions, seen), next_total)
        builder.branch(done)
        builder.position_at_end(done)
        result = builder.phi(WORDS)
        result.add_incoming(next_total, check)
        result.add_incoming(last_total, tail)
        return result

    def load(self, pointer: Any, at: Any, kind: Any = WORDS) -> Any:
        """Return lanes of an array that start at an index."""
        place = self.builder.gep(pointer, [at])
        return self.builder.load(self.builder.bitcast(place, kind.as_pointer()), align=kind.element.width // 8)

    def store(self, lanes: Any, pointer: Any, at: Any, *, is_byte: bool) -> None:
        """Write lanes to an array of words, or their low bytes to one of bytes."""
        kind = BYTES if is_byte else WORDS
        lanes = self.builder.trunc(lanes, kind) if lanes.type != kind else lanes
        place = self.builder.bitcast(self.builder.gep(pointer, [at]), kind.as_pointer())
        self.builder.store(lanes, place, align=kind.element.width // 8)

    def broadcast(self, value: Any) -> Any:
        """Return lanes that all hold one int32 or int64."""
        kind = ir.VectorType(value.type, LANES)
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(undefined, value, WORD(0))
        return self.builder.shuffle_vector(first, undefined, fill(0))

    def spread(self, pointer: Any, place: int) -> Any:
        """Return lanes that all hold one element of an array."""
        return self.broadcast(self.builder.load(self.builder.gep(pointer, [INDEX(place)])))

    def larger(self, a: Any, b: Any) -> Any:
        """Return the larger of two lanes."""
        return self.builder.select(self.builder.icmp_signed(">", a, b), a, b)

    def smaller(self, a: Any, b: Any) -> Any:
        """Return the smaller of two lanes."""
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def sum_up(self, lanes: Any) -> Any:
        """Return the sum of int32 lanes as an int64, without a sign."""
        builder, total = self.builder, INDEX(0)
        for lane in range(LANES):
            total = builder.add(total, builder.zext(builder.extract_element(lanes, WORD(lane)), INDEX))
        return total


def fill(value: int) -> Any:
    """Return lanes of one constant int32."""
    return ir.Constant(WORDS, [value] * LANES)


def open_arrays(context: Any, builder: Any, kinds: Any, values: Any) -> list[Any]:
    """Return the Numba arrays among an intrinsic's arguments as structs with `data` and `shape`, others as they are."""
    from numba.core.types import Array
    from numba.np.arrayobj import make_array

    return [
        make_array(kind)(context, builder, value) if isinstance(kind, Array) else value
        for kind, value in zip(kinds, values, strict=True)
    ]
