"""The ground map: equal to its NumPy twin, and right on scenes whose ground is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from colonnade.detector import reference
from colonnade.detector.ground import (
    CELL,
    CELLS,
    FINE,
    HALF,
    GroundMap,
    collect_candidates,
    estimate_ground,
    estimate_ground_height,
    find_lowest,
    fit_plane,
    grow_map,
    split_columns,
)

PLANE_TOLERANCE = 1e-9  # float64, solved in another way
HEIGHT_TOLERANCE = 1e-5  # [m] float32 heights, each from those before it

clouds = hnp.arrays(
    np.float32,
    st.tuples(st.integers(0, 60), st.just(3)),
    elements=st.floats(-70, 70, width=32) | st.sampled_from([np.nan, np.inf, -np.inf, np.float32(1e30)]),
)


def make_plane(rng: np.random.Generator, height: float, slope: float = 0.0) -> np.ndarray:
    xy = rng.uniform(-45, 45, (40_000, 2))
    z = height + slope * xy[:, 0] + rng.normal(0, 0.02, len(xy))
    return np.column_stack([xy, z]).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(clouds)
def test_lowest_points_equal_the_twin(points):
    np.testing.assert_array_equal(find_lowest(split_columns(points)), reference.find_lowest(points, FINE))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1))
def test_candidates_equal_the_twin(seed, density):
    rng = np.random.default_rng(seed)
    lowest = rng.normal(-1.7, 0.5, (CELLS * FINE, CELLS * FINE)).astype(np.float32)
    lowest[rng.random(lowest.shape) >= density] = np.inf
    np.testing.assert_array_equal(collect_candidates(lowest), reference.collect_candidates(lowest, FINE))


def draw_candidates(seed: int, density: float) -> np.ndarray:
    """Return candidates (CELLS, CELLS) of uneven ground with cars and pits, known in a part of the cells."""
    rng = np.random.default_rng(seed)
    candidates = rng.normal(-1.7, 0.1, (CELLS, CELLS)) + rng.choice(
        [0.0, 1.5, -2.0], (CELLS, CELLS), p=[0.7, 0.2, 0.1]
    )
    candidates[rng.random(candidates.shape) >= density] = np.nan
    return candidates.astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.002, 0.05, 0.5, 1.0]))
def test_planes_equal_the_twin(seed, density):
    candidates = draw_candidates(seed, density)
    np.testing.assert_allclose(fit_plane(candidates), reference.fit_plane(candidates), atol=PLANE_TOLERANCE)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.05, 0.5, 1.0]))
def test_maps_equal_the_twin(seed, density):
    candidates = draw_candidates(seed, density)
    plane = np.array([-1.7, 0.01, -0.02])
    heights, level = grow_map(candidates, plane)
    expected, expected_level = reference.grow_map(candidates, plane)
    np.testing.assert_allclose(heights, expected, atol=HEIGHT_TOLERANCE)
    assert level == pytest.approx(expected_level, abs=HEIGHT_TOLERANCE)


@pytest.mark.parametrize(
    "layout", [np.asfortranarray, lambda p: np.repeat(p, 2, axis=0)[::2], lambda p: p.astype(np.float64)]
)
def test_columns_are_the_same_for_every_layout(layout):
    points = np.random.default_rng(4).normal(size=(37, 5)).astype(np.float32)
    columns = split_columns(layout(points))
    assert columns.flags.c_contiguous
    np.testing.assert_array_equal(columns, points[:, :3].T)


def test_columns_that_lie_so_already_are_not_copied():
    columns = np.zeros((3, 10), np.float32)
    assert np.shares_memory(split_columns(columns.T), columns)
    columns.flags.writeable = False
    assert split_columns(columns.T).flags.writeable


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float32, st.tuples(st.integers(0, 40), st.just(2)), elements=st.floats(-200, 200, width=32))
)
def test_interpolation_equals_the_twin(xy):
    heights = np.random.default_rng(0).normal(size=(CELLS, CELLS)).astype(np.float32)
    found = GroundMap(heights, 0.0).at(xy)
    np.testing.assert_allclose(found, reference.interpolate_heights(heights, xy), atol=1e-4)


@pytest.mark.parametrize("height", [-1.73, -0.25, -3.2, 0.0])
@pytest.mark.parametrize("slope", [0.0, 0.05, -0.08])
def test_planes_are_found(height, slope):
    points = make_plane(np.random.default_rng(1), height, slope)
    ground = estimate_ground(points)
    assert ground.level == pytest.approx(height, abs=0.12)
    where = np.array([[0, 0], [20, 5], [-30, 10], [35, -20]], np.float32)
    np.testing.assert_allclose(ground.at(where), height + slope * where[:, 0], atol=0.2)


@pytest.mark.parametrize("slopes", [(0.06, -0.05), (-0.05, 0.06)])
def test_a_slope_goes_on_where_nothing_is_seen(slopes):
    points = make_plane(np.random.default_rng(5), -1.73)
    points[:, 2] += points[:, :2] @ np.array(slopes, np.float32)
    unseen = (np.abs(points[:, 1]) > 17) & (np.abs(points[:, 1]) < 30)
    unseen |= (np.abs(points[:, :2]) < 7).all(axis=1)  # the hole around the carrying vehicle
    ground = estimate_ground(points[~unseen])
    where = np.array([[4, -4], [0, 24], [10, -24], [-10, 24], [5, 38]], np.float32)
    np.testing.assert_allclose(ground.at(where), -1.73 + where @ np.array(slopes), atol=0.4)


def test_a_pit_is_not_ground():
    points = make_plane(np.random.default_rng(6), -1.73)
    pit = (np.abs(points[:, 0] - 22) < 4.5) & (np.abs(points[:, 1] - 2) < 4.5)
    points[pit, 2] -= 3.0
    np.testing.assert_allclose(estimate_ground(points).at(np.array([[22, 2]], np.float32)), -1.73, atol=0.1)


def test_uneven_cells_are_smoothed():
    points = make_plane(np.random.default_rng(7), -1.73)
    row, column = ((points[:, 1] + HALF) // CELL), ((points[:, 0] + HALF) // CELL)
    points[:, 2] += np.where((row + column) % 2 == 0, 0.1, -0.1).astype(np.float32)
    inner = estimate_ground(points).heights[6:-6, 6:-6]
    assert np.ptp(inner) < 0.12


def test_a_bus_beside_the_sensor_does_not_tilt_the_plane():
    candidates = np.full((CELLS, CELLS), -1.73, np.float32)
    candidates[CELLS // 2 + 1 : CELLS // 2 + 3, CELLS // 2 - 3 : CELLS // 2 + 4] += 1.2
    height, *slopes = fit_plane(candidates)
    assert height == pytest.approx(-1.73, abs=0.05)
    assert np.abs(slopes).max() < 0.01


def test_cars_and_walls_are_not_ground():
    rng = np.random.default_rng(2)
    road = make_plane(rng, -1.73)
    roofs = np.column_stack(
        [rng.uniform(6, 14, 4000), rng.uniform(-9, 9, 4000), rng.uniform(-1.3, 0.0, 4000)]
    )
    wall = np.column_stack([rng.uniform(-40, 40, 9000), np.full(9000, 20.0), rng.uniform(-1.7, 6.0, 9000)])
    hidden = (road[:, 1] < 20) & ~((road[:, 0] > 5) & (road[:, 0] < 15) & (np.abs(road[:, 1]) < 10))
    ground = estimate_ground(np.concatenate([road[hidden], roofs, wall]).astype(np.float32))
    where = np.array([[10, 0], [10, 8], [0, 19], [0, 26]], np.float32)
    np.testing.assert_allclose(ground.at(where), -1.73, atol=0.3)


def test_stray_returns_below_the_ground_do_not_pull_it_down():
    rng = np.random.default_rng(3)
    stray = np.column_stack([rng.uniform(-20, 20, (40, 2)), rng.uniform(-8, -3, 40)])
    points = np.concatenate([make_plane(rng, -1.73), stray]).astype(np.float32)
    assert estimate_ground_height(points) == pytest.approx(-1.73, abs=0.1)


def test_a_known_level_is_kept_where_nothing_is_seen():
    ground = estimate_ground(np.zeros((0, 3), np.float32), level=-2.1)
    np.testing.assert_allclose(ground.heights, -2.1, atol=1e-5)
    assert estimate_ground(np.zeros((0, 3), np.float32)).level == 0.0


def test_a_known_level_is_reported_and_what_is_seen_around_it_stays():
    ground = estimate_ground(make_plane(np.random.default_rng(8), -1.73), level=-1.6)
    assert ground.level == -1.6
    np.testing.assert_allclose(ground.heights, -1.73, atol=0.1)


def test_real_frames_stand_where_their_datasets_say(kitti_points, pandaset_points):
    assert estimate_ground_height(kitti_points) == pytest.approx(-1.73, abs=0.2)
    assert estimate_ground_height(pandaset_points) == pytest.approx(-0.25, abs=0.25)
