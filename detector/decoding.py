"""decoding.py: boxes from the head's output: peaks of the heatmaps, regressed boxes, rotated suppression."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..runtime.jit import kernel
from ..runtime.sparse import PillarGrid
from .boxes import find_survivors
from .detections import Detections
from .ground import GroundMap
from .pillars import PillarGeometry

OVERLAP = 0.2  # footprint overlap (IoU) above which the lower of two boxes of a class is dropped
MOST = 500  # boxes per frame at most, before suppression
_QUALITY = 9  # column of the quality's logit among the regressions
_STEEPEST = 30.0  # logits beyond it count as it
_ROUNDING = 1e-6  # more than rounding moves a score, relative
_MARGIN = 1e-3  # more than rounding moves a bound


def find_least_logits(score: float, exponents: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return, for heat^a * quality^b of each class, bounds (classes, 2) of heat's and quality's logits.

    Below either one the score is less than `score`, whatever the other is. (Where both reach theirs it may still
    be less.)

    Args:
        score: the least score, 0..1.
        exponents: (classes, 2) a, b >= 0.
    """
    with np.errstate(divide="ignore", over="ignore"):
        # What one factor must reach if the other is 1.
        share = (score * (1.0 - _ROUNDING)) ** (1.0 / exponents)
        bounds = np.log(share / (1.0 - share)) - _MARGIN
    return np.where(bounds > -_STEEPEST, bounds, -np.inf).astype(np.float32)


def bound_rows(grid: PillarGrid) -> NDArray[np.int64]:
    """Return the first cell of each row, (rows + 3,), with an empty row before the first one and behind the last."""
    return np.concatenate([[0], grid.row_ptr, grid.row_ptr[-1:]]).astype(np.int64, copy=False)


@kernel
def find_peaks(
    bounds: NDArray[np.int64],
    cols: NDArray[np.int32],
    features: NDArray[np.float32],
    least: NDArray[np.float32],
    near: NDArray[np.int64],
    cells: NDArray[np.int32],
    labels: NDArray[np.int32],
) -> int:
    """Find the active cells that no active 3 x 3 neighbour exceeds in the logit of a class; return how many.

    Between equals the first in row-major order is the peak.

    Args:
        bounds, cols: the active cells, see `bound_rows`.
        features: (A, classes + REGRESSION) logits of the classes first.
        least: (classes, 2) bounds of the heat's and the quality's logits below which a cell is no candidate.
        near: (3,) work space.
        cells, labels: (A * classes,) peaks are written here, by cell, then by class.
    """
    classes, count = len(least), 0
    for row in range(len(bounds) - 3):
        for line in range(3):  # the row before, this one, the next: the cell from which on neighbours may be
            near[line] = bounds[row + line]
        for a in range(bounds[row + 1], bounds[row + 2]):
            for k in range(classes):
                logit = features[a, k]
                if not (logit >= least[k, 0] and features[a, classes + _QUALITY] >= least[k, 1]):
                    continue
                peak = True
                for line in range(3):
                    end = bounds[row + line + 1]
                    while near[line] < end and cols[near[line]] < cols[a] - 1:
                        near[line] += 1
                    b = near[line]
                    while b < end and cols[b] <= cols[a] + 1:
                        if features[b, k] > logit or (features[b, k] == logit and b < a):
                            peak = False
                        b += 1
                if peak:
                    cells[count], labels[count] = a, k
                    count += 1
    return count


@kernel
def select_best(
    features: NDArray[np.float32],
    exponents: NDArray[np.float64],
    score: np.float32,
    cells: NDArray[np.int32],
    labels: NDArray[np.int32],
    scores: NDArray[np.float32],
) -> int:
    """Score the peaks and move the best ones to the front, by descending score; return how many there are.

    Between equals the earlier peak goes first.

    Args:
        features: (A, classes + REGRESSION).
        exponents: (classes, 2) of heat and quality.
        score: peaks below it are left out.
        cells, labels: (K,) of the peaks.
        scores: (most,) written.
    """
    classes, most, count = len(exponents), len(scores), 0
    for n in range(len(cells)):
        cell, label = cells[n], labels[n]
        product = 1.0
        for part in range(2):  # heat, quality
            logit = np.float64(features[cell, classes + _QUALITY if part else label])
            bounded = min(max(logit, -_STEEPEST), _STEEPEST)
            product *= (1.0 / (1.0 + math.exp(-bounded))) ** exponents[label, part]
        value = np.float32(product)
        if not value >= score or (count == most and value <= scores[most - 1]):
            continue
        count = min(count + 1, most)
        k = count - 1
        while k > 0 and scores[k - 1] < value:
            scores[k], cells[k], labels[k] = scores[k - 1], cells[k - 1], labels[k - 1]
            k -= 1
        scores[k], cells[k], labels[k] = value, cell, label
    return count


@kernel
def _decode_boxes(
    features: NDArray[np.float32],
    first: int,
    cells: NDArray[np.int32],
    coords: NDArray[np.int32],
    x_min: float,
    y_min: float,
    cell: float,
    boxes: NDArray[np.float32],
) -> None:
    """Write boxes from the regressions features[cells, first:]."""
    for n in range(len(cells)):
        at = features[cells[n], first:]
        boxes[n, 0] = x_min + (coords[n, 1] + 0.5 + at[0]) * cell
        boxes[n, 1] = y_min + (coords[n, 0] + 0.5 + at[1]) * cell
        boxes[n, 2] = at[2]
        for k in range(3, 6):
            boxes[n, k] = math.exp(min(max(np.float64(at[k]), -3.0), 3.5))
        axis = math.atan2(at[6], at[7]) / 2  # within a quarter turn of +x
        if not at[8] > 0:  # the direction bit tells front from back
            axis += math.pi
        boxes[n, 6] = (axis + math.pi) % (2 * math.pi) - math.pi


def decode_boxes(
    at: NDArray[np.float32], coords: NDArray[np.int32], geometry: PillarGeometry, cell: float
) -> NDArray[np.float32]:
    """Return boxes (M, 7), z above the ground, from regressions (M, REGRESSION) at cells (M, 2) row, column."""
    boxes = np.empty((len(at), 7), np.float32)
    every = np.arange(len(at), dtype=np.int32)
    _decode_boxes(
        np.ascontiguousarray(at), 0, every, coords, geometry.x_min, geometry.y_min, float(cell), boxes
    )
    return boxes


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
    features, powers = grid.features, np.array(exponents, np.float64)
    room = len(features) * len(classes)
    cells, labels, scores = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(MOST, np.float32)
    least = find_least_logits(score, powers)
    found = find_peaks(bound_rows(grid), grid.cols, features, least, np.empty(3, np.int64), cells, labels)
    count = select_best(features, powers, np.float32(score), cells[:found], labels[:found], scores)
    cells, labels, scores = cells[:count], labels[:count], scores[:count]
    coords = np.empty((count, 2), np.int32)
    coords[:, 0] = np.searchsorted(grid.row_ptr, cells, side="right") - 1
    coords[:, 1] = grid.cols[cells]
    boxes = np.empty((count, 7), np.float32)
    _decode_boxes(features, len(classes), cells, coords, geometry.x_min, geometry.y_min, float(cell), boxes)
    boxes[:, 2] += ground.at(boxes[:, :2])
    kept = find_survivors(boxes.astype(np.float64), labels, OVERLAP)
    return Detections(boxes[kept], scores[kept], labels[kept], classes)
