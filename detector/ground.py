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
_FINE = 4  # sub-cells per cell and axis; their lowest points vote for the cell's height
_NEAR = 16.0  # [m] cells nearer than this vote for the height under the sensor
_WINDOW = 3  # cells on each side that predict the next one
_RIDGE = 0.5
_STAND_OUT = (1.5, 1.0, 0.6, 0.4, 0.3, 0.25)  # [m] above the plane, from the first fit to the last
_RISE, _FALL = 0.40, 0.60  # [m] accepted step between a cell and what its inner neighbours predict


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
        return interpolate_heights(self.heights, np.ascontiguousarray(xy, dtype=np.float32))


@kernel
def interpolate_height(heights: NDArray[np.float32], x: float, y: float) -> float:
    """Return the bilinear ground height at one position."""
    u = min(max((x + HALF) / CELL - 0.5, 0.0), CELLS - 1.001)
    v = min(max((y + HALF) / CELL - 0.5, 0.0), CELLS - 1.001)
    i, j = int(v), int(u)
    a, b = v - i, u - j
    low = heights[i, j] * (1 - b) + heights[i, j + 1] * b
    high = heights[i + 1, j] * (1 - b) + heights[i + 1, j + 1] * b
    return float(low * (1 - a) + high * a)


@kernel
def interpolate_heights(heights: NDArray[np.float32], xy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the bilinear ground heights at xy (N, 2)."""
    out = np.empty(len(xy), np.float32)
    for n in range(len(xy)):
        out[n] = interpolate_height(heights, xy[n, 0], xy[n, 1])
    return out


@kernel
def find_lowest(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the lowest z in each fine cell, (CELLS * _FINE)^2 float32; inf where there is no point."""
    size = CELLS * _FINE
    lowest = np.full((size, size), np.inf, np.float32)
    scale = _FINE / CELL
    for n in range(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        if not (abs(x) < HALF and abs(y) < HALF and abs(z) < 50.0):
            continue
        i = min(int((y + HALF) * scale), size - 1)
        j = min(int((x + HALF) * scale), size - 1)
        if z < lowest[i, j]:
            lowest[i, j] = z
    return lowest


@kernel
def collect_candidates(lowest: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each cell's lower quartile of its fine cells' lowest points; NaN where fewer than two are hit.

    The quartile forgives a stray return below the ground, and cars and walls that fill part of the cell.
    """
    candidates = np.full((CELLS, CELLS), np.nan, np.float32)
    values = np.empty(_FINE * _FINE, np.float32)
    for i in range(CELLS):
        for j in range(CELLS):
            count = 0
            for a in range(_FINE):
                for b in range(_FINE):
                    z = lowest[i * _FINE + a, j * _FINE + b]
                    if z < np.inf:
                        values[count] = z
                        count += 1
            if count >= 2:
                ordered = np.sort(values[:count])
                candidates[i, j] = ordered[count // 4]
    return candidates


@kernel
def _extrapolate(heights: NDArray[np.float32], i: int, j: int, level: float) -> float:
    """Return the height at a cell that a plane through the known cells around it predicts.

    Least squares over a 7 x 7 window, nearer cells weighing more; a ridge on the slopes keeps few cells from
    tilting the plane.
    """
    w_sum, x_sum, y_sum, z_sum = 0.0, 0.0, 0.0, 0.0
    for di in range(-_WINDOW, _WINDOW + 1):
        for dj in range(-_WINDOW, _WINDOW + 1):
            a, b = i + di, j + dj
            if 0 <= a < CELLS and 0 <= b < CELLS and not np.isnan(heights[a, b]):
                w = 1.0 / (di * di + dj * dj)
                w_sum += w
                x_sum += w * dj
                y_sum += w * di
                z_sum += w * heights[a, b]
    if w_sum == 0.0:
        return level
    x_mean, y_mean, z_mean = x_sum / w_sum, y_sum / w_sum, z_sum / w_sum
    xx, xy, yy, xz, yz = _RIDGE, 0.0, _RIDGE, 0.0, 0.0
    for di in range(-_WINDOW, _WINDOW + 1):
        for dj in range(-_WINDOW, _WINDOW + 1):
            a, b = i + di, j + dj
            if 0 <= a < CELLS and 0 <= b < CELLS and not np.isnan(heights[a, b]):
                w = 1.0 / (di * di + dj * dj)
                x, y, z = dj - x_mean, di - y_mean, heights[a, b] - z_mean
                xx += w * x * x
                xy += w * x * y
                yy += w * y * y
                xz += w * x * z
                yz += w * y * z
    determinant = xx * yy - xy * xy
    slope_x = (xz * yy - yz * xy) / determinant
    slope_y = (yz * xx - xz * xy) / determinant
    return z_mean - slope_x * x_mean - slope_y * y_mean


@kernel
def grow_map(
    candidates: NDArray[np.float32], plane: NDArray[np.float64], order: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Return cell heights grown outwards from the sensor, beginning with `plane` (height, slopes along x and y).

    A cell takes its candidate where that continues what the cells nearer to the sensor predict, else the
    prediction: a roof or a wall is not ground, and a cell without points continues its neighbours.
    """
    heights = np.full((CELLS, CELLS), np.nan, np.float32)
    middle = (CELLS - 1) / 2
    for n in range(len(order)):
        i, j = order[n, 0], order[n, 1]
        reach = (i - middle) ** 2 + (j - middle) ** 2
        x, y = (j + 0.5) * CELL - HALF, (i + 0.5) * CELL - HALF
        predicted = plane[0] + plane[1] * x + plane[2] * y
        if reach > 3.0:
            predicted = _extrapolate(heights, i, j, predicted)
        z = candidates[i, j]
        if not np.isnan(z) and -_FALL < z - predicted < _RISE:
            heights[i, j] = z
        else:
            heights[i, j] = predicted
    smooth = np.empty_like(heights)
    for i in range(CELLS):
        for j in range(CELLS):
            total, weight = 0.0, 0.0
            for di in range(-1, 2):
                for dj in range(-1, 2):
                    a, b = i + di, j + dj
                    if 0 <= a < CELLS and 0 <= b < CELLS:
                        w = (2.0 - abs(di)) * (2.0 - abs(dj))
                        total += w * heights[a, b]
                        weight += w
            smooth[i, j] = total / weight
    return smooth


def _outward_order() -> NDArray[np.int32]:
    i, j = np.mgrid[0:CELLS, 0:CELLS]
    middle = (CELLS - 1) / 2
    distance = np.hypot(i - middle, j - middle).ravel()
    first = np.argsort(distance, kind="stable")
    return np.stack([i.ravel()[first], j.ravel()[first]], 1).astype(np.int32)


_ORDER = _outward_order()
_CENTRES = (np.arange(CELLS) + 0.5) * CELL - HALF
_NEAR_CELLS = np.hypot(_CENTRES[:, None], _CENTRES[None]) < _NEAR
_AROUND_SENSOR = np.hypot(_CENTRES[:, None], _CENTRES[None]) < 8.0


def fit_plane(candidates: NDArray[np.float32]) -> tuple[float, float, float]:
    """Return height and slopes along x and y of the ground around the sensor.

    Least squares over the near cells, repeated while cells that stand out above (cars, walls) or below lose
    their vote; zeros where no cell is known.
    """
    rows, columns = np.nonzero(_NEAR_CELLS & np.isfinite(candidates))
    if not len(rows):
        rows, columns = np.nonzero(np.isfinite(candidates))
    if not len(rows):
        return 0.0, 0.0, 0.0
    x, y, z = _CENTRES[columns], _CENTRES[rows], candidates[rows, columns].astype(np.float64)
    height, slope_x, slope_y = float(np.quantile(z, 0.35)), 0.0, 0.0
    for limit in _STAND_OUT:
        rest = z - height - slope_x * x - slope_y * y
        vote = (rest < limit) & (rest > -1.5 * limit)
        if vote.sum() < 6:
            break
        columns_ = np.column_stack([np.ones(vote.sum()), x[vote], y[vote]])
        ridge = np.diag([0.0, 100.0, 100.0])  # flat unless the cells say otherwise
        solved = np.linalg.solve(columns_.T @ columns_ + ridge, columns_.T @ z[vote])
        height, slope_x, slope_y = (float(v) for v in solved)
    return height, slope_x, slope_y


def estimate_ground(points: NDArray[np.float32], *, level: float | None = None) -> GroundMap:
    """Estimate the ground around the sensor.

    Args:
        points: (N, >=3) float32 x, y, z [m]; rows with non-finite or absurd values are ignored.
        level: known height of the ground under the sensor [m]; None estimates it from the frame.

    Returns:
        The map; flat at `level` (or 0) where no point says otherwise. Its own level is the given one.
    """
    candidates = collect_candidates(find_lowest(points))
    height, slope_x, slope_y = fit_plane(candidates)
    plane = np.array([height if level is None else level, slope_x, slope_y])
    heights = grow_map(candidates, plane, _ORDER)
    return GroundMap(heights, float(np.median(heights[_AROUND_SENSOR])) if level is None else level)


def estimate_ground_height(points: NDArray[np.float32]) -> float:
    """Return the height of the ground under the sensor [m], such as -1.73 for KITTI; 0 for an empty frame."""
    return estimate_ground(np.ascontiguousarray(points, dtype=np.float32)).level
