"""tiles.py: the tile form of the integer kernel (Intel AMX): 32 rows × 32 channels per call, 64 input channels a step.

A tile register holds 16 rows of 64 bytes. The loop nest over one block of 32 output rows:

    for panel of 32 output channels:
        sums (4 tiles, 32 × 32 int32) = bias
        for tap in the block's mask, for each 64 of its input channels:      one step
            for the first panel, one step ahead:
                gathered[step][r] = those channels of the row under that tap, or zeros      (32 rows of 64 bytes)
            load 2 tiles of gathered rows and 2 of weights, 4 × multiply        (tdpbusd: uint8 × int8)
        store the sums, finish them row by row as the other forms do

Rows must be gathered here, since a tile is loaded from rows at one distance; it is done once for all panels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from ..jit import kernel, numba
from .job import Bytes, Job
from .microkernel import INTEGER_FINISHES, Finish, write_transform
from .plan import Int64

ROWS = 32  # output rows and channels of a block and panel
STEP_BYTES = ROWS * 64  # of gathered rows per step
STEP_FIELDS = (
    5  # int64 per step: column of its ranks, address of input row 0, bytes per row, bytes read, weights
)

_COLUMN, _START, _ROW_BYTES, _SIZE, _WEIGHTS = range(STEP_FIELDS)
_RING = 4  # steps kept gathered where one panel reads them; few stay in the L1 cache
_REQUANTISE = int(Finish.REQUANTISE)
_SUMS_BYTES = 4 * ROWS * ROWS
_TILE_BYTES = 1024
_SUM_TILES, _ROW_TILES, _WEIGHT_TILES = (0, 1, 2, 3), (4, 5), (6, 7)

_CONFIGURATION = np.zeros(64, np.uint8)
"""What ldtilecfg reads: palette 1, eight tiles of 16 rows × 64 bytes."""
_CONFIGURATION[0] = 1
_CONFIGURATION[16:32:2] = 64
_CONFIGURATION[48:56] = 16


def count_room(steps: int) -> int:
    """Return the bytes that a task needs for blocks of at most so many steps."""
    return STEP_BYTES * steps + 2 * _SUMS_BYTES + 64


class _TileBuilder:
    """Emits tile instructions into the function that Numba is building."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder
        self.i8, self.i32, self.i64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
        self.pointer = self.i8.as_pointer()

    def call(self, name: str, *arguments: Any) -> None:
        """Call the instruction's LLVM intrinsic; an int becomes a tile number."""
        values = [ir.Constant(self.i8, a) if isinstance(a, int) else a for a in arguments]
        module = self.builder.module
        function = module.globals.get(f"llvm.x86.{name}") or ir.Function(
            module, ir.FunctionType(ir.VoidType(), [value.type for value in values]), f"llvm.x86.{name}"
        )
        self.builder.call(function, values)

    def address(self, base: Any, offset: int) -> Any:
        """Return base + offset as a pointer."""
        return self.builder.inttoptr(self.builder.add(base, self.number(offset)), self.pointer)

    def number(self, value: int) -> Any:
        """Return an int64 constant."""
        return ir.Constant(self.i64, value)


def _define(arguments: int, write: Callable[[_TileBuilder, Any], None]) -> Any:
    """Return a Numba intrinsic of so many int64 arguments that emits what `write(tiles, values)` writes."""
    signature = numba.types.void(*[numba.types.int64] * arguments)

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        write(_TileBuilder(builder), values)
        return context.get_dummy_value()

    emitters: tuple[Callable[..., Any], ...] = (  # Numba reads the number of arguments off the function
        lambda typing_context: (signature, generate),
        lambda typing_context, a: (signature, generate),
        lambda typing_context, a, b: (signature, generate),
        lambda typing_context, a, b, c: (signature, generate),
        lambda typing_context, a, b, c, d: (signature, generate),
        lambda typing_context, a, b, c, d, e: (signature, generate),
    )
    return numba.extending.intrinsic(emitters[arguments])


def _write_open(tiles: _TileBuilder, values: Any) -> None:
    """Configure the tile registers from an address."""
    tiles.call("ldtilecfg", tiles.address(values[0], 0))


def _write_close(tiles: _TileBuilder, values: Any) -> None:
    """Give the tile registers up, so that the system need not save them."""
    tiles.call("tilerelease")


