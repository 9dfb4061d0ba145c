"""ground.py: the height of the ground around the sensor, estimated from one frame.

Everything behind it works on heights above this map, so a sensor mounted lower, a slope or a slightly tilted
sensor change nothing for the network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..runtime.jit import kernel

CELL = 3.2  # [m] side of a ground cell: wider than a car, so that some ground shows in nearly every cell
HALF = 56.0  # [m] the map covers the square -HALF..HALF
CELLS = int(2 * HALF / CELL)
FINE = 4  # sub-cells per cell and axis; their lowest points vote for the cell's height
_NEAR = 16.0  # [m] cells nearer than this vote for the height under the sensor
_UNDER_SENSOR = 8.0  # [m] cells nearer than this tell the height under the sensor
_WINDOW = 3  # cells on each side that predict the next one
_WIDTH = 2 * _WINDOW + 1
_RIDGE = 0.5
_STAND_OUT = (1.5, 1.0, 0.6, 0.4, 0.3, 0.25)  # [m] above the plane, from the first fit to the last
_PLANE_RIDGE = 100.0  # flat unless the cells say otherwise
_RISE, _FALL = 0.40, 0.60  # [m] accepted step between a cell and what its inner neighbours predict
_STREAMS = 8  # parts of a frame that are walked in turn, so that no point waits for the one before it

_HALF_F32, _FINE_SCALE, _ABSURD = np.float32(HALF), np.float32(FINE / CELL), np.float32(50.0)


@dataclass(frozen=True)
class GroundMap:
    """Heights of the ground at the centres of square cells around the sensor.

    Attributes:
        heights: (CELLS, CELLS) float32, row along y, column along x [m], in the frame of the points.
        level: height of the ground under the sensor [m].
    """

    heights: NDArray[np.float32]
    level: float

    def at(self, xy: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the ground height [m] at xy (N, 2), bilinear between cell centres, clamped at the border."""
        places = np.ascontiguousarray(xy, dtype=np.float32)
        out = np.empty(len(places), np.float32)
        _interpolate_heights(self.heights, places, out)
        return out


