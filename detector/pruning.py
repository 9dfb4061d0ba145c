"""pruning.py: vector pruning: the pillars with the largest channel vectors stay, the others are dropped."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import UsageError
from ..runtime.jit import kernel, parallel_kernel, prange
from ..runtime.sparse import PillarGrid

Keys = NDArray[np.uint32] | NDArray[np.uint64]

_DIGIT_BITS = 10  # of the radix selection, which begins at the highest bit that any key has
_PILLARS_PER_TASK = 256  # that one parallel iteration measures; large enough to hide its start-up
_LANES = 8  # sums of squares kept apart, so that the additions run beside each other


def count_kept(keep: float, active: int) -> int:
    """Return K = ceil(keep · active); a product that is whole but for rounding is not rounded up."""
    return math.ceil(round(keep * active, 6))


def prune(grid: PillarGrid, count: int) -> PillarGrid:
    """Keep the `count` pillars with the largest L2 norm, in row-major order.

    Of pillars with the same norm the first in row-major order stay. A norm that is NaN counts as the largest, so
    that pruning hides no fault. The result does not depend on the number of threads: sums of squares are exact for
    uint8, and added in one fixed order in float64 otherwise.

    Args:
        grid: features (P, C) of any dtype that a grid has.
        count: K; from P on, the grid itself is returned.

    Returns:
        min(K, P) pillars with their features unchanged.

    Raises:
        UsageError: `count` is negative.

    Source: top-K over pillar importance as in SPADE / PillarAcc (arXiv 2305.07522), in our own form.
    """
    if count < 0:
        raise UsageError(f"count must be 0 or more pillars, got {count}")
    if count >= len(grid):
        return grid
    keys: Keys
    if grid.features.dtype == np.uint8:
        keys = _sum_squares_u8(grid.features)
    else:  # the bits of floats that are not negative order as the floats do
        keys = _sum_squares(grid.features).view(np.uint64)
    row_ptr, ranks = _select_largest(keys, grid.row_ptr, count)
    return PillarGrid.assemble(row_ptr, grid.cols.take(ranks), grid.features.take(ranks, axis=0), grid.shape)


@parallel_kernel
def _sum_squares(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (P) float64 sums of squares >= 0; any NaN becomes the one with the plain bits."""
    pillars, channels = features.shape
    norms = np.empty(pillars, np.float64)
    whole = channels - channels % _LANES
    for task in prange((pillars + _PILLARS_PER_TASK - 1) // _PILLARS_PER_TASK):
        sums = np.empty(_LANES, np.float64)
        for p in range(task * _PILLARS_PER_TASK, min(pillars, (task + 1) * _PILLARS_PER_TASK)):
            sums[:] = 0.0
            for first in range(0, whole, _LANES):
                for lane in range(_LANES):
                    value = np.float64(features[p, first + lane])
                    sums[lane] += value * value
            total = np.float64(0.0)
            for channel in range(whole, channels):
                value = np.float64(features[p, channel])
                total += value * value
            for lane in range(_LANES):
                total += sums[lane]
            norms[p] = np.nan if np.isnan(total) else total
    return norms


@parallel_kernel
def _sum_squares_u8(features: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return (P) uint32 sums of squares, exact up to 66,051 channels."""
    pillars, channels = features.shape
    norms = np.empty(pillars, np.uint32)
    for task in prange((pillars + _PILLARS_PER_TASK - 1) // _PILLARS_PER_TASK):
        for p in range(task * _PILLARS_PER_TASK, min(pillars, (task + 1) * _PILLARS_PER_TASK)):
            total = np.uint32(0)
            for channel in range(channels):
                value = np.int64(features[p, channel])
                total = np.uint32(total + value * value)
            norms[p] = total
    return norms


@kernel
def _select_largest(
    keys: Keys, row_ptr: NDArray[np.int32], count: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return row_ptr and the ascending ranks of the `count` < P largest keys: radix selection, O(P)."""
    threshold, tied = _find_threshold(keys, count)
    kept_ptr = np.zeros(row_ptr.size, np.int32)
    ranks = np.empty(count + 1, np.int64)
    n = 0
    for row in range(row_ptr.size - 1):
        for rank in range(row_ptr[row], row_ptr[row + 1]):
            equal = keys[rank] == threshold and tied > 0
            tied -= equal
            ranks[n] = rank  # overwritten by the next where this one goes: no branch to guess
            n += equal or keys[rank] > threshold
        kept_ptr[row + 1] = n
    return kept_ptr, ranks[:count]


@kernel
def _find_threshold(keys: Keys, count: int) -> tuple[np.uint64, int]:
    """Return the `count`-th largest key, and how many keys equal to it are wanted at most."""
    if count == 0:
        return np.uint64(0xFFFFFFFFFFFFFFFF), 0
    rivals, size = keys.copy(), keys.size
    left = count  # the threshold is the `left`-th largest of rivals[:size]
    low = np.uint64((1 << _DIGIT_BITS) - 1)
    highest, shift = np.uint64(keys.max()), np.uint64(0)
    while highest >> shift > low:
        shift += np.uint64(1)
    while True:
        counts = np.zeros(1 << _DIGIT_BITS, np.int64)
        for i in range(size):
            counts[(np.uint64(rivals[i]) >> shift) & low] += 1
        digit = low
        while counts[digit] < left:
            left -= counts[digit]
            digit -= np.uint64(1)
        first, size = size, 0
        for i in range(first):
            rivals[size] = rivals[i]
            size += (np.uint64(rivals[i]) >> shift) & low == digit
        if size == left or shift == 0:
            return np.uint64(rivals[:size].min()), left
        shift -= min(shift, np.uint64(_DIGIT_BITS))
