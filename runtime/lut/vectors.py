"""vectors.py: writes the LLVM IR of a look-up whose table lies in vector registers, 16 inputs at a time.

Per 16 inputs: clip, subtract the offset, find the segment by four compares against permuted breakpoints (a binary
search), permute slopes and intercepts by it, multiply, add, shift, clip, store.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ..cpu import find_usable_features
from ..jit import numba
from .integer import VECTOR_ENTRIES

LANES = VECTOR_ENTRIES  # of 32 bits: the largest table fills one register
_I1, _I32, _I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
_WORDS, _LONGS = ir.VectorType(_I32, LANES), ir.VectorType(_I64, LANES // 2)
_LOW = list(range(LANES // 2))
_HIGH = list(range(LANES // 2, LANES))


class LookupWriter:
    """Writes the loop over whole vectors of inputs.

    Args:
        builder: where the code goes.
        arguments: by _NAMES: arrays as (address, element type, whether signed), numbers as int64 values.
        wide: whether products and sums take 64 bits.
    """

    def __init__(self, builder: Any, arguments: dict[str, Any], wide: bool) -> None:
        self.builder, self.arguments, self.wide = builder, arguments, wide

    def write(self, count: Any) -> None:
        """Write the loop over `count` inputs, a multiple of LANES that may be 0."""
        builder = self.builder
        self._load_constants()
        before = builder.block
        loop, after = (builder.append_basic_block(name) for name in ("look_up", "looked_up"))
        some = builder.icmp_signed(">", count, _I64(0))
        builder.cbranch(some, loop, after)
        builder.position_at_end(loop)
        place = builder.phi(_I64)
        place.add_incoming(_I64(0), before)
        self._store(self._look_up(self._load(place)), place)
        following = builder.add(place, _I64(LANES))
        place.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
        builder.position_at_end(after)

    def _load_constants(self) -> None:
        builder, given = self.builder, self.arguments
        self.points, self.slopes = (
            self._load_table(given[name], _WORDS, 0) for name in ("breakpoints", "slopes")
        )
        self.middle, *self.quarters = (self._take(self.points, [place] * LANES) for place in (7, 11, 3))
        self.ahead = self._take(self.points, [min(place + 1, LANES - 1) for place in range(LANES)])
        halves = [self._load_table(given["intercepts"], _LONGS, part) for part in (0, 1)]
        whole = [builder.trunc(half, ir.VectorType(_I32, LANES // 2)) for half in halves]
        self.intercepts = halves if self.wide else [builder.shuffle_vector(*whole, _constant(_LOW + _HIGH))]
        lanes = _LONGS if self.wide else _WORDS
        self.inputs = [self._splat(given[name], _WORDS) for name in ("clip_low", "clip_high", "offset")]
        self.shift, self.low, self.high = (
            self._splat(given[name], lanes) for name in ("shift", "low", "high")
        )

    def _look_up(self, x: Any) -> Any:
        builder = self.builder
        low, high, offset = self.inputs
        x = builder.sub(self._clip(x, low, high), offset)
        upper = builder.icmp_signed(">=", x, self.middle)
        index = builder.select(upper, _splat_constant(8), _splat_constant(0))
        for step, point in self._list_steps(upper):
            beyond = builder.add(index, _splat_constant(step))
            point = self._permute(point, index) if step < 4 else point
            index = builder.select(builder.icmp_signed(">=", x, point), beyond, index)
        slope = self._permute(self.slopes, index)
        if not self.wide:
            sums = builder.add(builder.mul(slope, x), self._permute(self.intercepts[0], index))
            return self._clip(builder.ashr(sums, self.shift), self.low, self.high)
        parts = []
        for lanes in (_LOW, _HIGH):
            long_slope, long_x = (builder.sext(self._take(value, lanes), _LONGS) for value in (slope, x))
            intercept = self._permute_pair(self.intercepts, builder.zext(self._take(index, lanes), _LONGS))
            sums = builder.add(builder.mul(long_slope, long_x), intercept)
            clipped = self._clip(builder.ashr(sums, self.shift), self.low, self.high)
            parts.append(builder.trunc(clipped, ir.VectorType(_I32, LANES // 2)))
        return builder.shuffle_vector(*parts, _constant(_LOW + _HIGH))

    def _list_steps(self, upper: Any) -> list[tuple[int, Any]]:
        """Return the steps of the search after the first with where their breakpoints are: by index, but for 4."""
        quarter = self.builder.select(upper, *self.quarters)
        return [(4, quarter), (2, self.ahead), (1, self.points)]

    def _load(self, place: Any) -> Any:
        address, element, signed = self.arguments["x"]
        values = self._at(address, element, self.builder.add(place, self.arguments["start"]))
        loaded = self.builder.load(values)
        loaded.align = element.width // 8
        if element.width == 32:
            return loaded
        return (self.builder.sext if signed else self.builder.zext)(loaded, _WORDS)

    def _store(self, values: Any, place: Any) -> None:
        address, element, _ = self.arguments["out"]
        lanes = ir.VectorType(element, LANES)
        if element.width < 32:
            values = self.builder.trunc(values, lanes)
        elif element.width > 32:
            values = self.builder.sext(values, lanes)
        place = self.builder.add(place, self.arguments["out_start"])
        self.builder.store(values, self._at(address, element, place)).align = element.width // 8

    def _at(self, address: Any, element: Any, place: Any) -> Any:
        lanes = ir.VectorType(element, LANES).as_pointer()
        return self.builder.bitcast(self.builder.gep(address, [place]), lanes)

    def _load_table(self, array: Any, vector: Any, part: int) -> Any:
        address = self.builder.bitcast(array[0], vector.as_pointer())
        loaded = self.builder.load(self.builder.gep(address, [_I64(part)]))
        loaded.align = 4
        return loaded

    def _splat(self, value: Any, vector: Any) -> Any:
        if vector is _WORDS:
            value = self.builder.trunc(value, _I32)
        nothing = ir.Constant(vector, ir.Undefined)
        first = self.builder.insert_element(nothing, value, _I32(0))
        return self.builder.shuffle_vector(first, nothing, _constant([0] * vector.count))

    def _clip(self, values: Any, low: Any, high: Any) -> Any:
        builder = self.builder
        values = builder.select(builder.icmp_signed("<", values, low), low, values)
        return builder.select(builder.icmp_signed(">", values, high), high, values)

    def _take(self, values: Any, lanes: list[int]) -> Any:
        return self.builder.shuffle_vector(values, ir.Constant(_WORDS, ir.Undefined), _constant(lanes))

    def _permute(self, table: Any, index: Any) -> Any:
        return self._call("llvm.x86.avx512.permvar.si.512", _WORDS, [table, index])

    def _permute_pair(self, tables: list[Any], index: Any) -> Any:
        return self._call("llvm.x86.avx512.vpermi2var.q.512", _LONGS, [tables[0], index, tables[1]])

    def _call(self, name: str, vector: Any, arguments: list[Any]) -> Any:
        module = self.builder.module
        function = module.globals.get(name) or ir.Function(
            module, ir.FunctionType(vector, [vector] * len(arguments)), name
        )
        return self.builder.call(function, arguments)


def _constant(values: list[int]) -> Any:
    return ir.Constant(ir.VectorType(_I32, len(values)), values)


def _splat_constant(value: int) -> Any:
    return _constant([value] * LANES)


_ARRAYS = ("x", "breakpoints", "slopes", "intercepts", "out")
_NAMES = (
    "start",
    "out_start",
    "count",
    "x",
    "clip_low",
    "clip_high",
    "offset",
    "breakpoints",
    "slopes",
    "intercepts",
    "shift",
    "low",
    "high",
    "narrow",
    "out",
)


def _emit_look_up(
    _: Any,
    start: Any,
    out_start: Any,
    count: Any,
    x: Any,
    clip_low: Any,
    clip_high: Any,
    offset: Any,
    breakpoints: Any,
    slopes: Any,
    intercepts: Any,
    shift: Any,
    low: Any,
    high: Any,
    narrow: Any,
    out: Any,
) -> Any:
    """Look up x[start : start + count] and write to out[out_start:], whole vectors; return how many inputs that were.

    None where the processor lacks the instructions. Where `narrow` is 0, products and sums take 64 bits.
    Positions instead of slices: Numba counts references to a slice, which takes longer than a short row.
    """
    long = numba.types.int64
    integers = (start, out_start, count), (clip_low, clip_high, offset), (shift, low, high, narrow)
    kinds = (*integers[0], x, *integers[1], breakpoints, slopes, intercepts, *integers[2], out)
    arrays = {name: kind for name, kind in zip(_NAMES, kinds, strict=True) if name in _ARRAYS}

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        if "avx512f" not in find_usable_features():
            return _I64(0)
        given = dict(zip(_NAMES, values, strict=True))
        make_array: Any = numba.np.arrayobj.make_array
        for name, kind in arrays.items():
            array = make_array(kind)(context, builder, given[name])
            given[name] = array.data, context.get_data_type(kind.dtype), kind.dtype.signed
        whole = builder.and_(given["count"], _I64(-LANES))
        with builder.if_else(builder.icmp_signed("!=", given["narrow"], _I64(0))) as branches:
            for wide, branch in enumerate(branches):
                with branch:
                    LookupWriter(builder, given, bool(wide)).write(whole)
        return whole

    return long(*(arrays.get(name, long) for name in _NAMES)), generate


look_up_vectors: Any = numba.extending.intrinsic(_emit_look_up)


def _emit_scale_part(_: Any, part: Any, factor: Any, half: Any, shift: Any) -> Any:
    """Return (part * factor + half) >> shift in int32; Numba would take 64 bits, half as many at a time."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.ashr(builder.add(builder.mul(values[0], values[1]), values[2]), values[3])

    word = numba.types.int32
    return word(word, word, word, word), generate


scale_part: Any = numba.extending.intrinsic(_emit_scale_part)


def _emit_find_exponent(_: Any, value: Any) -> Any:
    """Return the position of the highest bit of a number of 1 or more."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.sub(_I64(63), builder.ctlz(values[0], _I1(True)))

    return numba.types.int64(numba.types.int64), generate


find_exponent: Any = numba.extending.intrinsic(_emit_find_exponent)
