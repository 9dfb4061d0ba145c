"""sparse_layer.py: a sparse layer cut into steps, in one loop order and tile size, on a pillar accelerator."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .active_tiles import ActiveTiles, cut_tiles, fit_tiles
from .cost import ActionCounts, LoopOrder
from .folds import lead
from .pipeline import Steps
from .rule_generation import COORDINATE_BYTES, RULE_BYTES, count_compares, share_streaming_cycles
from .sparse_job import KIB, PSUM_BYTES, Pass, SparseJob, count_pass_weights, keeps_rules, list_passes
from .sparse_steps import StepTable, find_widths, join_steps, plan_convolution, plan_transposed
from .spec import Spec


@dataclass(frozen=True, eq=False)
class Schedule:
    """A layer cut into steps.

    Attributes:
        order, tile_inputs: the loop order, and the most inputs of a tile.
        tiles: how many tiles.
        steps: in order.
        table: of all steps.
        job: what is cut.
        fetched: bytes of weights from main memory.
        rule_runs: how often the layer's rules are generated.
    """

    order: LoopOrder
    tile_inputs: int
    tiles: int
    steps: Steps
    table: StepTable
    job: SparseJob
    fetched: int
    rule_runs: int

    @cached_property
    def traffic(self) -> int:
        """Bytes from and to main memory."""
        table = self.table
        return int((table.brought + table.stored + table.gathered + table.scattered).sum())

    @cached_property
    def actions(self) -> ActionCounts:
        """What happens how often, but for what depends on the time."""
        return _count_actions(self.job, self.table, self.fetched, self.rule_runs)

    @cached_property
    def bound(self) -> int:
        """Cycles that no pipeline of these steps can beat."""
        steps = self.steps
        memory = steps.load.sum() + steps.store.sum()
        return int(max(memory, steps.stream.sum(), steps.rules.sum()))


def plan_schedule(job: SparseJob, order: LoopOrder, tile_inputs: int) -> Schedule | None:
    """Cut a layer with inputs into steps; None where a buffer is too small for them.

    A step is a tile in a pass; in a transposed layer, a column fold of a tile in a pass. Equations, and what each
    buffer must hold: docs/accelerator/sparse.md.
    """
    layer, spec = job.layer, job.spec
    passes = list_passes(job, order)
    if tile_inputs * layer.in_channels * spec.element_bytes > spec.sram.input_kib * KIB / 2:
        return None
    tiles = _fit_outputs(job, passes, tile_inputs) if _weights_fit(job, order, passes) else None
    if tiles is None or tiles.pairs.sum(axis=1).max() * RULE_BYTES > spec.sram.rule_kib * KIB / 2:
        return None
    widths = find_widths(job, max(passes[0].columns))
    plan = plan_transposed if job.transposed else plan_convolution
    plans = {key: plan(job, key[0], tiles, widths, key[1]) for key in dict.fromkeys(_name_plans(passes))}
    parts = [plans[key] for key in _name_plans(passes)]
    table = join_steps(parts)
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
    runs = int(np.count_nonzero(rules.any(axis=1)))
    return Schedule(order, tile_inputs, len(tiles.low), steps, table, job, fetched, runs)


def _name_plans(passes: tuple[Pass, ...]) -> list[tuple[Pass, bool]]:
    """Return (pass, whether it is the first); passes that come again ask for the same."""
    return [(part, number == 0) for number, part in enumerate(passes)]


def _weights_fit(job: SparseJob, order: LoopOrder, passes: tuple[Pass, ...]) -> bool:
    """Tell whether the weight buffer holds what must be there at once: two folds, or the passes' weights ping-pong."""
    held = job.spec.sram.weight_kib * KIB
    if order == "tiles_outer":
        rows = min(job.spec.array.fold_inputs, job.layer.in_channels)
        columns = max(passes[0].columns)
        return job.weight_bytes <= held or 2 * job.bytes_of_weights(rows * columns) <= held
    halves = 1 if len(passes) == 1 else 2
    return halves * max(count_pass_weights(job, part) for part in passes) <= held


def _fit_outputs(job: SparseJob, passes: tuple[Pass, ...], tile_inputs: int) -> ActiveTiles | None:
    """Cut tiles whose partial sums fit, and whose whole outputs fit half of the output buffer.

    Those of a transposed layer are complete after one column fold.
    """
    columns = max(passes[0].columns) if job.transposed else sum(passes[0].columns)
    held = int(job.spec.sram.psum_kib * KIB) // (PSUM_BYTES * columns)
    whole = int(job.spec.sram.output_kib * KIB) // (2 * job.spec.element_bytes * columns)
    if job.transposed:
        return cut_tiles(job.geometry, tile_inputs) if tile_inputs <= min(held, whole) else None
    return fit_tiles(job.geometry, tile_inputs, held, whole)


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


def _add_weights(job: SparseJob, order: LoopOrder, passes: tuple[Pass, ...], table: StepTable) -> None:
    """Add the weights to what the steps bring: once per pass, or with every step where the buffer cannot hold them."""
    if order == "tiles_outer" and job.weight_bytes > job.spec.sram.weight_kib * KIB:
        table.brought[:] += table.weights
        return
    steps = len(table.brought) // len(passes)
    for number, part in enumerate(passes):
        table.brought[number * steps] += count_pass_weights(job, part)


def _count_actions(job: SparseJob, table: StepTable, fetched: int, rule_runs: int) -> ActionCounts:
    """Count what happens in a layer but for what depends on its time; `fetched` bytes of weights were brought."""
    layer, size = job.layer, job.spec.element_bytes
    sums = job.row_folds * layer.macs // layer.in_channels * PSUM_BYTES
    coordinates = COORDINATE_BYTES * layer.active_inputs
    brought, stored = int(table.brought.sum()), int(table.stored.sum())
    spilled = int(table.gathered.sum() + table.scattered.sum())
    uses = int(table.vectors.sum()) * job.row_folds * RULE_BYTES
    return ActionCounts(
        mac=layer.macs,
        register_bits=8 * (layer.macs * size + job.spec.array.count_busy(layer.macs) * PSUM_BYTES),
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
        rule_write_bytes=rule_runs * job.geometry.rules * RULE_BYTES,
        dram_stream_bits=8 * (brought + stored),
        dram_random_bits=8 * spilled,
    )
