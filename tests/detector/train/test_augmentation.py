"""test_augmentation.py: whatever is done to a scan, its points stay on their objects, and its boxes stay true."""

from __future__ import annotations

import numpy as np
import pytest

from colonnade.detector.boxes import points_in_boxes
from colonnade.detector.train.augment import (
    Augmentation,
    LabelledScan,
    Snippet,
    add_carrier,
    cut_snippets,
    hide_parts,
    move_scan,
    paste_objects,
)
from colonnade.detector.train.pool import annotate, label_scan, make_scan

CLASSES = ("car", "pedestrian", "cyclist")


@pytest.fixture(scope="module")
def scan() -> LabelledScan:
    return label_scan(make_scan(11))


def share_in_own_box(scan: LabelledScan, margin: float) -> float:
    """Return the part of the objects' points that lie in their own box, grown by `margin` [m]."""
    wide = scan.boxes.copy()
    wide[:, 3:6] += 2 * margin
    inside = 0
    for k in range(len(wide)):
        inside += int((points_in_boxes(scan.points[scan.owners == k], wide[k : k + 1]) == 0).sum())
    return inside / max(1, int((scan.owners >= 0).sum()))


def test_simulated_points_lie_in_their_boxes(scan):
    assert (scan.owners >= 0).sum() > 200
    assert share_in_own_box(scan, 0.3) > 0.95


@pytest.mark.parametrize("seed", range(6))
def test_moving_keeps_points_in_their_boxes(scan, seed):
    moved = move_scan(scan, Augmentation(crop_view=0.0), np.random.default_rng(seed))
    assert len(moved.points) == len(scan.points)
    assert share_in_own_box(moved, 0.35) > 0.95


def test_the_carrying_vehicle_adds_points_of_nobody(scan):
    added = add_carrier(scan, np.random.default_rng(0))
    own = added.points[len(scan.points) :]
    assert len(own) >= 3
    assert (added.owners[len(scan.points) :] == -1).all()
    assert (np.abs(own[:, 1]) < 1.6).all()
    np.testing.assert_array_equal(added.count_points(), scan.count_points())


@pytest.mark.parametrize("seed", range(12))
def test_hiding_takes_one_side_of_few_objects_and_what_is_behind(scan, seed):
    rng = np.random.default_rng(seed)
    hidden = hide_parts(scan, rng)
    before, after = scan.count_points(), hidden.count_points()
    touched = np.flatnonzero(after < before)
    assert 0 < len(hidden.points) < len(scan.points)
    assert len(touched) >= 1
    np.testing.assert_array_equal(hidden.boxes, scan.boxes)
    kept = {tuple(point) for point in hidden.points.tolist()}
    gone = np.array([tuple(point) not in kept for point in scan.points.tolist()])
    azimuth = np.arctan2(scan.points[:, 1], scan.points[:, 0])
    reached = np.unique(np.round(azimuth[gone], 2))
    assert len(reached) < 0.6 * len(np.unique(np.round(azimuth, 2)))  # sectors, not the circle
    assert (after > 0.15 * before)[touched].any()  # a part of the object is left


def test_nothing_is_hidden_where_nothing_is_seen():
    points = np.random.default_rng(0).uniform(-20, 20, (50, 3)).astype(np.float32)
    nobody = np.full(50, -1, np.int32)
    empty = LabelledScan(points, np.zeros(50, np.int16), nobody, np.zeros((0, 7)), ())
    assert hide_parts(empty, np.random.default_rng(0)) is empty


def test_a_drawn_box_encloses_the_exact_one_and_stands_where_it_stood():
    exact = np.array([[5.0, 2.0, 0.8, 4.2, 1.8, 1.6, 0.3], [9.0, -4.0, 0.9, 0.6, 0.5, 1.8, -2.0]])
    drawn = annotate(exact)
    assert (drawn[:, 3:6] > exact[:, 3:6]).all()
    np.testing.assert_allclose(drawn[:, 2] - drawn[:, 5] / 2, exact[:, 2] - exact[:, 5] / 2)
    np.testing.assert_array_equal(drawn[:, [0, 1, 6]], exact[:, [0, 1, 6]])
    assert drawn.dtype == np.float64


