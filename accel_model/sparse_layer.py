"""sparse_layer.py: a sparse layer cut into steps, in one loop order and tile size, on a pillar accelerator."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ..runtime.trace import LayerRecord
from .active_tiles import ActiveTiles, fit_tiles
from .cost import ActionCounts, LoopOrder
from .folds import drain, lead, occupy
from .gather_scatter import time_gather, time_scatter
from .geometry import LayerGeometry
from .pipeline import Steps
from .rule_generation import COORDINATE_BYTES, RULE_BYTES, count_compares, share_streaming_cycles
from .spec import DataflowSpec, GatherSpec, MappingSpec, Spec
from .tile_times import time_tiles

PSUM_BYTES = 4
KIB = 1024


@dataclass(frozen=True)
class SparseJob:
    """A layer to be run on a pillar accelerator.

    Attributes:
        layer: what the trace says of it.
        geometry: its rules.
        spec: the accelerator.
        mapping, gather, dataflow: its parts.
        rules_known: whether the rules are still in the rule buffer from the layer before.
    """

    layer: LayerRecord
    geometry: LayerGeometry
    spec: Spec
    mapping: MappingSpec
    gather: GatherSpec
    dataflow: DataflowSpec
    rules_known: bool

    @property
    def transposed(self) -> bool:
        """Whether every input reaches its own outputs, so that nothing is summed over inputs."""
        return self.layer.kind == "transposed"

    @property
    def row_folds(self) -> int:
        """ri: blocks of input channels."""
        return math.ceil(self.layer.in_channels / self.spec.array.rows)

    @property
    def weight_bytes(self) -> int:
        """Of the whole layer."""
        taps = len(self.geometry.rule_inputs)
        return self.bytes_of_weights(taps * self.layer.in_channels * self.layer.out_channels)

    def bytes_of_weights(self, count: int) -> int:
        """Return the bytes of `count` weights."""
        return math.ceil(count * self.spec.weight_bits / 8)


@dataclass(frozen=True)
class Pass:
    """One run over all tiles with a part of the layer's columns.

    Attributes:
        taps: that it runs, as indices.
        columns: output channels of each of its column folds; for ganged taps, columns of (tap, channel) pairs.
        opens: whether it is the first with its taps, which stores the coordinates of their outputs.
    """

    taps: tuple[int, ...]
    columns: tuple[int, ...]
    opens: bool


@dataclass(frozen=True, eq=False)
class StepTable:
    """What the steps of a pass ask of each unit; (S,) int64 each.

    Attributes:
        brought, gathered: bytes from main memory, in order and at random addresses.
        stored, scattered: bytes to main memory, likewise.
        stream, tail: cycles of the array, as in `Steps`.
        gather, scatter: cycles of the ports.
        vectors: that are streamed into the array, over all folds.
        weights: bytes of weights that are shifted into the array.
        gather_conflicts, scatter_conflicts: cycles of the ports that are lost to bank conflicts.
    """

    brought: NDArray[np.int64]
    gathered: NDArray[np.int64]
    stored: NDArray[np.int64]
    scattered: NDArray[np.int64]
    stream: NDArray[np.int64]
    tail: NDArray[np.int64]
    gather: NDArray[np.int64]
    scatter: NDArray[np.int64]
    vectors: NDArray[np.int64]
    weights: NDArray[np.int64]
    gather_conflicts: NDArray[np.int64]
    scatter_conflicts: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Schedule:
    """A layer cut into steps.

    Attributes:
        order, tile_inputs: the loop order, and the most inputs of a tile.
        tiles: how many tiles.
        steps: in order.
        table: of all steps.
        actions: all but those that depend on the time.
    """

    order: LoopOrder
    tile_inputs: int
    tiles: int
    steps: Steps
    table: StepTable
    actions: ActionCounts

    @property
    def bound(self) -> int:
        """Cycles that no pipeline of these steps can beat."""
        steps = self.steps
        memory = steps.load.sum() + steps.store.sum()
        return int(max(memory, steps.stream.sum(), steps.rules.sum()))


def list_passes(job: SparseJob, order: LoopOrder) -> tuple[Pass, ...]:
    """Return the passes over the tiles.

    "tiles_outer" runs all columns on a tile before the next one; "channels_outer" runs all tiles on one column fold
    before the next. Without ganged scatter, a transposed layer is one layer per tap, each with its own passes.
    """
    taps = tuple(range(len(job.geometry.rule_inputs)))
    wide = job.transposed and job.dataflow.ganged_scatter
    groups = [taps] if wide or not job.transposed else [(tap,) for tap in taps]
    total = job.layer.out_channels * (len(taps) if wide else 1)
    columns = _split(total, job.spec.array.columns)
    if order == "tiles_outer":
        return tuple(Pass(group, columns, True) for group in groups)
    return tuple(Pass(group, (width,), i == 0) for group in groups for i, width in enumerate(columns))


def _split(total: int, most: int) -> tuple[int, ...]:
    """Return `total` as parts of `most` and a rest."""
    return (most,) * (total // most) + ((total % most,) if total % most else ())


def plan_schedule(job: SparseJob, order: LoopOrder, tile_inputs: int) -> Schedule | None:
    """Cut a layer with inputs into steps; None where a buffer is too small for them.

    A step is a tile in a pass; in a transposed layer, a column fold of a tile in a pass. Equations, and what each
    buffer must hold: docs/accelerator/sparse.md.
    """
    layer, spec = job.layer, job.spec
    passes = list_passes(job, order)
    if tile_inputs * layer.in_channels * spec.element_bytes > spec.sram.input_kib * KIB / 2:
        return None
    tiles = _fit_psums(job, passes, tile_inputs) if _weights_fit(job, order, passes) else None
    if tiles is None or tiles.pairs.sum(axis=1).max() * RULE_BYTES > spec.sram.rule_kib * KIB / 2:
        return None
    widths = _find_widths(job, max(passes[0].columns))
    plan = _plan_transposed if job.transposed else _plan_convolution
    plans = {key: plan(job, key[0], tiles, widths, key[1]) for key in dict.fromkeys(_name_plans(passes))}
    parts = [plans[key] for key in _name_plans(passes)]
    table = StepTable(*(np.concatenate(column) for column in zip(*map(_columns_of, parts), strict=True)))
    features = int(table.brought.sum())
    _add_weights(job, order, passes, table)
    fetched = int(table.brought.sum()) - features
    rules = _rule_cycles(job, tiles, passes)
    steps = Steps(
        load=_count_memory_cycles(spec, table.brought, table.gathered),
        rules=rules.ravel(),
        stream=table.stream,
        tail=table.tail,
        store=_count_memory_cycles(spec, table.stored, table.scattered),
        lead=lead(spec.array),
    )
    return Schedule(
        order,
        tile_inputs,
        len(tiles.low),
        steps,
        table,
        _count_actions(job, table, fetched, int(np.count_nonzero(rules.sum(axis=1)))),
    )


def _name_plans(passes: tuple[Pass, ...]) -> list[tuple[Pass, bool]]:
    """Return (pass, whether it is the first); passes that come again ask for the same."""
    return [(part, number == 0) for number, part in enumerate(passes)]


_COLUMNS = tuple(f.name for f in fields(StepTable))


def _columns_of(table: StepTable) -> tuple[NDArray[np.int64], ...]:
    return tuple(getattr(table, name) for name in _COLUMNS)


def _weights_fit(job: SparseJob, order: LoopOrder, passes: tuple[Pass, ...]) -> bool:
    """Tell whether the weight buffer holds what must be there at once: two folds, or the passes' weights ping-pong."""
    held = job.spec.sram.weight_kib * KIB
    if order == "tiles_outer":
        rows = min(job.spec.array.rows, job.layer.in_channels)
        columns = max(passes[0].columns)
        return job.weight_bytes <= held or 2 * job.bytes_of_weights(rows * columns) <= held
    halves = 1 if len(passes) == 1 else 2
    return halves * max(_pass_weights(job, part) for part in passes) <= held


