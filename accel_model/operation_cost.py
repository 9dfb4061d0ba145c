"""operation_cost.py: cycles and actions of one step: array, operator unit and main memory, tile by tile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import ConfigError
from .cost import ActionCounts, Event, LayerCost, Tiling, Unit
from .dense_array import Gemm, count_column_folds, count_lead, count_row_folds, count_tail, time_stream
from .dma import find_stream_rate
from .nonlinear import count_operator, count_passes, count_steps
from .operation_steps import Engine, Operator, Product, Step

Int64 = NDArray[np.int64]

PSUM_BYTES = 4
_MOST_PIECES = 1 << 17  # of a step, where a taller tile makes fewer
_MOST_BARS = 64  # bars of a unit in the events of a step


@dataclass(frozen=True)
class _Work:
    """What each unit has to do per piece; a piece is one column fold of one tile of rows, or a tile of operators.

    Attributes:
        load, store: (n) bytes from and to main memory.
        array, operators: (n) cycles.
        lag: pieces by which the operators run behind the array: all column folds of a tile where they need whole rows.
        second_loads: how often the second operand came from main memory or the step before.
    """

    load: Int64
    array: Int64
    operators: Int64
    store: Int64
    lag: int
    second_loads: int


@dataclass(frozen=True)
class Slots:
    """Cycles of each unit in every slot; a slot takes as long as the unit that takes longest."""

    dram: Int64
    array: Int64
    operators: Int64

    @property
    def lengths(self) -> Int64:
        """Cycles of each slot."""
        return np.maximum(np.maximum(self.array, self.operators), self.dram)


@lru_cache(maxsize=4096)
def cost_step(step: Step, engine: Engine) -> LayerCost:
    """Cost a step with the tile height that needs the fewest cycles.

    Time is cut into slots. In slot s main memory loads piece s (and stores an earlier one), the array computes piece
    s - 1, the operator unit works on piece s - 1 - g, and the piece before that is stored:

        cycles = sum over s of max(A_{s-1}, N_{s-1-g}, L_s + S_{s-2-g})        (missing terms 0)

    g = 1 for element-wise operators; where whole rows are needed, g is the number of column folds, and a tile's work is
    spread evenly over the next tile's. Without operators g = 0, which is `dma.overlap`; a step of operators alone has
    no array. A of all pieces adds up to `count_double_buffered` (or the form of `weight_preload`) of all folds.
    Heights tried: the tallest that fits, and powers of two from R up.

    On the array, R · m / passes input channels per row fold: an 8-bit activation that stands still in 4-bit
    multipliers takes two passes (assumed).

    Raises:
        ConfigError: the partial sums of one position do not fit; names the buffer.
    """
    if step.product is None:
        rows = step.operators[0].rows
        heights = _list_heights(rows, min(rows, _count_held_rows(step, engine)), 1, engine)
        plans = [(height, _plan_operators(step, engine, height)) for height in heights]
    else:
        rows = step.product.rows
        folds = step.product.batch * count_column_folds(_find_gemm(step.product, engine), engine.array)
        heights = _list_heights(rows, min(rows, _count_psum_rows(step, engine)), folds, engine)
        plans = [(height, _plan_product(step, step.product, engine, height)) for height in heights]
    laid = [(_lay_work(work, engine), work, height) for height, work in plans]
    slots, work, height = min(laid, key=lambda plan: (int(plan[0].lengths.sum()), -plan[2]))
    return _finish(step, engine, slots, work, height)


def fits_rows(step: Step, engine: Engine) -> bool:
    """Tell whether operators can run beside the array: enough rows of sums fit one half of the partial-sum buffer.

    Enough are all, or R / 4: a fold takes R cycles however few rows it streams, so with fewer the array would wait
    for weights three quarters of the time.
    """
    if step.product is None:
        return True
    enough = max(1, min(step.product.rows, engine.array.rows // 4))
    return _count_psum_rows(step, engine) >= enough


def _count_psum_rows(step: Step, engine: Engine) -> int:
    """Return rows whose sums fit: of whole rows or of one column fold, in one half if operators read the other."""
    assert step.product is not None
    columns = step.product.columns
    held = columns if step.needs_rows else min(columns, engine.array.columns)
    buffer = int(engine.sram.psum_kib * 1024) // (2 if step.operators else 1)
    rows = buffer // (PSUM_BYTES * held)
    if not rows and not step.operators:
        raise ConfigError(
            f"sram.psum_kib = {engine.sram.psum_kib} does not hold the sums of one position; enlarge it"
        )
    return rows


def _count_held_rows(step: Step, engine: Engine) -> int:
    """Return rows that fit one half of the input buffer; one at least, which is then read in parts."""
    widest = max(operator.width for operator in step.operators)
    return max(1, engine.input_half // (widest * engine.element_bytes))


def _list_heights(rows: int, limit: int, folds: int, engine: Engine) -> list[int]:
    """Return heights of tiles to try, lowest first; low ones that would make very many pieces are left out."""
    lowest = max(engine.array.rows, rows * folds // _MOST_PIECES)
    powers = [1 << k for k in range(limit.bit_length()) if lowest <= 1 << k < limit]
    return [*powers, limit]


def _plan_product(step: Step, product: Product, engine: Engine, height: int) -> _Work:
    gemm = _find_gemm(product, engine)
    row_folds, column_folds = count_row_folds(gemm, engine.array), count_column_folds(gemm, engine.array)
    tiles = np.tile(_cut(product.rows, height), product.batch)  # rows of each tile
    pieces = np.repeat(tiles, column_folds)  # rows of each piece
    array = _map_distinct(pieces, lambda t: time_stream(t, row_folds, t, engine.array))
    array[0] += count_lead(engine.array)
    array[-1] += count_tail(int(pieces[-1]), engine.array)
    operators, lag = _time_operators(step, product, engine, tiles, column_folds)
    second, loads = _spread_second(step, product, engine, pieces.size)
    held = height * product.inner * engine.element_bytes <= engine.input_half
    first = _share_first(tiles, column_folds) if held else pieces
    reads = 1 if held else column_folds
    load = second + _spread(step.first_bytes * reads, first) + _spread(step.other_bytes, pieces)
    return _Work(load, array, operators, _spread(step.store_bytes, pieces), lag, loads)


def _share_first(tiles: Int64, column_folds: int) -> Int64:
    """Return shares of the first operand per piece: a tile's rows come evenly during the tile before it."""
    ahead = np.append(tiles[1:], 0)
    shares = np.repeat(ahead, column_folds)
    shares[0] += tiles[0] * column_folds
    return shares


