"""tile_times.py: how long the taps of each tile occupy array and ports, for one row fold and one column fold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .active_tiles import ActiveTiles
from .folds import drain, occupy
from .gather_scatter import time_gather, time_scatter
from .geometry import LayerGeometry
from .spec import ArraySpec, GatherSpec

_REMEMBERED = 2048  # a sweep over designs meets most of them again


@dataclass(frozen=True, eq=False)
class TileTimes:
    """Of each tile, summed over its taps; (n,) int64 each.

    Attributes:
        vectors: streamed into the array.
        taps: with work.
        occupied: cycles of the array, as `occupy`.
        tail: cycles from there until the last sum has left, as `drain`.
        gather, scatter: cycles of the ports.
        gather_conflicts, scatter_conflicts: of them, lost to bank conflicts.
    """

    vectors: NDArray[np.int64]
    taps: NDArray[np.int64]
    occupied: NDArray[np.int64]
    tail: NDArray[np.int64]
    gather: NDArray[np.int64]
    scatter: NDArray[np.int64]
    gather_conflicts: NDArray[np.int64]
    scatter_conflicts: NDArray[np.int64]


@lru_cache(maxsize=_REMEMBERED)
def time_tiles(
    geometry: LayerGeometry,
    tiles: ActiveTiles,
    array: ArraySpec,
    gather: GatherSpec,
    vector_bytes: int,
    sum_bytes: int,
    grouped: bool,
) -> TileTimes:
    """Return the times of a layer that sums over taps.

    Args:
        geometry, tiles: the layer's.
        array, gather: of the accelerator.
        vector_bytes, sum_bytes: widths of a gathered vector and of a scattered one.
        grouped: whether only inputs with a rule stream past a tap; else all of the tile do, and most leave nothing
            behind.
    """
    reading = time_gather(geometry, tiles, gather, vector_bytes)
    writing = time_scatter(geometry, tiles, gather, sum_bytes)
    vectors = tiles.pairs if grouped else np.where(tiles.pairs > 0, tiles.inputs[:, None], 0)
    read = vectors * reading.per_vector + reading.conflicts
    written = tiles.pairs * writing.per_vector + writing.conflicts
    folds = np.maximum(read, written)
    last = np.take_along_axis(folds, _last_used(folds)[:, None], axis=1)[:, 0]
    return TileTimes(
        vectors=vectors.sum(axis=1),
        taps=np.count_nonzero(folds, axis=1).astype(np.int64),
        occupied=occupy(array, folds).sum(axis=1),
        tail=drain(array, last),
        gather=read.sum(axis=1),
        scatter=written.sum(axis=1),
        gather_conflicts=reading.conflicts.sum(axis=1),
        scatter_conflicts=writing.conflicts.sum(axis=1),
    )


def _last_used(folds: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return per tile the last tap with work."""
    from_end: NDArray[np.intp] = np.argmax(folds[:, ::-1] > 0, axis=1)
    last: NDArray[np.intp] = folds.shape[1] - 1 - from_end
    return last
