"""Pillars and their encoding: equal to the NumPy twins, whatever the points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from colonnade.detector import reference
from colonnade.detector.encoder import EncoderWeights, encode, encode_u8
from colonnade.detector.ground import CELLS, GroundMap, estimate_ground
from colonnade.detector.pillars import PILLAR_FEATURES, POINT_FEATURES, PillarGeometry, pillarise
from colonnade.runtime.errors import ConfigError, UsageError
from colonnade.runtime.threads import available_threads, thread_budget

FEATURE_TOLERANCE = 1e-4  # sums over a pillar's points, in another order

GRID = PillarGeometry(-6.4, -3.2, 6.4, 3.2, -1.0, 4.0, 0.32)
FLAT = GroundMap(np.full((CELLS, CELLS), -1.7, np.float32), -1.7)

clouds = hnp.arrays(
    np.float32,
    st.tuples(st.integers(0, 80), st.sampled_from([3, 4, 6])),
    elements=st.floats(-8, 8, width=32)
    | st.sampled_from([np.nan, np.inf, -np.inf, np.float32(-6.4), np.float32(6.4)]),
)


def assert_same(found, expected):
    np.testing.assert_array_equal(found.row_ptr, expected.row_ptr)
    np.testing.assert_array_equal(found.cols, expected.cols)
    np.testing.assert_array_equal(found.coords, expected.coords)
    np.testing.assert_array_equal(found.starts, expected.starts)
    np.testing.assert_array_equal(found.order, expected.order)
    np.testing.assert_allclose(found.point_features, expected.point_features, atol=FEATURE_TOLERANCE)
    np.testing.assert_allclose(found.pillar_features, expected.pillar_features, atol=FEATURE_TOLERANCE)


def draw_weights(rng: np.random.Generator, channels: int) -> EncoderWeights:
    return EncoderWeights(
        rng.normal(size=(POINT_FEATURES, channels)).astype(np.float32),
        rng.normal(size=channels).astype(np.float32),  # negative scales too
        rng.normal(size=(PILLAR_FEATURES, channels)).astype(np.float32),
        rng.normal(size=channels).astype(np.float32),
    )


@settings(max_examples=150, deadline=None)
@given(clouds)
def test_pillars_equal_the_twin(points):
    assert_same(pillarise(points, FLAT, GRID), reference.pillarise(points, FLAT, GRID))


@settings(max_examples=60, deadline=None)
@given(clouds, st.integers(1, 70))
def test_encoding_equals_the_twin(points, channels):
    pillars = pillarise(points, FLAT, GRID)
    weights = draw_weights(np.random.default_rng(channels), channels)
    np.testing.assert_array_equal(encode(pillars, weights), reference.encode(pillars, weights))
    for step in (0.001, 0.03, 1.0):
        expected = reference.encode_u8(pillars, weights, step)
        np.testing.assert_array_equal(encode_u8(pillars, weights, step), expected)


@pytest.mark.parametrize("step", [0.0, -1.0, np.inf, np.nan])
def test_impossible_steps_are_refused(step):
    pillars = pillarise(np.zeros((1, 3), np.float32), FLAT, GRID)
    with pytest.raises(UsageError, match="step"):
        encode_u8(pillars, draw_weights(np.random.default_rng(0), 8), step)


def test_real_frame_equals_the_twin_on_one_and_two_threads(kitti_points):
    ground = estimate_ground(kitti_points)
    geometry = PillarGeometry(-51.2, -51.2, 51.2, 51.2, -1.0, 4.0, 0.32)
    pillars = pillarise(kitti_points, ground, geometry)
    assert len(pillars) > 3000
    assert_same(pillars, reference.pillarise(kitti_points, ground, geometry))
    weights = draw_weights(np.random.default_rng(0), 48)
    with thread_budget(1):
        one = encode(pillars, weights), encode_u8(pillars, weights, 0.05)
    with thread_budget(available_threads()):
        two = encode(pillars, weights), encode_u8(pillars, weights, 0.05)
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(one[0], reference.encode(pillars, weights))
    np.testing.assert_array_equal(one[1], reference.encode_u8(pillars, weights, 0.05))


@pytest.mark.parametrize("geometry", [GRID, PillarGeometry(-1.0, -2.0, 4.0, 3.0, -1.0, 4.0, 1.0)])
def test_points_on_the_borders_of_the_grid_equal_the_twin(geometry):
    x = np.array(
        [geometry.x_min, np.nextafter(np.float32(geometry.x_max), np.float32(0)), geometry.x_max, 0.0]
    )
    y = np.array(
        [geometry.y_min, np.nextafter(np.float32(geometry.y_max), np.float32(0)), geometry.y_max, 0.0]
    )
    z = np.array([-2.7, -1.7, 0.3, 2.2999, 2.3])
    points = np.stack(np.meshgrid(x, y, z), -1).reshape(-1, 3).astype(np.float32)
    pillars = pillarise(points, FLAT, geometry)
    assert len(pillars) == 9
    assert_same(pillars, reference.pillarise(points, FLAT, geometry))


def test_a_pillar_may_hold_every_point():
    points = np.random.default_rng(6).uniform(0.01, 0.3, (3000, 3)).astype(np.float32)
    pillars = pillarise(points, FLAT, GRID)
    assert len(pillars) == 1
    assert_same(pillars, reference.pillarise(points, FLAT, GRID))
    weights = draw_weights(np.random.default_rng(1), 20)
    np.testing.assert_array_equal(encode(pillars, weights), reference.encode(pillars, weights))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 40), st.integers(0, 200))
def test_grids_of_any_size_equal_the_twin(seed, rows, columns, count):
    geometry = PillarGeometry(-columns / 2, -rows / 2, columns / 2, rows / 2, -1.0, 4.0, 1.0)
    points = np.random.default_rng(seed).uniform(-22, 22, (count, 3)).astype(np.float32)
    points[:, 2] %= 4
    assert_same(pillarise(points, FLAT, geometry), reference.pillarise(points, FLAT, geometry))


def test_heights_above_uneven_ground_equal_the_twin():
    rng = np.random.default_rng(7)
    uneven = GroundMap(rng.normal(-1.7, 0.3, (CELLS, CELLS)).astype(np.float32), -1.7)
    geometry = PillarGeometry(-64.0, -64.0, 64.0, 64.0, -9.0, 9.0, 0.5)  # beyond the map
    points = rng.uniform(-64, 64, (4000, 3)).astype(np.float32)
    points[:, 2] = rng.uniform(-3, 3, 4000)
    assert_same(pillarise(points, uneven, geometry), reference.pillarise(points, uneven, geometry))


def test_heights_are_measured_above_the_ground():
    low = np.array([[1.0, 1.0, -1.7], [1.01, 1.0, -0.7]], np.float32)
    pillars = pillarise(low, FLAT, GRID)
    np.testing.assert_allclose(pillars.point_features[:, 2], [0.0, 1.0], atol=1e-5)


def test_a_height_of_100_metres_is_absurd():
    ground = GroundMap(np.full((CELLS, CELLS), -99.5, np.float32), -99.5)
    points = np.array([[1, 1, -99.4], [1, 1, -100.1], [1, 1, -96.0]], np.float32)
    assert pillarise(points, ground, GRID).order.tolist() == [0, 2]


def test_a_strided_view_gives_the_same_pillars():
    points = np.random.default_rng(4).uniform(-6, 6, (50, 8)).astype(np.float32)
    view = points[::2, ::2]
    assert_same(pillarise(view, FLAT, GRID), pillarise(np.ascontiguousarray(view), FLAT, GRID))


@pytest.mark.parametrize("shape", [(5,), (5, 2), (2, 5, 3)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(UsageError, match="shape"):
        pillarise(np.zeros(shape, np.float32), FLAT, GRID)


@pytest.mark.parametrize(
    "change", [{"x_max": 6.5}, {"size": 0.0}, {"size": -1.0}, {"y_max": -4.0}, {"z_max": -1.0}]
)
def test_impossible_grids_are_refused(change):
    from dataclasses import replace

    with pytest.raises(ConfigError):
        replace(GRID, **change)
