"""density.py: how densely the sensor samples the place of each pillar, estimated from the points of the frame alone.

A far car seen by a fine sensor and a near one seen by a coarse sensor carry equally many points per metre. The network
is told that number for every pillar, so that what it learned of one sensor holds for another. Beam tables are not
asked for: the rays per solid angle at each elevation are read off the frame.

Source: Kim, Woo, Kim, Im, Rethinking LiDAR Domain Generalization, ECCV 2024 (arXiv 2312.12098); docs/detector.md says
what differs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import UsageError
from ..runtime.jit import kernel
from .ground import CELL, CELLS, HALF, GroundMap
from .pillars import PillarGeometry, Pillars

SCALES = 4
# [deg] of the Gaussians: the paper's 10, 30, 50, 70 bins, taken as bins of 0.1 deg.
SIGMAS = (1.0, 3.0, 5.0, 7.0)
STEEPEST = 0.75  # sine of the highest and lowest elevation that is looked at
RESOLUTION = 64  # elevation bins per unit of the sine, equal solid angles: 0.9 deg at the horizon
BINS = round(2 * STEEPEST * RESOLUTION)
SECTORS = 32  # of the turn
NEAREST = 2.5  # [m] nearer points do not count: on the carrying car, or seen from beside the origin
FARTHEST = 1000.0  # [m] farther points are absurd
LOWEST_EYE = 1.0  # [m] above the ground: an origin below this is no sensor
USUAL_EYE = 1.8  # [m] above the ground: where the sensor is taken to be instead
_QUARTER = SECTORS // 4
_FINE = 4  # counted bins per elevation bin
_SHARE = 8  # of the sectors that see an elevation, one in so many may be fuller than what counts
_VISIBLE = 1000  # of all points, one in so many must lie in a bin for the field of view to reach it
_POINTS = 2048  # that are placed at once, while they are in the cache
_STREAMS = 8  # parts of them that are walked in turn: neighbouring points mostly go to the same bin
_REACH = 3  # standard deviations to which a Gaussian goes

_HALF_TAPS = round(_REACH * np.sin(np.radians(SIGMAS[0])) * RESOLUTION * _FINE + 0.5)
_MARGIN = _HALF_TAPS - _FINE // 2  # empty counted bins beyond the first and the last
_COUNTED = _FINE * BINS + 2 * _MARGIN
_WIDE = round(_REACH * np.sin(np.radians(SIGMAS[-1])) * RESOLUTION)

_NEAREST_SQUARE, _FARTHEST_SQUARE = np.float32(NEAREST * NEAREST), np.float32(FARTHEST * FARTHEST)
_STEEPEST = np.float32(STEEPEST)
_FINE_SCALE, _FINE_SHIFT = np.float32(RESOLUTION * _FINE), np.float32(STEEPEST * RESOLUTION * _FINE + _MARGIN)
_BIN_SCALE, _BIN_SHIFT = np.float32(RESOLUTION), np.float32(STEEPEST * RESOLUTION)

# A float32's leading bits are a logarithmic scale: of the squared range they give 8 cells per octave of the range.
_FIRST_SQUARE, _LAST_SQUARE = np.float32(1.0), np.float32(2.0**14)  # [m^2]
_BITS = 21


def _gaussian(sigma: float, offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    values = np.exp(-0.5 * (offsets / sigma) ** 2)
    return np.asarray(values / values.sum())


def _wide_gaussians() -> NDArray[np.float32]:
    """Return (SCALES, 2 _WIDE + 1): the first scale, and what turns it into each of the others."""
    sines = np.sin(np.radians(SIGMAS)) * RESOLUTION
    more = np.concatenate([sines[:1], np.sqrt(sines[1:] ** 2 - sines[0] ** 2)])
    offsets = np.arange(-_WIDE, _WIDE + 1.0)
    return np.array([_gaussian(sigma, offsets) for sigma in more], np.float32)


def _rays_per_point() -> NDArray[np.float32]:
    """Return (SECTORS,) by how much one point in a counted bin raises the rays per steradian."""
    edges = np.arange(_QUARTER + 1) / _QUARTER
    widths = np.diff(np.arctan2(edges, 1.0 - edges))
    by_quarter = [widths if quarter % 2 == 0 else widths[::-1] for quarter in range(4)]
    return np.asarray(RESOLUTION * _FINE / np.concatenate(by_quarter), np.float32)


_NARROW = _gaussian(
    float(np.sin(np.radians(SIGMAS[0]))) * RESOLUTION * _FINE, np.arange(2 * _HALF_TAPS) - _HALF_TAPS + 0.5
).astype(np.float32)
_GAUSSIANS = _wide_gaussians()
_RAYS_PER_POINT = _rays_per_point()
_FIRST_CELL = int(_FIRST_SQUARE.view(np.int32)) >> _BITS
_RANGES = (int(_LAST_SQUARE.view(np.int32)) >> _BITS) - _FIRST_CELL + 1
_MIDDLES = (((np.arange(_RANGES) + _FIRST_CELL) << _BITS) + (1 << (_BITS - 1))).astype(np.int32)
_INVERSE_RANGES = (1.0 / np.sqrt(_MIDDLES.view(np.float32).astype(np.float64))).astype(np.float32)


@dataclass(frozen=True)
class PillarDensity:
    """How densely the sensor samples the place of each pillar.

    Pillars of nearly the same range and elevation share a cell; only cells with a pillar are listed.

    Attributes:
        cells: (P,) int32 the cell of each pillar.
        values: (cells, SCALES) float32 points per metre, on a surface that faces the sensor, at each scale; 0 where
            nothing was seen.
    """

    cells: NDArray[np.int32]
    values: NDArray[np.float32]

    @property
    def at_pillars(self) -> NDArray[np.float32]:
        """(P, SCALES) float32 the values of each pillar."""
        return np.asarray(self.values[self.cells])


def find_eye(ground: GroundMap) -> float:
    """Return the height of the sensor [m] in the frame of the points.

    It is the origin, unless the ground lies nearer than LOWEST_EYE below it, as where points are given in the frame of
    the vehicle; then USUAL_EYE above the ground is assumed.
    """
    return 0.0 if ground.level <= -LOWEST_EYE else ground.level + USUAL_EYE


def measure_density(
    columns: NDArray[np.float32], ground: GroundMap, pillars: Pillars, geometry: PillarGeometry
) -> PillarDensity:
    """Return how densely the sensor samples the place of each pillar: its centre, at its points' mean height.

    D = sqrt(rays per steradian at the elevation) / range, at each scale.

    Args:
        columns: (3, N) float32 x, y, z [m] of all points of the frame, see `split_columns`.
        ground: of the frame.
        pillars: of the frame.
        geometry: of the pillars.

    Raises:
        UsageError: `columns` has another shape.

    Source: arXiv 2312.12098, D_i.
    """
    eye = find_eye(ground)
    return _look_up(estimate_rays(columns, eye), ground, pillars, geometry, eye)


def estimate_rays(columns: NDArray[np.float32], eye: float) -> NDArray[np.float32]:
    """Return the rays per steradian by elevation, (BINS, SCALES) float32; bins are even in the sine of the elevation.

    Points are counted by elevation and sector, and smoothed along the elevation. Of the sectors with points at an
    elevation a full one counts (the 7/8 quantile), not the mean: sky, returns that are missing, and sides that a
    recording leaves out do not make a sensor coarser. Wider scales smooth that again; only the elevations between the
    highest and the lowest seen weigh, and beyond them the values of the last ones hold.

    Args:
        columns: (3, N) float32 x, y, z [m]; points that are not finite are ignored.
        eye: height of the sensor in their frame [m].

    Raises:
        UsageError: `columns` has another shape.
    """
    if columns.ndim != 2 or columns.shape[0] != 3:
        raise UsageError(f"columns must have shape (3, N): x, y, z in rows; got {columns.shape}")
    counts = np.zeros(_COUNTED * SECTORS + 1, np.int32)  # the last one takes the points that do not count
    _count_points(columns, np.float32(eye), counts)
    by_bin = counts[:-1].reshape(_COUNTED, SECTORS)
    sectors = np.empty((BINS, SECTORS), np.float32)
    _smooth_sectors(by_bin, _NARROW, _RAYS_PER_POINT, sectors)
    sectors.sort(axis=1)
    full = np.empty(BINS, np.float32)
    _take_full(sectors, full)
    totals = by_bin[_MARGIN : _COUNTED - _MARGIN].sum(axis=1).reshape(BINS, _FINE).sum(axis=1)
    seen = np.flatnonzero(totals * _VISIBLE > totals.sum())
    return _widen(full, seen)


def tabulate_rays(elevations: NDArray[np.float64], azimuth_steps: int) -> NDArray[np.float32]:
    """Return what `estimate_rays` estimates, of a sensor whose beams are known.

    Args:
        elevations: (B,) of the beams [rad]; those steeper than STEEPEST do not count.
        azimuth_steps: rays per turn of each beam.
    """
    sines = np.sin(elevations)
    sines = sines[np.abs(sines) < STEEPEST]
    place = sines * RESOLUTION * _FINE + float(_FINE_SHIFT) - 0.5
    first = np.floor(place).astype(np.int64)
    counted = np.zeros(_COUNTED)
    np.add.at(counted, first, first + 1 - place)
    np.add.at(counted, first + 1, place - first)
    windows = np.lib.stride_tricks.sliding_window_view(counted, len(_NARROW))[::_FINE]
    full = windows @ _NARROW * (azimuth_steps / (2 * np.pi) * RESOLUTION * _FINE)
    seen = np.unique(((sines + STEEPEST) * RESOLUTION).astype(np.int64))
    return _widen(full.astype(np.float32), seen)


def _widen(full: NDArray[np.float32], seen: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return (BINS, SCALES) from the first scale (BINS,) and the elevations that are seen."""
    rays = np.zeros((SCALES, BINS), np.float32)
    if len(seen):
        first, last = int(seen[0]), int(seen[-1])
        _smooth_elevations(full, first, last, _GAUSSIANS, np.zeros((2, BINS + 2 * _WIDE), np.float32), rays)
        rays[:, :first], rays[:, last + 1 :] = rays[:, first : first + 1], rays[:, last : last + 1]
    return np.ascontiguousarray(rays.T)


