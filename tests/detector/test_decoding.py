"""Decoding: peaks equal to the twin, boxes equal to those that were encoded, suppression per class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.detector import decoding, reference
from colonnade.detector.decoding import decode, decode_boxes, find_peaks
from colonnade.detector.ground import CELLS, GroundMap
from colonnade.detector.pillars import PillarGeometry
from colonnade.runtime.sparse import PillarGrid

GRID = PillarGeometry(-12.8, -12.8, 12.8, 12.8, -1.0, 4.0, 0.32)
CELL = 0.64
CLASSES = ("car", "pedestrian")
FLAT = GroundMap(np.full((CELLS, CELLS), -1.7, np.float32), -1.7)
EXPONENTS = ((0.6, 0.4), (0.85, 0.15))  # of heat and quality in the score of each class
BOX_TOLERANCE = 1e-4


def write_box(features, coords, index, box, label, logit):
    """Put `box` (z above the ground) into the head's output at active cell `index`."""
    x, y, z, length, width, height, yaw = box
    row, column = coords[index]
    features[index, label] = logit
    u, v = (x - GRID.x_min) / CELL - 0.5, (y - GRID.y_min) / CELL - 0.5
    features[index, 2:] = [
        u - column, v - row, z, np.log(length), np.log(width), np.log(height),
        np.sin(2 * yaw), np.cos(2 * yaw), 3.0 if np.cos(yaw) > 0 else -3.0, 6.0,
    ]  # fmt: skip


def make_head():
    coords = np.stack(np.mgrid[0:40, 0:40], -1).reshape(-1, 2).astype(np.int32)
    features = np.zeros((len(coords), 12), np.float32)
    features[:, :2] = -8.0
    return coords, features


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 12), st.floats(0, 1))
def test_peaks_equal_the_twin(seed, rows, columns, density):
    rng = np.random.default_rng(seed)
    coords = np.argwhere(rng.random((rows, columns)) < density).astype(np.int32)
    heat = rng.integers(0, 4, (len(coords), 3)).astype(np.float32)  # few levels: many ties
    grid = PillarGrid.from_coords(coords, np.zeros((len(coords), 1), np.float32), (rows, columns))
    found = find_peaks(grid.row_ptr, grid.cols, heat, columns)
    np.testing.assert_array_equal(found, reference.find_peaks(coords, heat))


@settings(max_examples=100, deadline=None)
@given(st.floats(-3.14, 3.14), st.floats(-12, 12), st.floats(-12, 12))
def test_an_encoded_box_is_decoded(yaw, x, y):
    coords, features = make_head()
    cell = int((y - GRID.y_min) / CELL) * 40 + int((x - GRID.x_min) / CELL)
    box = (x, y, 0.8, 4.2, 1.8, 1.5, yaw)
    write_box(features, coords, cell, box, 0, 4.0)
    found = decode_boxes(features[[cell], 2:], coords[[cell]], GRID, CELL)[0]
    np.testing.assert_allclose(found[:6], box[:6], atol=BOX_TOLERANCE)
    if abs(np.cos(yaw)) > 1e-3:  # at a quarter turn the direction bit itself is at its border
        assert abs((found[6] - yaw + np.pi) % (2 * np.pi) - np.pi) < 1e-3


def test_boxes_come_with_the_ground_sorted_and_suppressed_per_class():
    coords, features = make_head()
    write_box(features, coords, 20 * 40 + 20, (0.3, 0.3, 0.8, 4.0, 1.8, 1.5, 0.1), 0, 3.0)
    write_box(
        features, coords, 20 * 40 + 23, (0.9, 0.4, 0.8, 4.0, 1.8, 1.5, 0.1), 0, 1.0
    )  # the same car again
    write_box(features, coords, 5 * 40 + 5, (-9.3, -9.3, 0.9, 0.8, 0.7, 1.8, 0.0), 1, 4.0)
    grid = PillarGrid.from_coords(coords, features, (40, 40))
    found = decode(grid, GRID, CELL, CLASSES, FLAT, 0.3, EXPONENTS)
    assert found.labels.tolist() == [1, 0]
    assert found.scores[0] > found.scores[1]
    np.testing.assert_allclose(found.boxes[:, 2], [0.9 - 1.7, 0.8 - 1.7], atol=1e-4)
    assert len(decode(grid, GRID, CELL, CLASSES, FLAT, 0.999, EXPONENTS)) == 0


@pytest.mark.parametrize(("shift", "label", "left"), [(2.2, 0, 1), (3.3, 0, 2), (0.7, 1, 2)])
def test_boxes_of_a_class_that_overlap_by_more_than_a_fifth_are_one(shift, label, left):
    coords, features = make_head()
    for index, x, kind, logit in ((0, 0.3, 0, 3.0), (int(shift / CELL) + 1, 0.3 + shift, label, 2.0)):
        write_box(features, coords, 20 * 40 + 20 + index, (x, 0.3, 0.8, 4.0, 1.8, 1.5, 0.0), kind, logit)
    found = decode(
        PillarGrid.from_coords(coords, features, (40, 40)), GRID, CELL, CLASSES, FLAT, 0.3, EXPONENTS
    )
    assert len(found) == left
    assert found.boxes[0, 0] == pytest.approx(0.3, abs=1e-4)


