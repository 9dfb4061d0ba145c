"""test_sparse_grid.py: PillarGrid and concatenate against their brute-force twins, and what they refuse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.runtime.errors import UsageError
from colonnade.runtime.sparse import PillarGrid, concatenate
from colonnade.runtime.sparse.reference import concatenate_reference, to_dense_reference


def draw_sites(rng: np.random.Generator, shape: tuple[int, int], share: float) -> np.ndarray:
    """Return sites of `shape`, each active with probability `share`, in random order."""
    return rng.permutation(np.argwhere(rng.random(shape) < share)).astype(np.int32)


shapes = st.tuples(st.integers(1, 40), st.integers(1, 140))
seeds = st.integers(0, 2**32 - 1)
shares = st.sampled_from([0.0, 0.02, 0.3, 0.9, 1.0])


@settings(deadline=None, max_examples=60)
@given(shape=shapes, seed=seeds, share=shares, channels=st.integers(1, 5))
def test_from_coords_sorts_sites_with_their_features(shape, seed, share, channels):
    rng = np.random.default_rng(seed)
    sites = draw_sites(rng, shape, share)
    features = rng.standard_normal((len(sites), channels)).astype(np.float32)
    grid = PillarGrid.from_coords(sites, features, shape)
    order = np.lexsort((sites[:, 1], sites[:, 0]))
    assert np.array_equal(grid.coords, sites[order])
    assert np.array_equal(grid.features, features[order])
    assert grid.coords.dtype == np.int32
    assert grid.row_ptr.dtype == grid.cols.dtype == np.int32
    assert np.array_equal(np.diff(grid.row_ptr), np.bincount(sites[:, 0], minlength=shape[0]))
    assert np.array_equal(grid.to_dense(), to_dense_reference(grid))
    assert len(grid) == len(sites)
    assert grid.channels == channels


@settings(deadline=None, max_examples=40)
@given(shape=shapes, seed=seeds, parts=st.lists(st.tuples(shares, st.integers(1, 4)), min_size=1, max_size=4))
def test_concatenate_equals_brute_force(shape, seed, parts):
    rng = np.random.default_rng(seed)
    grids = []
    for share, channels in parts:
        sites = draw_sites(rng, shape, share)
        features = rng.standard_normal((len(sites), channels)).astype(np.float32)
        grids.append(PillarGrid.from_coords(sites, features, shape))
    joined, expected = concatenate(grids), concatenate_reference(grids)
    assert np.array_equal(joined.coords, expected.coords)
    assert np.array_equal(joined.features, expected.features)
    assert np.array_equal(joined.to_dense(), np.concatenate([grid.to_dense() for grid in grids]))


def test_concatenate_of_uint8_grids_stays_uint8():
    left = PillarGrid.from_coords([(0, 1)], np.array([[7, 8]], np.uint8), (1, 3))
    right = PillarGrid.from_coords([(0, 0), (0, 1)], np.array([[1], [2]], np.uint8), (1, 3))
    joined = concatenate([left, right])
    assert joined.features.dtype == np.uint8
    assert joined.features.tolist() == [[0, 0, 1], [7, 8, 2]]


def test_full_grid_lists_all_cells_in_row_major_order():
    features = np.arange(12, dtype=np.float32).reshape(6, 2)
    grid = PillarGrid.full((2, 3), features)
    assert grid.coords.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert np.array_equal(grid.to_dense(), features.T.reshape(2, 2, 3))


def test_with_features_shares_the_active_set():
    grid = PillarGrid.from_coords([(1, 1), (0, 2)], np.ones((2, 3), np.float32), (2, 3))
    other = grid.with_features(np.zeros((2, 8), np.float32))
    assert other.row_ptr is grid.row_ptr
    assert other.cols is grid.cols
    assert other.channels == 8


def test_non_contiguous_and_read_only_features_are_taken():
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    base.flags.writeable = False
    sites = np.array([(0, 3), (0, 2), (0, 1), (0, 0)])
    grid = PillarGrid.from_coords(sites, base[:, ::2], (1, 4))
    assert grid.features.flags.c_contiguous
    assert np.array_equal(grid.features, base[::-1, ::2])


def test_no_pillars():
    grid = PillarGrid.from_coords(np.empty((0, 2), np.int32), np.empty((0, 4), np.float32), (3, 5))
    assert len(grid) == 0
    assert grid.coords.shape == (0, 2)
    assert not grid.to_dense().any()
    assert len(concatenate([grid, grid])) == 0


ONE = np.ones((1, 1), np.float32)


@pytest.mark.parametrize(
    ("coords", "features", "shape", "message"),
    [
        ([(0, 0), (1, 2), (0, 0)], np.ones((3, 1), np.float32), (2, 3), r"row 0, col 0.*more than once"),
        ([(2, 0)], ONE, (2, 3), r"\(2, 0\), outside the grid of 2 rows and 3 columns"),
        ([(0, 3)], ONE, (2, 3), "outside"),
        ([(0, -1)], ONE, (2, 3), "outside"),
        ([(0, 2**40)], ONE, (2, 3), "outside"),
        ([(0.0, 1.0)], ONE, (2, 3), "coords must be"),
        ([(0, 1, 2)], ONE, (2, 3), "coords must be"),
        ([0, 1], ONE, (2, 3), "coords must be"),
        ([(0, 1)], np.ones((2, 1), np.float32), (2, 3), r"features must be \(1, C\)"),
        ([(0, 1)], np.ones(1, np.float32), (2, 3), "features must be"),
        ([(0, 1)], np.ones((1, 0), np.float32), (2, 3), "C of 1 or more"),
        ([(0, 1)], np.ones((1, 1)), (2, 3), "float32, uint8 or int32, got float64"),
        ([(0, 1)], np.ones((1, 1), ">f4"), (2, 3), "float32, uint8 or int32, got >f4"),
        ([(0, 1)], ONE, (0, 3), "shape must be"),
        ([(0, 1)], ONE, (2, 3, 4), "shape must be"),
        ([(0, 1)], ONE, (2**16, 2**16), "shape must be"),
    ],
)
def test_from_coords_refuses(coords, features, shape, message):
    with pytest.raises(UsageError, match=message):
        PillarGrid.from_coords(coords, features, shape)


@pytest.mark.parametrize(
    ("row_ptr", "cols"),
    [
        (np.array([0, 1], np.int32), np.array([0], np.int32)),  # a row is missing
        (np.array([0, 1, 1], np.int64), np.array([0], np.int32)),
        (np.array([0, 1, 2], np.int32), np.array([0], np.int32)),  # ends beyond the pillars
        (np.array([0, 1, 1], np.int32), np.array([0], np.int64)),
    ],
)
def test_constructor_refuses_malformed_rows(row_ptr, cols):
    with pytest.raises(UsageError):
        PillarGrid(row_ptr, cols, ONE, (2, 3))


def test_concatenate_refuses_nothing_and_unlike_grids():
    grid = PillarGrid.from_coords([(0, 1)], ONE, (2, 3))
    with pytest.raises(UsageError, match="at least one"):
        concatenate([])
    with pytest.raises(UsageError, match="agree in shape and dtype"):
        concatenate([grid, PillarGrid.from_coords([(0, 1)], ONE, (3, 3))])
    with pytest.raises(UsageError, match="agree in shape and dtype"):
        concatenate([grid, grid.with_features(np.ones((1, 1), np.uint8))])
