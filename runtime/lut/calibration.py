"""calibration.py: fits a table to a function where its inputs really lie."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..checks import check_array
from ..errors import UsageError
from .fitting import Frame, check_entries, fit, improve
from .functions import Function, Target, evaluate, find_target
from .splines import DATA_POWER, Floats, Samples, find_density, place_by_density
from .table import LutTable

_BATCH, _BATCHES = 1024, 64
_JUDGE = 4096  # samples that decide
_BINS = 256  # of the histogram of the inputs
_EVEN = 0.02  # share of inputs that are taken to lie anywhere in the interval


def calibrate(
    function: str | Function | Target, values: ArrayLike, *, entries: int = 16, seed: int = 0
) -> LutTable:
    """Return a table with the least mean absolute error over values as they occur, such as operands of a model.

    Knots lie by |f''|^0.4 * p^0.2, p being the density of the values: the squared error of a piece of width h counts
    p f''^2 h^5, and pieces share it equally. Then least squares and Adam on L1, as in `fit`, on the values; NN-LUT
    calls this calibration (section "dataset-free calibration").
    The result is never worse on the values than `fit` over their range.

    Args:
        function: as of `fit`.
        values: numbers of any shape, two different ones at least.
        entries: 2..256.
        seed: of the samples.

    Raises:
        UsageError: an argument outside its domain.
    """
    check_entries(entries)
    inputs = np.sort(check_array("values", values).astype(np.float64), axis=None)
    if inputs.size == 0 or not np.isfinite(inputs).all() or inputs[0] == inputs[-1]:
        raise UsageError("values must be finite numbers, at least two different ones")
    target = find_target(function, (float(inputs[0]), float(inputs[-1])))
    frame = Frame.of(target, entries)
    generator = np.random.default_rng(seed)
    batches = [frame.mirror(_pick(target, inputs, generator.random(_BATCH))) for _ in range(_BATCHES)]
    judge = frame.mirror(_pick(target, inputs, np.full(_JUDGE, 0.5)))
    grid, density = find_density(target)
    shares = frame.list_shares(entries - 1)
    knots = frame.mirror_points(place_by_density(grid, density * _find_crowd(grid, inputs), shares))
    table = frame.finish(improve(frame.start(judge, knots), frame, batches, judge))
    plain = fit(target, entries=entries, seed=seed)
    exact = evaluate(target, inputs)
    errors = [float(np.abs(candidate(inputs) - exact).mean()) for candidate in (table, plain)]
    return table if errors[0] <= errors[1] else plain


def _pick(target: Target, inputs: Floats, places: Floats) -> Samples:
    """Return one input from each of equally full intervals of the sorted inputs."""
    count = len(places)
    ranks = (np.arange(count) + places) / count * len(inputs)
    x = inputs[np.minimum(ranks.astype(np.int64), len(inputs) - 1)]
    return Samples(x, evaluate(target, x), np.full(count, 1.0 / count))


def _find_crowd(grid: Floats, inputs: Floats) -> Floats:
    """Return per cell of the grid the density of the inputs to the power 1/5."""
    counts, edges = np.histogram(inputs, _BINS, (grid[0], grid[-1]))
    shares = (1.0 - _EVEN) * counts / len(inputs) + _EVEN / _BINS
    middles = 0.5 * (grid[1:] + grid[:-1])
    return shares[np.clip(np.searchsorted(edges, middles, side="right") - 1, 0, _BINS - 1)] ** DATA_POWER