def _pass_weights(job: SparseJob, part: Pass) -> int:
    """Return the bytes of weights of a pass."""
    ganged = job.transposed and len(part.taps) > 1
    taps = 1 if ganged else len(part.taps)
    return job.bytes_of_weights(taps * job.layer.in_channels * sum(part.columns))


def _fit_psums(job: SparseJob, passes: tuple[Pass, ...], tile_inputs: int) -> ActiveTiles | None:
    """Cut tiles whose partial sums fit; those of a transposed layer are complete after one column fold."""
    columns = max(passes[0].columns) if job.transposed else sum(passes[0].columns)
    most = int(job.spec.sram.psum_kib * KIB) // (PSUM_BYTES * columns)
    if job.transposed:
        tiles = fit_tiles(job.geometry, tile_inputs, job.geometry.outputs)
        return tiles if tile_inputs <= most else None
    return fit_tiles(job.geometry, tile_inputs, most) if most else None


def _find_widths(job: SparseJob, columns: int) -> tuple[int, int]:
    """Return the bytes of a gathered vector and of a scattered one."""
    return min(job.layer.in_channels, job.spec.array.rows) * job.spec.element_bytes, columns * PSUM_BYTES


def _count_memory_cycles(
    spec: Spec, stream: NDArray[np.int64], random: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the cycles of main memory for bytes in order and bytes at random addresses."""
    peak = spec.dram_bytes_per_cycle
    cycles = stream / (peak * spec.dram.streaming_efficiency) + random / (peak * spec.dram.random_efficiency)
    return np.ceil(cycles).astype(np.int64)


def _rule_cycles(job: SparseJob, tiles: ActiveTiles, passes: tuple[Pass, ...]) -> NDArray[np.int64]:
    """Return the streaming unit's cycles per pass and step; none where the rules are still in their buffer."""
    folds = len(passes[0].columns) if job.transposed else 1
    cycles = np.zeros((len(passes), len(tiles.low), folds), np.int64)
    if job.mapping.method == "streaming" and not job.rules_known:
        again = not keeps_rules(job.geometry, job.spec)
        cycles[: len(passes) if again else 1, :, 0] = share_streaming_cycles(job.geometry, tiles, job.mapping)
    return cycles.reshape(len(passes), -1)


def keeps_rules(geometry: LayerGeometry, spec: Spec) -> bool:
    """Tell whether all rules of a layer stay in the rule buffer, for a second pass or the next layer."""
    return geometry.rules * RULE_BYTES <= spec.sram.rule_kib * KIB


def _plan_convolution(
    job: SparseJob, part: Pass, tiles: ActiveTiles, widths: tuple[int, int], first: bool
) -> StepTable:
    """Plan a pass of a layer that sums over taps: a step per tile, a fold per tap, row fold and column fold."""
    size, columns = job.spec.element_bytes, sum(part.columns)
    repeats = job.row_folds * len(part.columns)
    grouped = job.layer.kind != "strided" or job.dataflow.weight_grouping
    times = time_tiles(job.geometry, tiles, job.spec.array, job.gather, *widths, grouped)
    back, out = _count_spilled(job, tiles)
    coordinates = COORDINATE_BYTES if first else 0
    return StepTable(
        brought=tiles.inputs * (job.layer.in_channels * size + coordinates),
        gathered=back * PSUM_BYTES * columns,
        stored=_count_stored(job, tiles) * (columns * size + coordinates),
        scattered=out * PSUM_BYTES * columns,
        stream=times.occupied * repeats,
        tail=times.tail,
        gather=times.gather * repeats,
        scatter=times.scatter * repeats,
        vectors=times.vectors * len(part.columns),
        weights=times.taps * job.bytes_of_weights(job.layer.in_channels * columns),
        gather_conflicts=times.gather_conflicts * repeats,
        scatter_conflicts=times.scatter_conflicts * repeats,
    )


def _plan_transposed(
    job: SparseJob, part: Pass, tiles: ActiveTiles, widths: tuple[int, int], first: bool
) -> StepTable:
    """Plan a pass of a transposed layer: a step per tile and column fold, a fold per row fold; all inputs stream.

    The columns of a fold may belong to several taps, whose outputs lie side by side and are written at once.
    """
    array, size = job.spec.array, job.spec.element_bytes
    columns = np.array(part.columns, np.int64)
    inputs = np.repeat(tiles.inputs, len(columns))
    spans = np.tile(columns, len(tiles.low))
    opening = np.tile(np.arange(len(columns)) == 0, len(tiles.low))
    ports = (
        time_gather(job.geometry, tiles, job.gather, widths[0]),
        time_scatter(job.geometry, tiles, job.gather, widths[1]),
    )
    conflicts = [port.conflicts[:, part.taps[0]].repeat(len(columns)) for port in ports]
    read = inputs * ports[0].per_vector + conflicts[0]
    written = inputs * ports[1].per_vector + conflicts[1]
    folds = np.maximum(read, written)
    sites = inputs * len(part.taps) * opening  # whose coordinates go out, once
    coordinates = COORDINATE_BYTES if part.opens else 0
    return StepTable(
        brought=np.where(opening, inputs, 0)
        * (job.layer.in_channels * size + (COORDINATE_BYTES if first else 0)),
        gathered=np.zeros_like(inputs),
        stored=inputs * spans * size + sites * coordinates,
        scattered=np.zeros_like(inputs),
        stream=occupy(array, folds) * job.row_folds,
        tail=drain(array, folds),
        gather=read * job.row_folds,
        scatter=written * job.row_folds,
        vectors=inputs,
        weights=-(-job.layer.in_channels * spans * job.spec.weight_bits // 8),
        gather_conflicts=conflicts[0] * job.row_folds,
        scatter_conflicts=conflicts[1] * job.row_folds,
    )


def _count_stored(job: SparseJob, tiles: ActiveTiles) -> NDArray[np.int64]:
    """Return the outputs that each tile completes and that pruning lets through."""
    layer = job.layer
    if layer.kept_outputs == layer.active_outputs:
        return np.diff(tiles.final, prepend=0)
    kept = layer.kept_sites.cells[layer.out_sites.cells]
    until = np.concatenate(([0], np.cumsum(kept)))
    return np.diff(until[tiles.final], prepend=0)


def _count_spilled(job: SparseJob, tiles: ActiveTiles) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the partial-sum vectors that each tile reads back from main memory and leaves there; 0 with active tiles.

    Without them a tile keeps nothing: it reads what earlier tiles left of the outputs that it touches or completes,
    and writes those that are not complete.
    """
    if job.dataflow.active_tiles:
        return np.zeros_like(tiles.low), np.zeros_like(tiles.low)
    begun = np.concatenate(([0], tiles.reached[:-1]))  # outputs below it have partial sums
    completed = np.maximum(np.minimum(begun, tiles.final) - tiles.first, 0)
    touched = np.maximum(np.minimum(begun, tiles.high + 1) - np.maximum(tiles.low, tiles.final), 0)
    left = np.maximum(tiles.high + 1 - np.maximum(tiles.low, tiles.final), 0)
    return touched + completed, left


def _add_weights(job: SparseJob, order: LoopOrder, passes: tuple[Pass, ...], table: StepTable) -> None:
    """Add the weights to what the steps bring: once per pass, or with every step where the buffer cannot hold them."""
    if order == "tiles_outer" and job.weight_bytes > job.spec.sram.weight_kib * KIB:
        table.brought[:] += table.weights
        return
    steps = len(table.brought) // len(passes)
    for number, part in enumerate(passes):
        table.brought[number * steps] += _pass_weights(job, part)


def _count_actions(job: SparseJob, table: StepTable, fetched: int, rule_runs: int) -> ActionCounts:
    """Count what happens in a layer but for what depends on its time; `fetched` bytes of weights were brought."""
    layer, size = job.layer, job.spec.element_bytes
    sums = job.row_folds * layer.macs // layer.in_channels * PSUM_BYTES
    coordinates = COORDINATE_BYTES * layer.active_inputs
    brought, stored = int(table.brought.sum()), int(table.stored.sum())
    spilled = int(table.gathered.sum() + table.scattered.sum())
    rules = job.geometry.rules * RULE_BYTES
    uses = int(table.vectors.sum()) * job.row_folds * RULE_BYTES
    return ActionCounts(
        mac=layer.macs,
        register_bits=layer.macs * 8 * (size + PSUM_BYTES),
        input_read_bytes=int(table.vectors.sum()) * layer.in_channels * size,
        input_write_bytes=brought - fetched - coordinates,
        weight_read_bytes=int(table.weights.sum()),
        weight_write_bytes=fetched,
        psum_read_bytes=sums,
        psum_write_bytes=sums,
        output_read_bytes=stored,
        output_write_bytes=stored,
        rule_compares=rule_runs * count_compares(job.geometry, job.mapping),
        rule_read_bytes=uses,
        rule_write_bytes=rule_runs * rules,
        dram_stream_bits=8 * (brought + stored),
        dram_random_bits=8 * spilled,
    )
