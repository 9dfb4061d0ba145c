"""pillars.py: points sorted into vertical pillars on a grid around the sensor, with geometric features."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import ConfigError, UsageError
from ..runtime.jit import kernel, parallel_kernel, prange
from .ground import CELL, CELLS, HALF, GroundMap, split_columns

POINT_FEATURES = 3  # offset to the pillar's centre along x and y [pillars], height above the ground [m]
HEIGHT_BINS = 10
BIN_HEIGHT = 0.4  # [m]
BIN_FLOOR = -0.4  # [m] above the ground
MOST_PILLARS = 2**26  # of a grid; over 600 times those of the default one
PILLAR_FEATURES = 9 + HEIGHT_BINS  # see Pillars.pillar_features
_SLOT_SCALE, _SLOT_SHIFT = 1 / BIN_HEIGHT, 8 - BIN_FLOOR / BIN_HEIGHT
_TASKS = 16  # parts of a frame that threads share out
_BLOCK = 16  # cells that are skipped at once if none is occupied
_PATCHES = CELLS + 1  # per axis: one between two neighbouring ground cells, one beyond either border

_LOGARITHMS = (np.log(1.0 + np.arange(1024)) / 4.0).astype(np.float32)  # by number of points
_HALF_PILLAR, _ABSURD = np.float32(0.5), np.float32(100.0)
_PATCH_ORIGINS = (np.arange(_PATCHES) - 0.5) * CELL - HALF  # [m] of the ground cell before each patch
_PATCH_SHIFT, _PATCH_SCALE = np.float32(HALF + CELL / 2), np.float32(1 / CELL)


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
        row_ptr: (rows + 1,) int32; the pillars of row r are row_ptr[r] to row_ptr[r + 1].
        cols: (P,) int32 column, ascending within a row.
        starts: (P + 1,) int32; the points of pillar p are starts[p] to starts[p + 1].
        point_features: (N, POINT_FEATURES) float32, points grouped by pillar, in their first order within one.
        pillar_features: (P, PILLAR_FEATURES) float32, what all points of a pillar share. Columns: mean offset x,
            mean offset y [pillars], mean, lowest, highest height [m], log(1 + points) / 4, range / 50 m, cosine and
            sine of the pillar's azimuth, then HEIGHT_BINS bits: is the slice occupied.
        order: (N,) int32 index of each grouped point in the frame.
        shape: rows, columns of the grid.
    """

    row_ptr: NDArray[np.int32]
    cols: NDArray[np.int32]
    starts: NDArray[np.int32]
    point_features: NDArray[np.float32]
    pillar_features: NDArray[np.float32]
    order: NDArray[np.int32]
    shape: tuple[int, int]

    @property
    def coords(self) -> NDArray[np.int32]:
        """(P, 2) int32 row, column of the pillars."""
        rows = np.repeat(np.arange(self.shape[0], dtype=np.int32), np.diff(self.row_ptr))
        return np.stack([rows, self.cols], axis=1)

    def __len__(self) -> int:
        return len(self.cols)


# In these kernels ranks and cells are made unsigned where the loop over points uses them as indices: it spares the
# test for a negative one.


@kernel
def _assign_cells(
    columns: NDArray[np.float32],
    bounds: NDArray[np.float32],
    rows: int,
    width: int,
    cells: NDArray[np.int32],
    patches: NDArray[np.int32],
    raw: NDArray[np.float32],
) -> None:
    """Write each point's cell (-1 outside the range), ground patch and offsets from the cell's centre.

    `bounds`: x_min, y_min, x_max, y_max [m], pillars per metre. There are no branches, so that it is vectorised.
    """
    x_min, y_min, x_max, y_max, scale = bounds[0], bounds[1], bounds[2], bounds[3], bounds[4]
    step, last_column, last_row = np.int32(width), np.int32(width - 1), np.int32(rows - 1)
    first_patch, last_patch, patch_step = np.int32(0), np.int32(_PATCHES - 1), np.int32(_PATCHES)
    for n in range(len(cells)):
        x, y, z = columns[0, n], columns[1, n], columns[2, n]
        # A comparison with NaN is false, so non-finite points fall out here.
        inside = (x >= x_min) & (x < x_max) & (y >= y_min) & (y < y_max) & (abs(z) < _ABSURD)
        u, v = (x - x_min) * scale, (y - y_min) * scale
        column, row = np.int32(u), np.int32(v)
        column = column if column < last_column else last_column  # `min` takes longer to compile
        row = row if row < last_row else last_row
        cells[n] = row * step + column if inside else np.int32(-1)
        raw[0, n] = u - np.float32(column) - _HALF_PILLAR
        raw[1, n] = v - np.float32(row) - _HALF_PILLAR
        i, j = np.int32((y + _PATCH_SHIFT) * _PATCH_SCALE), np.int32((x + _PATCH_SHIFT) * _PATCH_SCALE)
        i, j = i if i < last_patch else last_patch, j if j < last_patch else last_patch
        i, j = i if i > first_patch else first_patch, j if j > first_patch else first_patch
        patches[n] = i * patch_step + j