def _look_up(
    rays: NDArray[np.float32], ground: GroundMap, pillars: Pillars, geometry: PillarGeometry, eye: float
) -> PillarDensity:
    """Return the density at each pillar's place; range and elevation are those of the middle of its cell."""
    squares, bins = np.empty(len(pillars), np.float32), np.empty(len(pillars), np.int32)
    (rows, columns), g = geometry.shape, geometry
    _place_pillars(
        pillars.row_ptr,
        pillars.cols,
        pillars.pillar_features,
        ground.heights,
        _interpolate(g.y_min, g.size, rows),
        _interpolate(g.x_min, g.size, columns),
        np.float32(eye),
        squares,
        bins,
    )
    numbers, cells = np.full(_RANGES * BINS, -1, np.int32), np.empty(len(pillars), np.int32)
    _number_cells(squares.view(np.int32), bins, numbers, cells)
    listed = np.flatnonzero(numbers >= 0)
    values = np.sqrt(rays[listed % BINS]) * _INVERSE_RANGES[listed // BINS, None]
    return PillarDensity(cells, values)


def _interpolate(
    low: float, size: float, count: int
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """Return the centres of a row of pillars, the cells of the ground map before them, and the shares of the next."""
    centres = low + (np.arange(count, dtype=np.float64) + 0.5) * size
    place = np.clip((centres + HALF) / CELL - 0.5, 0.0, CELLS - 1.0)
    cell = np.minimum(place.astype(np.int32), np.int32(CELLS - 2))
    return centres.astype(np.float32), cell, (place - cell).astype(np.float32)


@kernel
def _count_points(columns: NDArray[np.float32], eye: np.float32, counts: NDArray[np.int32]) -> None:
    """Count the points by elevation and sector, a block at a time."""
    places, total = np.empty(_POINTS, np.int32), columns.shape[1]
    for first in range(0, total, _POINTS):
        count = min(_POINTS, total - first)
        last = first + count
        _find_places(columns[0, first:last], columns[1, first:last], columns[2, first:last], eye, places)
        part = count // _STREAMS
        for n in range(part):
            for stream in range(_STREAMS):
                counts[np.uint32(places[stream * part + n])] += 1
        for n in range(_STREAMS * part, count):
            counts[np.uint32(places[n])] += 1


@kernel
def _find_places(
    xs: NDArray[np.float32],
    ys: NDArray[np.float32],
    zs: NDArray[np.float32],
    eye: np.float32,
    places: NDArray[np.int32],
) -> None:
    """Write where each point counts; the sectors are even in |y| / (|x| + |y|), which needs no angle.

    There are no branches, so that it is vectorised.
    """
    two, four = np.float32(2.0), np.float32(4.0)
    per_quarter, last = np.float32(_QUARTER), np.int32(SECTORS - 1)
    sectors, nowhere = np.int32(SECTORS), np.int32(_COUNTED * SECTORS)
    for n in range(len(xs)):
        x, y, z = xs[n], ys[n], zs[n] - eye
        square = x * x + y * y + z * z
        sine = z / np.sqrt(square)
        turn = abs(y) / (abs(x) + abs(y))
        turn = turn if x >= 0.0 else two - turn
        turn = turn if y >= 0.0 else four - turn
        sector, level = np.int32(turn * per_quarter), np.int32(sine * _FINE_SCALE + _FINE_SHIFT)
        sector = sector if sector < last else last  # `min` takes longer to compile
        # A comparison with NaN is false, so non-finite points fall out here.
        counted = (square > _NEAREST_SQUARE) & (square < _FARTHEST_SQUARE) & (abs(sine) < _STEEPEST)
        places[n] = level * sectors + sector if counted else nowhere


@kernel
def _smooth_sectors(
    counts: NDArray[np.int32],
    taps: NDArray[np.float32],
    factors: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Write the rays per steradian by elevation and sector, smoothed along the elevation."""
    for b in range(len(out)):
        row = out[b]
        for s in range(SECTORS):
            row[s] = 0.0
        for t in range(len(taps)):
            tap, count = taps[t], counts[_FINE * b + t]
            for s in range(SECTORS):
                row[s] += tap * np.float32(count[s])
        for s in range(SECTORS):
            row[s] *= factors[s]


@kernel
def _take_full(ordered: NDArray[np.float32], full: NDArray[np.float32]) -> None:
    """Write of each elevation's sectors, in ascending order, the 7/8 quantile of those above 0."""
    for b in range(len(full)):
        above = 0
        for s in range(SECTORS):
            above += ordered[b, s] > 0.0
        full[b] = ordered[b, SECTORS - 1 - above // _SHARE]


@kernel
def _smooth_elevations(
    full: NDArray[np.float32],
    first: int,
    last: int,
    gaussians: NDArray[np.float32],
    padded: NDArray[np.float32],
    rays: NDArray[np.float32],
) -> None:
    """Write all scales from the first; `padded` (2, BINS + 2 _WIDE) holds zeros, for the values and their weights."""
    values, weights, mass = padded[0], padded[1], np.empty(BINS, np.float32)
    for b in range(first, last + 1):
        weights[_WIDE + b] = 1.0
    for scale in range(SCALES):
        row = rays[scale]
        for b in range(BINS):
            row[b], mass[b] = 0.0, 0.0
        for t in range(2 * _WIDE + 1):
            tap = gaussians[scale, t]
            for b in range(BINS):
                row[b] += tap * values[b + t]
                mass[b] += tap * weights[b + t]
        if scale == 0:  # smoothed already: this pass found what of its weight lay within the field of view
            for b in range(first, last + 1):
                row[b] = values[_WIDE + b] = full[b] / mass[b]
        else:
            for b in range(first, last + 1):
                row[b] /= mass[b]


@kernel
def _place_pillars(
    row_ptr: NDArray[np.int32],
    cols: NDArray[np.int32],
    features: NDArray[np.float32],
    ground: NDArray[np.float32],
    rows: tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]],
    columns: tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]],
    eye: np.float32,
    squares: NDArray[np.float32],
    bins: NDArray[np.int32],
) -> None:
    """Write each pillar's squared range, bounded, and elevation bin; `rows` and `columns` as from `_interpolate`."""
    one, first, last = np.float32(1.0), _FIRST_SQUARE, _LAST_SQUARE
    heights, top = np.empty(CELLS, np.float32), np.int32(BINS - 1)  # along the row
    for row in range(len(row_ptr) - 1):
        begin, end = row_ptr[row], row_ptr[row + 1]
        if begin == end:
            continue
        y, i, b = rows[0][row], rows[1][row], rows[2][row]
        for k in range(CELLS):
            heights[k] = ground[i, k] * (one - b) + ground[i + 1, k] * b
        for p in range(begin, end):
            column = np.uint32(cols[p])
            x, j, a = columns[0][column], np.uint32(columns[1][column]), columns[2][column]
            z = heights[j] * (one - a) + heights[j + np.uint32(1)] * a + features[p, 2] - eye
            square = x * x + y * y + z * z
            square = square if square > first else first
            level = np.int32(z / np.sqrt(square) * _BIN_SCALE + _BIN_SHIFT)
            level = level if level < top else top
            bins[p] = level if level > 0 else np.int32(0)
            squares[p] = square if square < last else last


@kernel
def _number_cells(
    squares: NDArray[np.int32],
    bins: NDArray[np.int32],
    numbers: NDArray[np.int32],
    cells: NDArray[np.int32],
) -> None:
    """Number the cells of range and elevation that have pillars; `squares`: the bits of the squared ranges."""
    for p in range(len(cells)):
        cells[p] = ((squares[p] >> _BITS) - _FIRST_CELL) * BINS + bins[p]
        numbers[cells[p]] = 0
    count = 0
    for cell in range(len(numbers)):
        if numbers[cell] == 0:
            numbers[cell] = count
            count += 1
    for p in range(len(cells)):
        cells[p] = numbers[cells[p]]
