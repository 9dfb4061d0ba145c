"""amx.py: the int8 peak of the tile unit (AMX), which some server CPUs have beside their vector unit."""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt
from llvmlite import ir

from ...runtime.cpu import request_tiles
from ...runtime.errors import UsageError
from ...runtime.jit import numba, parallel_kernel, prange
from ...runtime.threads import thread_budget
from .peak import TILE_UNIT, Peak

Bytes = npt.NDArray[np.uint8]
Sums = npt.NDArray[np.int32]

_SUMS, _FIRST_INPUT, _SECOND_INPUT = 6, 6, 7  # tiles 0..5 are sums
_ROWS, _ROW_BYTES = 16, 64
_OPS = 2 * _SUMS * _ROWS * 16 * _ROW_BYTES  # per turn: 16 x 16 sums of 64 products in each tile
TURNS = 250_000  # about 20 ms


class TileMeter:
    """Measures the rate of `tdpbusd` on sums that stay in tiles; the twin of `PeakMeter`.

    Args:
        threads: that run it at the same time.

    Attributes:
        sums: (threads, tiles of sums, 16, 16) int32, as the last run left them: all factors are ones.

    Raises:
        UsageError: the CPU has no tile unit, or the operating system does not give it; see `has_tiles`.
    """

    precision = "int8"

    def __init__(self, threads: int = 1) -> None:
        if not has_tiles():
            raise UsageError("this machine gives no tile unit to measure")
        self.threads = threads
        self._config = _build_config()
        self._data = np.ones((threads, _ROWS * _ROW_BYTES), np.uint8)
        self.sums = np.zeros((threads, _SUMS, _ROWS, _ROW_BYTES // 4), np.int32)
        self.run()  # compiles

    def run(self) -> None:
        """Run once, for about 20 ms."""
        with thread_budget(self.threads):
            _run_tiles(TURNS, self._config, self._data, self.sums)

    def rate(self, seconds: float) -> float:
        """Return 10⁹ operations per second of a run that took `seconds`."""
        return _OPS * TURNS * self.threads / seconds / 1e9

    def describe(self, gops: float) -> Peak:
        """Return the record of a rate."""
        return Peak("int8", TILE_UNIT, "tdpbusd, 16 x 16 x 64", self.threads, gops)


def has_tiles() -> bool:
    """Tell whether code for this CPU may use its tile unit, and ask the operating system for it."""
    config: Any = numba.config
    if config.CPU_NAME or config.CPU_FEATURES:  # compiled for another CPU
        return False
    features = llvm.get_host_cpu_features()
    return bool(features.get("amx-tile") and features.get("amx-int8")) and request_tiles()


def _build_config() -> Bytes:
    """Return the 64-byte configuration: palette 1, eight tiles of 16 rows of 64 bytes."""
    config = np.zeros(64, np.uint8)
    config[0] = 1
    config[16:32].view(np.uint16)[:] = _ROW_BYTES
    config[48:56] = _ROWS
    return config


def _write_loop(module: ir.Module) -> ir.Function:
    """Write void(turns, config, data, out), all int64: every sum tile takes up one product of tiles per turn."""
    name = "colonnade_peak_amx"
    if name in module.globals:
        return module.globals[name]
    i64, i8 = ir.IntType(64), ir.IntType(8)
    pointer = i8.as_pointer()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [i64] * 4), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    entry, body, after = (function.append_basic_block(block) for block in ("entry", "turn", "after"))
    builder = ir.IRBuilder(entry)

    def call(instruction: str, *operands: Any) -> None:
        label = f"llvm.x86.{instruction}"
        signature = ir.FunctionType(ir.VoidType(), [operand.type for operand in operands])
        builder.call(module.globals.get(label) or ir.Function(module, signature, label), operands)

    turns, config, data, out = function.args
    place, stride = builder.inttoptr(data, pointer), ir.Constant(i64, _ROW_BYTES)
    call("ldtilecfg", builder.inttoptr(config, pointer))
    for tile in range(_SUMS):
        call("tilezero", i8(tile))
    for tile in (_FIRST_INPUT, _SECOND_INPUT):
        call("tileloadd64", i8(tile), place, stride)
    builder.branch(body)
    builder.position_at_end(body)
    counter = builder.phi(i64)
    counter.add_incoming(ir.Constant(i64, 0), entry)
    for tile in range(_SUMS):
        call("tdpbusd", i8(tile), i8(_FIRST_INPUT), i8(_SECOND_INPUT))
    following = builder.add(counter, ir.Constant(i64, 1))
    counter.add_incoming(following, body)
    builder.cbranch(builder.icmp_signed("<", following, turns), body, after)
    builder.position_at_end(after)
    for tile in range(_SUMS):
        address = builder.add(out, ir.Constant(i64, tile * _ROWS * _ROW_BYTES))
        call("tilestored64", i8(tile), builder.inttoptr(address, pointer), stride)
    call("tilerelease")
    builder.ret_void()
    return function


def _run_loop(typing_context: Any, turns: Any, config: Any, data: Any, out: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.call(_write_loop(builder.module), arguments)
        return context.get_dummy_value()

    return numba.types.void(*[numba.types.int64] * 4), generate


_tile_loop: Any = numba.extending.intrinsic(_run_loop)


@parallel_kernel
def _run_tiles(turns: int, config: Bytes, data: Bytes, sums: Sums) -> None:
    for thread in prange(data.shape[0]):
        _tile_loop(
            np.int64(turns),
            np.int64(config.ctypes.data),
            np.int64(data[thread].ctypes.data),
            np.int64(sums[thread].ctypes.data),
        )
