"""test_boxes.py: the kernels of boxes.py against hand-computed cases and their NumPy twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from colonnade.detector import boxes_reference as reference
from colonnade.detector.boxes import (
    bev_iou,
    box_corners,
    count_points,
    find_survivors,
    iou_3d,
    points_in_boxes,
    suppress_boxes,
)
from colonnade.runtime.errors import UsageError
from colonnade.runtime.threads import available_threads, thread_budget

CLIPPING_TOLERANCE = 1e-9
OCTAGON = 4 - 2 * (2**0.5 - 1) ** 2  # a square 2 x 2 turned by 45 degrees, cut to a strip 2 wide
CAR = (0.0, 0.0, 0.0, 4.0, 2.0, 1.5, 0.0)

near = st.floats(-6, 6, allow_nan=False)
side = st.floats(0.05, 8)
turn = st.floats(-7, 7)
box_rows = st.lists(st.tuples(near, near, near, side, side, side, turn), min_size=1, max_size=8)


def rows(*boxes: tuple[float, ...]) -> NDArray[np.float64]:
    return np.array(boxes, np.float64)


@pytest.mark.parametrize(
    ("other", "footprint", "volume"),
    [
        (CAR, 1.0, 1.0),
        ((2.0, 0, 0, 4, 2, 1.5, 0), 4 / 12, 4 / 12),
        ((0, 0, 0.75, 4, 2, 1.5, 0), 1.0, 1 / 3),
        ((0, 0, 0, 4, 2, 1.5, np.pi), 1.0, 1.0),
        ((0, 0, 0, 4, 2, 1.5, np.pi / 2), 4 / 12, 4 / 12),
        ((0, 0, 0, 2, 2, 1.5, np.pi / 4), OCTAGON / (12 - OCTAGON), OCTAGON / (12 - OCTAGON)),
        ((4.0, 0, 0, 4, 2, 1.5, 0), 0.0, 0.0),  # touching
        ((0, 0, 0, 1, 1, 0.5, 0.3), 1 / 8, 0.5 / 12),  # inside
        ((90, 0, 0, 4, 2, 1.5, 0), 0.0, 0.0),
    ],
)
def test_overlap_of_hand_computed_pairs(other: tuple[float, ...], footprint: float, volume: float) -> None:
    if (
        volume is None
    ):  # a 2 x 2 square turned by 45 degrees over a strip 2 wide: an octagon of the strip's width
        diamond = 4 - 2 * (2**0.5 - 1) ** 2
        footprint = volume = diamond / (8 + 4 - diamond)
    assert bev_iou(rows(CAR), rows(other))[0, 0] == pytest.approx(footprint, abs=1e-12)
    assert iou_3d(rows(CAR), rows(other))[0, 0] == pytest.approx(volume, abs=1e-12)


@given(box_rows, box_rows)
@settings(max_examples=60, deadline=None)
def test_overlap_equals_the_reference(a: list[tuple[float, ...]], b: list[tuple[float, ...]]) -> None:
    first, second = rows(*a), rows(*b)
    for volume, overlap in ((False, bev_iou), (True, iou_3d)):
        expected = reference.overlap_matrix(first, second, volume=volume)
        np.testing.assert_allclose(overlap(first, second), expected, atol=CLIPPING_TOLERANCE)
        np.testing.assert_allclose(overlap(second, first).T, expected, atol=CLIPPING_TOLERANCE)
        assert np.diag(overlap(first, first)) == pytest.approx(1.0)


@given(box_rows, near, near, turn)
@settings(max_examples=40, deadline=None)
def test_overlap_does_not_change_under_a_rigid_motion(
    a: list[tuple[float, ...]], x: float, y: float, angle: float
) -> None:
    before = rows(*a)
    after = before.copy()
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    after[:, :2] = before[:, :2] @ rotation.T + (x, y)
    after[:, 6] += angle
    np.testing.assert_allclose(bev_iou(after, after), bev_iou(before, before), atol=1e-8)


@given(
    st.lists(
        st.tuples(*[st.floats(width=32, allow_nan=True, allow_infinity=True)] * 7), min_size=1, max_size=4
    )
)
@settings(max_examples=60, deadline=None)
def test_overlap_of_absurd_boxes_stays_within_0_and_1(a: list[tuple[float, ...]]) -> None:
    boxes = rows(*a)
    for overlap in (bev_iou, iou_3d):
        for pairs in (overlap(boxes, boxes), overlap(boxes, rows(CAR))):
            assert ((pairs >= 0) & (pairs <= 1)).all()
    suppress_boxes(boxes, np.zeros(len(boxes)), 0.5)
    points_in_boxes(np.zeros((3, 3)), boxes)


@pytest.mark.parametrize("size", [(0.0, 2.0, 1.0), (4.0, 0.0, 1.0), (4.0, 2.0, 0.0), (-4.0, 2.0, 1.0)])
def test_a_box_without_volume_overlaps_nothing(size: tuple[float, float, float]) -> None:
    flat = rows((0, 0, 0, *size, 0))
    assert bev_iou(flat, flat)[0, 0] == 0
    assert iou_3d(flat, rows(CAR))[0, 0] == 0


def test_empty_arrays_give_empty_results() -> None:
    none = np.zeros((0, 7))
    assert bev_iou(none, rows(CAR)).shape == (0, 1)
    assert iou_3d(rows(CAR), none).shape == (1, 0)
    assert suppress_boxes(none, np.zeros(0), 0.5).shape == (0,)
    assert points_in_boxes(np.zeros((0, 4), np.float32), rows(CAR)).shape == (0,)
    assert points_in_boxes(np.zeros((2, 3)), none).tolist() == [-1, -1]
    assert box_corners(none).shape == (0, 4, 2)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(UsageError, match=r"\(N, 7\)"):
        bev_iou(np.zeros((2, 6)), rows(CAR))
    with pytest.raises(UsageError, match="one score per box"):
        suppress_boxes(rows(CAR), np.zeros(2), 0.5)
    with pytest.raises(UsageError, match="points must have shape"):
        points_in_boxes(np.zeros((2, 2)), rows(CAR))


def test_corners_run_counter_clockwise_from_front_left() -> None:
    corners = box_corners(rows((10, 20, 0, 4, 2, 1, np.pi / 2)))[0]  # facing +y: left is -x
    np.testing.assert_allclose(corners, [[9, 22], [9, 18], [11, 18], [11, 22]], atol=1e-12)


def test_suppression_keeps_the_best_and_breaks_ties_by_order() -> None:
    boxes = rows(CAR, (0.2, 0, 0, 4, 2, 1.5, 0), (20, 0, 0, 4, 2, 1.5, 0), (20.1, 0, 0, 4, 2, 1.5, 0))
    assert suppress_boxes(boxes, np.array([0.5, 0.9, 0.7, 0.7]), 0.3).tolist() == [1, 2]
    assert suppress_boxes(boxes, np.array([0.5, 0.9, 0.7, 0.7]), 1.0).tolist() == [1, 2, 3, 0]


@given(box_rows, st.floats(0, 1), st.data())
@settings(max_examples=40, deadline=None)
def test_suppression_equals_the_reference(
    a: list[tuple[float, ...]], threshold: float, data: st.DataObject
) -> None:
    boxes = rows(*a)
    scores = np.array([data.draw(st.sampled_from([0.1, 0.5, 0.5, 0.9])) for _ in a])
    overlaps = reference.overlap_matrix(boxes, boxes)
    if (np.abs(overlaps - threshold) < 1e-6).any():
        return  # rounding decides
    expected = reference.suppress_boxes(boxes, scores, threshold)
    assert suppress_boxes(boxes, scores, threshold).tolist() == expected.tolist()


@given(box_rows, st.floats(0, 1), st.data())
@settings(max_examples=40, deadline=None)
def test_boxes_of_other_labels_are_left_alone(
    a: list[tuple[float, ...]], threshold: float, data: st.DataObject
) -> None:
    boxes = rows(*a)
    labels = np.array([data.draw(st.integers(0, 2)) for _ in a], np.int32)
    expected = np.zeros(len(a), bool)
    for label in range(3):
        members = np.flatnonzero(labels == label)
        expected[members[suppress_boxes(boxes[members], -np.arange(len(members)), threshold)]] = True
    assert find_survivors(boxes, labels, threshold).tolist() == expected.tolist()


def test_boxes_that_are_not_finite_neither_suppress_nor_are_suppressed() -> None:
    boxes = np.array([CAR, CAR, CAR, CAR])
    boxes[0, 3], boxes[2, 0] = np.inf, np.nan
    assert find_survivors(boxes, np.zeros(4, np.int32), 0.5).tolist() == [True, True, True, False]


@given(box_rows, st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_points_inside_equal_the_reference(a: list[tuple[float, ...]], seed: int) -> None:
    boxes = rows(*a)
    points = np.random.default_rng(seed).uniform(-7, 7, (200, 4))
    inside = reference.points_inside(points, boxes)
    first = np.where(inside.any(axis=1), inside.argmax(axis=1), -1)
    assert points_in_boxes(points, boxes).tolist() == first.tolist()
    assert count_points(points, boxes).tolist() == inside.sum(axis=0).tolist()


@pytest.mark.skipif(available_threads() < 2, reason="needs two threads to compare")
def test_points_inside_are_the_same_for_one_and_two_threads() -> None:
    generator = np.random.default_rng(0)
    points = generator.uniform(-30, 30, (20_000, 4)).astype(np.float32)
    boxes = np.column_stack([generator.uniform(-30, 30, (40, 3)), generator.uniform(1, 9, (40, 4))])
    with thread_budget(1):
        one = points_in_boxes(points, boxes), count_points(points, boxes)
    with thread_budget(2):
        two = points_in_boxes(points, boxes), count_points(points, boxes)
    assert (one[0] == two[0]).all()
    assert (one[1] == two[1]).all()
    assert (one[0] >= 0).any()