@pytest.mark.parametrize("seed", range(8))
def test_a_corner_of_every_box_moves_with_it(seed):
    """Objects of one point each, at the front upper left corner of their box, which mirroring makes the right one."""
    rng = np.random.default_rng(seed + 100)
    boxes = np.column_stack(
        [rng.uniform(-30, 30, (40, 2)), rng.uniform(-1, 1, 40), rng.uniform(1, 5, (40, 3))]
    )
    boxes = np.column_stack([boxes, rng.uniform(-np.pi, np.pi, 40)])

    def place(boxes, side):
        c, s = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
        u, v, w = boxes[:, 3] / 2, side * boxes[:, 4] / 2, boxes[:, 5] / 2
        return boxes[:, :3] + np.column_stack([c * u - s * v, s * u + c * v, w])

    owners = np.arange(40, dtype=np.int32)
    scan = LabelledScan(
        place(boxes, 1).astype(np.float32), np.zeros(40, np.int16), owners, boxes, ("car",) * 40
    )
    moved = move_scan(scan, Augmentation(crop_view=0.0, shift=1.0, jitter=0.0), np.random.default_rng(seed))
    errors = [np.abs(moved.points - place(moved.boxes, side)).max() for side in (1, -1)]
    assert min(errors) < 1e-4


def test_a_cropped_view_looks_forward(scan):
    moved = move_scan(scan, Augmentation(crop_view=1.0), np.random.default_rng(1))
    assert 0 < len(moved.points) < len(scan.points)
    assert np.abs(np.degrees(np.arctan2(moved.points[:, 1], moved.points[:, 0]))).max() <= 52
    assert len(moved.points) == len(moved.rings) == len(moved.owners)


def test_leaving_points_out_keeps_their_owners():
    owners = np.array([2, -1, 0, 1], np.int32)
    scan = LabelledScan(
        np.zeros((4, 3), np.float32), np.arange(4, dtype=np.int16), owners, np.zeros((3, 7)), ("car",) * 3
    )
    kept = scan.keep(np.array([False, True, True, False]))
    assert kept.owners.tolist() == [-1, 0]
    assert kept.rings.tolist() == [1, 2]


def make_street(height: float = -1.7) -> LabelledScan:
    """Return a dense level road without objects."""
    grid = np.stack(np.mgrid[-30:30:0.15, -30:30:0.15], -1).reshape(-1, 2)
    points = np.column_stack([grid, np.full(len(grid), height)]).astype(np.float32)
    nobody = np.full(len(points), -1, np.int32)
    return LabelledScan(points, np.zeros(len(points), np.int16), nobody, np.zeros((0, 7)), ())


def make_person(x: float = 10.0, floor: float = -1.7) -> Snippet:
    """Return a person of 60 points at (x, 0)."""
    rng = np.random.default_rng(0)
    points = np.array([x, 0, floor + 0.9]) + rng.uniform([-0.2, -0.25, -0.8], [0.2, 0.25, 0.9], (60, 3))
    box = np.array([x, 0, floor + 0.9, 0.6, 0.6, 1.8, 0.3])
    return Snippet(points.astype(np.float32), np.full(60, 7, np.int16), box, "pedestrian")


@pytest.mark.parametrize("floor", [-1.7, -1.3])
def test_a_pasted_person_stands_on_the_road_and_hides_what_is_behind(floor):
    street = make_street()
    result = paste_objects(street, [make_person(floor=floor)], np.random.default_rng(4))
    assert result.labels == ("pedestrian",)
    (box,) = result.boxes
    own = result.points[result.owners == 0]
    assert len(own) == 60
    assert (result.rings[result.owners == 0] == 7).all()
    assert (result.rings[result.owners == -1] == 0).all()
    assert box[2] - box[5] / 2 == pytest.approx(-1.7, abs=1e-3)
    assert (points_in_boxes(own, box[None]) == 0).all()
    turn = (box[6] - 0.3 - np.arctan2(box[1], box[0]) + np.pi) % (2 * np.pi) - np.pi
    assert abs(turn) < 1e-6  # it shows the sensor the same side
    road = result.points[result.owners == -1]
    assert len(road) < len(street.points)
    hidden = np.abs(np.arctan2(road[:, 1], road[:, 0]) - np.arctan2(box[1], box[0])) < 0.01
    distance = np.hypot(*road[hidden, :2].T)
    assert ((distance > 2) & (distance < 9)).any()  # what is before it is seen
    assert not (
        (distance > 10.5) & (distance < 18)
    ).any()  # what is behind it is not; its head hides more than 18 m


