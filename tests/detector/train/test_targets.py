"""test_targets.py: what the head is asked for, and where the loss is silent."""

from __future__ import annotations

import numpy as np
import pytest

from colonnade.detector.pillars import PillarGeometry
from colonnade.detector.train.targets import build_targets

CLASSES = ("car", "pedestrian", "cyclist")
GRID = PillarGeometry(-25.6, -25.6, 25.6, 25.6, -1.0, 4.0, 0.32)


COORDS = np.stack(np.mgrid[0:80, 0:80], -1).reshape(-1, 2).astype(np.int32)


def test_few_points_and_lookalikes_silence_the_loss():
    coords = np.stack(np.mgrid[0:80, 0:80], -1).reshape(-1, 2).astype(np.int32)
    boxes = np.array([[5.0, 5, 1, 4, 2, 1.5, 0], [-5, 5, 1, 6, 2, 2.5, 0], [-5, -5, 1, 4, 2, 1.5, 0]])
    made = build_targets(
        boxes, ("car", "van", "car"), np.array([3, 50, 0]), coords, (80, 80), GRID, 0.64, CLASSES
    )
    assert not len(made.cells)
    quiet = coords[made.weight[:, 0] == 0]
    centre = GRID.x_min + (quiet[:, ::-1] + 0.5) * 0.64
    assert ((np.abs(centre[:, 0] - 5) < 3) | (np.abs(centre[:, 0] + 5) < 4)).all()
    assert (centre[:, 1] > 0).all()  # the car without any point asks for silence nowhere: it is not there
    assert (made.weight[:, 1] == 1).all()


def build(boxes, labels, points=50):
    """Return the targets of objects on a grid whose cells are all active, heat and weight as (80, 80, classes)."""
    count = np.full(len(labels), points)
    made = build_targets(np.array(boxes, float), labels, count, COORDS, (80, 80), GRID, 0.64, CLASSES)
    return made, made.heatmap.reshape(80, 80, 3), made.weight.reshape(80, 80, 3)


@pytest.mark.parametrize(
    ("label", "quiet"),
    [
        ("van", "car"),
        ("truck", "car"),
        ("bus", "car"),
        ("motorcyclist", "cyclist pedestrian"),
        ("sitting", "pedestrian"),
        ("other", ""),
    ],
)
def test_each_lookalike_silences_its_classes_in_its_footprint_only(label, quiet):
    made, _, weight = build([[5.0, 3.0, 1, 4, 2, 1.5, 0.6]], (label,))
    assert not len(made.cells)
    assert {name for k, name in enumerate(CLASSES) if (weight[..., k] == 0).any()} == set(quiet.split())
    for name in quiet.split():
        row, column = np.nonzero(weight[..., CLASSES.index(name)] == 0)
        assert 8 <= len(row) <= 44  # 4 m x 2 m are 20 cells, grown by half a cell to 34
        x, y = GRID.x_min + (column + 0.5) * 0.64 - 5.0, GRID.y_min + (row + 0.5) * 0.64 - 3.0
        along, across = x * np.cos(0.6) + y * np.sin(0.6), -x * np.sin(0.6) + y * np.cos(0.6)
        assert np.abs(along).max() < 2.33
        assert np.abs(across).max() < 1.33


def test_a_centre_in_a_silent_footprint_is_demanded_all_the_same():
    boxes = [[0.32, 0.32, 1, 4.2, 1.8, 1.5, 0.0], [1.0, 0.32, 1, 8.0, 2.4, 3.0, 0.0]]
    _, heat, weight = build(boxes, ("car", "truck"))
    assert heat[40, 40, 0] == weight[40, 40, 0] == 1.0
    assert weight[40, 42, 0] == 0.0


def test_the_heatmap_is_a_gaussian_along_the_box():
    _, heat, _ = build([[0.32, 0.32, 1, 8.0, 1.6, 1.5, np.pi / 4]], ("car",))  # the centre of cell 40, 40
    assert heat[40, 40, 0] == 1.0
    assert heat[42, 42, 0] > 0.3 > 1e-3 > heat[38, 42, 0]  # along the box, and across it
    np.testing.assert_allclose(heat[..., 0], heat[..., 0].T, atol=1e-6)
    sigma = 8.0 * 0.16
    assert heat[42, 42, 0] == pytest.approx(np.exp(-0.5 * 2 * (2 * 0.64 / sigma) ** 2), abs=1e-4)
    assert not heat[..., 1:].any()


def test_a_centre_wins_its_cell_over_a_neighbour_and_counts_double():
    boxes = [[0.32, 0.32, 1, 4.2, 1.8, 1.5, 0.0], [0.96, 0.32, 1, 4.2, 1.8, 1.5, 0.0]]
    made, _, _ = build(boxes, ("car", "car"))
    (first,) = np.flatnonzero((made.share == 1.0) & (COORDS[made.cells] == (40, 40)).all(axis=1))
    assert abs(made.boxes[first, 0]) < 1e-6
    again = (COORDS[made.cells] == (40, 40)).all(axis=1)
    assert again.sum() == 1  # the second car does not claim the first one's centre
    assert set(made.share) == {0.5, 1.0}
    assert (made.share == 1.0).sum() == 2


def test_regression_stays_inside_the_box():
    made, _, _ = build([[0.32, 0.32, 1, 0.7, 0.7, 1.8, 0.0]], ("pedestrian",))
    assert COORDS[made.cells].tolist() == [[40, 40]]
    made, _, _ = build([[0.32, 0.32, 1, 4.2, 0.7, 1.5, 0.0]], ("cyclist",))
    assert COORDS[made.cells].tolist() == [[40, 39], [40, 40], [40, 41]]


def test_an_object_without_an_active_cell_near_its_centre_is_not_demanded():
    far = COORDS[np.hypot(*(COORDS - 40).T) > 3]
    made = build_targets(
        np.array([[0.32, 0.32, 1, 4.2, 1.8, 1.5, 0.0]]),
        ("car",),
        np.array([50]),
        far,
        (80, 80),
        GRID,
        0.64,
        CLASSES,
    )
    assert not len(made.cells)
    assert (made.heatmap < 1).all()


def test_the_direction_bit_tells_front_from_back():
    boxes = [[-10.0, 0, 1, 4, 2, 1.5, 0.3], [10, 0, 1, 4, 2, 1.5, 0.3 - np.pi]]
    made, _, _ = build(boxes, ("car", "car"))
    ahead = COORDS[made.cells, 1] < 40
    assert (made.boxes[ahead, 8] == 1).all()
    assert (made.boxes[~ahead, 8] == 0).all()
    np.testing.assert_allclose(made.boxes[:, 6:8], [[np.sin(0.6), np.cos(0.6)]] * len(ahead), atol=1e-6)
