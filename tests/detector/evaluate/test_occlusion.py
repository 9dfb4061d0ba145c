"""test_occlusion.py: the share of an object that is hidden, on drawn walls whose share is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colonnade.detector.evaluate.occlusion import measure_occlusion

CAR = np.array([[20.0, 0.0, -0.9, 4.0, 2.0, 1.6, 0.0]])


def wall(distance: float, low: float, high: float) -> np.ndarray:
    """Return a dense grid of returns at x = `distance` with azimuth slopes y / x from `low` to `high`."""
    across, up = np.meshgrid(np.linspace(low, high, 81)[:-1], np.linspace(-1.4, -0.2, 40) / 18.0)
    return np.stack(
        [np.full(across.size, distance), across.ravel() * distance, up.ravel() * distance], 1
    ).astype(np.float32)


def test_an_object_in_full_view_is_not_hidden():
    np.testing.assert_array_equal(measure_occlusion(wall(18.0, -0.06, 0.06), CAR), [0.0])


def test_a_nearer_wall_before_all_of_it_hides_it():
    np.testing.assert_array_equal(measure_occlusion(wall(10.0, -0.06, 0.06), CAR), [1.0])


@pytest.mark.parametrize("part", [0.25, 0.5, 0.75])
def test_a_wall_before_a_part_hides_that_part(part):
    edge = 1.0 / 18.0  # the near corners' slope
    cut = -edge + part * 2 * edge
    # Every wall has as many points, so the bigger part is put up more often.
    even = np.concatenate(
        [wall(9.0, -edge, cut)] * round(part * 4) + [wall(18.0, cut, edge)] * round((1 - part) * 4)
    )
    np.testing.assert_allclose(measure_occlusion(even, CAR), part, atol=0.03)


def test_what_touches_the_object_or_stands_beside_or_behind_it_hides_nothing():
    beside = wall(10.0, 0.07, 0.3)
    behind = wall(30.0, -0.06, 0.06)
    touching = wall(17.9, -0.06, 0.06)
    np.testing.assert_array_equal(measure_occlusion(np.concatenate([beside, behind, touching]), CAR), [0.0])


@pytest.mark.parametrize("yaw", [0.0, 0.4, np.pi / 2, 3.0])
def test_it_turns_with_the_scene(yaw):
    """The line behind the sensor, where azimuth jumps, is no different from any other."""
    points = np.concatenate([wall(9.0, -0.055, 0.0), wall(18.0, 0.0, 0.055)])
    c, s = np.cos(np.pi + yaw), np.sin(np.pi + yaw)
    turned, box = points.copy(), CAR.copy()
    turned[:, :2] = points[:, :2] @ np.array([[c, s], [-s, c]], np.float32)
    box[0, :2] = CAR[0, :2] @ np.array([[c, s], [-s, c]])
    box[0, 6] += np.pi + yaw
    np.testing.assert_allclose(measure_occlusion(turned, box), measure_occlusion(points, CAR), atol=0.02)


def test_it_is_seen_from_the_sensor_wherever_that_stands():
    points = np.concatenate([wall(9.0, -0.055, 0.0), wall(18.0, 0.0, 0.055)])
    sensor = (1.4, -3.0, 1.75)
    box = CAR.copy()
    box[:, :3] += sensor
    np.testing.assert_allclose(
        measure_occlusion(points + np.float32(sensor), box, sensor), measure_occlusion(points, CAR)
    )


def test_no_return_no_object_and_the_sensor_inside():
    assert np.isnan(measure_occlusion(np.zeros((0, 4), np.float32), CAR)).all()
    assert measure_occlusion(wall(9.0, -0.05, 0.05), np.zeros((0, 7))).shape == (0,)
    around = np.array([[0.1, 0.0, -0.9, 4.0, 2.0, 1.6, 0.0]])
    assert np.isnan(measure_occlusion(wall(9.0, -0.05, 0.05), around)).all()


@given(st.integers(0, 2**31 - 1))
def test_a_share_is_a_share_whatever_the_points(seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 20, (200, 4)).astype(np.float32)
    points[rng.random(200) < 0.1] = np.nan
    points[0] = (0, 0, 0, 0)
    boxes = np.column_stack(
        [rng.normal(0, 20, (9, 2)), rng.normal(-1, 0.5, 9), rng.uniform(0.3, 6, (9, 3)), rng.normal(0, 3, 9)]
    )
    shares = measure_occlusion(points, boxes)
    assert shares.shape == (9,)
    seen = shares[~np.isnan(shares)]
    assert ((seen >= 0) & (seen <= 1)).all()