def _find_gemm(product: Product, engine: Engine) -> Gemm:
    """Return one of the products; a second operand wider than the multiplier stands in several input channels."""
    return Gemm(product.rows, 1, product.inner * _count_operand_passes(product, engine), product.columns)


def _count_operand_passes(product: Product, engine: Engine) -> int:
    return -(-product.second_bits // engine.weight_bits)


def _spread_second(step: Step, product: Product, engine: Engine, pieces: int) -> tuple[Int64, int]:
    """Return bytes of the second operand per piece, and how often all of it is loaded.

    One that fits the weight buffer is loaded during the first tile of its product, else during every tile.
    """
    one = -(-product.inner * product.columns * product.second_bits // 8)
    per_product = pieces // product.batch
    gemm = _find_gemm(product, engine)
    column_folds = count_column_folds(gemm, engine.array)
    tiles = per_product // column_folds
    stays = one <= int(engine.sram.weight_kib * 1024)
    wanted = np.arange(pieces) % per_product < column_folds if stays else np.ones(pieces, bool)
    loads = 1 if stays else tiles
    return _spread(step.second_bytes * loads, wanted.astype(np.int64)), loads


def _time_operators(
    step: Step, product: Product, engine: Engine, tiles: Int64, column_folds: int
) -> tuple[Int64, int]:
    """Return cycles of the operators per piece, and by how many pieces they run behind."""
    if not step.operators:
        return np.zeros(tiles.size * column_folds, np.int64), 0
    if step.needs_rows:
        whole = _map_distinct(tiles, lambda t: _count_rows(step.operators, t, engine, 1))
        parts = whole[:, None] * np.arange(column_folds + 1) // column_folds
        return (parts[:, 1:] - parts[:, :-1]).ravel(), column_folds
    pieces = np.repeat(tiles, column_folds)
    return _map_distinct(pieces, lambda t: _count_rows(step.operators, t, engine, column_folds)), 1


def _count_rows(operators: tuple[Operator, ...], rows: int, engine: Engine, parts: int) -> int:
    """Return cycles of all operators on some rows, or on one of `parts` of their width."""
    return sum(count_operator(op.kind, rows, -(-op.width // parts), engine.unit) for op in operators)


def _plan_operators(step: Step, engine: Engine, height: int) -> _Work:
    tiles = _cut(step.operators[0].rows, height)
    none = np.zeros(tiles.size, np.int64)
    operators = _map_distinct(tiles, lambda t: _count_rows(step.operators, t, engine, 1))
    load, store = _spread(step.other_bytes, tiles), _spread(step.store_bytes, tiles)
    return _Work(load, none, operators, store, 0, 0)


def lay_slots(load: Int64, array: Int64, operators: Int64, store: Int64, lag: int) -> Slots:
    """Return the slots of n pieces: in slot s load s, array s - 1, operators s - 1 - g, store s - 2 - g.

    Args:
        load, array, operators, store: (n) cycles of each piece.
        lag: g.
    """
    count, end = load.size, lag + 2
    dram, arrays, units = (np.zeros(count + end, np.int64) for _ in range(3))
    dram[:count] += load
    arrays[1 : count + 1] = array
    units[1 + lag : 1 + lag + count] = operators
    dram[end:] += store
    return Slots(dram, arrays, units)


def _lay_work(work: _Work, engine: Engine) -> Slots:
    rate = find_stream_rate(engine.dram, engine.clock_mhz)
    load, store = rate.count_all_cycles(work.load), rate.count_all_cycles(work.store)
    return lay_slots(load, work.array, work.operators, store, work.lag)


def _finish(step: Step, engine: Engine, slots: Slots, work: _Work, height: int) -> LayerCost:
    cycles = int(slots.lengths.sum())
    totals: dict[Unit, int] = {"dram": int(slots.dram.sum())}
    if step.product:
        totals["array"] = int(slots.array.sum())
    if step.operators:
        totals["nonlinear"] = int(slots.operators.sum())
    rows, batch = (step.product.rows, step.product.batch) if step.product else (step.operators[0].rows, 1)
    tiles = batch * -(-rows // height)
    return LayerCost(
        cycles=cycles,
        busy=tuple(totals.items()),
        limit=max(totals, key=lambda unit: totals[unit]),
        tiling=Tiling("rows_outer", height, tiles),
        actions=_count_actions(step, engine, work, cycles, tiles // batch),
        events=_list_events(slots),
    )


def _count_actions(step: Step, engine: Engine, work: _Work, cycles: int, tiles: int) -> ActionCounts:
    array = engine.array
    moved = int(work.load.sum() + work.store.sum())
    left = step.store_bytes + step.kept_bytes
    actions = ActionCounts(
        idle_pe=cycles * array.rows * array.columns,
        output_read_bytes=left,
        output_write_bytes=left,
        nonlinear=sum(count_steps(op.kind, op.rows, op.width, engine.unit) for op in step.operators),
        dram_stream_bits=8 * moved,
        cycles=cycles,
    )
    actions += _count_operator_reads(step, engine)
    return actions + _count_product(step.product, engine, work, tiles) if step.product else actions


def _count_operator_reads(step: Step, engine: Engine) -> ActionCounts:
    """Return accesses of operators: to partial sums of 4 bytes behind a product, else to the input buffer."""
    passes = [(op.rows * op.width, *count_passes(op.kind, engine.unit)) for op in step.operators]
    reads = sum(elements * read for elements, read, _ in passes)
    writes = sum(elements * written for elements, _, written in passes)
    if step.product:
        return ActionCounts(psum_read_bytes=PSUM_BYTES * reads, psum_write_bytes=PSUM_BYTES * writes)
    item = engine.element_bytes
    taken = item * max(op.rows * op.width for op in step.operators)
    return ActionCounts(input_read_bytes=item * reads, input_write_bytes=item * writes + taken)


def _count_product(product: Product, engine: Engine, work: _Work, tiles: int) -> ActionCounts:
    gemm, array = _find_gemm(product, engine), engine.array
    row_folds, column_folds = count_row_folds(gemm, array), count_column_folds(gemm, array)
    macs = product.batch * gemm.macs
    busy = array.count_busy(macs)
    item = engine.element_bytes
    second = -(-product.batch * product.inner * product.columns * product.second_bits // 8)
    sums = PSUM_BYTES * product.batch * product.rows * product.columns * row_folds
    return ActionCounts(
        mac=macs,
        idle_pe=-busy,
        register_bits=macs * 8 * item + busy * 8 * PSUM_BYTES,
        input_read_bytes=product.batch * gemm.positions * gemm.depth * column_folds * item,
        input_write_bytes=product.batch * product.rows * product.inner * item,
        weight_read_bytes=second * tiles,
        weight_write_bytes=second * work.second_loads,
        psum_read_bytes=sums,
        psum_write_bytes=sums,
    )


def _list_events(slots: Slots) -> tuple[Event, ...]:
    """Return one bar per unit and run of slots, from the start of the run: never longer than the run."""
    count = slots.dram.size
    begins = np.unique(np.linspace(0, count - 1, min(_MOST_BARS, count)).astype(int))
    starts = np.concatenate([[0], np.cumsum(slots.lengths)])[begins].tolist()
    units: tuple[tuple[Unit, Int64], ...] = (
        ("dram", slots.dram), ("array", slots.array), ("nonlinear", slots.operators),
    )  # fmt: skip
    return tuple(
        Event(unit, start, start + length, f"slots {begin + 1}-{end}" if end > begin + 1 else f"slot {end}")
        for unit, cycles in units
        for begin, end, start, length in zip(
            begins.tolist(),
            [*begins[1:].tolist(), count],
            starts,
            np.add.reduceat(cycles, begins).tolist(),
            strict=True,
        )
        if length
    )


def _cut(rows: int, height: int) -> Int64:
    """Return the rows of each tile: as equal as can be, none above `height`."""
    count = -(-rows // height)
    ends = np.arange(count + 1, dtype=np.int64) * rows // count
    return ends[1:] - ends[:-1]


def _spread(total: int, shares: Int64) -> Int64:
    """Return `total` as whole numbers in the proportion of `shares`."""
    ends: Int64 = np.concatenate([[0], np.cumsum(shares)])
    whole = int(ends[-1])
    if total * whole < 1 << 62:
        ends = ends * total // whole
    else:
        ends = np.array([total * end // whole for end in ends.tolist()], np.int64)
    return ends[1:] - ends[:-1]


def _map_distinct(values: Int64, count: Callable[[int], int]) -> Int64:
    """Return a function of each value, called once for each distinct one."""
    distinct, which = np.unique(values, return_inverse=True)
    return np.array([count(value) for value in distinct.tolist()], np.int64)[which]
