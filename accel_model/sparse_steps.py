"""sparse_steps.py: what the steps of one pass over a sparse layer ask of array, ports and main memory."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from .active_tiles import ActiveTiles
from .folds import drain, occupy
from .gather_scatter import time_gather, time_scatter
from .rule_generation import COORDINATE_BYTES
from .sparse_job import PSUM_BYTES, Pass, SparseJob
from .tile_times import time_tiles


@dataclass(frozen=True, eq=False)
class StepTable:
    """What the steps of a pass ask of each unit; (S,) int64 each.

    Attributes:
        brought, gathered: bytes from main memory, in order and at random addresses.
        stored, scattered: bytes to main memory, likewise.
        stream, tail: cycles of the array, as in `Steps`.
        unhindered: of `stream`, what ports that never keep the array waiting would leave.
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
    unhindered: NDArray[np.int64]
    gather: NDArray[np.int64]
    scatter: NDArray[np.int64]
    vectors: NDArray[np.int64]
    weights: NDArray[np.int64]
    gather_conflicts: NDArray[np.int64]
    scatter_conflicts: NDArray[np.int64]


_COLUMNS = tuple(f.name for f in fields(StepTable))


def join_steps(parts: list[StepTable]) -> StepTable:
    """Return the steps of all passes, in order, in arrays of their own."""
    return StepTable(*(np.concatenate(column) for column in zip(*map(_columns_of, parts), strict=True)))


def _columns_of(table: StepTable) -> tuple[NDArray[np.int64], ...]:
    return tuple(getattr(table, name) for name in _COLUMNS)


def find_widths(job: SparseJob, columns: int) -> tuple[int, int]:
    """Return the bytes of a gathered vector and of a scattered one."""
    return min(
        job.layer.in_channels, job.spec.array.fold_inputs
    ) * job.spec.element_bytes, columns * PSUM_BYTES


def plan_convolution(
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
        unhindered=times.unhindered * repeats,
        gather=times.gather * repeats,
        scatter=times.scatter * repeats,
        vectors=times.vectors * len(part.columns),
        weights=times.taps * job.bytes_of_weights(job.layer.in_channels * columns),
        gather_conflicts=times.gather_conflicts * repeats,
        scatter_conflicts=times.scatter_conflicts * repeats,
    )


def plan_transposed(
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
        unhindered=occupy(array, inputs) * job.row_folds,
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
        return tiles.completed
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
