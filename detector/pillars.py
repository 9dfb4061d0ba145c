"""pillars.py: points sorted into vertical pillars on a grid around the sensor, with geometric features."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import ConfigError, UsageError
from ..runtime.jit import kernel
from .ground import GroundMap, interpolate_height

POINT_FEATURES = 3  # offset to the pillar's centre along x and y [pillars], height above the ground [m]
HEIGHT_BINS = 10
BIN_HEIGHT = 0.4  # [m]
BIN_FLOOR = -0.4  # [m] above the ground
MOST_PILLARS = 2**26  # of a grid; over 600 times those of the default one
PILLAR_FEATURES = 9 + HEIGHT_BINS  # see compute_pillar_features


@dataclass(frozen=True)
class PillarGeometry:
    """The grid of pillars: rows run along y, columns along x; half-open ranges [m], z above the ground.

    Raises:
        ConfigError: a value is not finite, a range is empty or does not divide into whole pillars, or there are too
            many of them.
    """

    x_min: float
    y_min: float
    x_max: float
    y_max: float
    z_min: float
    z_max: float
    size: float

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not math.isfinite(value):
                raise ConfigError(f"{name} is {value}; give a number of metres")
        for low, high, axis in ((self.x_min, self.x_max, "x"), (self.y_min, self.y_max, "y")):
            count = (high - low) / self.size if self.size > 0 else 0.0
            if count < 1 or abs(count - round(count)) > 1e-3:
                raise ConfigError(
                    f"the {axis} range {low}..{high} m is not a whole number of pillars of {self.size} m; "
                    "choose the range as a multiple of the pillar size"
                )
        rows, columns = self.shape
        if rows * columns >= MOST_PILLARS:
            raise ConfigError(
                f"a grid of {rows} x {columns} pillars is too large; choose larger pillars than {self.size} m, "
                "or a smaller range"
            )
        if not self.z_min < self.z_max:
            raise ConfigError(f"z_min {self.z_min} m must be below z_max {self.z_max} m")

    @property
    def reach(self) -> float:
        """Distance from the sensor to the farthest side of the grid [m]."""
        return max(abs(self.x_min), abs(self.x_max), abs(self.y_min), abs(self.y_max))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows (y) and columns (x) of the grid."""
        return round((self.y_max - self.y_min) / self.size), round((self.x_max - self.x_min) / self.size)


@dataclass(frozen=True)
class Pillars:
    """The occupied pillars of one frame, in row-major order, and the points in them.

    Attributes:
        coords: (P, 2) int32 row, column.
        starts: (P + 1,) int32; the points of pillar p are starts[p] to starts[p + 1].
        point_features: (N, POINT_FEATURES) float32, points grouped by pillar, in their first order within one.
        pillar_features: (P, PILLAR_FEATURES) float32.
        order: (N,) int32 index of each grouped point in the frame.
        shape: rows, columns of the grid.
    """

    coords: NDArray[np.int32]
    starts: NDArray[np.int32]
    point_features: NDArray[np.float32]
    pillar_features: NDArray[np.float32]
    order: NDArray[np.int32]
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.coords)


