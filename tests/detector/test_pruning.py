"""test_pruning.py: vector pruning keeps exactly the pillars that a stable sort of the importances puts first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.detector import pruning_reference
from colonnade.detector.pruning import count_kept, measure_importance, prune, prune_below
from colonnade.runtime.errors import UsageError
from colonnade.runtime.sparse import PillarGrid
from colonnade.runtime.threads import available_threads, thread_budget

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))


def draw_grid(seed: int, shape: tuple[int, int], channels: int, dtype: str, levels: int) -> PillarGrid:
    """Return a grid with whole features below `levels`: few levels make many ties, and all sums exact."""
    rng = np.random.default_rng(seed)
    coords = np.argwhere(rng.random(shape) < rng.random()).astype(np.int32)
    features = rng.integers(0, levels, (len(coords), channels))
    sign = rng.choice([-1, 1], features.shape) if dtype != "uint8" else 1
    return PillarGrid.from_coords(coords, (features * sign).astype(dtype), shape)


def draw_weights(seed: int, channels: int, importance: str) -> np.ndarray | None:
    """Return weights of channels: none for L2, ones for L1, halves of both signs as if learned."""
    if importance == "l2":
        return None
    if importance == "l1":
        return np.ones(channels, np.float32)
    return (np.random.default_rng(seed).integers(-4, 5, channels) / 2).astype(np.float32)


def assert_same(found: PillarGrid, expected: PillarGrid) -> None:
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found.coords, expected.coords)
    np.testing.assert_array_equal(found.features, expected.features)
    assert found.features.dtype == expected.features.dtype


GRIDS = (
    st.integers(0, 10**6),
    SHAPES,
    st.integers(1, 20),
    st.sampled_from(["float32", "uint8", "int32"]),
    st.sampled_from([1, 2, 3, 256]),
)
IMPORTANCE = st.sampled_from(["l2", "l1", "learned"])


@settings(deadline=None, max_examples=300)
@given(*GRIDS, st.integers(0, 90), IMPORTANCE)
def test_pruning_equals_its_twin(seed, shape, channels, dtype, levels, count, importance):
    grid = draw_grid(seed, shape, channels, dtype, levels)
    weights = draw_weights(seed, channels, importance)
    kept = prune(grid, count, weights)
    assert len(kept) == min(count, len(grid))
    assert_same(kept, pruning_reference.prune(grid, count, weights))


@settings(deadline=None, max_examples=300)
@given(*GRIDS, st.integers(-20, 60), IMPORTANCE)
def test_thresholds_equal_their_twin(seed, shape, channels, dtype, levels, half, importance):
    grid = draw_grid(seed, shape, channels, dtype, levels)
    weights = draw_weights(seed, channels, importance)
    kept = prune_below(grid, half / 2, weights)
    assert_same(kept, pruning_reference.prune_below(grid, half / 2, weights))
    measured = measure_importance(grid, weights)
    np.testing.assert_array_equal(measured, pruning_reference.measure_importance(grid, weights))
    assert len(kept) == (measured >= half / 2).sum()


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10**6), st.integers(0, 60), st.floats(0, 0.5), st.booleans())
def test_an_importance_that_is_not_a_number_counts_as_the_largest(seed, count, share, weighted):
    rng = np.random.default_rng(seed)
    features = rng.integers(-2, 3, (60, 9)).astype(np.float32)
    features[rng.random(60) < share, 4] = np.nan
    features[rng.random(60) < share, 5] = np.inf
    features[rng.random(60) < share, 6] = -np.nan
    grid = PillarGrid.full((6, 10), features)
    weights = np.arange(-4, 5).astype(np.float32) if weighted else None
    kept = prune(grid, count, weights)
    assert_same(kept, pruning_reference.prune(grid, count, weights))
    broken = np.isnan(features).any(axis=1).sum()
    assert np.isnan(kept.features).any(axis=1).sum() == min(broken, count)
    high = prune_below(grid, 1e9, weights)
    assert_same(high, pruning_reference.prune_below(grid, 1e9, weights))
    assert np.isnan(high.features).any(axis=1).sum() == broken


def test_between_equals_the_first_in_row_major_order_stays():
    grid = PillarGrid.full((3, 4), np.ones((12, 5), np.uint8))
    np.testing.assert_array_equal(prune(grid, 5).coords, grid.coords[:5])
    features = np.ones((12, 5), np.float32)
    features[7] = 2
    np.testing.assert_array_equal(prune(grid.with_features(features), 3).coords, grid.coords[[0, 1, 7]])


@pytest.mark.parametrize("importance", ["l2", "l1", "learned"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_real_values_select_as_the_sort_does_on_any_number_of_threads(dtype, importance):
    rng = np.random.default_rng(3)
    features = (rng.random((5000, 67)) * 200).astype(dtype)  # importances far apart compared with rounding
    grid = PillarGrid.full((50, 100), features)
    weights = draw_weights(1, 67, importance)
    threshold = float(np.median(pruning_reference.measure_importance(grid, weights))) + 1e-3
    measured = []
    for threads in (1, available_threads()):
        with thread_budget(threads):
            assert_same(prune(grid, 1234, weights), pruning_reference.prune(grid, 1234, weights))
            above = prune_below(grid, threshold, weights)
            measured.append(measure_importance(grid, weights).tobytes())
        assert_same(above, pruning_reference.prune_below(grid, threshold, weights))
        assert 2400 < len(above) < 2600
    assert len(set(measured)) == 1


def test_negative_importances_rank_below_zero():
    grid = PillarGrid.full((1, 5), np.array([[1], [0], [3], [2], [0]], np.float32))
    falling = np.array([-1], np.float32)
    np.testing.assert_array_equal(prune(grid, 3, falling).cols, [0, 1, 4])
    np.testing.assert_array_equal(prune_below(grid, -2.0, falling).cols, [0, 1, 3, 4])
    np.testing.assert_array_equal(prune_below(grid, 0.0, falling).cols, [1, 4])


def test_nothing_to_drop_gives_the_grid_itself():
    grid = draw_grid(0, (4, 4), 3, "float32", 5)
    assert prune(grid, len(grid)) is grid
    empty = PillarGrid.from_coords(np.empty((0, 2), np.int32), np.empty((0, 3), np.float32), (4, 4))
    assert prune(empty, 0) is empty
    assert prune(empty, 7) is empty
    assert len(prune(grid, 0)) == 0
    assert prune_below(grid, 0.0) is grid
    assert prune_below(grid, -1.0) is grid
    assert prune_below(empty, 1.0) is empty
    assert len(prune_below(grid, 1e6)) == 0
    assert len(prune_below(grid, 1e300)) == 0  # its square is no float
    one = PillarGrid.from_coords(np.array([[1, 2]]), np.full((1, 4), 1, np.uint8), (4, 4))
    assert prune_below(one, 2.0) is one
    assert len(prune_below(one, 2.001)) == 0


def test_the_share_is_rounded_up_but_not_by_rounding_errors():
    assert [count_kept(keep, 10) for keep in (0.5, 0.51, 1.0, 1.1, 1.25)] == [5, 6, 10, 11, 13]
    assert count_kept(1.1, 1000) == 1100
    assert count_kept(0.25, 0) == 0


def test_no_share_is_too_small_or_too_large():
    assert [count_kept(keep, 100) for keep in (5e-324, 1e-12)] == [1, 1]
    assert [count_kept(keep, 100) >= 100 for keep in (1e300, 1.7e308)] == [True, True]
    assert [count_kept(keep, 0) for keep in (5e-324, 1.7e308)] == [0, 0]


def test_a_negative_count_is_refused():
    with pytest.raises(UsageError, match="count must be 0 or more pillars, got -1"):
        prune(draw_grid(0, (4, 4), 3, "float32", 5), -1)


def test_a_threshold_that_is_no_number_is_refused():
    with pytest.raises(UsageError, match="threshold must be a number"):
        prune_below(draw_grid(0, (4, 4), 3, "float32", 5), float("nan"))
