"""splines.py: continuous piecewise-linear least squares, and where its knots belong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .functions import Target, evaluate

Floats = NDArray[np.float64]
DENSITY_POWER = 0.4  # of |f''|
DATA_POWER = 0.2  # of the density of the inputs
_GRID = 2**15  # intervals on which f'' is looked at
_RIDGE = 1e-9  # weight of a kink at a knot beside the data's: decides where no data are


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs in ascending order, what the function gives there, and how much each counts (sum 1): (P,) float64."""

    x: Floats
    y: Floats
    weights: Floats

    def measure_error(self, values: Floats) -> float:
        """Return the weighted mean absolute error of values at the samples."""
        return float(np.abs(values - self.y) @ self.weights)


def draw_uniform(target: Target, edges: Floats, places: Floats) -> Samples:
    """Return one sample in each interval between `edges`, weighted by its width: they stand for uniform inputs.

    Args:
        target: the function.
        edges: (P+1,) ascending.
        places: (P,) 0..1 within each interval.
    """
    widths = np.diff(edges)
    x = edges[:-1] + places * widths
    return Samples(x, evaluate(target, x), widths / widths.sum())


def find_density(target: Target) -> tuple[Floats, Floats]:
    """Return the best density of knots over the interval: grid (G+1,), and per cell |f''|^0.4, at least a trace.

    The squared error of a straight piece of width h is proportional to f''^2 h^5; pieces share it equally where
    h is proportional to |f''|^-0.4.
    """
    grid = np.linspace(*target.interval, _GRID + 1)
    bends = np.abs(np.diff(evaluate(target, grid), n=2))
    cells = np.concatenate([bends[:1], 0.5 * (bends[1:] + bends[:-1]), bends[-1:]]) ** DENSITY_POWER
    return grid, cells + 1e-6 * cells.max() + 1e-300


def place_by_density(grid: Floats, density: Floats, shares: Floats) -> Floats:
    """Return where the integral of a density per cell reaches each of `shares` (0..1) of its whole."""
    integral = np.concatenate([[0.0], np.cumsum(density * np.diff(grid))])
    return np.asarray(np.interp(shares * integral[-1], integral, grid), np.float64)


def place_strata(grid: Floats, density: Floats, count: int) -> Floats:
    """Return the edges (count+1,) of intervals, narrow where knots are, yet a fifth of them spread evenly."""
    mixed = density / (density @ np.diff(grid)) + 0.25 / (grid[-1] - grid[0])
    return place_by_density(grid, mixed, np.linspace(0.0, 1.0, count + 1))


def solve_values(samples: Samples, knots: Floats, fixed: dict[int, float]) -> Floats:
    """Return the values at knots (K,) of the polygon that is closest to the samples by least squares.

    Outside the knots the polygon is constant.

    Args:
        samples: inputs and outputs.
        knots: (K,) ascending.
        fixed: values of knots that are given, by index.
    """
    gram, right = _sum_normal_equations(samples, knots)
    kinks = _measure_kinks(knots)
    gram += _RIDGE * gram.trace() / max((kinks * kinks).sum(), 1e-300) * (kinks.T @ kinks)
    gram[np.diag_indices(len(knots))] += 1e-14 * gram.trace()
    values = np.zeros(len(knots))
    known = np.zeros(len(knots), bool)
    for index, value in fixed.items():
        values[index], known[index] = value, True
    if not known.all():
        rest = right[~known] - gram[np.ix_(~known, known)] @ values[known]
        values[~known] = np.linalg.solve(gram[np.ix_(~known, ~known)], rest)
    return values


def _sum_normal_equations(samples: Samples, knots: Floats) -> tuple[Floats, Floats]:
    """Return the hat functions' weighted inner products (K, K), a band of three, and those with the outputs (K,)."""
    count = len(knots)
    left = np.clip(np.searchsorted(knots, samples.x, side="right") - 1, 0, max(count - 2, 0))
    right_of = np.minimum(left + 1, count - 1)
    width = knots[right_of] - knots[left]
    share = np.clip(
        np.divide(samples.x - knots[left], width, out=np.zeros_like(width), where=width > 0), 0.0, 1.0
    )
    gram = np.zeros((count, count))
    right = np.zeros(count)
    for one, first in ((left, 1.0 - share), (right_of, share)):
        np.add.at(right, one, first * samples.weights * samples.y)
        for other, second in ((left, 1.0 - share), (right_of, share)):
            np.add.at(gram, (one, other), first * second * samples.weights)
    return gram, right


def _measure_kinks(knots: Floats) -> Floats:
    """Return the matrix (K-2, K) that gives each inner value's distance from the line of its neighbours."""
    count = len(knots)
    kinks = np.zeros((max(count - 2, 0), count))
    for row in range(count - 2):
        span = max(knots[row + 2] - knots[row], 1e-300)
        share = (knots[row + 1] - knots[row]) / span
        kinks[row, row : row + 3] = share - 1.0, 1.0, -share
    return kinks
