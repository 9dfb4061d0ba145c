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
        place = (xy[:, ::-1].astype(np.float32).astype(np.float64) + HALF) / CELL - 0.5  # row, column
        place = np.minimum(np.maximum(place, 0.0), CELLS - 1.0)
        cell = np.minimum(place.astype(np.intp), CELLS - 2)
        (a, b), first = (place - cell).T, cell[:, 0] * CELLS + cell[:, 1]
        lower, lower_next, upper, upper_next = (
            self.heights.ravel()[first + step] for step in (0, 1, CELLS, CELLS + 1)
        )
        low, high = lower * (1 - b) + lower_next * b, upper * (1 - b) + upper_next * b
        return np.asarray(low * (1 - a) + high * a, np.float32)


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
        i, j = np.int32((y + _HALF_F32) * _FINE_SCALE), np.int32((x + _HALF_F32) * _FINE_SCALE)
        i, j = i if i < most else most, j if j < most else most  # `min` takes longer to compile
        cells[n] = i * size + j if counts else nowhere
    part = len(cells) // _STREAMS
    for n in range(part):
        for stream in range(_STREAMS):
            k = stream * part + n
            cell, z = np.uint32(cells[k]), columns[2, k]
            lowest[cell] = z if z < lowest[cell] else lowest[cell]
    for k in range(_STREAMS * part, len(cells)):
        cell, z = np.uint32(cells[k]), columns[2, k]
        lowest[cell] = z if z < lowest[cell] else lowest[cell]


