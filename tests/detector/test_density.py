"""The density at the pillars: equal to the NumPy twin, near the truth for known sensors, as the paper has it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from colonnade.detector import density_reference
from colonnade.detector.density import (
    BINS,
    RESOLUTION,
    SCALES,
    STEEPEST,
    USUAL_EYE,
    estimate_rays,
    find_eye,
    measure_density,
    tabulate_rays,
)
from colonnade.detector.ground import CELLS, GroundMap, estimate_ground, split_columns
from colonnade.detector.pillars import PillarGeometry, pillarise
from colonnade.detector.simulate.scan import Scan, scan_scene
from colonnade.detector.simulate.scene import build_scene
from colonnade.detector.simulate.sensors import SENSORS
from colonnade.runtime.errors import UsageError

GRID = PillarGeometry(-51.2, -51.2, 51.2, 51.2, -1.0, 4.0, 0.32)
FLAT = GroundMap(np.full((CELLS, CELLS), -1.7, np.float32), -1.7)
ELEVATIONS = np.degrees(np.arcsin((np.arange(BINS) + 0.5) / RESOLUTION - STEEPEST))

clouds = hnp.arrays(
    np.float32,
    st.tuples(st.integers(0, 80), st.sampled_from([3, 4, 6])),
    elements=st.floats(-50, 50, width=32)
    | st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, 1e-30]),
)


def assert_same(points: np.ndarray, ground: GroundMap) -> None:
    columns, pillars = split_columns(points), pillarise(points, ground, GRID)
    found = measure_density(columns, ground, pillars, GRID)
    assert found.cells.dtype == np.int32
    assert found.values.dtype == np.float32
    assert np.array_equal(np.unique(found.cells), np.arange(len(found.values)))
    expected = density_reference.measure_density(columns, ground, pillars, GRID)
    np.testing.assert_allclose(found.at_pillars, expected, rtol=1e-4, atol=1e-6)
    rays = estimate_rays(columns, find_eye(ground))
    np.testing.assert_allclose(rays, density_reference.estimate_rays(columns, find_eye(ground)), rtol=1e-4)


def at(rays: np.ndarray, elevation: float) -> np.ndarray:
    """Return sqrt(rays per steradian) in the bin at `elevation` [deg], (SCALES,): D times range."""
    return np.sqrt(rays[np.argmin(np.abs(ELEVATIONS - elevation))])


def spread_beams(beams: int, bottom: float, top: float) -> np.ndarray:
    """Return the elevations [rad] of beams in the middle of equal parts of `bottom` to `top` [deg]."""
    return np.radians(bottom + (np.arange(beams) + 0.5) * (top - bottom) / beams)


WAYMO = tabulate_rays(spread_beams(64, -17.6, 2.4), 2560)
KITTI = tabulate_rays(spread_beams(64, -24.8, 2.0), 2048)
NUSCENES = tabulate_rays(spread_beams(32, -30.0, 10.0), 1080)


@settings(max_examples=150, deadline=None)
@given(clouds)
def test_density_equals_the_twin(points):
    assert_same(points, FLAT)


def test_real_frames_equal_the_twin(kitti_points, pandaset_points):
    for points in (kitti_points, pandaset_points):
        assert_same(points, estimate_ground(points))


def test_an_uneven_ground_equals_the_twin():
    rng = np.random.default_rng(3)
    uneven = GroundMap(rng.normal(-1.7, 0.5, (CELLS, CELLS)).astype(np.float32), -1.7)
    points = rng.uniform((-60, -60, -3), (60, 60, 3), (5000, 3)).astype(np.float32)
    assert_same(points, uneven)


def test_a_frame_without_points_has_no_density():
    columns = np.empty((3, 0), np.float32)
    pillars = pillarise(columns.T, FLAT, GRID)
    assert measure_density(columns, FLAT, pillars, GRID).values.shape == (0, SCALES)
    assert not estimate_rays(columns, 0.0).any()


def test_points_at_the_origin_alone_tell_nothing():
    points = np.zeros((50, 3), np.float32)
    found = measure_density(split_columns(points), FLAT, pillarise(points, FLAT, GRID), GRID)
    assert found.at_pillars.tolist() == [[0.0] * SCALES]


def test_a_strided_view_measures_the_same(kitti_points):
    wide = np.repeat(kitti_points[::9, :3], 2, axis=1)
    columns = np.ascontiguousarray(wide[:, ::2].T)
    np.testing.assert_array_equal(estimate_rays(wide.T[::2], 0.0), estimate_rays(columns, 0.0))


@pytest.mark.parametrize("shape", [(5, 3), (3,), (4, 7)])
def test_columns_of_another_shape_are_refused(shape):
    with pytest.raises(UsageError, match="shape"):
        estimate_rays(np.zeros(shape, np.float32), 0.0)


@pytest.mark.parametrize(
    ("level", "eye"), [(-1.73, 0.0), (-1.0, 0.0), (-0.25, USUAL_EYE - 0.25), (0.4, USUAL_EYE + 0.4)]
)
def test_an_origin_near_the_ground_is_no_sensor(level, eye):
    assert find_eye(GroundMap(FLAT.heights, level)) == pytest.approx(eye)


def test_equal_density_is_where_the_paper_has_it():
    # 35 m of Waymo, 27.0 m of KITTI, 11.4 m of nuScenes; the wide scales feel the borders of the fields of view.
    waymo, kitti, nuscenes = (at(rays, -8.0) for rays in (WAYMO, KITTI, NUSCENES))
    for expected, found in ((27.04, 35 * kitti / waymo), (11.37, 35 * nuscenes / waymo)):
        np.testing.assert_allclose(found[:2], expected, atol=0.1)
        np.testing.assert_allclose(found, expected, rtol=0.02)


def test_density_falls_with_the_range():
    points = np.array([[5, 0.1, 0], [10, 0.1, 0], [40, 0.1, 0]], np.float32)
    found = measure_density(split_columns(points), FLAT, pillarise(points, FLAT, GRID), GRID).at_pillars
    cell = 2 ** (1 / 8)  # one cell of range
    np.testing.assert_allclose(found[0] / found[1], 2.0, rtol=cell - 1)
    np.testing.assert_allclose(found[0] / found[2], 8.0, rtol=cell - 1)


def test_half_the_beams_divide_density_by_root_two():
    beams = spread_beams(64, -24.8, 2.0)
    for elevation in (-18.0, -11.0, -5.0):
        ratio = at(KITTI, elevation) / at(tabulate_rays(beams[::2], 2048), elevation)
        np.testing.assert_allclose(ratio, np.sqrt(2), rtol=0.02)
    half_the_steps = tabulate_rays(beams, 1024)
    np.testing.assert_allclose(KITTI, 2 * half_the_steps, rtol=1e-5)


def test_even_beams_are_even_up_to_the_borders():
    inside = (ELEVATIONS > -24.8) & (ELEVATIONS < 2.0)
    even = 64 / np.radians(26.8) * 2048 / (2 * np.pi) / np.cos(np.radians(ELEVATIONS))
    np.testing.assert_allclose(np.sqrt(KITTI[inside].T / even[inside]), 1.0, atol=0.15)
    deep = (ELEVATIONS > -22.8) & (ELEVATIONS < 0.0)
    np.testing.assert_allclose(np.sqrt(KITTI[deep].T / even[deep]), 1.0, atol=0.05)
    top, bottom = np.flatnonzero(inside)[[-1, 0]]  # beyond the borders their values hold
    np.testing.assert_array_equal(KITTI[top + 2 :], np.broadcast_to(KITTI[-1], KITTI[top + 2 :].shape))
    np.testing.assert_array_equal(KITTI[: bottom - 1], np.broadcast_to(KITTI[0], KITTI[: bottom - 1].shape))


def sweep(elevations: np.ndarray, steps: int, turn: float = 0.0) -> np.ndarray:
    """Return columns (3, N) of what an evenly turning sensor sees of a cylinder of 20 m around it."""
    azimuth = np.arange(steps) * 2 * np.pi / steps + turn
    flat = 20 * np.stack([np.cos(azimuth), np.sin(azimuth)])
    levels = np.repeat(20 * np.tan(elevations), steps)
    return np.vstack([np.tile(flat, len(elevations)), levels]).astype(np.float32)


def test_a_full_sweep_gives_the_density_of_its_table():
    for beams, steps in ((64, 2048), (32, 1080), (16, 1800)):
        elevations = spread_beams(beams, -24.8, 2.0)
        ratio = np.sqrt(estimate_rays(sweep(elevations, steps), 0.0) / tabulate_rays(elevations, steps))
        inside = (ELEVATIONS > -23) & (ELEVATIONS < 0)
        np.testing.assert_allclose(ratio[inside], 1.0, atol=0.06)


def test_turning_the_sweep_changes_little():
    elevations = spread_beams(32, -30.0, 10.0)
    straight = np.sqrt(estimate_rays(sweep(elevations, 1084), 0.0))
    for turn in (0.01, 0.3, 1.0, 2.5):
        turned = np.sqrt(estimate_rays(sweep(elevations, 1084, turn), 0.0))
        np.testing.assert_allclose(turned, straight, rtol=0.03)


@pytest.fixture(scope="module")
def scans() -> dict[str, Scan]:
    scene = build_scene(2)
    return {name: scan_scene(scene, SENSORS[name], 2) for name in ("hdl64e", "hdl32e", "vlp16", "pandar64")}


def measure(points: np.ndarray) -> np.ndarray:
    points = np.ascontiguousarray(points[:, :3], np.float32)
    return estimate_rays(split_columns(points), find_eye(estimate_ground(points)))


def compare(scan: Scan, points: np.ndarray) -> np.ndarray:
    """Return by which factor the density found differs from that of the beam table where roads and cars are."""
    sensor = SENSORS[scan.sensor]
    low = (ELEVATIONS > -12) & (ELEVATIONS < 0)
    return np.sqrt(measure(points) / tabulate_rays(sensor.elevations, sensor.azimuth_steps))[low]


@pytest.mark.parametrize("name", ["hdl64e", "hdl32e", "vlp16", "pandar64"])
def test_the_estimate_is_near_the_beam_table(scans, name):
    scan = scans[name]
    points, raised = scan.points, scan.points.copy()
    raised[:, 2] += scan.mount_height - 0.25  # as in the frame of a vehicle
    ahead = points[np.abs(np.arctan2(points[:, 1], points[:, 0])) < np.radians(41)]
    for found in (compare(scan, points), compare(scan, raised), compare(scan, ahead)):
        np.testing.assert_allclose(np.median(found, axis=0), 1.0, atol=0.08)
        np.testing.assert_allclose(found, 1.0, atol=0.2)
    kept = points[np.random.default_rng(0).random(len(points)) < 0.7]
    np.testing.assert_allclose(np.median(compare(scan, kept), axis=0), np.sqrt(0.7), atol=0.07)


def test_the_estimate_tells_sensors_apart(scans):
    near_horizon = {name: at(measure(scan.points), -3.0) for name, scan in scans.items()}
    assert (near_horizon["hdl64e"] / near_horizon["hdl32e"] > 2.3).all()
    assert (near_horizon["hdl64e"] / near_horizon["vlp16"] > 2.3).all()
    # 16 beams with 1800 steps in 30 deg and 32 beams with 1084 in 41 deg: the same rays per solid angle
    np.testing.assert_allclose(near_horizon["vlp16"] / near_horizon["hdl32e"], 1.06, atol=0.08)
    # dense around the horizon only, which the narrow scale sees and the wide one does not
    assert near_horizon["pandar64"][0] / near_horizon["pandar64"][-1] > 1.3
    assert near_horizon["hdl64e"][0] / near_horizon["hdl64e"][-1] < 1.15


def test_a_real_frame_has_the_density_of_its_sensor(kitti_points):
    sensor = SENSORS["hdl64e"]
    expected = tabulate_rays(sensor.elevations, sensor.azimuth_steps)
    road = (ELEVATIONS > -20) & (ELEVATIONS < 0)
    np.testing.assert_allclose(np.sqrt(measure(kitti_points) / expected)[road], 1.0, atol=0.08)
