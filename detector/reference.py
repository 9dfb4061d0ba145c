"""reference.py: NumPy twins of the detector's kernels, plain and slow, that tests compare them with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .density import PillarDensity
from .density_reference import open_gates
from .encoder import EncoderWeights
from .ground import CELL, CELLS, HALF, GroundMap
from .pillars import BIN_FLOOR, BIN_HEIGHT, HEIGHT_BINS, PILLAR_FEATURES, PillarGeometry, Pillars


def find_lowest(points: NDArray[np.float32], fine: int) -> NDArray[np.float32]:
    """Twin of ground.find_lowest; `fine` sub-cells per cell and axis."""
    size = CELLS * fine
    lowest = np.full((size, size), np.inf, np.float32)
    with np.errstate(invalid="ignore"):
        kept = points[
            (np.abs(points[:, 0]) < HALF) & (np.abs(points[:, 1]) < HALF) & (np.abs(points[:, 2]) < 50.0)
        ]
    cells = np.minimum(
        ((kept[:, :2] + np.float32(HALF)) * np.float32(fine / CELL)).astype(np.int64), size - 1
    )
    np.minimum.at(lowest, (cells[:, 1], cells[:, 0]), kept[:, 2])
    return lowest


def collect_candidates(lowest: NDArray[np.float32], fine: int) -> NDArray[np.float32]:
    """Twin of ground.collect_candidates."""
    cells = lowest.reshape(CELLS, fine, CELLS, fine).swapaxes(1, 2).reshape(CELLS, CELLS, fine * fine)
    count = np.isfinite(cells).sum(axis=2)
    ordered = np.sort(cells, axis=2)  # inf, an empty fine cell, comes last
    quartile = np.take_along_axis(ordered, (count // 4)[:, :, None], axis=2)[:, :, 0]
    return np.where(count >= 2, quartile, np.float32(np.nan)).astype(np.float32)


def fit_plane(candidates: NDArray[np.float32]) -> NDArray[np.float64]:
    """Twin of ground.fit_plane."""
    centres = (np.arange(CELLS) + 0.5) * CELL - HALF
    rows, columns = np.nonzero((np.hypot(centres[:, None], centres) < 16.0) & np.isfinite(candidates))
    if not len(rows):
        rows, columns = np.nonzero(np.isfinite(candidates))
    if not len(rows):
        return np.zeros(3)
    z, flat = candidates[rows, columns].astype(np.float64), np.ones(len(rows))
    columns_ = np.column_stack([flat, centres[columns], centres[rows]])
    plane = np.array([np.quantile(z, 0.35), 0.0, 0.0])
    for limit in (1.5, 1.0, 0.6, 0.4, 0.3, 0.25):
        rest = z - columns_ @ plane
        vote = (rest < limit) & (rest > -1.5 * limit)
        if vote.sum() < 6:
            break
        squares = columns_[vote].T @ columns_[vote] + np.diag([0.0, 100.0, 100.0])
        plane = np.linalg.solve(squares, columns_[vote].T @ z[vote])
    return plane


def _extrapolate(heights: NDArray[np.float64], i: int, j: int) -> float:
    """Return the height at (i, j) of the plane through the known cells of the window around it."""
    rows, columns = np.nonzero(np.isfinite(heights[i : i + 7, j : j + 7]))
    z, y, x = heights[i + rows, j + columns], rows - 3.0, columns - 3.0
    weight = 1 / (x * x + y * y)
    middle = np.array([np.average(v, weights=weight) for v in (x, y, z)])
    offset = np.column_stack([x, y, z]) - middle
    squares = offset.T @ (weight[:, None] * offset)
    slopes = np.linalg.solve(squares[:2, :2] + 0.5 * np.eye(2), squares[:2, 2])
    return float(middle[2] - middle[:2] @ slopes)


def grow_map(
    candidates: NDArray[np.float32], plane: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Twin of ground.grow_map."""
    i, j = np.mgrid[0:CELLS, 0:CELLS].reshape(2, -1) - (CELLS - 1) // 2
    padded = np.full((CELLS + 6, CELLS + 6), np.nan)  # three cells on each side
    for k in np.argsort(i * i + j * j, kind="stable"):
        row, column = i[k] + (CELLS - 1) // 2, j[k] + (CELLS - 1) // 2
        predicted = float(plane @ (1.0, j[k] * CELL, i[k] * CELL))
        if i[k] ** 2 + j[k] ** 2 > 3:
            predicted = _extrapolate(padded, row, column)
        z = candidates[row, column]
        padded[row + 3, column + 3] = z if -0.6 < z - predicted < 0.4 else np.float32(predicted)
    share = np.isfinite(padded).astype(np.float64)
    total, weight = np.zeros((CELLS, CELLS)), np.zeros((CELLS, CELLS))
    for a, b in np.ndindex(3, 3):
        w, part = (1 + (a == 1)) * (1 + (b == 1)), (slice(a + 2, a + 2 + CELLS), slice(b + 2, b + 2 + CELLS))
        total, weight = total + w * np.nan_to_num(padded[part]), weight + w * share[part]
    smooth = total / weight
    return smooth, float(np.median(smooth[np.hypot(i, j).reshape(CELLS, CELLS) * CELL < 8.0]))