def split_columns(points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return x, y, z of points (N, >=3) as the rows of a contiguous (3, N) float32 array.

    So laid out, kernels load many points at once. Points that lie so already, as the transpose of such an
    array, are not copied.
    """
    columns: NDArray[np.float32] = points.T[:3]
    if columns.dtype == np.float32 and columns.flags.carray:
        return columns
    columns = np.empty((3, len(points)), np.float32)
    _split_columns(np.require(points, np.float32, ["C", "A", "W"]), columns)
    return columns


@kernel
def _split_columns(points: NDArray[np.float32], columns: NDArray[np.float32]) -> None:
    for n in range(len(points)):
        columns[0, n], columns[1, n], columns[2, n] = points[n, 0], points[n, 1], points[n, 2]


@kernel
def _interpolate_heights(
    heights: NDArray[np.float32], xy: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    for n in range(len(xy)):
        u = min(max((xy[n, 0] + HALF) / CELL - 0.5, 0.0), CELLS - 1.0)
        v = min(max((xy[n, 1] + HALF) / CELL - 0.5, 0.0), CELLS - 1.0)
        i, j = min(int(v), CELLS - 2), min(int(u), CELLS - 2)
        a, b = v - i, u - j
        low = heights[i, j] * (1 - b) + heights[i, j + 1] * b
        high = heights[i + 1, j] * (1 - b) + heights[i + 1, j + 1] * b
        out[n] = low * (1 - a) + high * a


def find_lowest(columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the lowest z in each fine cell, (CELLS * FINE)^2 float32; inf where there is no point.

    Args:
        columns: (3, N) float32, see `split_columns`.
    """
    size = CELLS * FINE
    lowest = np.full(size * size + 1, np.inf, np.float32)  # the last one takes the points that do not count
    _find_lowest(columns, np.empty(columns.shape[1], np.int32), lowest)
    return lowest[:-1].reshape(size, size)


@kernel
def _find_lowest(columns: NDArray[np.float32], cells: NDArray[np.int32], lowest: NDArray[np.float32]) -> None:
    size = np.int32(CELLS * FINE)
    most, nowhere = np.int32(size - 1), np.int32(size * size)
    for n in range(len(cells)):  # without a branch, so that it is vectorised
        x, y, z = columns[0, n], columns[1, n], columns[2, n]
        # A comparison with NaN is false, so non-finite points fall out here.
        counts = (abs(x) < _HALF_F32) & (abs(y) < _HALF_F32) & (abs(z) < _ABSURD)
        i = min(np.int32((y + _HALF_F32) * _FINE_SCALE), most)
        j = min(np.int32((x + _HALF_F32) * _FINE_SCALE), most)
        cells[n] = i * size + j if counts else nowhere
    part = len(cells) // _STREAMS
    for n in range(part):
        for stream in range(_STREAMS):
            k = stream * part + n
            cell = np.uint32(cells[k])
            lowest[cell] = min(lowest[cell], columns[2, k])
    for k in range(_STREAMS * part, len(cells)):
        cell = np.uint32(cells[k])
        lowest[cell] = min(lowest[cell], columns[2, k])


@kernel
def _insert(values: NDArray[np.float64], count: int, value: float) -> None:
    """Put `value` in its place among the first `count` values, which ascend."""
    k = count
    while k > 0 and values[k - 1] > value:
        values[k] = values[k - 1]
        k -= 1
    values[k] = value


def collect_candidates(lowest: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each cell's lower quartile of its fine cells' lowest points; NaN where fewer than two are hit.

    The quartile forgives a stray return below the ground, and cars and walls that fill part of the cell.
    """
    candidates = np.full((CELLS, CELLS), np.nan, np.float32)
    _collect_candidates(lowest, np.empty(FINE * FINE), candidates)
    return candidates


@kernel
def _collect_candidates(
    lowest: NDArray[np.float32], values: NDArray[np.float64], candidates: NDArray[np.float32]
) -> None:
    for i in range(CELLS):
        for j in range(CELLS):
            count = 0
            for a in range(FINE):
                for b in range(FINE):
                    z = lowest[i * FINE + a, j * FINE + b]
                    if z < np.inf:
                        _insert(values, count, z)
                        count += 1
            if count >= 2:
                candidates[i, j] = values[count // 4]


def fit_plane(candidates: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return height and slopes along x and y of the ground around the sensor, (3,).

    Least squares over the near cells, repeated while cells that stand out above (cars, walls) or below lose
    their vote; zeros where no cell is known.
    """
    plane = np.zeros(3)
    _fit_plane(candidates, np.empty((4, CELLS * CELLS)), plane)
    return plane


@kernel
def _fit_plane(
    candidates: NDArray[np.float32], known: NDArray[np.float64], plane: NDArray[np.float64]
) -> None:
    count = 0
    for reach in (_NEAR, 2 * HALF):  # the farther cells only where none is near
        if count == 0:
            for i in range(CELLS):
                for j in range(CELLS):
                    x, y, z = (j + 0.5) * CELL - HALF, (i + 0.5) * CELL - HALF, candidates[i, j]
                    if not np.isnan(z) and np.sqrt(x * x + y * y) < reach:
                        known[0, count], known[1, count], known[2, count] = x, y, z
                        _insert(known[3], count, z)
                        count += 1
    if count == 0:
        return
    place = 0.35 * (count - 1)  # a low quantile, between two values
    k = int(place)
    plane[0] = known[3, k] + (place - k) * (known[3, min(k + 1, count - 1)] - known[3, k])
    for limit in _STAND_OUT:
        votes, x_sum, y_sum, z_sum = 0, 0.0, 0.0, 0.0
        xx, xy, yy, xz, yz = _PLANE_RIDGE, 0.0, _PLANE_RIDGE, 0.0, 0.0
        for n in range(count):
            x, y, z = known[0, n], known[1, n], known[2, n]
            if -1.5 * limit < z - plane[0] - plane[1] * x - plane[2] * y < limit:
                votes += 1
                x_sum, y_sum, z_sum = x_sum + x, y_sum + y, z_sum + z
                xx, xy, yy = xx + x * x, xy + x * y, yy + y * y
                xz, yz = xz + x * z, yz + y * z
        if votes < 6:
            return
        x_mean, y_mean, z_mean = x_sum / votes, y_sum / votes, z_sum / votes
        xx, xy, yy = xx - x_sum * x_mean, xy - x_sum * y_mean, yy - y_sum * y_mean
        xz, yz = xz - x_sum * z_mean, yz - y_sum * z_mean
        determinant = xx * yy - xy * xy
        plane[1] = (xz * yy - yz * xy) / determinant
        plane[2] = (yz * xx - xz * xy) / determinant
        plane[0] = z_mean - plane[1] * x_mean - plane[2] * y_mean


def _outward_order() -> NDArray[np.int32]:
    i, j = np.mgrid[0:CELLS, 0:CELLS]
    middle = (CELLS - 1) / 2
    distance = np.hypot(i - middle, j - middle).ravel()
    first = np.argsort(distance, kind="stable")
    return np.stack([i.ravel()[first], j.ravel()[first]], 1).astype(np.int32)


_ORDER = _outward_order()


def _prediction_weights() -> NDArray[np.float64]:
    """Return the weight of each cell of the 7 x 7 window around a cell in predicting it, (CELLS^2, 49).

    The prediction is a plane through the cells that are known when its turn comes, by least squares, nearer
    cells weighing more; a ridge on the slopes keeps few cells from tilting it. Which cells are known depends on
    the order alone, so the plane's height in the middle is one weighted sum of their heights.
    """
    turn = np.full((CELLS + 2 * _WINDOW,) * 2, CELLS * CELLS)
    turn[_ORDER[:, 0] + _WINDOW, _ORDER[:, 1] + _WINDOW] = np.arange(CELLS * CELLS)
    windows = np.lib.stride_tricks.sliding_window_view(turn, (_WIDTH, _WIDTH))[_ORDER[:, 0], _ORDER[:, 1]]
    known = windows.reshape(-1, _WIDTH * _WIDTH) < np.arange(CELLS * CELLS)[:, None]
    y, x = np.mgrid[-_WINDOW : _WINDOW + 1, -_WINDOW : _WINDOW + 1].reshape(2, 1, -1).astype(np.float64)
    weight = known / np.maximum(x * x + y * y, 1)
    total = np.maximum(
        weight.sum(1, keepdims=True), 1e-9
    )  # the first cell knows none; it takes another plane
    x_mean, y_mean = (weight * x).sum(1, keepdims=True) / total, (weight * y).sum(1, keepdims=True) / total
    x, y = x - x_mean, y - y_mean
    xx, yy = ((weight * v * v).sum(1, keepdims=True) + _RIDGE for v in (x, y))
    xy = (weight * x * y).sum(1, keepdims=True)
    tilt = x_mean * (x * yy - y * xy) + y_mean * (y * xx - x * xy)
    weights: NDArray[np.float64] = weight * (1 / total - tilt / (xx * yy - xy * xy))
    return weights


_WEIGHTS = _prediction_weights()


def grow_map(
    candidates: NDArray[np.float32], plane: NDArray[np.float64]
) -> tuple[NDArray[np.float32], float]:
    """Return cell heights grown outwards from the sensor, beginning with `plane` (height, slopes along x and y).

    A cell takes its candidate where that continues what the cells nearer to the sensor predict, else the
    prediction: a roof or a wall is not ground, and a cell without points continues its neighbours.

    Returns:
        The heights (CELLS, CELLS), smoothed, and their median under the sensor.
    """
    padded = np.zeros((CELLS + 2 * _WINDOW,) * 2)
    heights = np.empty((CELLS, CELLS), np.float32)
    level = _grow_map(candidates, plane, _ORDER, _WEIGHTS, padded, np.empty(CELLS * CELLS), heights)
    return heights, level


@kernel
def _grow_map(
    candidates: NDArray[np.float32],
    plane: NDArray[np.float64],
    order: NDArray[np.int32],
    weights: NDArray[np.float64],
    padded: NDArray[np.float64],
    near: NDArray[np.float64],
    smooth: NDArray[np.float32],
) -> float:
    middle = (CELLS - 1) / 2
    for n in range(len(order)):
        i, j = order[n, 0], order[n, 1]
        x, y = (j + 0.5) * CELL - HALF, (i + 0.5) * CELL - HALF
        predicted = plane[0] + plane[1] * x + plane[2] * y
        if (i - middle) * (i - middle) + (j - middle) * (j - middle) > 3.0:
            predicted = 0.0
            for a in range(_WIDTH):
                across = 0.0  # rows are summed apart, so that they need not wait for each other
                for b in range(_WIDTH):
                    across += weights[n, a * _WIDTH + b] * padded[i + a, j + b]
                predicted += across
        z = candidates[i, j]
        fits = -_FALL < z - predicted < _RISE  # never true of NaN
        padded[i + _WINDOW, j + _WINDOW] = z if fits else np.float32(predicted)
    count = 0
    for i in range(CELLS):
        for j in range(CELLS):
            total, weight = 0.0, 0.0
            for a in range(max(i - 1, 0), min(i + 2, CELLS)):
                for b in range(max(j - 1, 0), min(j + 2, CELLS)):
                    w = (2.0 - abs(a - i)) * (2.0 - abs(b - j))
                    total += w * padded[a + _WINDOW, b + _WINDOW]
                    weight += w
            smooth[i, j] = total / weight
            x, y = (j + 0.5) * CELL - HALF, (i + 0.5) * CELL - HALF
            if np.sqrt(x * x + y * y) < _UNDER_SENSOR:
                _insert(near, count, smooth[i, j])
                count += 1
    return float(near[count // 2])


def estimate_ground(points: NDArray[np.float32], *, level: float | None = None) -> GroundMap:
    """Estimate the ground around the sensor.

    Args:
        points: (N, >=3) float32 x, y, z [m]; rows with non-finite or absurd values are ignored.
        level: known height of the ground under the sensor [m]; None estimates it from the frame.

    Returns:
        The map; flat at `level` (or 0) where no point says otherwise. Its own level is the given one.
    """
    candidates = collect_candidates(find_lowest(split_columns(points)))
    plane = fit_plane(candidates)
    if level is not None:
        plane[0] = level
    heights, found = grow_map(candidates, plane)
    return GroundMap(heights, found if level is None else level)


def estimate_ground_height(points: NDArray[np.float32]) -> float:
    """Return the height of the ground under the sensor [m], such as -1.73 for KITTI; 0 for an empty frame."""
    return estimate_ground(points).level
