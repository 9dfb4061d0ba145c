"""Decoding: peaks equal to the twin, boxes equal to those that were encoded, suppression per class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.detector import decoding, reference
from colonnade.detector.decoding import (
    bound_rows,
    decode,
    decode_boxes,
    find_least_logits,
    find_peaks,
    select_best,
)
from colonnade.detector.ground import CELLS, GroundMap
from colonnade.detector.pillars import PillarGeometry
from colonnade.runtime.sparse import PillarGrid

GRID = PillarGeometry(-12.8, -12.8, 12.8, 12.8, -1.0, 4.0, 0.32)
CELL = 0.64
CLASSES = ("car", "pedestrian")
FLAT = GroundMap(np.full((CELLS, CELLS), -1.7, np.float32), -1.7)
EXPONENTS = ((0.6, 0.4), (0.85, 0.15))  # of heat and quality in the score of each class
BOX_TOLERANCE = 1e-4
SCORE_TOLERANCE = 1e-6  # relative; float32


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


def list_peaks(grid: PillarGrid, least: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells and labels that find_peaks finds."""
    cells, labels = np.empty((2, len(grid) * len(least)), np.int32)
    count = find_peaks(
        bound_rows(grid), grid.cols, grid.features, least, np.empty(3, np.int64), cells, labels
    )
    return cells[:count], labels[:count]


def draw_head(seed: int, rows: int, columns: int, density: float) -> PillarGrid:
    """Return a head's output for three classes, with few levels of logits: many ties."""
    rng = np.random.default_rng(seed)
    coords = np.argwhere(rng.random((rows, columns)) < density).astype(np.int32)
    features = rng.normal(size=(len(coords), 13)).astype(np.float32)
    features[:, :3] = rng.integers(-2, 3, (len(coords), 3)) * rng.choice([0.5, 8.0, 20.0])
    return PillarGrid.from_coords(coords, features, (rows, columns))


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 12), st.floats(0, 1))
def test_peaks_equal_the_twin(seed, rows, columns, density):
    grid = draw_head(seed, rows, columns, density)
    peaks = reference.find_peaks(grid.coords, grid.features[:, :3])
    everything = np.full((3, 2), -np.inf, np.float32)
    np.testing.assert_array_equal(list_peaks(grid, everything), np.nonzero(peaks))
    least = np.array([[0.5, -np.inf], [0.0, 0.2], [-np.inf, 0.0]], np.float32)
    peaks &= (grid.features[:, :3] >= least[:, 0]) & (grid.features[:, 12:] >= least[:, 1])
    np.testing.assert_array_equal(list_peaks(grid, least), np.nonzero(peaks))


powers = st.sampled_from([0.0, 1e-9, 0.1, 0.6, 1.0, 4.0])


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from([0.0, 1e-20, 1e-6, 0.05, 0.3, 0.5, 0.9, 0.99999, 1.0]),
    st.lists(st.tuples(powers, powers), min_size=3, max_size=3),
)
def test_detections_equal_the_twin_whatever_the_score(seed, score, exponents):
    grid = draw_head(seed, 12, 14, 0.6)
    weights = np.array(exponents)
    scores = reference.score_cells(grid.features, weights)
    near = np.abs(scores.astype(np.float64) - score) < SCORE_TOLERANCE * score
    if (near & (scores != np.float32(score))).any():
        return  # rounding decides
    peaks = reference.find_peaks(grid.coords, grid.features[:, :3]) & (scores >= np.float32(score))
    cells, labels = np.nonzero(peaks)
    found = list_peaks(grid, find_least_logits(score, weights))
    best = np.empty(decoding.MOST, np.float32)
    count = select_best(grid.features, weights, np.float32(score), *found, best)
    assert sorted(zip(found[0][:count], found[1][:count], strict=True)) == list(
        zip(cells, labels, strict=True)
    )
    assert (np.diff(best[:count]) <= 0).all()
    np.testing.assert_allclose(best[:count], scores[found[0][:count], found[1][:count]], rtol=SCORE_TOLERANCE)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 40), st.integers(1, 20))
def test_the_best_are_selected_in_a_stable_order(seed, count, most):
    features = np.zeros((count, 12), np.float32)
    features[:, 0] = np.random.default_rng(seed).integers(-3, 4, count)  # ties
    cells, labels = np.arange(count, dtype=np.int32), np.zeros(count, np.int32)
    scores = np.empty(most, np.float32)
    found = select_best(features, np.array([[1.0, 0.0]] * 2), np.float32(0.2), cells, labels, scores)
    expected = np.argsort(-features[:, 0], kind="stable")
    expected = expected[features[expected, 0] > -1.3][:most]
    np.testing.assert_array_equal(cells[:found], expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 30))
def test_boxes_equal_the_twin(seed, count):
    rng = np.random.default_rng(seed)
    at = rng.normal(0, 2, (count, 10)).astype(np.float32)
    coords = rng.integers(0, 40, (count, 2)).astype(np.int32)
    expected = reference.decode_boxes(at, coords, GRID, CELL)
    found = decode_boxes(at, coords, GRID, CELL)
    np.testing.assert_allclose(found[:, :6], expected[:, :6], rtol=1e-6, atol=BOX_TOLERANCE)
    assert (np.abs((found[:, 6] - expected[:, 6] + np.pi) % (2 * np.pi) - np.pi) < BOX_TOLERANCE).all()


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
