"""test_scene.py: scenes are reproducible, free of collisions, on the ground, within budget, and of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.detector.simulate.dice import Dice
from colonnade.detector.simulate.footprints import Footprints, rectangles_overlap
from colonnade.detector.simulate.mesh import Material
from colonnade.detector.simulate.primitives import Primitives, Spot
from colonnade.detector.simulate.scene import KINDS, Scene, build_scene
from colonnade.detector.simulate.stage import EGO_SIZE
from colonnade.detector.simulate.streets import draw_centreline
from colonnade.runtime.errors import UsageError

LABELS = {"car", "van", "truck", "bus", "pedestrian", "cyclist", "motorcyclist", "sitting"}
SEEDS = range(20)

rectangle = st.tuples(
    st.floats(-6, 6), st.floats(-6, 6), st.floats(0.1, 8), st.floats(0.1, 4), st.floats(-np.pi, np.pi)
)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """Every kind with several seeds, and the mixture."""
    return [build_scene(seed, kind=kind) for kind in KINDS for seed in range(5)] + [
        build_scene(s) for s in SEEDS
    ]


def test_same_seed_gives_the_same_scene() -> None:
    first, second = build_scene(7), build_scene(7)
    np.testing.assert_array_equal(first.mesh.vertices, second.mesh.vertices)
    np.testing.assert_array_equal(first.boxes, second.boxes)
    assert first.labels == second.labels
    assert first.kind == second.kind
    other = build_scene(8)
    assert other.boxes.shape != first.boxes.shape or not np.array_equal(other.boxes, first.boxes)


def test_arrays_agree_with_each_other(scenes: list[Scene]) -> None:
    for scene in scenes:
        count = len(scene.labels)
        assert scene.boxes.shape == (count, 7)
        assert scene.reflectivity.shape == (count,)
        assert scene.speeds.shape == (count,)
        assert scene.owners.dtype == np.int32
        assert scene.owners.shape == (len(scene.mesh.faces),)
        assert scene.mesh.materials.shape == (len(scene.mesh.faces),)
        assert scene.mesh.faces.max() < len(scene.mesh.vertices)
        assert np.isfinite(scene.mesh.vertices).all()
        assert set(np.unique(scene.owners)) == set(range(-1, count))
        assert set(scene.labels) <= LABELS
        assert (scene.reflectivity >= 0.03).all()
        assert (scene.reflectivity <= 0.9).all()
        assert scene.kind in KINDS


def test_triangles_of_an_object_lie_in_its_box(scenes: list[Scene]) -> None:
    """Nearly all: mirrors stick out, people push prams, and on a slope the mesh is sheared while its box is level."""
    for scene in scenes[::4]:
        centres = scene.mesh.vertices[scene.mesh.faces].mean(1)
        for index, (x, y, z, length, width, height, yaw) in enumerate(scene.boxes):
            offset = centres[scene.owners == index] - [x, y, z]
            c, s = np.cos(yaw), np.sin(yaw)
            forward, left = offset[:, 0] * c + offset[:, 1] * s, offset[:, 1] * c - offset[:, 0] * s
            inside = (np.abs(forward) < 0.5 * length + 0.1) & (np.abs(left) < 0.5 * width + 0.1)
            slope = 0.12 * 0.5 * (length + width)
            inside &= np.abs(offset[:, 2]) < 0.5 * height + 0.1 + slope
            least = 0.9 if scene.labels[index] in ("car", "van", "truck", "bus") else 0.4
            assert inside.mean() > least, (scene.kind, scene.labels[index])


def test_labelled_objects_do_not_overlap(scenes: list[Scene]) -> None:
    for scene in scenes:
        flat = scene.boxes[:, [0, 1, 3, 4, 6]]
        distance = np.hypot(*(flat[:, None, :2] - flat[None, :, :2]).transpose(2, 0, 1))
        reach = 0.5 * np.hypot(flat[:, 2], flat[:, 3])
        for i, j in np.argwhere(np.triu(distance < reach[:, None] + reach[None], 1)):
            # Chairs are pushed together: seated neighbours may touch by 0.1 m.
            slack = 0.12 if "sitting" in (scene.labels[i], scene.labels[j]) else 1e-6
            first = flat[i] - [0, 0, slack, slack, 0]
            assert not rectangles_overlap(tuple(first), tuple(flat[j])), (scene.labels[i], scene.labels[j])


def test_boxes_stand_on_the_ground(scenes: list[Scene]) -> None:
    for scene in scenes:
        bottom = scene.boxes[:, 2] - 0.5 * scene.boxes[:, 5]
        x, y, yaw = scene.boxes[:, 0, None], scene.boxes[:, 1, None], scene.boxes[:, 6, None]
        ahead, aside = (
            0.4 * scene.boxes[:, 3, None] * [1, 1, -1, -1],
            0.4 * scene.boxes[:, 4, None] * [1, -1, 1, -1],
        )
        corner_x = x + ahead * np.cos(yaw) - aside * np.sin(yaw)
        corner_y = y + ahead * np.sin(yaw) + aside * np.cos(yaw)
        ground = scene.terrain.height(corner_x.ravel(), corner_y.ravel()).reshape(-1, 4)
        np.testing.assert_allclose(bottom, ground.mean(1), atol=1e-6)
        middle = scene.terrain.height(scene.boxes[:, 0], scene.boxes[:, 1])
        assert np.quantile(np.abs(bottom - middle), 0.95, method="lower") < 0.08
        # Nothing stands across a step.
        pitch = np.abs(ground[:, [0, 1]].sum(1) - ground[:, [2, 3]].sum(1)) / (1.6 * scene.boxes[:, 3])
        assert (pitch[scene.boxes[:, 3] > 2.5] < 0.17).all()


def test_the_ground_mesh_follows_the_terrain(scenes: list[Scene]) -> None:
    """Within 30 m the middles of the ground's triangles lie within 3 cm of the terrain, but for a few at kerbs."""
    for scene in scenes[::3]:
        ground = scene.terrain.mesh(np.random.default_rng(0))
        centres = ground.vertices[ground.faces].mean(1)
        centres = centres[np.hypot(centres[:, 0], centres[:, 1]) < 30]
        error = np.abs(scene.terrain.height(centres[:, 0], centres[:, 1]) - centres[:, 2])
        assert np.quantile(error, 0.9) < 0.03