@kernel
def _assign_cells(
    points: NDArray[np.float32],
    heights: NDArray[np.float32],
    bounds: NDArray[np.float32],
    size: float,
    rows: int,
    columns: int,
    cells: NDArray[np.int32],
    raw: NDArray[np.float32],
    counts: NDArray[np.int32],
) -> int:
    x_min, y_min, x_max, y_max, z_min, z_max = bounds
    scale = np.float32(1.0 / size)
    kept = 0
    for n in range(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        cells[n] = -1
        # A comparison with NaN is false, so non-finite points fall out here.
        if not (x >= x_min and x < x_max and y >= y_min and y < y_max and abs(z) < 100.0):
            continue
        above = z - interpolate_height(heights, x, y)
        if not (above >= z_min and above < z_max):
            continue
        u, v = (x - x_min) * scale, (y - y_min) * scale
        column, row = min(int(u), columns - 1), min(int(v), rows - 1)
        cell = row * columns + column
        cells[n] = cell
        raw[n, 0] = u - column - np.float32(0.5)
        raw[n, 1] = v - row - np.float32(0.5)
        raw[n, 2] = above
        counts[cell] += 1
        kept += 1
    return kept


@kernel
def _group_points(
    cells: NDArray[np.int32],
    raw: NDArray[np.float32],
    counts: NDArray[np.int32],
    columns: int,
    kept: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]:
    occupied = 0
    for c in range(len(counts)):
        if counts[c] > 0:
            occupied += 1
    coords = np.empty((occupied, 2), np.int32)
    starts = np.zeros(occupied + 1, np.int32)
    p = 0
    for c in range(len(counts)):
        if counts[c] > 0:
            coords[p, 0], coords[p, 1] = c // columns, c % columns
            starts[p + 1] = starts[p] + counts[c]
            counts[c] = starts[p]  # from here on: where the cell's next point goes
            p += 1
    grouped = np.empty((kept, 3), np.float32)
    order = np.empty(kept, np.int32)
    for n in range(len(cells)):
        c = cells[n]
        if c >= 0:
            k = counts[c]
            counts[c] = k + 1
            grouped[k, 0], grouped[k, 1], grouped[k, 2] = raw[n, 0], raw[n, 1], raw[n, 2]
            order[k] = n
    return coords, starts, grouped, order


@kernel
def compute_pillar_features(
    coords: NDArray[np.int32],
    starts: NDArray[np.int32],
    grouped: NDArray[np.float32],
    x_min: float,
    y_min: float,
    size: float,
) -> NDArray[np.float32]:
    """Return (P, PILLAR_FEATURES) float32: what all points of a pillar share.

    Columns: mean offset x, mean offset y [pillars], mean, lowest, highest height [m], log(1 + points) / 4,
    range / 50 m, cosine and sine of the pillar's azimuth, then HEIGHT_BINS bits: is the slice occupied.
    """
    features = np.zeros((len(coords), PILLAR_FEATURES), np.float32)
    for p in range(len(coords)):
        first, last = starts[p], starts[p + 1]
        sum_x, sum_y, sum_z = 0.0, 0.0, 0.0
        low, high = np.float32(np.inf), np.float32(-np.inf)
        for k in range(first, last):
            z = grouped[k, 2]
            sum_x += grouped[k, 0]
            sum_y += grouped[k, 1]
            sum_z += z
            low, high = min(low, z), max(high, z)
            slot = int(np.floor((z - BIN_FLOOR) / BIN_HEIGHT))
            if 0 <= slot < HEIGHT_BINS:
                features[p, 9 + slot] = 1.0
        count = last - first
        x = x_min + (coords[p, 1] + 0.5) * size
        y = y_min + (coords[p, 0] + 0.5) * size
        distance = np.sqrt(x * x + y * y) + 1e-6
        features[p, 0], features[p, 1], features[p, 2] = sum_x / count, sum_y / count, sum_z / count
        features[p, 3], features[p, 4] = low, high
        features[p, 5] = np.log(1.0 + count) / 4.0
        features[p, 6] = distance / 50.0
        features[p, 7], features[p, 8] = x / distance, y / distance
    return features


def pillarise(points: NDArray[np.float32], ground: GroundMap, geometry: PillarGeometry) -> Pillars:
    """Sort the points of a frame into pillars.

    Args:
        points: (N, >=3) float32 x, y, z [m]; points that are not finite or out of range are left out.
        ground: heights that z is measured above.
        geometry: the grid.

    Raises:
        UsageError: `points` is not a (N, >=3) array.
    """
    if points.ndim != 2 or points.shape[1] < 3:
        raise UsageError(
            f"points must have shape (N, >=3), got {points.shape}; columns are x, y, z, intensity"
        )
    rows, columns = geometry.shape
    bounds = np.array(
        [geometry.x_min, geometry.y_min, geometry.x_max, geometry.y_max, geometry.z_min, geometry.z_max],
        np.float32,
    )
    cells = np.empty(len(points), np.int32)
    raw = np.empty((len(points), 3), np.float32)
    counts = np.zeros(rows * columns, np.int32)
    kept = _assign_cells(points, ground.heights, bounds, geometry.size, rows, columns, cells, raw, counts)
    coords, starts, grouped, order = _group_points(cells, raw, counts, columns, kept)
    features = compute_pillar_features(coords, starts, grouped, geometry.x_min, geometry.y_min, geometry.size)
    return Pillars(coords, starts, grouped, features, order, (rows, columns))
