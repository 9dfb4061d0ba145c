"""Training samples: augmentation keeps points on their objects, tables are the engine's rules, targets are true."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="training needs torch: pip install 'colonnade[train]'")

from colonnade.detector.architecture import (  # noqa: E402
    INPUT,
    REGRESSION,
    Architecture,
    Layer,
    Widths,
    build_architecture,
)
from colonnade.detector.decoding import decode_boxes  # noqa: E402
from colonnade.detector.ground import estimate_ground  # noqa: E402
from colonnade.detector.pillars import PillarGeometry, pillarise  # noqa: E402
from colonnade.detector.train.augment import (  # noqa: E402
    LabelledScan,
)
from colonnade.detector.train.losses import compute_losses  # noqa: E402
from colonnade.detector.train.pool import label_scan, make_scan  # noqa: E402
from colonnade.detector.train.rules import BatchRules, LayerTable, Sites, prune_sites  # noqa: E402
from colonnade.detector.train.samples import (  # noqa: E402
    aim_targets,
    build_sample,
    collate_samples,
    place_pillars,
)
from colonnade.detector.train.targets import build_targets  # noqa: E402
from colonnade.runtime.sparse import PillarGrid, build_rules, concatenate  # noqa: E402

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
    head = trace_sites(architecture, [place_pillars(pillars)])[-1][1].every[0]
    coords = head.coords
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


def trace_sites(architecture: Architecture, pillars: list[PillarGrid]) -> list[tuple[LayerTable, Sites]]:
    """Return the table and the sites of every layer, nothing pruned."""
    rules, places, traced = BatchRules(len(pillars)), {INPUT: Sites.whole(tuple(pillars))}, []
    for layer in architecture.layers:
        traced.append(rules.find(layer, tuple(places[name] for name in layer.inputs)))
        places[layer.name] = traced[-1][1]
    return traced


def test_tables_are_the_rules_in_both_directions(scan):
    architecture = build_architecture(SMALL, 3)
    samples = [build_sample(s, architecture, GRID) for s in (scan, label_scan(make_scan(12)))]
    batch, truths = collate_samples(samples)
    traced = trace_sites(architecture, list(batch.pillars))
    grids = [{INPUT: grid} for grid in batch.pillars]
    for layer, (table, sites) in zip(architecture.layers, traced, strict=True):
        forward = table.forward[: table.outputs].numpy()
        backward = table.backward[: table.inputs].numpy()
        rules = 0
        for known, place in zip(grids, sites.every, strict=True):
            read = concatenate([known[name] for name in layer.inputs])
            book = build_rules(read, layer.kind, kernel=layer.kernel, stride=layer.stride)
            rules += int(book.counts.sum())
            known[layer.name] = place
            np.testing.assert_array_equal(place.cols, book.cols)
        assert (forward < table.inputs).sum() == (backward < table.outputs).sum() == rules
        o, tap = np.nonzero(forward < table.inputs)
        np.testing.assert_array_equal(backward[forward[o, tap], tap], o)
        assert (table.forward[table.outputs :] == table.inputs).all()
    target = aim_targets(truths, traced[-1][1].every, GRID, 0.64, CLASSES)
    assert len(target.heatmap) == traced[-1][0].outputs == traced[-1][1].total


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 1.0), st.sampled_from([("dilating", 1), ("strided", 2)]))
def test_pruned_neighbours_are_read_but_make_no_output(seed: int, share: float, kind: tuple[str, int]):
    rng = np.random.default_rng(seed)
    grids = []
    for _ in range(2):
        cells = rng.choice(60, int(rng.integers(0, 30)), replace=False)
        coords = np.stack(np.divmod(np.sort(cells), 10), 1).astype(np.int32)
        grids.append(PillarGrid.from_coords(coords, np.zeros((len(coords), 1), np.float32), (6, 10)))
    whole = Sites.whole(tuple(grids))
    counts = tuple(int(share * len(grid)) for grid in grids)
    importance = rng.integers(0, 5, whole.total).astype(np.float64)
    left, stays, level = prune_sites(whole, importance, counts)
    assert tuple(map(len, left.active)) == counts
    assert stays.sum() == sum(counts)
    np.testing.assert_array_equal(np.concatenate(left.rows), np.flatnonzero(stays))
    assert (importance[stays] >= level[stays]).all()
    layer = Layer("layer", kind[0], ("x",), 1, 1, stride=kind[1])
    table, sites = BatchRules(2).find(layer, (left,))
    for active, every in zip(left.active, sites.every, strict=True):
        book = build_rules(active, kind[0], kernel=3, stride=kind[1])
        np.testing.assert_array_equal(every.row_ptr, book.row_ptr)
        np.testing.assert_array_equal(every.cols, book.cols)
    forward = table.forward[: table.outputs].numpy()
    expected, first = [], 0
    for grid, every in zip(grids, sites.every, strict=True):
        rank = {tuple(c): first + n for n, c in enumerate(grid.coords.tolist())}
        for row, col in every.coords.tolist():
            expected.append(
                [
                    rank.get((kind[1] * row + tap // 3 - 1, kind[1] * col + tap % 3 - 1), whole.total)
                    for tap in range(9)
                ]
            )
        first += len(grid)
    np.testing.assert_array_equal(forward, np.array(expected, np.int32).reshape(-1, 9))


def test_losses_vanish_for_the_right_answer_only(scan):
    architecture = build_architecture(SMALL, 3)
    batch, truths = collate_samples([build_sample(scan, architecture, GRID)])
    cells = trace_sites(architecture, list(batch.pillars))[-1][1].every
    target = aim_targets(truths, cells, GRID, 0.64, CLASSES)
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
