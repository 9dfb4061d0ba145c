"""lanes.py: writes LLVM IR that works on 16 integers at a time, where Numba's own loops would use half the register."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from ..jit import numba

LANES = 16
INDEX, WORD = ir.IntType(64), ir.IntType(32)
WORDS, LONGS = ir.VectorType(WORD, LANES), ir.VectorType(INDEX, LANES)

_types: Any = numba.types
_intrinsic: Any = numba.extending.intrinsic

# Takes where the lanes start, which of them are new (None: all), and the sum so far; returns the sum.
Body = Callable[[Any, Any, Any], Any]


class LaneWriter:
    """Writes loops over arrays, and the arithmetic of their lanes, at the place of an `IRBuilder`."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def loop(self, count: Any, body: Body, start: Any = None) -> Any:
        """Write a loop over at least 16 elements; return the last sum, which starts as these lanes, or zeros.

        Where their number is no multiple of 16, the last lanes start earlier, and only some are new.
        """
        first_total = fill(0) if start is None else start
        builder = self.builder
        full = builder.and_(count, INDEX(-LANES))
        before, lanes, check, tail, done = (
            builder.block,
            *(builder.append_basic_block(name) for name in ("lanes", "check", "tail", "done")),
        )
        builder.branch(lanes)
        builder.position_at_end(lanes)
        start, total = builder.phi(INDEX), builder.phi(first_total.type)
        start.add_incoming(INDEX(0), before)
        total.add_incoming(first_total, before)
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
        result = builder.phi(first_total.type)
        result.add_incoming(next_total, check)
        result.add_incoming(last_total, tail)
        return result

    def load(self, pointer: Any, at: Any, kind: Any = WORDS) -> Any:
        """Return lanes of an array that start at an index."""
        place = self.builder.gep(pointer, [at])
        return self.builder.load(
            self.builder.bitcast(place, kind.as_pointer()), align=kind.element.width // 8
        )

    def store(self, lanes: Any, pointer: Any, at: Any) -> None:
        """Write lanes to an array whose elements take as many of their low bits as they have."""
        kind = ir.VectorType(pointer.type.pointee, LANES)
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
        """Return the sum of lanes as an int64; it must fit the lanes' own type."""
        total = self.reduce("add", lanes)
        return total if total.type == INDEX else self.builder.sext(total, INDEX)

    def reduce(self, operation: str, lanes: Any) -> Any:
        """Return one number of all lanes, by an operation of `llvm.vector.reduce`."""
        kind, module = lanes.type, self.builder.module
        name = f"llvm.vector.reduce.{operation}.v{LANES}i{kind.element.width}"
        function = module.globals.get(name) or ir.Function(
            module, ir.FunctionType(kind.element, [kind]), name
        )
        return self.builder.call(function, [lanes])


def fill(value: int) -> Any:
    """Return lanes of one constant int32."""
    return ir.Constant(WORDS, [value] * LANES)


def open_arrays(context: Any, builder: Any, kinds: Any, values: Any) -> list[Any]:
    """Return the Numba arrays among an intrinsic's arguments as structs with `data` and `shape`, others as they are."""
    from numba.core.types import Array
    from numba.np import arrayobj

    make_array: Any = arrayobj.make_array

    return [
        make_array(kind)(context, builder, value) if isinstance(kind, Array) else value
        for kind, value in zip(kinds, values, strict=True)
    ]


@_intrinsic  # type: ignore[untyped-decorator]
def borrow(typing_context: Any, array: Any, start: Any, count: Any) -> Any:
    """Return array[start : start + count] without counting a reference, which would cost as much as a row's work.

    The array, one-dimensional and contiguous, must be in use for as long as the part is.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        from numba.np import arrayobj

        arrays: Any = arrayobj
        make = arrays.make_array(array)
        whole, part = make(context, builder, arguments[0]), make(context, builder)
        place = builder.gep(whole.data, [arguments[1]])
        step = builder.extract_value(whole.strides, 0)
        arrays.populate_array(part, place, [arguments[2]], [step], whole.itemsize, None)
        return part._getvalue()

    return array(array, _types.int64, _types.int64), generate