def collect_candidates(lowest: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each cell's lower quartile of its fine cells' lowest points; NaN where fewer than two are hit.

    The quartile forgives a stray return below the ground, and cars and walls that fill part of the cell.
    """
    candidates = np.full((CELLS, CELLS), np.nan, np.float32)
    _collect_candidates(lowest, np.empty(FINE * FINE, np.float32), candidates)
    return candidates


@kernel
def _collect_candidates(
    lowest: NDArray[np.float32], values: NDArray[np.float32], candidates: NDArray[np.float32]
) -> None:
    for i in range(CELLS):
        for j in range(CELLS):
            count = 0
            for a in range(FINE):
                for b in range(FINE):
                    z = lowest[i * FINE + a, j * FINE + b]
                    if z < np.inf:
                        k = count
                        while k > 0 and values[k - 1] > z:
                            values[k] = values[k - 1]
                            k -= 1
                        values[k] = z
                        count += 1
            if count >= 2:
                candidates[i, j] = values[count // 4]


def fit_plane(candidates: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return height and slopes along x and y of the ground around the sensor, (3,).

    Least squares over the near cells, repeated while cells that stand out above (cars, walls) or below lose
    their vote; zeros where no cell is known.
    """
    heights = candidates.ravel()
    cells = _NEAR_CELLS[~np.isnan(heights[_NEAR_CELLS])]
    if not len(cells):  # the farther cells only where none is near
        cells = np.flatnonzero(~np.isnan(heights))
    if not len(cells):
        return np.zeros(3)
    known = np.empty((3, len(cells)))
    known[:2], known[2] = _CENTRES[:, cells], heights[cells]
    plane, sums = np.array([_find_quantile(known[2], 0.35), 0.0, 0.0]), np.empty(9)
    for limit in _STAND_OUT:
        _sum_votes(known, plane, limit, sums)
        votes, x, y, z, xx, xy, yy, xz, yz = sums.tolist()
        if votes < 6:
            break
        x_mean, y_mean, z_mean = x / votes, y / votes, z / votes
        xx, xy, yy = xx - x * x_mean, xy - x * y_mean, yy - y * y_mean
        xz, yz = xz - x * z_mean, yz - y * z_mean
        determinant = xx * yy - xy * xy
        along = (xz * yy - yz * xy) / determinant
        across = (yz * xx - xz * xy) / determinant
        plane[:] = z_mean - along * x_mean - across * y_mean, along, across
    return plane


def _find_quantile(values: NDArray[np.float64], share: float) -> float:
    ordered, place = np.sort(values), share * (len(values) - 1)
    k = int(place)
    return float(ordered[k] + (place - k) * (ordered[min(k + 1, len(values) - 1)] - ordered[k]))


@kernel
def _sum_votes(
    known: NDArray[np.float64], plane: NDArray[np.float64], limit: float, sums: NDArray[np.float64]
) -> None:
    """Write how many cells lie within `limit` of the plane, and their sums of x, y, z, xx, xy, yy, xz, yz."""
    for k in range(len(sums)):
        sums[k] = 0.0
    sums[4] = sums[6] = _PLANE_RIDGE
    for n in range(known.shape[1]):
        x, y, z = known[0, n], known[1, n], known[2, n]
        if -1.5 * limit < z - plane[0] - plane[1] * x - plane[2] * y < limit:
            sums[0] += 1.0
            sums[1] += x
            sums[2] += y
            sums[3] += z
            sums[4] += x * x
            sums[5] += x * y
            sums[6] += y * y
            sums[7] += x * z
            sums[8] += y * z


def _outward_order() -> NDArray[np.int32]:
    i, j = np.mgrid[0:CELLS, 0:CELLS]
    middle = (CELLS - 1) / 2
    distance = np.hypot(i - middle, j - middle).ravel()
    first = np.argsort(distance, kind="stable")
    return np.stack([i.ravel()[first], j.ravel()[first]], 1).astype(np.int32)


_ORDER = _outward_order()
_COORDINATES = (np.arange(CELLS) + 0.5) * CELL - HALF
_CENTRES = np.stack([np.tile(_COORDINATES, CELLS), np.repeat(_COORDINATES, CELLS)])  # x, y by cell
_DISTANCES = np.sqrt(_CENTRES[0] * _CENTRES[0] + _CENTRES[1] * _CENTRES[1])
_NEAR_CELLS = np.flatnonzero(_DISTANCES < _NEAR)
_CELLS_UNDER_SENSOR = np.flatnonzero(_DISTANCES < _UNDER_SENSOR)
_FIRST = int(np.count_nonzero(_DISTANCES * _DISTANCES < 3.5 * CELL * CELL))  # the 3 x 3 cells in the middle


def _prediction_weights() -> NDArray[np.float64]:
    """Return the weight of each cell of the 7 x 7 window around a cell in predicting it, (CELLS^2, 49).

    The prediction is a plane through the cells that are known when its turn comes, by least squares, nearer
    cells weighing more; a ridge on the slopes keeps few cells from tilting it. Which cells are known depends on
    the order alone, so the plane's height in the middle is one weighted sum of their heights. The first cells, in
    the middle of the map, are predicted otherwise: their weights are zero.
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
    weights[:_FIRST] = 0.0
    return weights


_WEIGHTS = _prediction_weights()
_NEIGHBOURS = tuple(
    (_WINDOW + a, _WINDOW + b, (2.0 - abs(a)) * (2.0 - abs(b))) for a in (-1, 0, 1) for b in (-1, 0, 1)
)
_INSIDE = np.pad(np.ones((CELLS, CELLS)), _WINDOW)
_SMOOTHING_TOTAL = sum(w * _INSIDE[a : a + CELLS, b : b + CELLS] for a, b, w in _NEIGHBOURS)


def grow_map(
    candidates: NDArray[np.float32], plane: NDArray[np.float64]
) -> tuple[NDArray[np.float32], float]:
    """Return cell heights grown outwards from the sensor, beginning with `plane` (height, slopes along x and y).

    A cell takes its candidate where that continues what the cells nearer to the sensor predict, else the
    prediction: a roof or a wall is not ground, and a cell without points continues its neighbours.

    Returns:
        The heights (CELLS, CELLS), smoothed, and their median under the sensor.
    """
    start = np.zeros(CELLS * CELLS)
    x, y = _CENTRES[:, _ORDER[:_FIRST, 0] * CELLS + _ORDER[:_FIRST, 1]]
    start[:_FIRST] = plane[0] + plane[1] * x + plane[2] * y
    padded = np.zeros((CELLS + 2 * _WINDOW,) * 2)
    _grow_map(candidates, start, _ORDER, _WEIGHTS, padded)
    heights = _smooth(padded)
    under = np.sort(heights.ravel()[_CELLS_UNDER_SENSOR])
    return heights, float(under[len(under) // 2])


@kernel
def _grow_map(
    candidates: NDArray[np.float32],
    start: NDArray[np.float64],
    order: NDArray[np.int32],
    weights: NDArray[np.float64],
    padded: NDArray[np.float64],
) -> None:
    for n in range(len(order)):
        i, j = order[n, 0], order[n, 1]
        predicted = start[n]
        for a in range(_WIDTH):
            across = 0.0  # rows are summed apart, so that they need not wait for each other
            for b in range(_WIDTH):
                across += weights[n, a * _WIDTH + b] * padded[i + a, j + b]
            predicted += across
        z = candidates[i, j]
        fits = -_FALL < z - predicted < _RISE  # never true of NaN
        padded[i + _WINDOW, j + _WINDOW] = z if fits else np.float32(predicted)


def _smooth(padded: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return each cell's mean with its neighbours, which weigh a half, or a quarter at the corners."""
    total = np.zeros((CELLS, CELLS))
    for a, b, weight in _NEIGHBOURS:
        total += weight * padded[a : a + CELLS, b : b + CELLS]
    return (total / _SMOOTHING_TOTAL).astype(np.float32)


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
