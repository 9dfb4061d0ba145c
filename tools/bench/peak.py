"""peak.py: the rates that the cores themselves reach: multiply-adds in registers, and bytes read from memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir

from ...runtime.jit import kernel, numba, parallel_kernel, prange
from ...runtime.sparse.forms import FLOAT_FORM, VECTOR_INTEGER_FORM, Form
from ...runtime.sparse.microkernel import write_dot
from ...runtime.threads import thread_budget

VECTOR_UNIT, TILE_UNIT = "vector unit", "tile unit"
_SECONDS = 0.02  # of one run
_RUNS = 7  # of which the fastest counts
_SIZES = tuple(2**power for power in range(17, 29))  # [B] 128 KiB to 256 MiB
_PASS_BYTES = 1 << 27  # that one run of a bandwidth loop reads at least
_READ_VECTORS = 8  # that one turn of the reading loop takes up
_SEED = 3
_MANY_REGISTERS = 16  # lanes from which a CPU has 32 vector registers (AVX-512); AArch64 has them, too

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Peak:
    """The rate of one instruction on `threads` cores.

    Attributes:
        precision: "fp32" or "int8".
        unit: VECTOR_UNIT, or TILE_UNIT where a CPU has that beside it.
        instruction: such as "fma, 16 lanes".
        threads: that run it at the same time.
        gops: 10⁹ operations per second, a multiplication and its addition being two.
    """

    precision: str
    unit: str
    instruction: str
    threads: int
    gops: float


@dataclass(frozen=True)
class Bandwidth:
    """Bytes per second that one core reads, by the size of what it reads again and again.

    Attributes:
        sizes: [B], ascending.
        gbs: 10⁹ bytes per second at each size.
    """

    sizes: tuple[int, ...]
    gbs: tuple[float, ...]

    def find(self, size: float) -> float:
        """Return the rate of the smallest measured working set that holds `size` bytes."""
        for measured, rate in zip(self.sizes, self.gbs, strict=True):
            if size <= measured:
                return rate
        return self.gbs[-1]


class PeakMeter:
    """Measures one instruction's rate: `Form.dot` on sums that stay in registers.

    Args:
        form: the instruction and its lanes.
        threads: that run it at the same time.
    """

    def __init__(self, form: Form, threads: int = 1) -> None:
        self.form, self.threads = form, threads
        self.precision = "fp32" if form.word_channels == 1 else "int8"
        self._loop = _run_float_loop if self.precision == "fp32" else _run_integer_loop
        sums = count_sums(form)
        rng = np.random.default_rng(_SEED)
        values = rng.integers(0, 100, 2 * 4 * form.lanes, np.uint8)
        if self.precision == "fp32":
            values = rng.random(2 * form.lanes, np.float32).view(np.uint8)
        self._values = values
        self._out = np.zeros((threads, 4 * form.lanes * sums), np.uint8)
        # Two operations for each channel of each lane.
        self._ops = 2 * form.word_channels * form.lanes * sums
        self._turns = 1000
        self.run()  # compiles
        while (fastest := min(_time(self.run) for _ in range(3))) < _SECONDS / 2:
            self._turns = int(self._turns * min(100.0, 1.1 * _SECONDS / max(fastest, 1e-6)))

    def run(self) -> None:
        """Run once, for about 20 ms."""
        with thread_budget(self.threads):
            self._loop(self._turns, self._values, self._out)

    def rate(self, seconds: float) -> float:
        """Return 10⁹ operations per second of a run that took `seconds`."""
        return self._ops * self._turns * self.threads / seconds / 1e9

    def describe(self, gops: float) -> Peak:
        """Return the record of a rate."""
        instruction = f"{self.form.dot}, {self.form.lanes} lanes"
        return Peak(self.precision, VECTOR_UNIT, instruction, self.threads, gops)


def open_meters(threads: int = 1) -> tuple[PeakMeter, PeakMeter]:
    """Return a meter of the fp32 and one of the int8 peak."""
    return PeakMeter(FLOAT_FORM, threads), PeakMeter(VECTOR_INTEGER_FORM, threads)


def measure_bandwidth(sizes: tuple[int, ...] = _SIZES) -> Bandwidth:
    """Return what one core reads from its caches and from memory, the fastest of 7 runs each."""
    data = np.ones(max(sizes), np.uint8)
    return Bandwidth(sizes, tuple(_measure_reading(data[:size]) for size in sizes))


def _measure_reading(data: Bytes) -> float:
    out = np.zeros(_READ_VECTORS * 4 * FLOAT_FORM.lanes, np.uint8)
    passes = max(1, _PASS_BYTES // data.nbytes)
    _read(data, 1, out)
    return passes * data.nbytes / min(_time(lambda: _read(data, passes, out)) for _ in range(_RUNS)) / 1e9


def _time(call: Callable[[], Any]) -> float:
    """Return the wall time of a call [s]."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def count_sums(form: Form) -> int:
    """Return how many independent sums a loop holds: enough to hide the latency, few enough for the registers."""
    return 24 if form.lanes >= _MANY_REGISTERS or form.name.startswith("neon") else 12


