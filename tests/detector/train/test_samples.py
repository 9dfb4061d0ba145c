"""Training samples: augmentation keeps points on their objects, tables are the engine's rules, targets are true."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install 'colonnade[train]'")

from colonnade.detector.architecture import REGRESSION, Widths, build_architecture  # noqa: E402
from colonnade.detector.decoding import decode_boxes  # noqa: E402
from colonnade.detector.ground import estimate_ground  # noqa: E402
from colonnade.detector.pillars import PillarGeometry, pillarise  # noqa: E402
from colonnade.detector.train.augment import (  # noqa: E402
    LabelledScan,
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
