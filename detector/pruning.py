"""pruning.py: vector pruning: the pillars whose channel vectors matter stay, the others are dropped."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import UsageError
from ..runtime.jit import kernel, parallel_kernel, prange
from ..runtime.sparse import PillarGrid

Sums = NDArray[np.uint32] | NDArray[np.float64]
Keys = NDArray[np.uint32] | NDArray[np.uint64]

_DIGIT_BITS = 10  # of the radix selection, which begins at the highest bit that any key has
_PILLARS_PER_TASK = 256  # that one parallel iteration measures; large enough to hide its start-up
_SIGN = np.int64(-(2**63))  # the bit of a float's sign
_LANES = 8  # sums kept apart, so that the additions run beside each other


def count_kept(keep: float, active: int) -> int:
    """Return K = ceil(keep · active); a product that is whole but for rounding is not rounded up.

    However small the share, one of the active pillars stays; however large, K is a number that indices reach.
    """
    wanted = min(round(keep * active, 6), sys.maxsize)
    return max(math.ceil(wanted), min(active, 1))


def prune(grid: PillarGrid, count: int, weights: NDArray[np.float32] | None = None) -> PillarGrid:
    """Keep the `count` most important pillars, in row-major order.

    Of pillars of the same importance the first in row-major order stay. One that is NaN counts as the largest, so
    that pruning hides no fault. The result does not depend on the number of threads, see `measure_importance`.

    Args:
        grid: features (P, C) of any dtype that a grid has.
        count: K; from P on, the grid itself is returned.
        weights: of the channels, as in `measure_importance`.

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
    keys = _order(_sum_channels(grid.features, weights))
    return _take(grid, *_select_largest(keys, grid.row_ptr, count))


def prune_below(grid: PillarGrid, threshold: float, weights: NDArray[np.float32] | None = None) -> PillarGrid:
    """Keep the pillars whose importance is `threshold` or more, in row-major order; nothing is sorted.

    An importance that is NaN stays, so that pruning hides no fault. Where all stay, the grid itself is returned.

    Args:
        grid: features (P, C) of any dtype that a grid has.
        threshold: in the units of the features.
        weights: of the channels, as in `measure_importance`.

    Raises:
        UsageError: `threshold` is NaN.
    """
    if math.isnan(threshold):
        raise UsageError("threshold must be a number, got nan")
    level = float(threshold)
    if weights is None:
        level = max(level, 0.0) * max(level, 0.0)  # beyond the largest float infinity, where ** would raise
    sums = _sum_channels(grid.features, weights)
    row_ptr, ranks = _select_above(sums, grid.row_ptr, level)
    return grid if ranks.size == len(grid) else _take(grid, row_ptr, ranks)


def measure_importance(grid: PillarGrid, weights: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
    """Return (P,) how much each pillar matters.

    Sums are exact for uint8 without weights or with whole ones, and added in one fixed order in float64 otherwise.

    Args:
        grid: features (P, C).
        weights: (C,) of the channels, whose weighted sum is the importance; ones give the L1 norm of features that are
            not negative, as behind ReLU. None takes the L2 norm.
    """
    sums = _sum_channels(grid.features, weights)
    return np.sqrt(sums.astype(np.float64)) if weights is None else sums.astype(np.float64)


def _take(grid: PillarGrid, row_ptr: NDArray[np.int32], ranks: NDArray[np.int64]) -> PillarGrid:
    return PillarGrid.assemble(row_ptr, grid.cols.take(ranks), grid.features.take(ranks, axis=0), grid.shape)


def _sum_channels(features: NDArray[Any], weights: NDArray[np.float32] | None) -> Sums:
    """Return (P,) the squares of the L2 norms, or the weighted sums."""
    sums: Sums
    is_whole = features.dtype == np.uint8
    if weights is not None:
        is_plain = is_whole and bool((weights == 1).all())  # the L1 norm, ten times as fast in integers
        sums = _sum_u8(features) if is_plain else _sum_weighted(features, weights)
    elif is_whole:
        sums = _sum_squares_u8(features)
    else:
        sums = _sum_squares(features)
    return sums


def _order(sums: Sums) -> Keys:
    """Return unsigned numbers that are ordered as the sums are, NaN above all.

    The bits of floats order as these do where they are not negative, and the other way round where they are.
    """
    if sums.dtype == np.uint32:
        return sums.view(np.uint32)
    bits = sums.view(np.int64)
    return (bits ^ ((bits >> 63) | _SIGN)).view(np.uint64)


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
def _sum_weighted(features: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (P) float64 sums of features times weights; any NaN becomes the one with the plain bits, -0 becomes 0."""
    pillars, channels = features.shape
    totals = np.empty(pillars, np.float64)
    whole = channels - channels % _LANES
    for task in prange((pillars + _PILLARS_PER_TASK - 1) // _PILLARS_PER_TASK):
        sums = np.empty(_LANES, np.float64)
        for p in range(task * _PILLARS_PER_TASK, min(pillars, (task + 1) * _PILLARS_PER_TASK)):
            sums[:] = 0.0
            for first in range(0, whole, _LANES):
                for lane in range(_LANES):
                    sums[lane] += np.float64(features[p, first + lane]) * np.float64(weights[first + lane])
            total = np.float64(0.0)
            for channel in range(whole, channels):
                total += np.float64(features[p, channel]) * np.float64(weights[channel])
            for lane in range(_LANES):
                total += sums[lane]
            totals[p] = np.nan if np.isnan(total) else total
    return totals


@parallel_kernel
def _sum_u8(features: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return (P) uint32 sums, exact."""
    pillars, channels = features.shape
    totals = np.empty(pillars, np.uint32)
    for task in prange((pillars + _PILLARS_PER_TASK - 1) // _PILLARS_PER_TASK):
        for p in range(task * _PILLARS_PER_TASK, min(pillars, (task + 1) * _PILLARS_PER_TASK)):
            total = np.uint32(0)
            for channel in range(channels):
                total = np.uint32(total + np.int64(features[p, channel]))
            totals[p] = total
    return totals


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
def _select_above(
    sums: Sums, row_ptr: NDArray[np.int32], level: float
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return row_ptr and the ascending ranks of the sums that are not below `level`."""
    kept_ptr = np.zeros(row_ptr.size, np.int32)
    ranks = np.empty(sums.size + 1, np.int64)
    n = 0
    for row in range(row_ptr.size - 1):
        for rank in range(row_ptr[row], row_ptr[row + 1]):
            ranks[n] = rank  # as in _select_largest
            n += not np.float64(sums[rank]) < level
        kept_ptr[row + 1] = n
    return kept_ptr, ranks[:n]


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
