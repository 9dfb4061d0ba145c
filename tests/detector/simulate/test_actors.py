"""test_actors.py: boxes fit meshes, meshes are sound, the street mixture is as intended, seeds reproduce."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.detector.simulate import actors, cycles, silhouettes, trucks, vehicles
from colonnade.detector.simulate.actors import Actor
from colonnade.detector.simulate.car_bodies import draw_body_shape, loft_body
from colonnade.detector.simulate.mesh import Material, Mesh, boxes_mesh, loft_mesh, rotated_mesh, tubes_mesh

SEEDS = st.integers(0, 2**32 - 1)
BUILDERS = {name: getattr(actors, name) for name in actors.__all__ if name.startswith("build_")}
LABELS = {
    "build_car": {"car"},
    "build_pickup": {"car"},
    "build_van": {"van", "car"},
    "build_truck": {"truck"},
    "build_bus": {"bus"},
    "build_trailer": {"truck"},
    "build_vehicle": {"car", "van", "truck", "bus"},
    "build_pedestrian": {"pedestrian"},
    "build_seated_person": {"sitting"},
    "build_cyclist": {"cyclist", "sitting"},
    "build_bicycle": {"other"},
    "build_motorcycle": {"other", "motorcyclist"},
}
CAR_SILHOUETTES = ("sedan", "coupe", "hatch", "city", "wagon", "suv", "offroad", "mpv")


def signed_volume(mesh: Mesh) -> float:
    """Return the volume inside a closed mesh [m3], positive when its faces turn outwards."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def edge_balance(mesh: Mesh) -> int:
    """Return the number of directed edges without their opposite: 0 for a closed, evenly turned surface."""
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    forward = {tuple(edge) for edge in edges.tolist()}
    return sum((b, a) not in forward for a, b in forward)