def test_the_ego_and_its_sensor_stay_free(scenes: list[Scene]) -> None:
    for scene in scenes:
        for box in scene.boxes:
            assert not rectangles_overlap((0.0, 0.0, *EGO_SIZE, 0.0), tuple(box[[0, 1, 3, 4, 6]]))
        solid = scene.mesh.vertices[scene.mesh.faces[scene.mesh.materials > Material.GRASS]].mean(1)
        inside = (np.abs(solid[:, 0]) < 0.5 * EGO_SIZE[0]) & (np.abs(solid[:, 1]) < 0.5 * EGO_SIZE[1])
        assert not (inside & (solid[:, 2] < 2.5)).any(), scene.kind
        assert abs(float(scene.terrain.height(np.zeros(1), np.zeros(1))[0])) < 1e-6


def test_triangle_budget(scenes: list[Scene]) -> None:
    counts = np.array([len(scene.mesh.faces) for scene in scenes])
    assert counts.min() > 25_000
    assert counts.max() < 220_000
    assert 60_000 < counts.mean() < 110_000


def test_content_lies_all_around(scenes: list[Scene]) -> None:
    """Objects stand before, behind, left and right of the ego, and out to 60 m."""
    boxes = np.concatenate([scene.boxes for scene in scenes])
    distance = np.hypot(boxes[:, 0], boxes[:, 1])
    for quadrant in range(4):
        angle = np.arctan2(boxes[:, 1], boxes[:, 0]) - quadrant * np.pi / 2
        share = (np.abs((angle + np.pi) % (2 * np.pi) - np.pi) < np.pi / 4).mean()
        assert share > 0.08
    assert (distance > 60).any()
    assert distance.max() < 82


def test_parked_cars_stand_at_every_angle() -> None:
    """Among non-moving cars, angles of 20 to 70 degrees to the street are common (angled parking)."""
    oblique = total = 0
    for seed in range(60):
        scene = build_scene(seed, kind="lot" if seed % 3 == 0 else "city")
        parked = scene.boxes[(scene.speeds == 0) & (np.array(scene.labels) == "car")]
        _, _, _, heading = scene.road_pose(0.0)
        angle = np.abs((parked[:, 6] - heading + np.pi / 2) % np.pi - np.pi / 2)
        oblique += int(((angle > np.radians(20)) & (angle < np.radians(70))).sum())
        total += len(parked)
    assert oblique > 0.08 * total


def test_many_people_in_the_city() -> None:
    counts = [build_scene(seed, kind="city").labels.count("pedestrian") for seed in SEEDS]
    assert 8 < np.mean(counts) < 25


