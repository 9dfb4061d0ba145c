"""pruning_reference.py: the NumPy twin of vector pruning, plain and slow, that tests compare it with."""

from __future__ import annotations

import numpy as np

from ..runtime.sparse import PillarGrid


def prune(grid: PillarGrid, count: int) -> PillarGrid:
    """Twin of pruning.prune, by a stable sort of all norms; exact where the sums of squares are."""
    norms = (grid.features.astype(np.float64) ** 2).sum(axis=1)
    largest_first = np.argsort(-np.where(np.isnan(norms), np.inf, norms), kind="stable")
    nan_first = largest_first[np.argsort(~np.isnan(norms[largest_first]), kind="stable")]
    kept = np.sort(nan_first[:count])
    return PillarGrid.from_coords(grid.coords[kept], grid.features[kept], grid.shape)
