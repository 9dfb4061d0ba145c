"""active_tiles.py: runs of consecutive inputs, and the contiguous interval of outputs whose partial sums they keep."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .geometry import LayerGeometry

_REMEMBERED = 2048


@dataclass(frozen=True, eq=False)
class ActiveTiles:
    """A layer's inputs cut into n tiles.

    Attributes:
        starts: (n + 1,) rank of each tile's first input, and the number of inputs.
        pairs: (n, K) rules of each tile and tap.
        low, high: (n,) lowest and highest output rank that a tile touches.
        final: (n,) outputs below it are complete once the tile has run.
    """

    starts: NDArray[np.int64]
    pairs: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    final: NDArray[np.int64]

    @property
    def inputs(self) -> NDArray[np.int64]:
        """(n,) inputs of each tile."""
        return np.diff(self.starts)

    @property
    def intervals(self) -> NDArray[np.int64]:
        """(n,) length of the interval of outputs that a tile touches."""
        return self.high - self.low + 1

    @property
    def first(self) -> NDArray[np.int64]:
        """(n,) the first output that is not complete when a tile begins."""
        return np.concatenate(([0], self.final[:-1]))

    @property
    def reached(self) -> NDArray[np.int64]:
        """(n,) outputs below it have been touched once the tile has run."""
        return np.maximum.accumulate(self.high) + 1

    @property
    def resident(self) -> NDArray[np.int64]:
        """(n,) outputs whose partial sums are held while a tile runs: from the first incomplete to the last touched."""
        return self.reached - self.first

    @property
    def completed(self) -> NDArray[np.int64]:
        """(n,) outputs that a tile completes."""
        return self.final - self.first


@lru_cache(maxsize=_REMEMBERED)
def cut_tiles(geometry: LayerGeometry, tile_inputs: int) -> ActiveTiles:
    """Cut a layer's inputs into tiles of `tile_inputs`; the last may be smaller. No inputs: no tiles.

    An output is complete when no later tile touches it. "No rank of the next tile is below it" would not do: with the
    pillars (0, 5) and (1, 0) in tiles of one, the second tile reaches back below the first.
    """
    starts = np.arange(0, geometry.inputs, tile_inputs, dtype=np.int64)
    return _describe(geometry, np.append(starts, geometry.inputs))


@lru_cache(maxsize=_REMEMBERED)
def fit_tiles(
    geometry: LayerGeometry, tile_inputs: int, most_resident: int, most_completed: int
) -> ActiveTiles | None:
    """As `cut_tiles`, tiles that hold or complete more outputs than may be halved until they fit; None if none do."""
    tiles = cut_tiles(geometry, tile_inputs)
    while (wide := _find_wide(tiles, most_resident, most_completed)).size:
        middles = (tiles.starts[wide] + tiles.starts[wide + 1]) // 2
        new = middles[middles > tiles.starts[wide]]
        if not new.size:
            return None
        tiles = _describe(geometry, np.sort(np.concatenate((tiles.starts, new))))
    return tiles


def _find_wide(tiles: ActiveTiles, most_resident: int, most_completed: int) -> NDArray[np.intp]:
    """Return the tiles that hold or complete more outputs than may be."""
    return np.flatnonzero((tiles.resident > most_resident) | (tiles.completed > most_completed))


def _describe(geometry: LayerGeometry, starts: NDArray[np.int64]) -> ActiveTiles:
    edges = starts.astype(np.int32)  # of the ranks' type: they would all be copied into another one
    bounds = np.stack([np.searchsorted(inputs, edges) for inputs in geometry.rule_inputs])  # (K, n + 1)
    pairs = np.diff(bounds, axis=1).T
    low = np.full(len(starts) - 1, geometry.outputs, np.int64)
    high = np.full(len(starts) - 1, -1, np.int64)
    for tap, outputs in enumerate(geometry.rule_outputs):
        some = pairs[:, tap] > 0
        first, last = bounds[tap, :-1][some], bounds[tap, 1:][some] - 1
        low[some] = np.minimum(low[some], outputs[first])
        high[some] = np.maximum(high[some], outputs[last])
    later = np.append(low[1:], geometry.outputs)
    final = np.minimum.accumulate(later[::-1])[::-1]
    return ActiveTiles(starts, pairs, low, high, final)