def test_what_stands_before_a_pasted_person_stays():
    street = make_street()
    turn = np.linspace(-np.pi, np.pi, 3000, endpoint=False)
    fence = np.column_stack([5 * np.cos(turn), 5 * np.sin(turn), np.full(3000, -0.5)]).astype(np.float32)
    nobody = np.full(len(street.points) + 3000, -1, np.int32)
    fenced = LabelledScan(
        np.concatenate([street.points, fence]), np.zeros(len(nobody), np.int16), nobody, street.boxes, ()
    )
    result = paste_objects(fenced, [make_person()], np.random.default_rng(4))
    assert result.labels == ("pedestrian",)
    assert (result.points[:, 2] == np.float32(-0.5)).sum() == 3000


@pytest.mark.parametrize("floor", [-0.6, -2.8])
def test_nobody_is_pasted_high_above_or_below_the_road(floor):
    assert not paste_objects(make_street(), [make_person(floor=floor)], np.random.default_rng(4)).labels


def test_nobody_is_pasted_into_a_box_or_a_bush():
    cars = np.array(
        [[10 * np.cos(a), 10 * np.sin(a), -0.9, 4.5, 2.0, 1.6, a] for a in np.linspace(0, 2 * np.pi, 24)]
    )
    street = make_street()
    full = LabelledScan(street.points, street.rings, street.owners, cars, ("car",) * 24)
    assert len(paste_objects(full, [make_person()], np.random.default_rng(4)).labels) == 24
    angle = np.random.default_rng(1).uniform(-np.pi, np.pi, 4000)
    bush = np.column_stack([10 * np.cos(angle), 10 * np.sin(angle), np.full(4000, -0.8)]).astype(np.float32)
    grown = LabelledScan(
        np.concatenate([street.points, bush]),
        np.zeros(len(street.points) + 4000, np.int16),
        np.full(len(street.points) + 4000, -1, np.int32),
        street.boxes,
        (),
    )
    assert not paste_objects(grown, [make_person()], np.random.default_rng(4)).labels


def test_only_objects_with_five_points_are_cut_out():
    owners = np.repeat([0, 1, 2], [4, 5, 50]).astype(np.int32)
    scan = LabelledScan(
        np.zeros((59, 3), np.float32),
        np.zeros(59, np.int16),
        owners,
        np.zeros((3, 7)),
        ("cyclist", "pedestrian", "car"),
    )
    assert [len(s.points) for s in cut_snippets(scan, ("cyclist", "pedestrian"))] == [5]


def test_moving_turns_mirrors_and_scales(scan):
    moved = move_scan(scan, Augmentation(crop_view=0.0, shift=0.0, scale=0.05), np.random.default_rng(3))
    ratio = np.linalg.norm(moved.boxes[:, :2], axis=1) / np.linalg.norm(scan.boxes[:, :2], axis=1)
    assert np.ptp(ratio) < 1e-6
    assert 0.95 <= ratio[0] <= 1.05


def test_pasted_objects_stand_free_on_the_ground_with_their_points():
    pasted = 0
    for seed in range(11, 17):
        scan = label_scan(make_scan(seed))
        snippets = cut_snippets(label_scan(make_scan(seed + 30)), CLASSES)[:12]
        result = paste_objects(scan, snippets, np.random.default_rng(seed))
        new = range(len(scan.boxes), len(result.boxes))
        pasted += len(new)
        for k in new:
            assert (result.owners == k).sum() >= 5
            assert np.hypot(*result.boxes[k, :2]) == pytest.approx(
                min(
                    (np.hypot(*s.box[:2]) for s in snippets),
                    key=lambda r: abs(r - np.hypot(*result.boxes[k, :2])),
                )
            )
        assert share_in_own_box(result, 0.35) > 0.93
        assert len(result.points) == len(result.owners) == len(result.rings)
    assert pasted >= 5