@pytest.mark.parametrize("name", sorted(BUILDERS))
@given(seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_mesh_is_sound_and_stands_on_the_ground(name: str, seed: int) -> None:
    actor: Actor = BUILDERS[name](np.random.default_rng(seed))
    mesh = actor.mesh
    assert np.isfinite(mesh.vertices).all()
    assert mesh.faces.min() >= 0
    assert mesh.faces.max() < len(mesh.vertices)
    assert mesh.materials.shape == (len(mesh.faces),)
    assert set(np.unique(mesh.materials)) <= {int(m) for m in Material}
    assert -0.02 < mesh.vertices[:, 2].min() < 0.06
    assert actor.label in LABELS[name]
    assert min(actor.size) > 0.4


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_same_seed_same_actor(name: str) -> None:
    first, second, other = (BUILDERS[name](np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first.size == second.size
    np.testing.assert_array_equal(first.mesh.vertices, second.mesh.vertices)
    np.testing.assert_array_equal(first.mesh.faces, second.mesh.faces)
    assert first.size != other.size


@pytest.mark.parametrize("name", sorted(silhouettes.SILHOUETTES))
@given(seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_body_fills_its_box(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    length, width, height = rng.uniform((3.2, 1.5, 1.4), (5.2, 2.0, 1.9))
    body = loft_body(rng, silhouettes.SILHOUETTES[name], draw_body_shape(rng, length, width, height))
    low, high = body.vertices.min(0), body.vertices.max(0)
    np.testing.assert_allclose(high[:2], [length / 2, width / 2], atol=1e-6)
    np.testing.assert_allclose(low[:2], [-length / 2, -width / 2], atol=1e-6)
    assert high[2] == pytest.approx(height, abs=0.01)
    assert 0.1 < low[2] < 0.4


@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_car_body_is_closed_symmetric_and_turned_outwards(seed: int) -> None:
    rng = np.random.default_rng(seed)
    name = CAR_SILHOUETTES[int(rng.integers(len(CAR_SILHOUETTES)))]
    body = loft_body(rng, silhouettes.SILHOUETTES[name], draw_body_shape(rng, 4.4, 1.8, 1.5))
    assert edge_balance(body) == 0
    # A car fills 50 to 75 % of its box; a body that turned inside out or collapsed would not.
    assert 0.45 < abs(signed_volume(body)) / (4.4 * 1.8 * 1.5) < 0.80
    rings = body.vertices.reshape(-1, 13, 3)
    np.testing.assert_allclose(rings[:, :, 1], -rings[:, ::-1, 1], atol=1e-12)
    assert (np.diff(rings[:, 0, 0]) < 0).all()


@pytest.mark.parametrize("name", CAR_SILHOUETTES)
def test_cars_have_windows_all_round(name: str) -> None:
    rng = np.random.default_rng(1)
    mesh = vehicles.build_car_of(rng, name, 4.5, 1.8, 1.5).mesh
    centres = mesh.vertices[mesh.faces[mesh.materials == Material.GLASS]].mean(1)
    assert (centres[:, 1] > 0.5).any()
    assert (centres[:, 1] < -0.5).any()
    middle = centres[np.abs(centres[:, 1]) < 0.5]
    assert (middle[:, 0] > 0.2).any()
    assert (middle[:, 0] < -0.4).any()
    assert centres[:, 2].min() > 0.6


def test_car_sizes_cover_europe_and_america() -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([actors.build_car(rng).size for _ in range(1500)])
    assert (np.abs(sizes.mean(0) - [4.44, 1.80, 1.55]) < [0.08, 0.025, 0.025]).all()
    assert np.percentile(sizes[:, 0], 5) < 3.75
    assert np.percentile(sizes[:, 0], 95) > 5.0
    assert (sizes >= [2.69, 1.47, 1.24]).all()
    assert (sizes[:, :2] <= [5.41, 2.11]).all()
    assert np.percentile(sizes[:, 2], 99) < 2.1


def test_street_mixture() -> None:
    rng = np.random.default_rng(0)
    labels = [actors.build_vehicle(rng).label for _ in range(1500)]
    share = {label: labels.count(label) / len(labels) for label in set(labels)}
    assert share["car"] == pytest.approx(0.918, abs=0.02)
    assert share["van"] == pytest.approx(0.03, abs=0.015)
    assert share["truck"] + share["bus"] == pytest.approx(0.05, abs=0.02)


@given(seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_people_are_inside_their_box(seed: int) -> None:
    actor = actors.build_pedestrian(np.random.default_rng(seed))
    length, width, height = actor.size
    assert 0.45 <= length < 2.0
    assert 0.45 <= width < 1.3
    assert 0.85 < height < 2.2
    cloth = np.isin(actor.mesh.materials, (Material.CLOTH, Material.SKIN))
    body = actor.mesh.vertices[actor.mesh.faces[cloth]].reshape(-1, 3)
    # Pushchairs, trolleys and umbrellas stand outside the box, the trunk and the head never do.
    inside = (np.abs(body[:, 0]) <= length / 2 + 1e-6) & (np.abs(body[:, 1]) <= width / 2 + 1e-6)
    assert inside.mean() > 0.55
    head = actor.mesh.vertices[actor.mesh.faces[actor.mesh.materials == Material.SKIN]].reshape(-1, 3)
    assert (np.abs(head[:, :2]) <= [length / 2 + 1e-6, width / 2 + 1e-6]).all()


def test_pedestrian_sizes_are_like_annotators() -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([actors.build_pedestrian(rng).size for _ in range(800)])
    mean = sizes.mean(0)
    assert 0.60 < mean[0] < 0.90
    assert 0.55 < mean[1] < 0.75
    assert 1.55 < mean[2] < 1.78
    assert (sizes[:, 2] < 1.4).mean() > 0.04  # children


@pytest.mark.parametrize("build", [actors.build_bicycle, actors.build_motorcycle, actors.build_cyclist])
@given(seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_cycles_fill_their_box(build, seed: int) -> None:  # type: ignore[no-untyped-def]
    actor = build(np.random.default_rng(seed))
    extent = np.ptp(actor.mesh.vertices, axis=0)
    assert (extent <= np.array(actor.size) + 1e-6).all()
    assert (extent > np.array(actor.size) - 0.1).all()
    assert 0.9 < actor.size[0] < 2.6


@given(seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_trucks_fill_their_box(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for build in (actors.build_truck, actors.build_bus, actors.build_trailer):
        actor = build(rng)
        low, high = actor.mesh.vertices.min(0), actor.mesh.vertices.max(0)
        length, width, height = actor.size
        assert high[0] == pytest.approx(length / 2, abs=0.1)
        assert low[0] == pytest.approx(-length / 2, abs=0.1)
        assert width / 2 - 0.1 < high[1] < width / 2 + 0.4  # mirrors stand out
        assert high[2] == pytest.approx(height)


def test_riders_touch_seat_grips_and_pedals() -> None:
    rng = np.random.default_rng(3)
    seat = np.array([-0.24, 0.0, 0.95])
    grips = np.array([(0.3, 0.25, 1.05), (0.3, -0.25, 1.05)])
    feet = np.array([(0.1, 0.11, 0.45), (-0.2, -0.11, 0.25)])
    build = cycles.draw_build(rng, stature=1.75)
    posture = cycles._riding_posture(rng, build, seat, grips, feet)
    thigh = np.linalg.norm(posture.knees - posture.hips, axis=1)
    upper_arm = np.linalg.norm(posture.elbows - posture.shoulders, axis=1)
    np.testing.assert_allclose(thigh, 0.42, atol=0.03)
    np.testing.assert_allclose(upper_arm, 0.29, atol=0.05)
    assert posture.neck[2] > seat[2] + 0.3
    assert (posture.knees[:, 0] > posture.hips[:, 0]).all()


def test_truck_bodies_all_occur() -> None:
    rng = np.random.default_rng(0)
    counts = {len(trucks._build_rigid_truck(rng).mesh.faces) for _ in range(80)}
    assert len(counts) > 8


def test_tubes_and_boxes_are_closed() -> None:
    tubes = tubes_mesh(
        [(0, 0, 0), (1, 0, 0)], [(0, 0, 2), (2, 1, 0)], [0.5, 0.1], [0.5, 0.2], Material.METAL, sides=24
    )
    assert edge_balance(tubes) == 0
    first = Mesh(
        tubes.vertices[:48], tubes.faces[: len(tubes.faces) // 2], tubes.materials[: len(tubes.faces) // 2]
    )
    assert abs(signed_volume(first)) == pytest.approx(np.pi * 0.25 * 2, rel=0.02)
    assert abs(signed_volume(boxes_mesh([(1, 2, 3)], [(4, 5, 6)], Material.METAL))) == pytest.approx(6)


def test_loft_of_two_squares_is_a_box() -> None:
    square = np.array([(0, -1, -1), (0, 1, -1), (0, 1, 1), (0, -1, 1)], float)
    loft = loft_mesh(np.stack([square, square + np.array([3.0, 0, 0])]), Material.WALL)
    assert edge_balance(loft) == 0
    assert abs(signed_volume(loft)) == pytest.approx(12)


def test_rotation_is_right_handed() -> None:
    mesh = boxes_mesh([(2, 0.2, 0.2)], [(1, 0, 0)], Material.METAL)
    turned = rotated_mesh(mesh, np.pi / 2, axis=2)
    np.testing.assert_allclose(turned.vertices[:, 1].max(), 2, atol=1e-9)
    lifted = rotated_mesh(mesh, -np.pi / 2, axis=1)
    np.testing.assert_allclose(lifted.vertices[:, 2].max(), 2, atol=1e-9)
