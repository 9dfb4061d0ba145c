"""test_caster.py: the z-buffer caster against brute force, closed forms and Open3D."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from colonnade.detector.simulate.caster import RangeImage, cast_rays, cast_rays_reference, ray_directions
from colonnade.detector.simulate.mesh import (
    Material,
    Mesh,
    box_mesh,
    build_mesh,
    ellipsoid_mesh,
    grid_faces,
    merge_meshes,
    tube_mesh,
)
from colonnade.detector.simulate.sensors import SENSORS
from colonnade.runtime.errors import UsageError

RANGE_TOLERANCE = 1e-9  # [m] both sides compute in double precision
STEEP = np.radians([89.0, 60.0, 30.0, 10.0, 2.0, 0.0, -0.5, -3.0, -10.0, -25.0, -45.0, -70.0, -89.5])


def assert_same_image(image: RangeImage, expected: RangeImage, *, disputed: float = 0.0) -> None:
    """Compare two images; at most `disputed` of the pixels may see another face (rays that graze an edge)."""
    same = np.isclose(image.ranges, expected.ranges, rtol=0, atol=RANGE_TOLERANCE)
    assert np.mean(~same) <= disputed
    agreed = (image.faces == expected.faces) & same
    assert np.allclose(image.cosines[agreed], expected.cosines[agreed], atol=1e-9)
    # Two coincident or adjoining faces may share a hit, but never a hit and a miss.
    assert np.array_equal((image.faces < 0)[same], (expected.faces < 0)[same])
    assert np.all(np.isinf(image.ranges) == (image.faces < 0))


def random_triangles(rng: np.random.Generator, count: int) -> Mesh:
    """Return triangles of all sizes on all sides of the sensor: near, above, below, across the rear seam."""
    centre = rng.normal(0, rng.choice([0.5, 3.0, 20.0], (count, 1)), (count, 3))
    spread = rng.choice([0.2, 2.0, 15.0], (count, 1, 1))
    corners = centre[:, None] + rng.normal(0, 1, (count, 3, 3)) * spread
    return build_mesh(corners.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3), Material.WALL)


def street(rng: np.random.Generator) -> Mesh:
    """Return uneven ground with boxes, tubes and ellipsoids around the sensor, seen from 1.7 m above it."""
    x, y = np.meshgrid(np.linspace(-40, 40, 21), np.linspace(-40, 40, 21), indexing="ij")
    ground = np.stack([x, y, 0.2 * np.sin(x / 6) - 1.7], -1).reshape(-1, 3)
    parts = [build_mesh(ground, grid_faces(21, 21), Material.GROUND)]
    for _ in range(25):
        turn, distance = rng.uniform(-np.pi, np.pi), rng.uniform(3, 35)
        shape = [
            box_mesh(4.2, 1.8, 1.5, Material.PAINT),
            tube_mesh((0, 0, 0), (0.3, 0, 5), 0.15, Material.METAL),
            ellipsoid_mesh((1.0, 0.7, 1.2), (0, 0, 1), Material.VEGETATION),
        ][rng.integers(3)]
        parts.append(shape.placed(distance * np.cos(turn), distance * np.sin(turn), -1.8, rng.uniform(0, 6)))
    return merge_meshes(parts)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 97))
def test_random_triangles_equal_brute_force(seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    mesh = random_triangles(rng, 40)
    elevations = rng.permutation(STEEP)  # any order of rings
    offsets = rng.uniform(-4, 4, len(elevations))  # any offset, also beyond a turn
    arguments = (mesh.vertices, mesh.faces, elevations, offsets, steps)
    assert_same_image(cast_rays(*arguments), cast_rays_reference(*arguments))


def test_street_equals_brute_force() -> None:
    mesh = street(np.random.default_rng(3))
    sensor = SENSORS["vlp32c"]
    arguments = (mesh.vertices, mesh.faces, sensor.elevations, sensor.azimuth_offsets, 360)
    image = cast_rays(*arguments, max_range=60.0)
    assert 0.3 < np.mean(np.isfinite(image.ranges)) < 1.0
    assert_same_image(image, cast_rays_reference(*arguments, max_range=60.0))


def test_flat_ground_is_hit_at_the_height_over_sine() -> None:
    far = 500.0
    corners = np.array([[-far, -far, -2.0], [far, -far, -2.0], [far, far, -2.0], [-far, far, -2.0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    elevations = np.radians([-89.9, -45.0, -10.0, -1.0, 5.0])
    image = cast_rays(corners, faces, elevations, np.zeros(5), 720)
    for ring in range(4):
        assert image.ranges[ring] == pytest.approx(2.0 / math.sin(-elevations[ring]), rel=1e-12)
        assert image.cosines[ring] == pytest.approx(math.sin(-elevations[ring]), rel=1e-9)
    assert np.all(np.isinf(image.ranges[4]))


def test_sphere_around_the_sensor_has_no_gaps() -> None:
    mesh = ellipsoid_mesh((7, 7, 7), (0, 0, 0), Material.WALL, bands=32, sides=64)
    image = cast_rays(mesh.vertices, mesh.faces, STEEP, np.linspace(0, 1, len(STEEP)), 1999)
    assert np.all(np.isfinite(image.ranges))
    assert np.all((image.ranges > 6.9) & (image.ranges <= 7.0 + 1e-9))


def test_wall_behind_is_seen_across_the_seam() -> None:
    wall = box_mesh(0.2, 6.0, 3.0, Material.WALL, x=-10.0, z=-1.5)
    image = cast_rays(wall.vertices, wall.faces, np.zeros(1), np.zeros(1), 3600)
    seen = np.flatnonzero(np.isfinite(image.ranges[0]))
    half = math.degrees(math.atan2(3.0, 9.9))
    assert len(seen) == pytest.approx(2 * half * 10, abs=2)
    assert seen.min() == 0
    assert seen.max() == 3599
    assert image.ranges[0, 0] == pytest.approx(9.9)


def test_rings_of_two_stacked_origins() -> None:
    wall = box_mesh(1.0, 40.0, 40.0, Material.WALL, x=10.5, z=-20.0)
    elevations = np.radians([10.0, 10.0])
    ground = np.array([[-90.0, -90, 1.5], [90, -90, 1.5], [0, 150, 1.5]])
    faces = np.array([[0, 1, 2]])
    image = cast_rays(ground, faces, elevations, np.zeros(2), 8, origin_heights=np.array([0.5, -0.5]))
    assert image.ranges[0] == pytest.approx(1.0 / math.sin(elevations[0]))
    assert image.ranges[1] == pytest.approx(2.0 / math.sin(elevations[0]))
    level = cast_rays(
        wall.vertices, wall.faces, elevations, np.zeros(2), 8, origin_heights=np.array([0.5, -0.5])
    )
    assert level.ranges[0, 4] == pytest.approx(level.ranges[1, 4])


def test_degenerate_triangles_are_never_hit() -> None:
    corners = np.array([[5.0, 0, 0], [5.0, 0, 0], [5.0, 1, 0], [0, 0, 0], [5, -1, 0], [5, 1, 0]])
    faces = np.array([[0, 1, 2], [3, 4, 5], [0, 0, 0]])
    image = cast_rays(corners, faces, np.radians([0.0, 1.0]), np.zeros(2), 360)
    assert np.all(image.faces == -1)


def test_empty_mesh_and_no_rings() -> None:
    nothing = np.zeros((0, 3))
    image = cast_rays(nothing, np.zeros((0, 3), np.int64), np.zeros(2), np.zeros(2), 10)
    assert image.ranges.shape == (2, 10)
    assert np.all(np.isinf(image.ranges))
    assert cast_rays(nothing, np.zeros((0, 3), np.int64), np.zeros(0), np.zeros(0), 10).ranges.shape == (
        0,
        10,
    )


def test_refuses_vertical_rings_and_unequal_tables() -> None:
    nothing: tuple[NDArray[np.float64], NDArray[np.int64]] = (np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    with pytest.raises(UsageError, match="-90 and 90"):
        cast_rays(*nothing, np.array([np.pi / 2]), np.zeros(1), 10)
    with pytest.raises(UsageError, match="one value per ring"):
        cast_rays(*nothing, np.zeros(3), np.zeros(2), 10)


def test_equals_open3d() -> None:
    open3d = pytest.importorskip("open3d", reason="the extra [open3d] is missing", exc_type=ImportError)
    mesh = street(np.random.default_rng(8))
    sensor = SENSORS["hdl64e"]
    image = cast_rays(mesh.vertices, mesh.faces, sensor.elevations, sensor.azimuth_offsets, 1024)
    directions = ray_directions(sensor.elevations, sensor.azimuth_offsets, 1024).reshape(-1, 3)
    scene = open3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        open3d.core.Tensor(mesh.vertices.astype(np.float32)), open3d.core.Tensor(mesh.faces.astype(np.uint32))
    )
    rays = np.concatenate([np.zeros_like(directions), directions], axis=1).astype(np.float32)
    answer = scene.cast_rays(open3d.core.Tensor(rays))
    expected = answer["t_hit"].numpy().reshape(image.ranges.shape)
    both = np.isfinite(expected) & np.isfinite(image.ranges)
    # Single against double precision: rays that graze an edge may go to the other side.
    assert np.mean(np.isfinite(expected) != np.isfinite(image.ranges)) < 1e-4
    assert np.mean(np.abs(expected[both] - image.ranges[both]) > 1e-3) < 2e-4
    assert np.median(np.abs(expected[both] - image.ranges[both])) < 1e-5
