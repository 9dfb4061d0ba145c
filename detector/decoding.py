"""decoding.py: boxes from the head's output: peaks of the heatmaps, regressed boxes, rotated suppression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..runtime.jit import kernel
from ..runtime.sparse import PillarGrid
from .boxes import suppress_boxes
from .detections import Detections
from .ground import GroundMap
from .pillars import PillarGeometry

OVERLAP = 0.2  # footprint overlap (IoU) above which the lower of two boxes of a class is dropped
MOST = 500  # boxes per frame at most, before suppression


@kernel
def find_peaks(
    row_ptr: NDArray[np.int32], cols: NDArray[np.int32], heat: NDArray[np.float32], columns: int
) -> NDArray[np.bool_]:
    """Return (A, classes) bool: is an active cell the highest among its active 3x3 neighbours of a class.

    Between equals the first in row-major order is the peak.
    """
    rows = len(row_ptr) - 1
    classes = heat.shape[1]
    peaks = np.ones(heat.shape, np.bool_)
    rank = np.full((3, columns + 2), -1, np.int64)  # a rolling window of three rows
    for i in range(rows + 1):
        fresh = rank[i % 3]
        fresh[:] = -1
        if i < rows:
            for a in range(row_ptr[i], row_ptr[i + 1]):
                fresh[cols[a] + 1] = a
        y = i - 1
        if y < 0:
            continue
        for a in range(row_ptr[y], row_ptr[y + 1]):
            for dy in range(-1, 2):
                if y + dy < 0 or y + dy >= rows:
                    continue
                for dx in range(3):
                    b = rank[(y + dy) % 3, cols[a] + dx]
                    if b < 0 or b == a:
                        continue
                    for k in range(classes):
                        if heat[b, k] > heat[a, k] or (heat[b, k] == heat[a, k] and b < a):
                            peaks[a, k] = False
    return peaks


def _sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return (1.0 / (1.0 + np.exp(-np.clip(x, -30, 30)))).astype(np.float32)


def decode_boxes(
    at: NDArray[np.float32], coords: NDArray[np.int32], geometry: PillarGeometry, cell: float
) -> NDArray[np.float32]:
    """Return boxes (M, 7), z above the ground, from regressions (M, REGRESSION) at cells (M, 2) row, column."""
    x = geometry.x_min + (coords[:, 1] + 0.5 + at[:, 0]) * cell
    y = geometry.y_min + (coords[:, 0] + 0.5 + at[:, 1]) * cell
    axis = np.arctan2(at[:, 6], at[:, 7]) / 2  # within a quarter turn of +x
    yaw = np.where(at[:, 8] > 0, axis, axis + np.pi)  # the direction bit tells front from back
    yaw = (yaw + np.pi) % (2 * np.pi) - np.pi
    size = np.exp(np.clip(at[:, 3:6], -3.0, 3.5))
    return np.column_stack([x, y, at[:, 2], size, yaw]).astype(np.float32)


def decode(
    grid: PillarGrid,
    geometry: PillarGeometry,
    cell: float,
    classes: tuple[str, ...],
    ground: GroundMap,
    score: float,
    exponents: tuple[tuple[float, float], ...],
) -> Detections:
    """Turn the head's output into detections.

    Args:
        grid: active output cells with (A, classes + REGRESSION) features.
        geometry: of the pillar grid.
        cell: side of an output cell [m].
        classes: names, in the order of the heatmaps.
        ground: added back to the boxes' heights.
        score: detections below it are left out.
        exponents: a, b of each class, whose score is heat^a * quality^b: a ranks by what is there, b by how well the
            box fits.
    """
    features = grid.features
    count = len(classes)
    if not len(features):
        return Detections.empty(classes)
    heat = _sigmoid(features[:, :count])
    quality = _sigmoid(features[:, count + 9])
    powers = np.array(exponents, np.float32)
    combined = heat ** powers[:, 0] * quality[:, None] ** powers[:, 1]
    peaks = find_peaks(grid.row_ptr, grid.cols, heat, grid.shape[1]) & (combined >= score)
    cells, labels = np.nonzero(peaks)
    scores = combined[cells, labels]
    first = np.argsort(-scores, kind="stable")[:MOST]
    cells, labels, scores = cells[first], labels[first].astype(np.int32), scores[first]
    boxes = decode_boxes(features[cells, count:], grid.coords[cells], geometry, cell)
    boxes[:, 2] += ground.at(boxes[:, :2])
    kept = np.zeros(len(boxes), bool)
    for label in range(count):
        members = np.flatnonzero(labels == label)
        kept[members[suppress_boxes(boxes[members], scores[members], OVERLAP)]] = True
    return Detections(boxes[kept], scores[kept], labels[kept].astype(np.int32), classes)
