"""Training samples: augmentation keeps points on their objects, tables are the engine's rules, targets are true."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install 'colonnade[train]'")

from colonnade.detector.architecture import REGRESSION, Widths, build_architecture  # noqa: E402
from colonnade.detector.boxes import points_in_boxes  # noqa: E402
from colonnade.detector.decoding import decode_boxes  # noqa: E402
from colonnade.detector.ground import estimate_ground  # noqa: E402
from colonnade.detector.pillars import PillarGeometry, pillarise  # noqa: E402
from colonnade.detector.train.augment import (  # noqa: E402
    Augmentation,
    LabelledScan,
    add_carrier,
    cut_snippets,
    move_scan,
    paste_objects,
    thin_scan,
)
from colonnade.detector.train.losses import compute_losses  # noqa: E402
from colonnade.detector.train.pool import label_scan, make_scan  # noqa: E402
from colonnade.detector.train.samples import build_sample, collate_samples, trace_rules  # noqa: E402
from colonnade.detector.train.targets import build_targets  # noqa: E402

CLASSES = ("car", "pedestrian", "cyclist")
GRID = PillarGeometry(-25.6, -25.6, 25.6, 25.6, -1.0, 4.0, 0.32)
SMALL = Widths(encoder=8, blocks=(8, 8, 16), depths=(1, 1, 2), ups=(8, 8), shared=16)


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


def test_moving_turns_mirrors_and_scales(scan):
    moved = move_scan(scan, Augmentation(crop_view=0.0, shift=0.0, scale=0.05), np.random.default_rng(3))
    ratio = np.linalg.norm(moved.boxes[:, :2], axis=1) / np.linalg.norm(scan.boxes[:, :2], axis=1)
    assert np.ptp(ratio) < 1e-6
    assert 0.95 <= ratio[0] <= 1.05


@pytest.mark.parametrize("seed", range(4))
def test_thinning_drops_points_only(scan, seed):
    thin = thin_scan(
        scan, Augmentation(thin_beams=1.0, thin_azimuth=1.0, drop_points=1.0), np.random.default_rng(seed)
    )
    assert 0 < len(thin.points) < 0.7 * len(scan.points)
    assert len(thin.boxes) == len(scan.boxes)
    assert (thin.count_points() <= scan.count_points()).all()


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


def test_targets_decode_to_the_boxes(scan):
    architecture = build_architecture(SMALL, 3)
    ground = estimate_ground(scan.points)
    pillars = pillarise(scan.points, ground, GRID)
    head = trace_rules(architecture, pillars.coords, pillars.shape)[-1].rulebook
    rows = np.repeat(np.arange(head.shape[0]), np.diff(head.row_ptr))
    coords = np.stack([rows, head.cols], 1).astype(np.int32)
    targets = build_targets(
        scan.boxes, scan.labels, scan.count_points(), coords, head.shape, GRID, 0.64, CLASSES
    )
    assert targets.heatmap.shape == (len(coords), 3)
    assert 3 <= (targets.heatmap == 1).sum() <= len(scan.boxes)
    at = np.zeros((len(targets.cells), REGRESSION), np.float32)
    at[:, :8] = targets.boxes[:, :8]
    at[:, 8] = np.where(targets.boxes[:, 8] > 0.5, 1.0, -1.0)
    boxes = decode_boxes(at, coords[targets.cells], GRID, 0.64)
    for box in boxes:
        nearest = scan.boxes[np.argmin(np.linalg.norm(scan.boxes[:, :3] - box[:3], axis=1))]
        np.testing.assert_allclose(box[:6], nearest[:6], atol=1e-3)
        assert abs((box[6] - nearest[6] + np.pi) % (2 * np.pi) - np.pi) < 1e-3


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


COORDS = np.stack(np.mgrid[0:80, 0:80], -1).reshape(-1, 2).astype(np.int32)


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


def test_tables_are_the_rules_in_both_directions(scan):
    architecture = build_architecture(SMALL, 3)
    samples = [build_sample(s, architecture, GRID, CLASSES) for s in (scan, label_scan(make_scan(12)))]
    batch, target = collate_samples(samples)
    for k, table in enumerate(batch.tables):
        forward = table.forward[: table.outputs].numpy()
        backward = table.backward[: table.inputs].numpy()
        rules = sum(int(s.rules[k].rulebook.counts.sum()) for s in samples)
        assert (forward < table.inputs).sum() == (backward < table.outputs).sum() == rules
        o, tap = np.nonzero(forward < table.inputs)
        np.testing.assert_array_equal(backward[forward[o, tap], tap], o)
        assert (table.forward[table.outputs :] == table.inputs).all()
    assert len(target.heatmap) == batch.tables[-1].outputs


def test_losses_vanish_for_the_right_answer_only(scan):
    architecture = build_architecture(SMALL, 3)
    _, target = collate_samples([build_sample(scan, architecture, GRID, CLASSES)])
    right = torch.full((len(target.heatmap), 3 + REGRESSION), 0.0)
    right[:, :3] = torch.where(target.heatmap == 1, 12.0, -12.0)
    right[target.cells, 3:11] = target.boxes[:, :8]
    right[target.cells, 11] = torch.where(target.boxes[:, 8] > 0.5, 12.0, -12.0)
    right[target.cells, 12] = 12.0
    good = compute_losses(right, target, 0.64)
    assert float(good.total) < 0.02
    wrong = right.clone()
    wrong[target.cells, 3] += 1.0
    assert float(compute_losses(wrong, target, 0.64).overlap) > float(good.overlap) + 0.2
    assert float(compute_losses(-right, target, 0.64).heatmap) > 5