def test_moving_objects_advance_along_their_heading() -> None:
    scene = next(s for s in map(build_scene, range(50)) if (s.speeds > 3).any())
    later = scene.advanced(0.5)
    moving = int(np.flatnonzero(scene.speeds > 3)[0])
    step = later.boxes[moving, :2] - scene.boxes[moving, :2]
    yaw, speed = scene.boxes[moving, 6], scene.speeds[moving]
    np.testing.assert_allclose(step, 0.5 * speed * np.array([np.cos(yaw), np.sin(yaw)]), atol=1e-9)
    faces = scene.mesh.faces[scene.owners == moving]
    shift = later.mesh.vertices[faces] - scene.mesh.vertices[faces]
    np.testing.assert_allclose(
        shift[..., :2].reshape(-1, 2), np.broadcast_to(step, (shift.size // 3, 2)), atol=1e-9
    )
    still = scene.mesh.faces[scene.owners < 0]
    np.testing.assert_array_equal(later.mesh.vertices[still], scene.mesh.vertices[still])
    bottom = later.boxes[moving, 2] - 0.5 * later.boxes[moving, 5]
    assert (
        abs(bottom - float(scene.terrain.height(later.boxes[[moving], 0], later.boxes[[moving], 1])[0]))
        < 0.15
    )


def test_the_road_goes_on_from_the_ego() -> None:
    scene = build_scene(3, kind="residential")
    x, y, z, _ = scene.road_pose(0.0)
    assert np.hypot(x, y) < 0.05
    assert abs(z) < 0.01
    ahead, behind = scene.road_pose(30.0), scene.road_pose(-30.0)
    assert 25 < np.hypot(ahead[0], ahead[1]) < 35
    assert ahead[0] * behind[0] + ahead[1] * behind[1] < 0


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="residential"):
        build_scene(0, kind="moon")


@settings(max_examples=200, deadline=None)
@given(rectangle, rectangle)
def test_overlap_kernel_equals_its_reference(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    ground = Footprints()
    ground.take(*a)
    grown = (b[0], b[1], b[2] + 2e-9, b[3] + 2e-9, b[4])
    shrunk = (b[0], b[1], b[2] - 2e-9, b[3] - 2e-9, b[4])
    if rectangles_overlap(a, grown) == rectangles_overlap(a, shrunk):  # leave out bare contact
        assert ground.free(*b) != rectangles_overlap(a, b)


def test_claims_grow_past_the_first_table() -> None:
    ground = Footprints()
    assert all(ground.claim(3.0 * i, 0.0, 2.0, 1.0, 0.3) for i in range(600))
    assert not ground.claim(3.0 * 599, 0.0, 1.0, 1.0, 0.0)
    assert len(ground) == 600


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(KINDS))
def test_locating_inverts_placing_on_a_curved_road(seed: int, kind: str) -> None:
    line = draw_centreline(Dice(np.random.default_rng(seed)), kind, -1.7)
    s, t = np.meshgrid(np.linspace(-75, 75, 7), np.linspace(-45, 45, 7))
    x, y = line.places(s.ravel(), t.ravel())
    back_s, back_t = line.locate(x, y)
    np.testing.assert_allclose(back_s, s.ravel(), atol=0.02)
    np.testing.assert_allclose(back_t, t.ravel(), atol=0.02)
    single = np.array([line.place(float(a), float(b))[:2] for a, b in zip(s.ravel(), t.ravel(), strict=True)])
    np.testing.assert_allclose(single, np.stack([x, y], 1), atol=1e-9)


def test_shapes_have_the_size_they_were_asked_for() -> None:
    rows = Primitives()
    spot = Spot(rows, 0)
    spot.box(4.0, 2.0, 1.5, Material.WALL, z=0.5)
    spot.tube((0, 0, 0), (0, 0, 3.0), 0.2, Material.METAL)
    spot.ellipsoid((1.0, 0.5, 0.25), (0, 0, 4.0), Material.CLOTH)
    spot.leaves(500, 0.05, (2.0, 1.0, 0.5), (0, 0, 6.0), boxy=True, fuzz=0.0)
    mesh = rows.mesh(np.array([[10.0, 20.0, 1.0, np.pi / 2]]), np.random.default_rng(0))

    def extent(material: Material) -> np.ndarray:
        vertices = mesh.vertices[np.unique(mesh.faces[mesh.materials == material])]
        return np.concatenate([vertices.min(0), vertices.max(0)])

    np.testing.assert_allclose(extent(Material.WALL), [9, 18, 1.5, 11, 22, 3.0], atol=1e-9)
    np.testing.assert_allclose(extent(Material.METAL), [9.8, 19.8, 1.0, 10.2, 20.2, 4.0], atol=0.01)
    np.testing.assert_allclose(extent(Material.CLOTH), [9.5, 19.0, 4.75, 10.5, 21.0, 5.25], atol=0.06)
    np.testing.assert_allclose(extent(Material.VEGETATION), [9, 18, 6.5, 11, 22, 7.5], atol=0.3)
