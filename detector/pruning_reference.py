"""pruning_reference.py: the NumPy twins of vector pruning, plain and slow, that tests compare it with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..runtime.sparse import PillarGrid


def measure_importance(grid: PillarGrid, weights: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
    """Twin of pruning.measure_importance, equal where the sums are exact."""
    features = grid.features.astype(np.float64)
    if weights is None:
        return np.asarray(np.sqrt((features**2).sum(axis=1)))
    return np.asarray((features * weights).sum(axis=1))


def prune(grid: PillarGrid, count: int, weights: NDArray[np.float32] | None = None) -> PillarGrid:
    """Twin of pruning.prune, by a stable sort of all importances."""
    importance = measure_importance(grid, weights)
    largest_first = np.argsort(-np.where(np.isnan(importance), np.inf, importance), kind="stable")
    nan_first = largest_first[np.argsort(~np.isnan(importance[largest_first]), kind="stable")]
    return _take(grid, np.sort(nan_first[:count]))


def prune_below(grid: PillarGrid, threshold: float, weights: NDArray[np.float32] | None = None) -> PillarGrid:
    """Twin of pruning.prune_below."""
    return _take(grid, np.flatnonzero(~(measure_importance(grid, weights) < threshold)))


def _take(grid: PillarGrid, kept: NDArray[np.int64]) -> PillarGrid:
    return PillarGrid.from_coords(grid.coords[kept], grid.features[kept], grid.shape)