def make_crowd(spacing: int) -> PillarGrid:
    """Return a head's output with a person in every `spacing`-th cell, each a little surer than the one before."""
    coords, features = make_head()
    chosen = np.flatnonzero((coords % spacing == 0).all(axis=1))
    for rank, index in enumerate(chosen):
        x, y = GRID.x_min + (coords[index, ::-1] + 0.5) * CELL
        write_box(features, coords, index, (x, y, 0.9, 0.5, 0.5, 1.8, 0.0), 1, 1.0 + 0.01 * rank)
    return PillarGrid.from_coords(coords, features, (40, 40))


def test_a_crowd_is_found_and_the_surest_are_kept(monkeypatch):
    everyone = decode(make_crowd(2), GRID, CELL, CLASSES, FLAT, 0.3, EXPONENTS)
    assert len(everyone) == 400
    monkeypatch.setattr(decoding, "MOST", 30)
    surest = decode(make_crowd(2), GRID, CELL, CLASSES, FLAT, 0.3, EXPONENTS)
    np.testing.assert_array_equal(surest.boxes, everyone.boxes[:30])


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_the_threshold_counts_for_the_score_that_is_given(threshold):
    coords, features = make_head()
    rng = np.random.default_rng(2)
    for index in np.flatnonzero((coords % 4 == 0).all(axis=1)):
        write_box(features, coords, index, (0.0, 0.0, 0.9, 0.1, 0.1, 1.8, 0.0), 1, rng.uniform(-2, 4))
        features[index, :] += np.where(np.arange(12) == 11, rng.uniform(-14, 0), 0)  # any quality
        features[index, 2:4] = 0  # in its own cell
    grid = PillarGrid.from_coords(coords, features, (40, 40))
    everything = decode(grid, GRID, CELL, CLASSES, FLAT, 0.0, EXPONENTS)
    expected = everything.scores[everything.scores >= threshold]
    assert 0 < len(expected) < 100
    np.testing.assert_array_equal(
        decode(grid, GRID, CELL, CLASSES, FLAT, threshold, EXPONENTS).scores, expected
    )


def test_the_score_is_made_of_heat_and_quality():
    coords, features = make_head()
    write_box(features, coords, 820, (0.3, 0.3, 0.8, 4.0, 1.8, 1.5, 0.0), 0, 1.0)
    features[820, 11] = -0.5
    (score,) = decode(
        PillarGrid.from_coords(coords, features, (40, 40)), GRID, CELL, CLASSES, FLAT, 0.1, EXPONENTS
    ).scores
    heat, quality, (a, b) = 1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(0.5)), EXPONENTS[0]
    assert score == pytest.approx(heat**a * quality**b, abs=1e-6)


def test_each_class_weighs_heat_and_quality_by_its_own_exponents():
    coords, features = make_head()
    write_box(features, coords, 820, (0.3, 0.3, 0.8, 4.0, 1.8, 1.5, 0.0), 0, 1.0)
    write_box(features, coords, 410, (0.3, 0.3, 0.8, 0.6, 0.6, 1.8, 0.0), 1, 1.0)
    features[[820, 410], 11] = -0.5
    grid = PillarGrid.from_coords(coords, features, (40, 40))
    found = decode(grid, GRID, CELL, CLASSES, FLAT, 0.1, ((0.0, 1.0), (1.4, 0.0)))
    by_label = dict(zip(found.labels.tolist(), found.scores.tolist(), strict=True))
    assert by_label == {
        0: pytest.approx(1 / (1 + np.exp(0.5))),
        1: pytest.approx((1 / (1 + np.exp(-1.0))) ** 1.4),
    }


def test_boxes_stand_on_the_ground_below_them():
    slope = GroundMap(np.tile(np.linspace(-3, 3, CELLS, dtype=np.float32), (CELLS, 1)), 0.0)
    found = decode(make_crowd(4), GRID, CELL, CLASSES, slope, 0.3, EXPONENTS)
    np.testing.assert_allclose(found.boxes[:, 2], 0.9 + slope.at(found.boxes[:, :2]), atol=1e-4)
    assert np.ptp(found.boxes[:, 2]) > 1.0


@pytest.mark.parametrize(("bit", "yaw"), [(1.0, np.pi / 2), (-1.0, -np.pi / 2)])
def test_a_quarter_turn_keeps_its_direction(bit, yaw):
    at = np.array([[0, 0, 0, 1, 1, 1, 0, -1, bit, 0]], np.float32)  # sin 2 yaw = 0, cos 2 yaw = -1
    found = decode_boxes(at, np.zeros((1, 2), np.int32), GRID, CELL)[0, 6]
    assert found == pytest.approx(yaw, abs=1e-6)


def test_no_active_cell_gives_no_boxes():
    grid = PillarGrid.from_coords(np.zeros((0, 2), np.int32), np.zeros((0, 12), np.float32), (40, 40))
    assert len(decode(grid, GRID, CELL, CLASSES, FLAT, 0.0, EXPONENTS)) == 0


def test_wild_regressions_stay_finite():
    coords, features = make_head()
    features[7] = 1e6
    found = decode(
        PillarGrid.from_coords(coords, features, (40, 40)), GRID, CELL, CLASSES, FLAT, 0.5, EXPONENTS
    )
    assert np.isfinite(found.boxes).all()
    assert (found.boxes[:, 3:6] < 34).all()
    assert pytest.approx(1.0, abs=1e-3) == found.scores[0]
