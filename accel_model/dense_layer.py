"""dense_layer.py: what a layer costs on an accelerator that computes full grids, zeros included."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..runtime.trace import EncoderRecord, LayerRecord
from .cost import ActionCounts, Event, LayerCost, Tiling
from .dense_array import (
    Gemm,
    count_column_folds,
    count_lead,
    count_row_folds,
    count_tail,
    count_weight_stationary,
    time_stream,
)
from .dense_tiling import (
    PSUM_BYTES,
    Cut,
    Int64,
    Machine,
    Tiles,
    Work,
    bound_cut,
    count_moved,
    lay_tiles,
    list_cuts,
    require_room,
    split,
)
from .dma import Slots, find_slots
from .spec import Spec

COORDINATE_BYTES = 4  # of a pillar, on the way to and from main memory
_NOTHING = LayerCost(0, (("dram", 0), ("array", 0)), "array", Tiling("dense", 0, 0), ActionCounts())
SLACK = (
    256  # traffic decides between cuts whose cycles differ by less than this part: ends of a layer, no more
)
MOST_BARS = 20  # of a unit in the events of a layer; more tiles than that share bars


def find_gemm(layer: LayerRecord) -> Gemm:
    """Return a layer on full grids as a matrix product.

    A convolution: T = Hout · Wout, K = kernel², Sc = Cout. A transposed one: T = Hin · Win, K = 1, Sc = stride² · Cout.
    """
    if layer.kind == "transposed":
        height, width = layer.in_shape
        return Gemm(height * width, 1, layer.in_channels, layer.kernel**2 * layer.out_channels)
    height, width = layer.out_shape
    return Gemm(height * width, layer.kernel**2, layer.in_channels, layer.out_channels)


def find_work(layer: LayerRecord) -> Work:
    """Return a layer on full grids as its product and the window that a position reads."""
    gemm = find_gemm(layer)
    if layer.kind == "transposed" or (layer.kernel == 1 and layer.stride == 1):
        line = (gemm.positions, 1)  # positions know no neighbours: tiles of any length
        return Work(gemm, 1, 1, 0, line, line)
    padding = 0 if layer.kernel == 2 else layer.kernel // 2
    return Work(gemm, layer.kernel, layer.stride, padding, layer.in_shape, layer.out_shape)


def count_dense_cycles(layer: LayerRecord, spec: Spec) -> int:
    """Return cycles of the array alone on a layer's full grids: all partial sums in reach, main memory free.

    The form of `spec.array.weight_preload`: `count_double_buffered`, `count_serial` or `count_per_tap_fill` of
    F = row folds · ceil(Sc / C) equal folds of T vectors.
    """
    return count_weight_stationary(find_gemm(layer), spec.array)


def cost_dense_layer(layer: LayerRecord, spec: Spec) -> LayerCost:
    """Cost a layer as if all its sites were active, on a weight-stationary array behind buffers and main memory.

    Cycles are those of `dma.overlap` over the tiles of the best cut of `list_cuts`: the one of least traffic among
    those that take at most 1/256 more cycles than the fastest. The array streams from tile to tile without a gap where
    main memory keeps up: with "double_buffered" weights, filling the first ones (R) and draining the last sums
    (R + C - 2) is charged once per layer, with "serial" in every fold.

    Actions, with R, C, m of the array, b bytes of a value, T, K, Cin, Sr = K · Cin, Sc of `Gemm`:
        mac: T · Sr · Sc, padding included.
        idle_pe: cycles · R · C - mac / m.
        register_bits: mac · 8b for inputs along rows and mac / m · 32 for sums down columns; idle elements are gated.
        input_read_bytes: T · Sr · ceil(Sc / C) · b; input_write_bytes: as main memory is read.
        weight_read_bytes: Sr · Sc weights per piece of positions whose partial sums fit; weight_write_bytes: as main
            memory is read.
        psum_read_bytes, psum_write_bytes: 4 · T · Sc per row fold (the first fold reads none, but requantising does).
        output_write_bytes, output_read_bytes: T · Sc · b.
        dram_stream_bits: inputs, weights and outputs; `dram_random_bits` none.

    Raises:
        ConfigError: a buffer holds no tile at all; names it.
    """
    return _cost_work(find_work(layer), Machine.of(spec))


def cost_encoder(encoder: EncoderRecord, spec: Spec) -> LayerCost:
    """Cost the pillar encoder: products of the points, products of the pillars, and a maximum over a pillar's points.

    Two products, (points, point_features) and (pillars, pillar_features) × channels. Each tile holds the same share of
    points and pillars and runs both products, which meet on the chip. Points come as `point_features` values of the
    accelerator's width, in the order of their pillars; pillars bring `pillar_features` values and leave as channels
    and a coordinate of 4 bytes. The maximum is taken where sums are written: one read and one write of 4 bytes per
    point and channel. Other actions as `cost_dense_layer`. No full grid is written, which favours accelerators that
    read one.

    Raises:
        ConfigError: a buffer holds no tile at all; names it.
    """
    return _cost_encoder(encoder, Machine.of(spec))


@lru_cache(maxsize=128)
def _cost_work(work: Work, machine: Machine) -> LayerCost:
    if not work.gemm.positions:
        return _NOTHING
    tiles, slots = _find_best(work, machine)
    cycles = int(slots.ends[-1])
    tiling = Tiling("dense", int(tiles.positions.max()), len(tiles.load_bytes))
    return _finish(slots, tiling, _count_actions(work.gemm, machine, tiles, cycles))


def _find_best(work: Work, machine: Machine) -> tuple[Tiles, Slots]:
    """Return the tiles of least traffic among those of nearly the fewest cycles; bounds spare laying most cuts."""
    cuts = list(list_cuts(work, machine))
    bounds = {cut: bound_cut(cut, work, machine) for cut in cuts}
    laid: dict[Cut, tuple[Tiles, Slots]] = {}
    fewest: int | None = None
    for cut in sorted(cuts, key=lambda cut: bounds[cut]):
        if fewest is not None and bounds[cut] >= fewest:
            break
        laid[cut] = _lay(cut, work, machine)
        cycles = int(laid[cut][1].ends[-1])
        fewest = cycles if fewest is None else min(fewest, cycles)
    assert fewest is not None  # the smallest cut fits, or list_cuts has raised
    most = fewest + fewest // SLACK
    near = [cut for cut in cuts if bounds[cut] <= most]
    for cut in sorted(near, key=lambda cut: (count_moved(cut, work, machine), bounds[cut])):
        if cut not in laid:
            laid[cut] = _lay(cut, work, machine)
        if laid[cut][1].ends[-1] <= most:
            break
    return laid[cut]


def _lay(cut: Cut, work: Work, machine: Machine) -> tuple[Tiles, Slots]:
    tiles, rate = lay_tiles(cut, work, machine), machine.rate
    load, store = rate.count_all_cycles(tiles.load_bytes), rate.count_all_cycles(tiles.store_bytes)
    return tiles, find_slots(load, tiles.compute, store)


def _count_actions(gemm: Gemm, machine: Machine, tiles: Tiles, cycles: int) -> ActionCounts:
    array, item = machine.array, machine.element_bytes
    outputs = gemm.positions * gemm.columns
    sums = PSUM_BYTES * outputs * count_row_folds(gemm, array)
    moved = int(tiles.load_bytes.sum() + tiles.store_bytes.sum())
    return _count_array(gemm, machine, cycles) + ActionCounts(
        input_write_bytes=tiles.input_bytes,
        weight_read_bytes=machine.count_weight_bytes(gemm.depth * gemm.columns) * tiles.pieces,
        weight_write_bytes=tiles.weight_bytes,
        psum_read_bytes=sums,
        psum_write_bytes=sums,
        output_read_bytes=outputs * item,
        output_write_bytes=outputs * item,
        dram_stream_bits=8 * moved,
        cycles=cycles,
    )


def _count_array(gemm: Gemm, machine: Machine, cycles: int) -> ActionCounts:
    """Return what happens in the array and where it reads its inputs, of a product in `cycles`."""
    array, item = machine.array, machine.element_bytes
    return ActionCounts(
        mac=gemm.macs,
        idle_pe=array.count_idle(cycles, gemm.macs),
        register_bits=8 * (gemm.macs * item + array.count_busy(gemm.macs) * PSUM_BYTES),
        input_read_bytes=gemm.positions * gemm.depth * count_column_folds(gemm, array) * item,
    )


@lru_cache(maxsize=128)
def _cost_encoder(encoder: EncoderRecord, machine: Machine) -> LayerCost:
    if not encoder.points or not encoder.pillars:
        return _NOTHING
    array, item = machine.array, machine.element_bytes
    parts = (
        Gemm(encoder.points, 1, encoder.point_features, encoder.channels),
        Gemm(encoder.pillars, 1, encoder.pillar_features, encoder.channels),
    )
    count = _count_encoder_tiles(encoder, machine)
    points, pillars = split(encoder.points, count), split(encoder.pillars, count)
    weights = machine.count_weight_bytes(sum(part.depth for part in parts) * encoder.channels)
    values = (points * encoder.point_features + pillars * encoder.pillar_features) * item
    loads = values + np.where(np.arange(count) == 0, weights, 0)
    stores = pillars * (encoder.channels * item + COORDINATE_BYTES)
    slots = find_slots(
        machine.rate.count_all_cycles(loads),
        _time_encoder(parts, (points, pillars), machine),
        machine.rate.count_all_cycles(stores),
    )
    cycles = int(slots.ends[-1])
    most = machine.count_psum_rows(encoder.channels)
    sums = PSUM_BYTES * sum(part.positions * part.columns * count_row_folds(part, array) for part in parts)
    array_actions = _count_array(parts[0], machine, cycles) + _count_array(parts[1], machine, 0)
    actions = array_actions + ActionCounts(
        input_write_bytes=int(values.sum()),
        weight_read_bytes=sum(
            machine.count_weight_bytes(part.depth * part.columns) * int((-(-sizes // most)).sum())
            for part, sizes in zip(parts, (points, pillars), strict=True)
        ),
        weight_write_bytes=weights,
        psum_read_bytes=sums,
        psum_write_bytes=sums,
        output_read_bytes=int(stores.sum()),
        output_write_bytes=int(stores.sum()),
        dram_stream_bits=8 * int(loads.sum() + stores.sum()),
        cycles=cycles,
    )
    return _finish(slots, Tiling("dense", int(pillars.max()), count), actions)


def _count_encoder_tiles(encoder: EncoderRecord, machine: Machine) -> int:
    """Return how many equal tiles fit halves of the input and output buffers; the weights stay."""
    item, sram = machine.element_bytes, machine.sram
    features = encoder.point_features + encoder.pillar_features
    weights = machine.count_weight_bytes(features * encoder.channels)
    pillar = encoder.channels * item + COORDINATE_BYTES
    require_room("weight_kib", sram.weight_kib, weights, "the encoder's weights", halves=1)
    require_room("input_kib", sram.input_kib, features * item, "a point and its pillar", halves=2)
    require_room("output_kib", sram.output_kib, pillar, "a pillar", halves=2)
    values = encoder.points * encoder.point_features + encoder.pillars * encoder.pillar_features
    room = max(machine.input_half - features * item, 1)  # a tile may hold one of each more than its share
    by_input = -(-values * item // room)
    by_output = -(-encoder.pillars // (machine.output_half // pillar))
    return max(1, min(max(by_input, by_output), encoder.points))


def _time_encoder(parts: tuple[Gemm, Gemm], sizes: tuple[Int64, Int64], machine: Machine) -> Int64:
    """Return cycles of the array per tile: the points' product, then the pillars'."""
    array = machine.array
    most = machine.count_psum_rows(parts[0].columns)
    compute = np.zeros(sizes[0].size, np.int64)
    for part, counts in zip(parts, sizes, strict=True):
        folds = count_row_folds(part, array) * count_column_folds(part, array)
        distinct, which = np.unique(counts, return_inverse=True)
        compute += np.array([time_stream(t, folds, most, array) for t in distinct.tolist()], np.int64)[which]
    last = int(sizes[1][-1]) or int(sizes[0][-1])
    compute[0] += count_lead(array)
    compute[-1] += count_tail(last // -(-last // most), array)
    return compute


def _finish(slots: Slots, tiling: Tiling, actions: ActionCounts) -> LayerCost:
    array, dram = int(slots.compute.sum()), int(slots.load.sum() + slots.store.sum())
    return LayerCost(
        cycles=int(slots.ends[-1]),
        busy=(("dram", dram), ("array", array)),
        limit="array" if array >= dram else "dram",
        tiling=tiling,
        actions=actions,
        events=_list_events(slots),
    )


def _list_events(slots: Slots) -> tuple[Event, ...]:
    """Return bars of array and main memory per slot, or per run of slots where there are many.

    The first and last two slots stand alone; a run is drawn as all its stores, then all its loads, and beside them all
    its computing, from the start of the run: never more than the run takes.
    """
    count = slots.ends.size  # at least 3: one tile is loaded, computed and stored
    inner = np.linspace(2, count - 2, max(min(MOST_BARS - 4, count - 4), 1) + 1).astype(int)
    begins = np.unique(np.concatenate([[0, 1], inner, [count - 2, count - 1]]))
    sums = (np.add.reduceat(part, begins).tolist() for part in (slots.store, slots.load, slots.compute))
    starts = np.concatenate([[0], slots.ends])[begins].tolist()
    spans = [*begins.tolist(), count]
    events = []
    for i, (start, store, load, compute) in enumerate(zip(starts, *sums, strict=True)):
        first, last = spans[i], spans[i + 1] - 1
        if store:
            events.append(
                Event("dram", start, start + store, _label("store", first - 2, last - 2, count - 2))
            )
        if load:
            begin = start + store
            events.append(Event("dram", begin, begin + load, _label("load", first, last, count - 2)))
        if compute:
            events.append(
                Event("array", start, start + compute, _label("tile", first - 1, last - 1, count - 2))
            )
    return tuple(events)


def _label(action: str, first: int, last: int, count: int) -> str:
    first, last = max(first, 0) + 1, min(last, count - 1) + 1
    return f"{action} {first}" if first >= last else f"{action} {first}-{last}"
