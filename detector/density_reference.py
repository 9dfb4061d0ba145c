"""density_reference.py: the NumPy twins of density.py and gates.py, plain and slow, that tests compare them with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .density import BINS, FARTHEST, NEAREST, RESOLUTION, SECTORS, SIGMAS, STEEPEST
from .gates import DensityGates
from .ground import CELL, CELLS, HALF, GroundMap
from .pillars import PillarGeometry, Pillars

_FINE = 4  # counted bins per elevation bin


def count_points(columns: NDArray[np.float32], eye: float) -> NDArray[np.int64]:
    """Return how many points lie in each counted elevation and sector, (_FINE * BINS, SECTORS)."""
    with np.errstate(all="ignore"):
        x, y, z = columns[0], columns[1], columns[2] - np.float32(eye)
        square = x * x + y * y + z * z
        sine = z / np.sqrt(square)
        quarter = np.abs(y) / (np.abs(x) + np.abs(y))
        turn = np.where(x >= 0, quarter, 2 - quarter)
        turn = np.where(y >= 0, turn, 4 - turn)
        kept = (square > NEAREST**2) & (square < FARTHEST**2) & (np.abs(sine) < STEEPEST)
    sector = np.minimum((turn[kept] * np.float32(SECTORS / 4)).astype(int), SECTORS - 1)
    margin = 12  # added before rounding, as in the kernel
    scale = np.float32(RESOLUTION * _FINE)
    level = (sine[kept] * scale + np.float32(STEEPEST * RESOLUTION * _FINE + margin)).astype(int) - margin
    counts = np.zeros((_FINE * BINS, SECTORS), np.int64)
    np.add.at(counts, (level, sector), 1)
    return counts


def _smooth(
    values: NDArray[np.float64], sigma: float, at: NDArray[np.float64], reach: float
) -> NDArray[np.float64]:
    """Return Gaussian sums of `values` (bins, ...) at places `at` [bins], as far as `reach` from each."""
    offsets = at[:, None] - (np.arange(len(values)) + 0.5)
    weight = np.exp(-0.5 * (offsets / sigma) ** 2) * (np.abs(offsets) < reach + 0.1)
    whole = np.exp(-0.5 * (np.arange(-reach, reach + 0.1) / sigma) ** 2).sum()
    return np.asarray(np.tensordot(weight, values, 1) / whole)


def estimate_rays(columns: NDArray[np.float32], eye: float) -> NDArray[np.float64]:
    """Twin of density.estimate_rays."""
    counts = count_points(columns, eye)
    edges = np.arange(SECTORS // 4 + 1) / (SECTORS // 4)
    widths = np.diff(np.arctan2(edges, 1 - edges))
    widths = np.concatenate([widths, widths[::-1], widths, widths[::-1]])
    sigmas = np.sin(np.radians(SIGMAS)) * RESOLUTION
    middles = np.asarray(_FINE * (np.arange(BINS) + 0.5), np.float64)
    sectors = _smooth(counts / widths * RESOLUTION * _FINE, sigmas[0] * _FINE, middles, 13.5)
    full = np.zeros(BINS)
    for b, row in enumerate(sectors):
        seen = np.sort(row[row > 0])
        full[b] = seen[len(seen) - 1 - len(seen) // 8] if len(seen) else 0.0
    totals = counts.reshape(BINS, -1).sum(1)
    visible = np.flatnonzero(totals * 1000 > totals.sum())
    if not len(visible):
        return np.zeros((BINS, len(SIGMAS)))
    first, last = visible[0], visible[-1]
    at, inside = np.arange(first, last + 1) + 0.5 - first, np.ones(last + 1 - first)
    reach = float(round(3 * sigmas[-1]))
    scales = [full[first : last + 1] / _smooth(inside, sigmas[0], at, reach)]
    for sigma in np.sqrt(sigmas[1:] ** 2 - sigmas[0] ** 2).tolist():
        scales.append(_smooth(scales[0], sigma, at, reach) / _smooth(inside, sigma, at, reach))
    return np.asarray(np.stack(scales, 1)[np.clip(np.arange(BINS), first, last) - first])


def place_pillars(
    ground: GroundMap, pillars: Pillars, geometry: PillarGeometry, eye: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the elevation bin of every pillar and the range in the middle of its range cell [m], (P,) each."""
    low = np.array([geometry.y_min, geometry.x_min])
    centres = low + (pillars.coords + 0.5) * geometry.size
    place = np.clip((centres + HALF) / CELL - 0.5, 0.0, CELLS - 1.0)
    cell = np.minimum(place.astype(int), CELLS - 2)
    (i, j), (b, a), (y, x) = cell.T, (place - cell).T.astype(np.float32), centres.T.astype(np.float32)
    rest, heights = np.float32(1) - b, ground.heights
    near = heights[i, j] * rest + heights[i + 1, j] * b
    far = heights[i, j + 1] * rest + heights[i + 1, j + 1] * b
    z = near * (np.float32(1) - a) + far * a + pillars.pillar_features[:, 2] - np.float32(eye)
    square = np.maximum(x * x + y * y + z * z, np.float32(1))
    level = (z / np.sqrt(square) * np.float32(RESOLUTION) + np.float32(STEEPEST * RESOLUTION)).astype(int)
    fraction, exponent = np.frexp(np.minimum(square, np.float32(2**14)))  # fraction in 0.5..1
    middle = (np.floor(fraction * 8) + 0.5) / 8 * 2.0**exponent
    return np.clip(level, 0, BINS - 1), np.sqrt(middle)


def measure_density(
    columns: NDArray[np.float32], ground: GroundMap, pillars: Pillars, geometry: PillarGeometry
) -> NDArray[np.float64]:
    """Twin of density.measure_density: its values at the pillars, (P, SCALES)."""
    eye = 0.0 if ground.level <= -1.0 else ground.level + 1.8
    level, distance = place_pillars(ground, pillars, geometry, eye)
    return np.asarray(np.sqrt(estimate_rays(columns, eye)[level]) / distance[:, None])


def open_gates(gates: DensityGates, density: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """Twin of gates.open_gates: the factors of the points' part and of the pillars', (P, C) each."""
    clipped = np.tanh((density - gates.middle) / gates.reach)
    hidden = np.maximum(_sum_layer(clipped, gates.hidden_weight, gates.hidden_bias), np.float32(0))
    of_points, of_pillars = np.hsplit(hidden, 2)
    logits = (
        _sum_layer(of_points, gates.point_weight, gates.point_bias),
        _sum_layer(of_pillars, gates.pillar_weight, gates.pillar_bias),
    )
    with np.errstate(over="ignore"):
        return tuple(np.float32(1) / (np.exp(-values) + np.float32(1)) for values in logits)


def _sum_layer(
    inputs: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float32]
) -> NDArray[np.float32]:
    total = np.tile(bias, (len(inputs), 1))
    for column, row in zip(inputs.T, weight, strict=True):
        total += column[:, None] * row
    return total