def interpolate_heights(heights: NDArray[np.float32], xy: NDArray[np.float32]) -> NDArray[np.float64]:
    """Twin of ground.interpolate_heights, (N,)."""
    place = np.clip((xy[:, ::-1].astype(np.float64) + HALF) / CELL - 0.5, 0.0, CELLS - 1.0)
    cell = np.minimum(place.astype(np.int64), CELLS - 2)
    (i, j), (a, b) = cell.T, (place - cell).T
    low = heights[i, j] * (1 - b) + heights[i, j + 1] * b
    high = heights[i + 1, j] * (1 - b) + heights[i + 1, j + 1] * b
    return np.asarray(low * (1 - a) + high * a)


def pillarise(points: NDArray[np.float32], ground: GroundMap, geometry: PillarGeometry) -> Pillars:
    """Twin of pillars.pillarise."""
    rows, columns = geometry.shape
    low = np.array([geometry.x_min, geometry.y_min], np.float32)
    high = np.array([geometry.x_max, geometry.y_max], np.float32)
    xy, z = points[:, :2], points[:, 2]
    with np.errstate(invalid="ignore"):
        inside = ((xy >= low) & (xy < high)).all(1) & (np.abs(z) < 100.0)
    index = np.flatnonzero(inside)
    above = (z[index] - interpolate_heights(ground.heights, xy[index])).astype(np.float32)
    kept = (above >= geometry.z_min) & (above < geometry.z_max)
    index, above = index[kept], above[kept]
    place = (xy[index] - low) * np.float32(1.0 / geometry.size)
    cell = np.minimum(place.astype(np.int32), [columns - 1, rows - 1])
    key = cell[:, 1] * columns + cell[:, 0]
    order = np.argsort(key, kind="stable")
    grouped = np.column_stack([place - cell - np.float32(0.5), above]).astype(np.float32)[order]
    unique, counts = np.unique(key, return_counts=True)
    coords = np.stack([unique // columns, unique % columns], 1).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    features = _describe_pillars(coords, starts, grouped, geometry)
    row_ptr = np.searchsorted(coords[:, 0], np.arange(rows + 1)).astype(np.int32)
    cols = np.ascontiguousarray(coords[:, 1])
    return Pillars(row_ptr, cols, starts, grouped, features, index[order].astype(np.int32), (rows, columns))


def _describe_pillars(
    coords: NDArray[np.int32],
    starts: NDArray[np.int32],
    grouped: NDArray[np.float32],
    geometry: PillarGeometry,
) -> NDArray[np.float32]:
    features = np.zeros((len(coords), PILLAR_FEATURES))
    for p, (row, column) in enumerate(coords):
        points = grouped[starts[p] : starts[p + 1]].astype(np.float64)
        x = geometry.x_min + (column + 0.5) * geometry.size
        y = geometry.y_min + (row + 0.5) * geometry.size
        distance = np.hypot(x, y) + 1e-6
        features[p, :3] = points.mean(0)
        features[p, 3], features[p, 4] = points[:, 2].min(), points[:, 2].max()
        features[p, 5] = np.log(1 + len(points)) / 4
        features[p, 6:9] = distance / 50, x / distance, y / distance
        slots = np.floor((points[:, 2] - BIN_FLOOR) * (1 / BIN_HEIGHT))
        features[p, 9:] = np.isin(np.arange(HEIGHT_BINS), slots)
    return features.astype(np.float32)


def encode(
    pillars: Pillars, weights: EncoderWeights, density: PillarDensity | None = None
) -> NDArray[np.float32]:
    """Twin of encoder.encode, without gates to the bit: sums from left to right, each step rounded to float32."""
    x, y, z = (column[:, None] for column in pillars.point_features.T)
    values = x * weights.point[0] + y * weights.point[1] + z * weights.point[2]
    best = np.full((len(pillars), len(weights.bias)), -np.inf, np.float32)
    np.maximum.at(best, np.repeat(np.arange(len(pillars)), np.diff(pillars.starts)), values)
    gated = weights.gates is not None and density is not None
    shared = np.tile(np.float32(0) if gated else weights.bias, (len(pillars), 1))
    for feature, weight in zip(pillars.pillar_features.T, weights.pillar, strict=True):
        shared = shared + feature[:, None] * weight
    best = best * weights.scale
    if weights.gates is not None and density is not None:
        of_points, of_pillars = open_gates(weights.gates, density.at_pillars)
        best, shared = best * of_points, shared * of_pillars + weights.bias
    return np.asarray(np.maximum(best + shared, np.float32(0)))


def encode_u8(
    pillars: Pillars, weights: EncoderWeights, step: float, density: PillarDensity | None = None
) -> NDArray[np.uint8]:
    """Twin of encoder.encode_u8, without gates to the bit."""
    levels = np.rint(encode(pillars, weights, density) * np.float32(1 / step))
    return np.asarray(np.clip(levels, 0, 255), np.uint8)


def find_peaks(coords: NDArray[np.int32], logits: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Twin of decoding.find_peaks without bounds, (A, classes): by comparing every pair of cells."""
    near = (np.abs(coords[:, None] - coords[None]) <= 1).all(-1)
    np.fill_diagonal(near, False)
    earlier = np.arange(len(coords))[None] < np.arange(len(coords))[:, None]  # [a, b]: b comes before a
    peaks = np.ones(logits.shape, bool)
    for k in range(logits.shape[1]):
        mine, other = logits[:, k][:, None], logits[:, k][None]
        peaks[:, k] = ~(near & ((other > mine) | ((other == mine) & earlier))).any(1)
    return peaks


def score_cells(features: NDArray[np.float32], exponents: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the score heat^a * quality^b of every cell and class, (A, classes)."""
    logits = np.clip(features.astype(np.float64), -30, 30)
    heat, quality = (
        1 / (1 + np.exp(-v)) for v in (logits[:, : len(exponents)], logits[:, len(exponents) + 9])
    )
    return np.asarray(heat ** exponents[:, 0] * quality[:, None] ** exponents[:, 1], np.float32)


def decode_boxes(
    at: NDArray[np.float32], coords: NDArray[np.int32], geometry: PillarGeometry, cell: float
) -> NDArray[np.float32]:
    """Twin of decoding.decode_boxes."""
    x = geometry.x_min + (coords[:, 1] + 0.5 + at[:, 0]) * cell
    y = geometry.y_min + (coords[:, 0] + 0.5 + at[:, 1]) * cell
    axis = np.arctan2(at[:, 6], at[:, 7]) / 2
    yaw = np.where(at[:, 8] > 0, axis, axis + np.pi)
    size = np.exp(np.clip(at[:, 3:6], -3.0, 3.5))
    return np.column_stack([x, y, at[:, 2], size, (yaw + np.pi) % (2 * np.pi) - np.pi]).astype(np.float32)