def write_loop(module: ir.Module, form: Form) -> ir.Function:
    """Write void(turns, values, out), all int64: `turns` times, every sum takes up one word product.

    Args:
        module: to write into, once.
        form: the instruction; `values` holds two vectors of its words, `out` takes up the sums at the end.
    """
    name = f"colonnade_peak_{form.name}_{form.dot}_{form.lanes}"
    if name in module.globals:
        return module.globals[name]
    i64 = ir.IntType(64)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [i64] * 3), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    turns, values, out = function.args
    entry, body, after = (function.append_basic_block(block) for block in ("entry", "turn", "after"))
    builder = ir.IRBuilder(entry)
    kind = ir.VectorType(ir.FloatType() if form.word_channels == 1 else ir.IntType(32), form.lanes)

    def locate(base: Any, index: int) -> Any:
        shifted = builder.add(base, ir.Constant(i64, 4 * form.lanes * index))
        return builder.inttoptr(shifted, kind.as_pointer())

    words = [builder.load(locate(values, index)) for index in (0, 1)]
    for word in words:
        word.align = 1
    builder.branch(body)
    builder.position_at_end(body)
    counter = builder.phi(i64)
    counter.add_incoming(ir.Constant(i64, 0), entry)
    sums = [builder.phi(kind) for _ in range(count_sums(form))]
    following = builder.add(counter, ir.Constant(i64, 1))
    counter.add_incoming(following, body)
    for total in sums:
        total.add_incoming(ir.Constant(kind, None), entry)
        total.add_incoming(_multiply_add(builder, form, words[0], words[1], total), body)
    builder.cbranch(builder.icmp_signed("<", following, turns), body, after)
    builder.position_at_end(after)
    for index, total in enumerate(sums):
        builder.store(total.incomings[1][0], locate(out, index)).align = 1
    builder.ret_void()
    return function


def write_read_loop(module: ir.Module, form: Form) -> ir.Function:
    """Write void(bytes, data, out), all int64: combine all vectors of `data`, and store what comes out."""
    name = f"colonnade_read_{form.lanes}"
    if name in module.globals:
        return module.globals[name]
    i64 = ir.IntType(64)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [i64] * 3), name)
    function.linkage = "internal"
    function.attributes.add("noinline")  # or a second pass over the same data could be left out
    size, data, out = function.args
    entry, body, after = (function.append_basic_block(block) for block in ("entry", "line", "after"))
    builder = ir.IRBuilder(entry)
    builder.branch(body)
    builder.position_at_end(body)
    kind = ir.VectorType(ir.IntType(32), form.lanes)
    offset = builder.phi(i64)
    sums = [builder.phi(kind) for _ in range(_READ_VECTORS)]
    results = []
    for index, total in enumerate(sums):
        place = builder.add(builder.add(data, offset), ir.Constant(i64, 4 * form.lanes * index))
        value = builder.load(builder.inttoptr(place, kind.as_pointer()))
        value.align = 1
        results.append(builder.xor(total, value))
        total.add_incoming(ir.Constant(kind, None), entry)
        total.add_incoming(results[-1], body)
    following = builder.add(offset, ir.Constant(i64, 4 * form.lanes * _READ_VECTORS))
    offset.add_incoming(ir.Constant(i64, 0), entry)
    offset.add_incoming(following, body)
    builder.cbranch(builder.icmp_signed("<", following, size), body, after)
    builder.position_at_end(after)
    for index, total in enumerate(results):
        place = builder.add(out, ir.Constant(i64, 4 * form.lanes * index))
        builder.store(total, builder.inttoptr(place, kind.as_pointer())).align = 1
    builder.ret_void()
    return function


def _multiply_add(builder: ir.IRBuilder, form: Form, word: Any, weight: Any, total: Any) -> Any:
    """Return the next total, by the instruction of the form; a product of constants alone would leave the loop."""
    if form.dot == "multiply-add":
        return write_dot(builder, form, word, total, weight)
    if form.dot == "pairs":
        return write_dot(builder, form, total, weight, total)
    return write_dot(builder, form, word, weight, total)


def _make_intrinsic(write: Callable[[ir.Module, Form], ir.Function], form: Form) -> Any:
    """Return a loop as a Numba intrinsic of three int64."""

    def run_loop(typing_context: Any, first: Any, second: Any, third: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            builder.call(write(builder.module, form), arguments)
            return context.get_dummy_value()

        return numba.types.void(*[numba.types.int64] * 3), generate

    return numba.extending.intrinsic(run_loop)


_float_loop = _make_intrinsic(write_loop, FLOAT_FORM)
_integer_loop = _make_intrinsic(write_loop, VECTOR_INTEGER_FORM)
_read_once = _make_intrinsic(write_read_loop, FLOAT_FORM)


@parallel_kernel
def _run_float_loop(turns: int, values: Bytes, out: Bytes) -> None:
    for thread in prange(out.shape[0]):
        _float_loop(np.int64(turns), np.int64(values.ctypes.data), np.int64(out[thread].ctypes.data))


@parallel_kernel
def _run_integer_loop(turns: int, values: Bytes, out: Bytes) -> None:
    for thread in prange(out.shape[0]):
        _integer_loop(np.int64(turns), np.int64(values.ctypes.data), np.int64(out[thread].ctypes.data))


@kernel
def _read(data: Bytes, passes: int, out: Bytes) -> None:
    """Read all of `data` `passes` times."""
    for _ in range(passes):
        _read_once(np.int64(data.size), np.int64(data.ctypes.data), np.int64(out.ctypes.data))


def show_assembly(precision: str) -> str:
    """Return the machine code of a compiled loop, for tests."""
    loop: Any = _run_float_loop if precision == "fp32" else _run_integer_loop
    return "\n".join(loop.inspect_asm().values())