def _describe_patches(heights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the bilinear ground a + b x + (c + d x) y of each patch, (_PATCHES^2, 4), clamped at the border."""
    rows = np.concatenate([heights[:1], heights, heights[-1:]]).astype(np.float64)
    corners = np.concatenate([rows[:, :1], rows, rows[:, -1:]], axis=1)
    a, slopes = corners[:-1, :-1], (corners[:, 1:] - corners[:, :-1]) / CELL
    b, c, d = slopes[:-1], (corners[1:, :-1] - a) / CELL, (slopes[1:] - slopes[:-1]) / CELL
    x, y = _PATCH_ORIGINS, _PATCH_ORIGINS[:, None]
    surface = np.empty((_PATCHES, _PATCHES, 4))
    surface[..., 2] = c - d * x
    surface[..., 0], surface[..., 1] = a - b * x - surface[..., 2] * y, b - d * y
    surface[..., 3] = d
    return surface.reshape(-1, 4)


@kernel
def _count_points(
    columns: NDArray[np.float32],
    patches: NDArray[np.int32],
    surface: NDArray[np.float64],
    z_min: float,
    z_max: float,
    cells: NDArray[np.int32],
    above: NDArray[np.float32],
    counts: NDArray[np.int32],
) -> None:
    """Write heights above the ground, take points out of range from their cells, and count each cell's others."""
    for n in range(len(cells)):
        if cells[n] >= 0:
            cell, k = np.uint64(cells[n]), np.uint64(patches[n])
            x, y = columns[0, n], columns[1, n]
            ground = surface[k, 0] + surface[k, 1] * x + (surface[k, 2] + surface[k, 3] * x) * y
            height = columns[2, n] - ground
            if height >= z_min and height < z_max:
                above[n] = height
                counts[cell] += 1
            else:
                cells[n] = -1


@kernel
def _list_pillars(
    counts: NDArray[np.int32],
    width: int,
    row_ptr: NDArray[np.int32],
    cols: NDArray[np.int32],
    starts: NDArray[np.int32],
) -> int:
    """List the occupied cells and return how many; `counts` becomes where each cell's next point goes.

    `counts` has whole blocks of cells; `cols` and `starts` have room for one pillar more than there are.
    """
    p, k, row, edge = 0, 0, 0, 0  # pillars, points and rows so far; the cell at which the next row begins
    last_row = len(row_ptr) - 1
    for block in range(0, len(counts), _BLOCK):
        occupied = np.int32(0)
        for n in range(_BLOCK):
            occupied |= counts[block + n]
        if occupied == 0:
            continue
        for cell in range(block, block + _BLOCK):
            while cell >= edge and row < last_row:
                row_ptr[row] = p
                row, edge = row + 1, edge + width
            count = counts[cell]
            cols[p], starts[p], counts[cell] = (
                cell - edge + width,
                k,
                k,
            )  # the next cell overwrites an empty one
            p, k = p + (count > 0), k + count
    starts[p] = k
    for rest in range(row, last_row + 1):
        row_ptr[rest] = p
    return p


@kernel
def _order_points(cells: NDArray[np.int32], following: NDArray[np.int32], order: NDArray[np.int32]) -> None:
    for n in range(len(cells)):
        if cells[n] >= 0:
            cell = np.uint64(cells[n])
            order[np.uint64(following[cell])] = n
            following[cell] += 1


@parallel_kernel
def _describe_pillars(
    tasks: NDArray[np.int64],
    raw: NDArray[np.float32],
    order: NDArray[np.int32],
    row_ptr: NDArray[np.int32],
    cols: NDArray[np.int32],
    starts: NDArray[np.int32],
    x_min: float,
    y_min: float,
    size: float,
    points: NDArray[np.float32],
    features: NDArray[np.float32],
) -> None:
    """Write the points' features, grouped, to `points` (3 N,), and the pillars' to `features`.

    `tasks`: the rows that bound the parts which threads share out.
    """
    for task in prange(len(tasks) - 1):
        _describe_rows(
            tasks[task],
            tasks[task + 1],
            raw,
            order,
            row_ptr,
            cols,
            starts,
            x_min,
            y_min,
            size,
            points,
            features,
        )


@kernel
def _describe_rows(
    first_row: int,
    last_row: int,
    raw: NDArray[np.float32],
    order: NDArray[np.int32],
    row_ptr: NDArray[np.int32],
    cols: NDArray[np.int32],
    starts: NDArray[np.int32],
    x_min: float,
    y_min: float,
    size: float,
    points: NDArray[np.float32],
    features: NDArray[np.float32],
) -> None:
    """As `_describe_pillars`, for the rows from `first_row` to before `last_row`."""
    x_raw, y_raw, z_raw = raw[0], raw[1], raw[2]
    for row in range(first_row, last_row):
        for p in range(row_ptr[row], row_ptr[row + 1]):
            for k in range(9, PILLAR_FEATURES):
                features[p, k] = 0.0
            sum_x, sum_y, sum_z = 0.0, 0.0, 0.0
            low, high = np.float32(np.inf), np.float32(-np.inf)
            for k in range(starts[p], starts[p + 1]):
                rank = np.uint64(k)
                n, to = np.uint64(order[rank]), np.uint64(3) * rank
                x, y, z = x_raw[n], y_raw[n], z_raw[n]
                points[to], points[to + np.uint64(1)], points[to + np.uint64(2)] = x, y, z
                sum_x, sum_y, sum_z = sum_x + x, sum_y + y, sum_z + z
                low, high = min(low, z), max(high, z)
                slot = int(z * _SLOT_SCALE + _SLOT_SHIFT) - 8  # shifted, so that it rounds down below 0 too
                if 0 <= slot < HEIGHT_BINS:
                    features[p, 9 + slot] = 1.0
            count = starts[p + 1] - starts[p]
            share = 1.0 / count
            features[p, 0], features[p, 1], features[p, 2] = sum_x * share, sum_y * share, sum_z * share
            features[p, 3], features[p, 4] = low, high
            features[p, 5] = _LOGARITHMS[count] if count < len(_LOGARITHMS) else np.log(1.0 + count) / 4.0
            x_centre, y_centre = x_min + (cols[p] + 0.5) * size, y_min + (row + 0.5) * size
            distance = np.sqrt(x_centre * x_centre + y_centre * y_centre) + 1e-6
            features[p, 6] = distance / 50.0
            features[p, 7], features[p, 8] = x_centre / distance, y_centre / distance


def pillarise(points: NDArray[np.float32], ground: GroundMap, geometry: PillarGeometry) -> Pillars:
    """Sort the points of a frame into pillars: a counting sort over the cells of the grid.

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
    (rows, width), g, total = geometry.shape, geometry, len(points)
    columns, raw = split_columns(points), np.empty((3, total), np.float32)
    cells, patches = np.empty(total, np.int32), np.empty(total, np.int32)
    bounds = np.array([g.x_min, g.y_min, g.x_max, g.y_max, 1.0 / g.size], np.float32)
    _assign_cells(columns, bounds, rows, width, cells, patches, raw)
    surface = _describe_patches(ground.heights)
    counts = np.zeros(-(-rows * width // _BLOCK) * _BLOCK, np.int32)
    z_min, z_max = float(np.float32(g.z_min)), float(np.float32(g.z_max))
    _count_points(columns, patches, surface, z_min, z_max, cells, raw[2], counts)
    row_ptr, cols, starts = (np.empty(size, np.int32) for size in (rows + 1, total + 1, total + 1))
    pillars = _list_pillars(counts, width, row_ptr, cols, starts)
    cols, starts = cols[:pillars].copy(), starts[: pillars + 1].copy()
    order = np.empty(starts[-1], np.int32)
    _order_points(cells, counts, order)
    of_points = np.empty((len(order), POINT_FEATURES), np.float32)
    of_pillars = np.empty((pillars, PILLAR_FEATURES), np.float32)
    tasks = np.searchsorted(starts[row_ptr], np.arange(_TASKS + 1) * len(order) // _TASKS)
    tasks[0], tasks[-1] = 0, rows  # rows without a point at either end are nobody's share
    _describe_pillars(
        tasks, raw, order, row_ptr, cols, starts, g.x_min, g.y_min, g.size, of_points.reshape(-1), of_pillars
    )
    return Pillars(row_ptr, cols, starts, of_points, of_pillars, order, (rows, width))