def _write_start(tiles: _TileBuilder, values: Any) -> None:
    """Set the sums to the bias at an address: loaded with distance 0, it fills every row."""
    for tile in _SUM_TILES:
        tiles.call("tileloadd64", tile, tiles.address(values[0], 64 * (tile % 2)), tiles.number(0))


def _write_step(tiles: _TileBuilder, values: Any) -> None:
    """Add one step: the address of its gathered rows, and of its weights (16 words × 32 channels)."""
    rows, weights = values
    for half, tile in enumerate(_WEIGHT_TILES):
        tiles.call("tileloadd64", tile, tiles.address(weights, 64 * half), tiles.number(4 * ROWS))
    for half, tile in enumerate(_ROW_TILES):
        tiles.call("tileloadd64", tile, tiles.address(rows, _TILE_BYTES * half), tiles.number(64))
        for column, weight in enumerate(_WEIGHT_TILES):
            tiles.call("tdpbusd", _SUM_TILES[2 * half + column], tile, weight)


def _write_sums(tiles: _TileBuilder, values: Any) -> None:
    """Store the sums to an address, (32, 32) int32."""
    for tile in _SUM_TILES:
        offset = 16 * 4 * ROWS * (tile // 2) + 64 * (tile % 2)
        tiles.call("tilestored64", tile, tiles.address(values[0], offset), tiles.number(4 * ROWS))


def _write_line(tiles: _TileBuilder, values: Any) -> None:
    """Copy up to 64 bytes: to an address, from an address, how many; the rest of the 64 becomes zero."""
    builder, line = tiles.builder, ir.VectorType(tiles.i8, 64)
    target, source = (builder.inttoptr(value, line.as_pointer()) for value in values[:2])
    bits = builder.lshr(tiles.number(-1), builder.sub(tiles.number(64), values[2]))
    mask = builder.bitcast(bits, ir.VectorType(ir.IntType(1), 64))
    name = "llvm.masked.load.v64i8.p0"
    load = builder.module.globals.get(name) or ir.Function(
        builder.module, ir.FunctionType(line, [line.as_pointer(), tiles.i32, mask.type, line]), name
    )
    zeros = ir.Constant(line, [0] * 64)
    value = builder.call(load, [source, ir.Constant(tiles.i32, 1), mask, zeros])
    builder.store(value, target).align = 64


def _write_row(tiles: _TileBuilder, values: Any) -> None:
    """Finish a row: the address of its sums, of the scale, where to store it, the finish and how many channels."""
    sums, scale, output, finish, channels = values
    builder, lanes = tiles.builder, 16
    integers, floats = ir.VectorType(tiles.i32, lanes), ir.VectorType(ir.FloatType(), lanes)
    inside = builder.lshr(tiles.number(-1), builder.sub(tiles.number(64), channels))
    done = builder.append_basic_block("row_done")
    otherwise = builder.append_basic_block("row_none")
    choice = builder.switch(finish, otherwise)
    for kind in INTEGER_FINISHES:
        block = otherwise
        if kind is not Finish.NONE:
            block = builder.append_basic_block(f"row_{kind.name.lower()}")
            choice.add_case(tiles.number(kind), block)
        builder.position_at_end(block)
        for half in range(ROWS // lanes):
            offset = 64 * half
            value = _load(builder, integers, tiles.address(sums, offset))
            factor = _load(builder, floats, tiles.address(scale, offset))
            result = write_transform(builder, value, factor, kind)
            place = tiles.address(output, offset // 4 if kind is Finish.REQUANTISE else offset)
            bits = builder.trunc(builder.lshr(inside, tiles.number(lanes * half)), ir.IntType(lanes))
            _store_masked(builder, result, builder.bitcast(place, result.type.as_pointer()), bits)
        builder.branch(done)
    builder.position_at_end(done)


def _store_masked(builder: ir.IRBuilder, value: Any, pointer: Any, bits: Any) -> None:
    """Store the elements of a vector whose bit is set."""
    count, item = value.type.count, value.type.element
    mask = builder.bitcast(bits, ir.VectorType(ir.IntType(1), count))
    label = f"i{item.width}" if isinstance(item, ir.IntType) else "f32"
    name, alignment = f"llvm.masked.store.v{count}{label}.p0", ir.IntType(32)
    signature = ir.FunctionType(ir.VoidType(), [value.type, pointer.type, alignment, mask.type])
    store = builder.module.globals.get(name) or ir.Function(builder.module, signature, name)
    builder.call(store, [value, pointer, ir.Constant(alignment, 1), mask])


def _load(builder: ir.IRBuilder, kind: Any, pointer: Any) -> Any:
    value = builder.load(builder.bitcast(pointer, kind.as_pointer()))
    value.align = 4
    return value


_open_tiles = _define(1, _write_open)
_close_tiles = _define(0, _write_close)
_start_sums = _define(1, _write_start)
_add_step = _define(2, _write_step)
_store_sums = _define(1, _write_sums)
_copy_line = _define(3, _write_line)
_finish_row = _define(5, _write_row)


@kernel
def convolve_by_tiles(job: Job, first_block: int, last_block: int, room: Bytes, program: Int64) -> None:
    """Run the blocks from first_block up to last_block.

    Args:
        room: for the gathered rows of all steps of a block and the sums of two panels, see `count_room`.
        program: (steps, STEP_FIELDS) int64 room for what each step of a block reads.
    """
    gathered = (room.ctypes.data + 63) // 64 * 64
    sums = gathered + STEP_BYTES * program.shape[0]
    row_bytes = job.output.shape[1]
    item = 1 if job.finish == _REQUANTISE else 4  # bytes per output channel
    channel_bytes = job.panels.size // job.panel_ptr[job.panel_ptr.size - 1]
    count = job.panel_ptr.size - 1
    slots = _RING if count == 1 else program.shape[0]
    _open_tiles(_CONFIGURATION.ctypes.data)
    for block in range(first_block, last_block):
        steps = _list_steps(job, block, program)
        turns = max(steps, 1)
        ready = 0  # steps that are gathered
        for panel in range(count + 1):
            # Between the steps of this panel, which leave the vector unit idle, the next step is gathered and the
            # rows of the panel before are finished; the last turn has no steps.
            weights = job.panels.ctypes.data + job.panel_ptr[panel] * channel_bytes
            if panel < count:
                _start_sums(job.bias.ctypes.data + 4 * job.panel_ptr[panel])
            first = job.panel_ptr[max(panel - 1, 0)]
            before = sums + _SUMS_BYTES * ((panel + 1) & 1)
            inside = min(ROWS, row_bytes // item - first)  # channels of the panel before
            r = 0 if panel > 0 else ROWS
            for step in range(turns):
                while ready < min(step + 2, steps):
                    _gather_step(job, block, program[ready], gathered + STEP_BYTES * (ready % slots))
                    ready += 1
                if panel < count and step < steps:
                    offset = program[step, _WEIGHTS]
                    _add_step(gathered + STEP_BYTES * (step % slots), weights + 4 * ROWS * offset)
                while r * turns < ROWS * (step + 1):
                    row_sums = before + 4 * ROWS * r
                    place = job.output.ctypes.data + job.rows[block, r] * row_bytes + item * first
                    _finish_row(row_sums, job.scale.ctypes.data + 4 * first, place, job.finish, inside)
                    r += 1
            if panel < count:
                _store_sums(sums + _SUMS_BYTES * (panel & 1))
    _close_tiles()


@kernel
def _list_steps(job: Job, block: int, program: Int64) -> int:
    """Write what each step of a block reads, in STEP_FIELDS; return their number."""
    steps = 0
    for tap in range(job.tap_table.shape[0]):
        if (job.masks[block] >> np.uint64(tap)) & np.uint64(1):
            row_bytes = job.tap_table[tap, 1]
            for offset in range(0, row_bytes, 64):
                program[steps, _COLUMN] = tap if job.source_step else 0
                program[steps, _START] = job.tap_table[tap, 0] + offset
                program[steps, _ROW_BYTES] = row_bytes
                program[steps, _SIZE] = min(row_bytes - offset, 64)
                program[steps, _WEIGHTS] = job.tap_table[tap, 3] + offset // 4
                steps += 1
    return steps


@kernel
def _gather_step(job: Job, block: int, step: Int64, target: int) -> None:
    """Copy what the rows of a block have for one step to `target`."""
    zeros = np.int64(job.zero_row.ctypes.data)
    column, start, row_bytes, size = np.uint64(step[_COLUMN]), step[_START], step[_ROW_BYTES], step[_SIZE]
    for r in range(np.uint64(ROWS)):  # unsigned indices are not checked for being negative
        source = np.int64(job.sources[np.uint64(job.rows[block, r]), column])
        _copy_line(target + 64 * np.int64(r), zeros if source < 0 else start + source * row_bytes, size)
