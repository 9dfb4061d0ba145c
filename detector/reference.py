"""reference.py: NumPy twins of the detector's kernels, plain and slow, that tests compare them with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
    cells = np.minimum(((kept[:, :2] + np.float32(HALF)) * np.float32(fine / CELL)).astype(np.int64), size - 1)
    np.minimum.at(lowest, (cells[:, 1], cells[:, 0]), kept[:, 2])
    return lowest


def collect_candidates(lowest: NDArray[np.float32], fine: int) -> NDArray[np.float32]:
    """Twin of ground.collect_candidates."""
    cells = lowest.reshape(CELLS, fine, CELLS, fine).swapaxes(1, 2).reshape(CELLS, CELLS, fine * fine)
    count = np.isfinite(cells).sum(axis=2)
    ordered = np.sort(cells, axis=2)  # inf, an empty fine cell, comes last
    quartile = np.take_along_axis(ordered, (count // 4)[:, :, None], axis=2)[:, :, 0]
    return np.where(count >= 2, quartile, np.float32(np.nan)).astype(np.float32)


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


def encode(pillars: Pillars, weights: EncoderWeights) -> NDArray[np.float32]:
    """Twin of encoder.encode."""
    member = np.repeat(np.arange(len(pillars)), np.diff(pillars.starts))
    best = np.full((len(pillars), len(weights.bias)), -np.inf, np.float32)
    np.maximum.at(best, member, pillars.point_features @ weights.point)
    return np.maximum(best * weights.scale + pillars.pillar_features @ weights.pillar + weights.bias, 0)


def find_peaks(coords: NDArray[np.int32], heat: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Twin of decoding.find_peaks, by comparing every pair of cells."""
    near = (np.abs(coords[:, None] - coords[None]) <= 1).all(-1)
    np.fill_diagonal(near, False)
    earlier = np.arange(len(coords))[None] < np.arange(len(coords))[:, None]  # [a, b]: b comes before a
    peaks = np.ones(heat.shape, bool)
    for k in range(heat.shape[1]):
        mine, other = heat[:, k][:, None], heat[:, k][None]
        peaks[:, k] = ~(near & ((other > mine) | ((other == mine) & earlier))).any(1)
    return peaks
