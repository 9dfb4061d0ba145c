"""microkernel.py: writes the LLVM IR of the implicit-GEMM micro-kernel, for every form and finish.

The function computes one block of output rows × one panel of output channels. Its loop nest:

    sums[r][v] = bias[v]                                      rows × vectors registers, held to the end
    for tap in the block's mask, lowest bit first:            taps that at least one row has
        tap_table[tap]: address, row bytes and words of its input, offset of its weights
        input[r] = the row sources[rows[r]][tap] of that input, or zeros where that is -1
        for word in the input's words, two per turn:          1 float32, 4 uint8 or 2 int16 channels each
            weight[v] = weights[tap][word][v]
            for r in rows: sums[r][v] += dot(broadcast(input[r][word]), weight[v])
    finish sums (ReLU, requantise, dequantise or nothing); output[stores[r]] = sums[r]

Rows are read where they lie: nothing is gathered, scattered or summed in memory.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from ..jit import numba
from .forms import UNROLLED_WORDS, Form


class Finish(IntEnum):
    """What becomes of a sum before it is stored."""

    NONE = 0  # float32 or int32 as it is
    RELU = 1  # float32: negative values become zero; a NaN stays
    REQUANTISE = 2  # int32 → uint8: float32(sum) · scale, clamped to 0..255, rounded half to even
    DEQUANTISE = 3  # int32 → float32: float32(sum) · scale


FLOAT_FINISHES = (Finish.NONE, Finish.RELU)
INTEGER_FINISHES = (Finish.NONE, Finish.REQUANTISE, Finish.DEQUANTISE)

TAP_FIELDS = (
    4  # int64 per tap: address of its input, bytes per row, words per row, byte offset of its weights
)
ARGUMENTS = (
    "tap_table",  # address of (taps, TAP_FIELDS) int64
    "zero_row",  # address of zeros, read where a row has no neighbour
    "mask",  # the block's taps, one bit each
    "sources",  # address of the input ranks, int32
    "source_stride",  # bytes from the ranks of one output to those of the next
    "source_step",  # bytes from the rank under one tap to that under the next
    "weights",  # address of the panel
    "bias",  # address of the panel's bias
    "scale",  # address of the panel's scale, float32
    "output",  # address of the panel's first column in row 0
    "output_stride",  # bytes per output row
    "rows",  # address of the block's output ranks, int32
    "stores",  # address of the rows of `output` to store to, int32: mostly `rows` itself
    "finish",
)

_AHEAD = 32  # words between a prefetch and its use
_LINE = 64  # bytes of a cache line
_ROUNDING = 12582912.0  # 1.5 · 2^23: adding it to 0..255 rounds half to even into the low bits


class MicroKernelWriter:
    """Writes one micro-kernel: `form.rows` rows × (`vectors` · lanes) output channels.

    Sums are SSA values, so LLVM keeps them in registers over both loops.
    """

    def __init__(self, module: ir.Module, form: Form, vectors: int) -> None:
        self.module, self.form, self.vectors = module, form, vectors
        self.float = form.word_channels == 1
        self.i8, self.i32, self.i64, self.f32 = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()
        self.sum = ir.VectorType(self.f32 if self.float else self.i32, form.lanes)
        self.floats = ir.VectorType(self.f32, form.lanes)
        self.words = ir.VectorType(self.i32, form.lanes)

    def write(self) -> ir.Function:
        """Return the function, written into the module once; its arguments are ARGUMENTS, all int64."""
        form = self.form
        name = f"colonnade_{form.name}_{form.dot}_{form.rows}x{self.vectors}x{form.lanes}"
        if name in self.module.globals:
            return self.module.globals[name]
        signature = ir.FunctionType(ir.VoidType(), [self.i64] * len(ARGUMENTS))
        function = ir.Function(self.module, signature, name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        for argument, label in zip(function.args, ARGUMENTS, strict=True):
            argument.name = label
        self.arguments = dict(zip(ARGUMENTS, function.args, strict=True))
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self._finish(self._sum_taps(function))
        return function

    def _sum_taps(self, function: ir.Function) -> list[Any]:
        """Write the loops over taps and words; return the sums, row by row."""
        builder, mask = self.builder, self.arguments["mask"]
        entry_block = builder.block
        tap_block, word_block, next_tap, after = (
            function.append_basic_block(name) for name in ("tap", "word", "next_tap", "finish")
        )
        start = [
            self._load(self.sum, self.arguments["bias"], v) for v in range(self.vectors)
        ] * self.form.rows
        ranks = self._find_ranks()
        builder.cbranch(builder.icmp_signed("!=", mask, self._int(0)), tap_block, after)

        builder.position_at_end(tap_block)
        remaining = self._phi(self.i64, mask, entry_block)
        tap_sums = [self._phi(self.sum, value, entry_block) for value in start]
        inputs, words, weights = self._open_tap(builder.cttz(remaining, ir.Constant(ir.IntType(1), 1)), ranks)
        builder.branch(word_block)

        builder.position_at_end(word_block)
        word = self._phi(self.i64, self._int(0), tap_block)
        sums = [self._phi(self.sum, value, tap_block) for value in tap_sums]
        self._prefetch(weights, word)
        products = sums
        for step in range(UNROLLED_WORDS):
            products = self._accumulate(products, inputs, weights, builder.add(word, self._int(step)))
        following = builder.add(word, self._int(UNROLLED_WORDS))
        self._repeat(word, following, sums, products)
        builder.cbranch(builder.icmp_signed("<", following, words), word_block, next_tap)

        builder.position_at_end(next_tap)
        following = builder.and_(remaining, builder.sub(remaining, self._int(1)))
        self._repeat(remaining, following, tap_sums, products)
        builder.cbranch(builder.icmp_signed("!=", following, self._int(0)), tap_block, after)

        builder.position_at_end(after)
        results = [self._phi(self.sum, value, entry_block) for value in start]
        for result, value in zip(results, products, strict=True):
            result.add_incoming(value, next_tap)
        return results

    def _find_ranks(self) -> list[Any]:
        """Return for every row the address of its input ranks."""
        builder, arguments = self.builder, self.arguments
        outputs = [self._load_int(self.i32, arguments["rows"], self._int(r)) for r in range(self.form.rows)]
        stride = arguments["source_stride"]
        return [builder.add(arguments["sources"], builder.mul(rank, stride)) for rank in outputs]

    def _open_tap(self, tap: Any, ranks: list[Any]) -> tuple[list[Any], Any, Any]:
        """Return the addresses of the rows that a tap reads, their number of words and the tap's weights."""
        builder, arguments = self.builder, self.arguments
        first_field = builder.mul(tap, self._int(TAP_FIELDS))
        address, stride, words, offset = (
            self._load_int(self.i64, arguments["tap_table"], builder.add(first_field, self._int(field)))
            for field in range(TAP_FIELDS)
        )
        shift = builder.mul(tap, arguments["source_step"])
        inputs = []
        for rank in ranks:
            source = self._load_int(self.i32, builder.add(rank, shift), self._int(0))
            row = builder.add(address, builder.mul(source, stride))
            missing = builder.icmp_signed("<", source, self._int(0))
            inputs.append(builder.select(missing, arguments["zero_row"], row))
        panel_width = self._int(self.vectors * self.form.lanes * 4)
        return inputs, words, builder.add(arguments["weights"], builder.mul(offset, panel_width))

    def _prefetch(self, weights: Any, word: Any) -> None:
        """Ask for the weights of a later turn: they stream from the L2 cache, faster than its own prefetcher runs."""
        builder, pointer = self.builder, self.i8.as_pointer()
        word_bytes = self.vectors * self.form.lanes * 4
        line = builder.add(weights, builder.mul(builder.add(word, self._int(_AHEAD)), self._int(word_bytes)))
        read, keep, data = (ir.Constant(self.i32, value) for value in (0, 3, 1))
        for offset in range(0, UNROLLED_WORDS * word_bytes, _LINE):
            address = builder.inttoptr(builder.add(line, self._int(offset)), pointer)
            _call(builder, "llvm.prefetch.p0", ir.VoidType(), address, read, keep, data)

    def _accumulate(self, sums: list[Any], inputs: list[Any], weights: Any, word: Any) -> list[Any]:
        """Add dot(input[word], weights[word]) of every row to its sums."""
        builder = self.builder
        line = builder.add(weights, builder.mul(word, self._int(self.vectors * self.form.lanes * 4)))
        kind = self.floats if self.float else self.words
        vectors = [self._load(kind, line, v) for v in range(self.vectors)]
        undefined = ir.Constant(kind, ir.Undefined)
        all_first = ir.Constant(self.words, [0] * self.form.lanes)
        results = []
        for r, address in enumerate(inputs):
            pointer = builder.gep(builder.inttoptr(address, kind.element.as_pointer()), [word])
            value = builder.load(pointer)
            value.align = 1
            single = builder.insert_element(undefined, value, ir.Constant(self.i32, 0))
            spread = builder.shuffle_vector(single, undefined, all_first)
            for v in range(self.vectors):
                results.append(write_dot(builder, self.form, spread, vectors[v], sums[r * self.vectors + v]))
        return results

    def _finish(self, sums: list[Any]) -> None:
        """Write one branch per finish: transform the sums and store them row by row."""
        builder, function = self.builder, self.builder.function
        done = function.append_basic_block("done")
        otherwise = function.append_basic_block("store")
        choice = builder.switch(self.arguments["finish"], otherwise)
        finishes = FLOAT_FINISHES if self.float else INTEGER_FINISHES
        for finish in finishes:
            block = otherwise
            if finish is not Finish.NONE:
                block = function.append_basic_block(finish.name.lower())
                choice.add_case(self._int(finish), block)
            builder.position_at_end(block)
            scale = [self._load(self.floats, self.arguments["scale"], v) for v in range(self.vectors)]
            values = [
                write_transform(builder, value, scale[i % self.vectors], finish)
                for i, value in enumerate(sums)
            ]
            self._store_rows(values)
            builder.branch(done)
        builder.position_at_end(done)
        builder.ret_void()

    def _store_rows(self, values: list[Any]) -> None:
        builder, arguments = self.builder, self.arguments
        for r in range(self.form.rows):
            rank = self._load_int(self.i32, arguments["stores"], self._int(r))
            row = builder.add(arguments["output"], builder.mul(rank, arguments["output_stride"]))
            for v in range(self.vectors):
                value = values[r * self.vectors + v]
                builder.store(value, self._vector_pointer(value.type, row, v)).align = 1

    def _repeat(self, counter: Any, following: Any, sums: list[Any], updated: list[Any]) -> None:
        """Feed the loop's next counter and sums back from the current block."""
        here = self.builder.block
        counter.add_incoming(following, here)
        for phi, value in zip(sums, updated, strict=True):
            phi.add_incoming(value, here)

    def _phi(self, kind: Any, value: Any, block: Any) -> Any:
        phi = self.builder.phi(kind)
        phi.add_incoming(value, block)
        return phi

    def _int(self, value: int) -> Any:
        return ir.Constant(self.i64, value)

    def _load_int(self, kind: Any, address: Any, index: Any) -> Any:
        """Load element `index` of an array of integers as int64."""
        value = self.builder.load(
            self.builder.gep(self.builder.inttoptr(address, kind.as_pointer()), [index])
        )
        return value if kind == self.i64 else self.builder.sext(value, self.i64)

    def _vector_pointer(self, kind: Any, address: Any, index: int) -> Any:
        size = self.form.lanes * (kind.element.width // 8 if isinstance(kind.element, ir.IntType) else 4)
        shifted = self.builder.add(address, self._int(index * size))
        return self.builder.inttoptr(shifted, kind.as_pointer())

    def _load(self, kind: Any, address: Any, index: int) -> Any:
        value = self.builder.load(self._vector_pointer(kind, address, index))
        value.align = 4
        return value


def write_dot(builder: ir.IRBuilder, form: Form, word: Any, weight: Any, total: Any) -> Any:
    """Write total + dot(word, weight) per lane, in the instruction of the form."""
    lanes = form.lanes
    if form.dot == "multiply-add":
        return builder.fadd(builder.fmul(word, weight), total)
    if form.dot == "fma":
        return _call(builder, f"llvm.fma.v{lanes}f32", total.type, word, weight, total)
    if form.dot == "pairs":
        return _write_pairs(builder, word, weight, total)
    quads = ir.VectorType(ir.IntType(8), 4 * lanes)
    if form.dot == "usdot":
        name, kind = f"llvm.aarch64.neon.usdot.v{lanes}i32.v{4 * lanes}i8", quads
    else:
        name, kind = f"llvm.x86.avx512.vpdpbusd.{32 * lanes}", quads if _takes_bytes() else total.type
    return _call(builder, name, total.type, total, builder.bitcast(word, kind), builder.bitcast(weight, kind))


def _write_pairs(builder: ir.IRBuilder, word: Any, weight: Any, total: Any) -> Any:
    """Write total + the sum of two int16 products per lane; at most 2 · 255 · 128, so it is exact."""
    lanes = total.type.count
    halves = ir.VectorType(ir.IntType(16), 2 * lanes)
    wide = ir.VectorType(ir.IntType(32), 2 * lanes)
    a, b = (builder.sext(builder.bitcast(value, halves), wide) for value in (word, weight))
    products, undefined = builder.mul(a, b), ir.Constant(wide, ir.Undefined)
    even, odd = (
        builder.shuffle_vector(products, undefined, ir.Constant(total.type, list(range(first, 2 * lanes, 2))))
        for first in (0, 1)
    )
    return builder.add(total, builder.add(even, odd))


def _call(builder: ir.IRBuilder, name: str, result: Any, *operands: Any) -> Any:
    """Call an LLVM intrinsic, declared in the module once."""
    module = builder.module
    signature = ir.FunctionType(result, [operand.type for operand in operands])
    return builder.call(module.globals.get(name) or ir.Function(module, signature, name), operands)


def write_transform(builder: ir.IRBuilder, value: Any, scale: Any, finish: Finish) -> Any:
    """Write what a finish makes of a vector of sums; `scale` is a vector of float32."""
    if finish is Finish.NONE:
        return value
    floats, lanes = scale.type, scale.type.count
    zero = ir.Constant(floats, [0.0] * lanes)
    if finish is Finish.RELU:
        return builder.select(builder.fcmp_ordered("<", value, zero), zero, value)
    scaled = builder.fmul(builder.sitofp(value, floats), scale)
    if finish is Finish.DEQUANTISE:
        return scaled
    top = ir.Constant(floats, [255.0] * lanes)
    scaled = builder.select(builder.fcmp_ordered("<", scaled, zero), zero, scaled)
    scaled = builder.select(builder.fcmp_ordered(">", scaled, top), top, scaled)
    rounded = builder.fadd(scaled, ir.Constant(floats, [_ROUNDING] * lanes))
    bits = builder.bitcast(rounded, ir.VectorType(ir.IntType(32), lanes))
    return builder.trunc(bits, ir.VectorType(ir.IntType(8), lanes))


def _emit_copy(typing_context: Any, target: Any, source: Any, count: Any) -> Any:
    """Copy `count` bytes between addresses (int64)."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        target, source, count = values
        pointer, flag = ir.IntType(8).as_pointer(), ir.IntType(1)
        places = (builder.inttoptr(value, pointer) for value in (target, source))
        _call(builder, "llvm.memcpy.p0.p0.i64", ir.VoidType(), *places, count, ir.Constant(flag, 0))
        return context.get_dummy_value()

    return numba.types.void(*[numba.types.int64] * 3), generate


copy_bytes: Any = numba.extending.intrinsic(_emit_copy)


def _takes_bytes() -> bool:
    """Tell whether this LLVM declares vpdpbusd on vectors of bytes (22 and later) or of 32-bit words."""
    declaration = "declare <16 x i32> @llvm.x86.avx512.vpdpbusd.512(<16 x i32>, <64 x i8>, <64 x i8>)"
    try:
        llvm.parse_assembly(declaration).verify()
    except RuntimeError:
        return False
    return True
