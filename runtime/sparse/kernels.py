"""kernels.py: the fp32 implicit-GEMM kernel: gathered pillar rows times packed weights, held in registers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt
from llvmlite import ir

from ..jit import numba, parallel_kernel, prange
from .plan import BlockPlan, Int32, Int64

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Tile:
    """How much of the output one micro-kernel call keeps in registers.

    Attributes:
        lanes: floats per vector register.
        vectors: vector registers per output row, in the widest panel.
        rows: output rows.
        fused: the CPU has a fused multiply-add; elsewhere `llvm.fma` would become a slow library call.
    """

    lanes: int
    vectors: int
    rows: int
    fused: bool


def choose_tile(architecture: str, features: frozenset[str]) -> Tile:
    """Return the tile for a CPU: accumulators, one row of weights and a broadcast must fit its registers."""
    if architecture in ("aarch64", "arm64"):
        return Tile(lanes=4, vectors=4, rows=6, fused=True)  # 32 registers of 128 bits
    if "avx512f" in features:
        return Tile(lanes=16, vectors=4, rows=6, fused=True)  # 32 registers of 512 bits
    if {"avx2", "fma"} <= features:
        return Tile(lanes=8, vectors=2, rows=6, fused=True)  # 16 registers of 256 bits
    return Tile(lanes=4, vectors=2, rows=4, fused=False)  # 16 registers of 128 bits (SSE2 and unknown CPUs)


def _host_tile() -> Tile:
    """Return the tile for the CPU that Numba compiles for, which its environment variables may restrict."""
    architecture = llvm.get_default_triple().split("-")[0]
    config: Any = numba.config
    if config.CPU_FEATURES is not None:
        names = config.CPU_FEATURES.split(",")
        return choose_tile(architecture, frozenset(name[1:] for name in names if name.startswith("+")))
    if not config.ENABLE_AVX:
        return choose_tile(architecture, frozenset())
    present = llvm.get_host_cpu_features()
    return choose_tile(architecture, frozenset(name for name, has in present.items() if has))


TILE = _host_tile()
_LANES = TILE.lanes
_VECTORS = TILE.vectors
_BLOCKS_PER_TASK = 16  # blocks that share one pass over a weight panel while it is in the L2 cache


@dataclass(frozen=True, eq=False)
class PackedWeight:
    """The weights of one layer in the order in which the kernel reads them.

    Attributes:
        panels: flat float32, 64-byte aligned: for each panel of output channels (taps, Cin, panel width).
        panel_ptr: (panels + 1) int64, first output channel of each panel, then Cout rounded up to lanes.
        out_channels, in_channels: Cout and Cin.
        kernel: (kh, kw).
    """

    panels: Float32
    panel_ptr: Int64
    out_channels: int
    in_channels: int
    kernel: tuple[int, int]


def pack_panels(weight: Float32) -> PackedWeight:
    """Pack a float32 weight (Cout, Cin, kh, kw), padding Cout with zeros to whole vectors."""
    out_channels, in_channels, height, width = weight.shape
    padded = -(-out_channels // TILE.lanes) * TILE.lanes
    starts = [0]
    panel = TILE.vectors * TILE.lanes
    while starts[-1] < padded:
        while panel > padded - starts[-1]:
            panel //= 2
        starts.append(starts[-1] + panel)
    taps = height * width
    by_tap = np.zeros((taps, in_channels, padded), np.float32)
    by_tap[:, :, :out_channels] = weight.reshape(out_channels, in_channels, taps).transpose(2, 1, 0)
    panels = _allocate_aligned(by_tap.size)
    for first, last in pairwise(starts):
        size = taps * in_channels
        panels[first * size : last * size] = by_tap[:, :, first:last].ravel()
    return PackedWeight(panels, np.array(starts, np.int64), out_channels, in_channels, (height, width))


def _allocate_aligned(size: int) -> Float32:
    """Return `size` float32 on a cache-line boundary, so that no vector load crosses two lines."""
    buffer = np.empty(size + 16, np.float32)
    offset = -(buffer.ctypes.data // 4) % 16
    return buffer[offset : offset + size]


def convolve_f32(
    features: Float32, plan: BlockPlan, weight: PackedWeight, bias: Float32, relu: bool
) -> Float32:
    """Run one layer on the current Numba threads.

    Every output is the sum bias + taps in order × channels in order, computed by one thread, so its bits do
    not depend on the number of threads.

    Args:
        features: (P_in, Cin) float32, contiguous.
        plan: blocks of `TILE.rows` rows.
        weight: packed weights.
        bias: (Cout) float32.
        relu: set negative outputs to zero (NaN stays NaN).

    Returns:
        (P_out, Cout) float32.
    """
    out_channels = weight.out_channels
    output = np.empty((plan.outputs, out_channels), np.float32)
    padded_bias = np.zeros(int(weight.panel_ptr[-1]), np.float32)
    padded_bias[:out_channels] = bias
    zero_row = np.zeros(weight.in_channels, np.float32)
    _convolve_blocks_f32(
        features,
        zero_row,
        plan.block_ptr,
        plan.taps,
        plan.sources,
        plan.rows,
        weight.panels,
        weight.panel_ptr,
        weight.kernel[0] * weight.kernel[1],
        padded_bias,
        relu,
        numba.get_num_threads(),
        output,
    )
    return output


class _MicroKernelWriter:
    """Writes the LLVM IR of one micro-kernel: `rows` × (`vectors` · lanes) outputs over all taps of a block.

    The function takes fourteen int64: addresses, and sizes in bytes or elements (see `_micro_kernel`).
    Accumulators are SSA values, so LLVM keeps them in registers over both loops (taps, channels).
    """

    def __init__(self, module: ir.Module, tile: Tile, vectors: int) -> None:
        self.module, self.tile, self.vectors = module, tile, vectors
        self.i32, self.i64, self.f32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
        self.vector = ir.VectorType(self.f32, tile.lanes)
        self.name = f"colonnade_conv_f32_{tile.rows}x{vectors}x{tile.lanes}"

    def write(self) -> ir.Function:
        """Return the function, written into the module once."""
        if self.name in self.module.globals:
            return self.module.globals[self.name]
        signature = ir.FunctionType(ir.VoidType(), [self.i64] * 14)
        function = ir.Function(self.module, signature, self.name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        (
            features,
            feature_stride,
            zero_row,
            taps,
            sources,
            tap_count,
            channels,
            weights,
            tap_stride,
            bias,
        ) = function.args[:10]
        output, output_stride, rows, relu = function.args[10:]

        blocks = {
            name: function.append_basic_block(name)
            for name in ("entry", "tap", "channel", "next_tap", "activate", "store")
        }
        self.builder = builder = ir.IRBuilder(blocks["entry"])
        start = [self._load_vector(bias, j) for j in range(self.vectors)] * self.tile.rows
        builder.cbranch(builder.icmp_signed(">", tap_count, self._int(0)), blocks["tap"], blocks["activate"])

        builder.position_at_end(blocks["tap"])
        entry = self._phi(self.i64, self._int(0), blocks["entry"])
        tap_sums = [self._phi(self.vector, value, blocks["entry"]) for value in start]
        tap = self._load_int(taps, entry)
        tap_weights = builder.add(weights, builder.mul(tap, tap_stride))
        first_source = builder.mul(entry, self._int(self.tile.rows))
        inputs = []
        for r in range(self.tile.rows):
            source = self._load_int(sources, builder.add(first_source, self._int(r)))
            address = builder.add(features, builder.mul(source, feature_stride))
            missing = builder.icmp_signed("<", source, self._int(0))
            inputs.append(builder.select(missing, zero_row, address))
        builder.branch(blocks["channel"])

        builder.position_at_end(blocks["channel"])
        channel = self._phi(self.i64, self._int(0), blocks["tap"])
        sums = [self._phi(self.vector, value, blocks["tap"]) for value in tap_sums]
        products = self._accumulate(sums, inputs, tap_weights, channel)
        self._close_loop(channel, channels, sums, products, blocks["channel"], blocks["next_tap"])

        builder.position_at_end(blocks["next_tap"])
        self._close_loop(entry, tap_count, tap_sums, products, blocks["tap"], blocks["activate"])

        builder.position_at_end(blocks["activate"])
        results = [self._phi(self.vector, value, blocks["entry"]) for value in start]
        for result, value in zip(results, products, strict=True):
            result.add_incoming(value, blocks["next_tap"])
        results = self._rectify(results, builder.icmp_signed("!=", relu, self._int(0)))
        builder.branch(blocks["store"])

        builder.position_at_end(blocks["store"])
        for r in range(self.tile.rows):
            row = builder.add(output, builder.mul(self._load_int(rows, self._int(r)), output_stride))
            for j in range(self.vectors):
                self._store_vector(results[r * self.vectors + j], row, j)
        builder.ret_void()
        return function

    def _accumulate(self, sums: list[Any], inputs: list[Any], weights: Any, channel: Any) -> list[Any]:
        """Add input[channel] × weights[channel] of every row to its sums."""
        builder = self.builder
        row_bytes = self.vectors * self.tile.lanes * 4
        line = builder.add(weights, builder.mul(channel, self._int(row_bytes)))
        vectors = [self._load_vector(line, j) for j in range(self.vectors)]
        undefined = ir.Constant(self.vector, ir.Undefined)
        all_first = ir.Constant(ir.VectorType(self.i32, self.tile.lanes), [0] * self.tile.lanes)
        results = []
        for r, address in enumerate(inputs):
            pointer = builder.gep(builder.inttoptr(address, self.f32.as_pointer()), [channel])
            value = builder.load(pointer)
            value.align = 4
            single = builder.insert_element(undefined, value, ir.Constant(self.i32, 0))
            spread = builder.shuffle_vector(single, undefined, all_first)
            for j in range(self.vectors):
                results.append(self._multiply_add(spread, vectors[j], sums[r * self.vectors + j]))
        return results

    def _multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        if not self.tile.fused:
            return self.builder.fadd(self.builder.fmul(a, b), c)
        name = f"llvm.fma.v{self.tile.lanes}f32"
        fma = self.module.globals.get(name)
        if fma is None:
            fma = ir.Function(self.module, ir.FunctionType(self.vector, [self.vector] * 3), name)
        return self.builder.call(fma, [a, b, c])

    def _rectify(self, values: list[Any], wanted: Any) -> list[Any]:
        """Return the values, negative ones set to zero where `wanted`; a NaN compares false and stays."""
        builder = self.builder
        zero = ir.Constant(self.vector, [0.0] * self.tile.lanes)
        rectified = [builder.select(builder.fcmp_ordered("<", value, zero), zero, value) for value in values]
        return [builder.select(wanted, r, value) for r, value in zip(rectified, values, strict=True)]

    def _close_loop(
        self, counter: Any, limit: Any, sums: list[Any], updated: list[Any], again: Any, after: Any
    ) -> None:
        """Count up, feed the updated sums back and branch to `again` until `limit`."""
        here = self.builder.block
        following = self.builder.add(counter, self._int(1))
        counter.add_incoming(following, here)
        for phi, value in zip(sums, updated, strict=True):
            phi.add_incoming(value, here)
        self.builder.cbranch(self.builder.icmp_signed("<", following, limit), again, after)

    def _phi(self, kind: Any, value: Any, block: Any) -> Any:
        phi = self.builder.phi(kind)
        phi.add_incoming(value, block)
        return phi

    def _int(self, value: int) -> Any:
        return ir.Constant(self.i64, value)

    def _load_int(self, address: Any, index: Any) -> Any:
        """Load element `index` of an int32 array as int64."""
        pointer = self.builder.gep(self.builder.inttoptr(address, self.i32.as_pointer()), [index])
        return self.builder.sext(self.builder.load(pointer), self.i64)

    def _vector_pointer(self, address: Any, index: int) -> Any:
        shifted = self.builder.add(address, self._int(index * self.tile.lanes * 4))
        return self.builder.inttoptr(shifted, self.vector.as_pointer())

    def _load_vector(self, address: Any, index: int) -> Any:
        value = self.builder.load(self._vector_pointer(address, index))
        value.align = 4
        return value

    def _store_vector(self, value: Any, address: Any, index: int) -> None:
        self.builder.store(value, self._vector_pointer(address, index)).align = 4


def _micro_kernel(vectors: int) -> Any:
    """Return a Numba intrinsic that runs one block of a plan on a panel of `vectors` · lanes channels."""

    def run_block(
        typing_context: Any,
        features: Any,  # address of (P_in, Cin) float32
        feature_stride: Any,  # bytes per input row
        zero_row: Any,  # address of Cin zeros, read where a row has no neighbour
        taps: Any,  # address of the block's taps, int32
        sources: Any,  # address of the block's (taps, rows) input ranks, int32
        tap_count: Any,
        channels: Any,  # Cin
        weights: Any,  # address of the panel
        tap_stride: Any,  # bytes per tap in the panel
        bias: Any,  # address of the panel's bias
        output: Any,  # address of the panel's first column in row 0
        output_stride: Any,  # bytes per output row
        rows: Any,  # address of the block's output ranks, int32
        relu: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            builder.call(_MicroKernelWriter(builder.module, TILE, vectors).write(), arguments)
            return context.get_dummy_value()

        return numba.types.void(*[numba.types.int64] * 14), generate

    return numba.extending.intrinsic(run_block)


_run_block_quarter = _micro_kernel(max(1, TILE.vectors // 4))
_run_block_half = _micro_kernel(max(1, TILE.vectors // 2))
_run_block_full = _micro_kernel(TILE.vectors)


@parallel_kernel
def _convolve_blocks_f32(
    features: Float32,
    zero_row: Float32,
    block_ptr: Int64,
    taps: Int32,
    sources: Int32,
    rows: Int32,
    panels: Float32,
    panel_ptr: Int64,
    kernel_taps: int,
    bias: Float32,
    relu: bool,
    threads: int,
    output: Float32,
) -> None:
    """Cut the plan into tasks of equal numbers of taps and run each, panel by panel."""
    blocks, rows_per_block = rows.shape
    channels = features.shape[1]
    out_channels = output.shape[1]
    tasks = (blocks + _BLOCKS_PER_TASK * threads - 1) // (_BLOCKS_PER_TASK * threads) * threads
    task_ptr = np.zeros(tasks + 1, np.int64)
    block = 0
    for task in range(1, tasks + 1):
        while block < blocks and block_ptr[block] * tasks < block_ptr[blocks] * task:
            block += 1
        task_ptr[task] = block
    own_rows = np.arange(rows_per_block).astype(np.int32)
    for task in prange(tasks):
        # The micro-kernel stores whole vectors: a panel that sticks out beyond Cout goes through a buffer.
        overhang = np.empty((rows_per_block, _VECTORS * _LANES), np.float32)
        for panel in range(panel_ptr.size - 1):
            first = panel_ptr[panel]
            width = panel_ptr[panel + 1] - first
            weights = panels.ctypes.data + 4 * first * kernel_taps * channels
            columns = min(width, out_channels - first)
            for b in range(task_ptr[task], task_ptr[task + 1]):
                if columns == width:
                    out_address = output.ctypes.data + 4 * first
                    out_stride = 4 * out_channels
                    row_address = rows.ctypes.data + 4 * b * rows_per_block
                else:
                    out_address = overhang.ctypes.data
                    out_stride = 4 * _VECTORS * _LANES
                    row_address = own_rows.ctypes.data
                arguments = (
                    features.ctypes.data,
                    4 * channels,
                    zero_row.ctypes.data,
                    taps.ctypes.data + 4 * block_ptr[b],
                    sources.ctypes.data + 4 * block_ptr[b] * rows_per_block,
                    block_ptr[b + 1] - block_ptr[b],
                    channels,
                    weights,
                    4 * width * channels,
                    bias.ctypes.data + 4 * first,
                    out_address,
                    out_stride,
                    row_address,
                    np.int64(relu),
                )
                if width == _VECTORS * _LANES:
                    _run_block_full(*arguments)
                elif 2 * width == _VECTORS * _LANES:
                    _run_block_half(*arguments)
                else:
                    _run_block_quarter(*arguments)
                if columns < width:
                    for r in range(rows_per_block):
                        for column in range(columns):
                            output[rows[b, r], first + column] = overhang[r, column]
