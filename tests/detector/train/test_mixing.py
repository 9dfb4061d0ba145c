"""test_mixing.py: of two scans laid over each other all objects have their points, and no two stand in each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from colonnade.detector.boxes import bev_iou, points_in_boxes
from colonnade.detector.ground import estimate_ground
from colonnade.detector.train.augment import LabelledScan
from colonnade.detector.train.mixing import LONGEST_SHIFT, mix_scans
from colonnade.detector.train.pool import label_scan, make_scan

SEEDS = range(6)


@pytest.fixture(scope="module")
def pair() -> tuple[LabelledScan, LabelledScan]:
    """Return two scans; no two objects of the second are of exactly one size, which tells which is which."""
    first, second = (label_scan(make_scan(seed, ("hdl64e",))) for seed in (11, 12))
    second.boxes[:, 5] += 1e-6 * np.arange(len(second.boxes))
    return first, second


def find_added(pair: tuple[LabelledScan, LabelledScan], mixed: LabelledScan) -> LabelledScan:
    """Return what came from the second scan, its objects numbered from 0."""
    first, _ = pair
    points, boxes = len(first.points), len(first.boxes)
    owners = mixed.owners[points:]
    return LabelledScan(
        mixed.points[points:],
        mixed.rings[points:],
        np.where(owners >= 0, owners - boxes, owners).astype(np.int32),
        mixed.boxes[boxes:],
        mixed.labels[boxes:],
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_the_first_scan_stays_as_it_is(pair: tuple[LabelledScan, LabelledScan], seed: int) -> None:
    first, _ = pair
    mixed = mix_scans(*pair, np.random.default_rng(seed))
    points, boxes = len(first.points), len(first.boxes)
    np.testing.assert_array_equal(mixed.points[:points], first.points)
    np.testing.assert_array_equal(mixed.rings[:points], first.rings)
    np.testing.assert_array_equal(mixed.owners[:points], first.owners)
    np.testing.assert_array_equal(mixed.boxes[:boxes], first.boxes)
    assert mixed.labels[:boxes] == first.labels
    assert mixed.points.dtype == np.float32
    assert mixed.rings.dtype == np.int16
    assert mixed.owners.dtype == np.int32
    assert mixed.boxes.dtype == np.float64


@pytest.mark.parametrize("seed", SEEDS)
def test_objects_of_the_second_keep_their_points_and_names(
    pair: tuple[LabelledScan, LabelledScan], seed: int
) -> None:
    added = find_added(pair, mix_scans(*pair, np.random.default_rng(seed)))
    second = pair[1]
    assert len(added.boxes) == len(added.labels) > 5
    known = {tuple(size): (label, count) for size, label, count in zip(
        second.boxes[:, 3:6].tolist(), second.labels, second.count_points().tolist(), strict=True
    )}  # fmt: skip
    assert len(known) == len(second.boxes)
    inside = total = 0
    for k, (box, label) in enumerate(zip(added.boxes, added.labels, strict=True)):
        name, count = known[tuple(box[3:6].tolist())]
        assert label == name
        own = added.points[added.owners == k]
        assert len(own) <= count
        wide = box.copy()
        wide[3:6] += 0.6
        inside, total = inside + int((points_in_boxes(own, wide[None]) == 0).sum()), total + len(own)
    assert total > 100
    assert inside / total > 0.95


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_of_the_second_stands_in_an_object_of_the_first(
    pair: tuple[LabelledScan, LabelledScan], seed: int
) -> None:
    added = find_added(pair, mix_scans(*pair, np.random.default_rng(seed)))
    assert (points_in_boxes(added.points, pair[0].boxes) < 0).all()
    assert bev_iou(added.boxes, pair[0].boxes).max() == 0


def test_objects_that_stand_in_others_are_left_out_with_their_points() -> None:
    """Mixed with its own copy, not turned and hardly shifted, a car meets itself; a far one stays."""
    boxes = np.array([[12.0, 3.0, -0.9, 4.2, 1.8, 1.6, 0.2], [-20.0, -8.0, -0.9, 4.0, 1.7, 1.5, 1.0]])
    grid = np.stack(np.mgrid[-40:40:0.4, -40:40:0.4], -1).reshape(-1, 2)
    road = np.column_stack([grid, np.full(len(grid), -1.7)])
    cars = np.concatenate([box[:3] + np.random.default_rng(0).uniform(-0.5, 0.5, (30, 3)) for box in boxes])
    points = np.concatenate([road, cars]).astype(np.float32)
    owners = np.concatenate([np.full(len(road), -1), np.repeat([0, 1], 30)]).astype(np.int32)
    both = LabelledScan(points, np.zeros(len(points), np.int16), owners, boxes, ("car", "van"))
    first = replace(both.keep(owners != 1), boxes=boxes[:1], labels=("car",))

    class Still(np.random.Generator):
        def uniform(self, *_: object, **__: object) -> float:  # type: ignore[override]
            return 0.0

    mixed = mix_scans(first, both, Still(np.random.PCG64(0)))
    assert mixed.labels == ("car", "van")
    np.testing.assert_allclose(mixed.boxes, boxes, atol=0.02)
    assert mixed.count_points().tolist() == [30, 30]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_second_is_turned_and_shifted_along_the_road(
    pair: tuple[LabelledScan, LabelledScan], seed: int
) -> None:
    """Ranges about the shifted origin are those of before, and the origin moved along x only."""
    added, second = find_added(pair, mix_scans(*pair, np.random.default_rng(seed))), pair[1]
    place = {
        tuple(size): xy for size, xy in zip(second.boxes[:, 3:6].tolist(), second.boxes[:, :2], strict=True)
    }
    before = np.array([place[tuple(size)] for size in added.boxes[:, 3:6].tolist()])
    shifts = np.linspace(-LONGEST_SHIFT, LONGEST_SHIFT, 3201)
    after = added.boxes[:, :2][None] - np.stack([shifts, np.zeros_like(shifts)], -1)[:, None]
    errors = np.abs(np.linalg.norm(after, axis=2) - np.linalg.norm(before, axis=1)).max(axis=1)
    assert errors.min() < 0.01


@pytest.mark.parametrize("seed", SEEDS)
def test_the_second_stands_on_the_ground_of_the_first(
    pair: tuple[LabelledScan, LabelledScan], seed: int
) -> None:
    first, second = pair
    second = replace(
        second, points=second.points - np.float32([0, 0, 0.6]), boxes=second.boxes - [0, 0, 0.6, 0, 0, 0, 0]
    )
    added = find_added(pair, mix_scans(first, second, np.random.default_rng(seed)))
    ground = estimate_ground(first.points)
    floor = added.boxes[:, 2] - added.boxes[:, 5] / 2 - ground.at(added.boxes[:, :2])
    near = np.hypot(*added.boxes[:, :2].T) < 30
    assert abs(np.median(floor[near])) < 0.15
    own = estimate_ground(second.points)
    lowest = second.boxes[:, 2] - second.boxes[:, 5] / 2 - own.at(second.boxes[:, :2])
    assert np.isin(
        np.round(floor, 2), np.round(np.concatenate([lowest, lowest - 0.01, lowest + 0.01]), 2)
    ).all()


def test_rings_of_the_second_are_numbered_on(pair: tuple[LabelledScan, LabelledScan]) -> None:
    first, second = pair
    added = find_added(pair, mix_scans(*pair, np.random.default_rng(0)))
    last = first.rings.max()
    assert added.rings.min() > last
    assert added.rings.max() <= last + second.rings.max() + 1


def test_the_same_seed_mixes_alike(pair: tuple[LabelledScan, LabelledScan]) -> None:
    first, again, other = (mix_scans(*pair, np.random.default_rng(seed)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.points, again.points)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    assert first.points.shape != other.points.shape


def test_scans_without_objects_mix(pair: tuple[LabelledScan, LabelledScan]) -> None:
    def strip(scan: LabelledScan) -> LabelledScan:
        return replace(scan.keep(scan.owners < 0), boxes=np.zeros((0, 7)), labels=())

    first, second = pair
    rng = np.random.default_rng(0)
    assert mix_scans(strip(first), strip(second), rng).labels == ()
    assert mix_scans(first, strip(second), rng).labels == first.labels
    assert mix_scans(strip(first), second, rng).labels == second.labels
