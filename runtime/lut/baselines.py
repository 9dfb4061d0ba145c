"""baselines.py: what NN-LUT is compared with: equal segments, exponential segments, a near-optimal fit, I-BERT."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from .fitting import check_entries
from .functions import Function, Target, evaluate, find_target
from .splines import Floats, draw_uniform, find_density, place_by_density, place_strata, solve_values
from .table import LutTable

_SAMPLES = 2**14
_MODES = 40.0  # octaves of an interval that touches 0


def fit_equal(
    function: str | Function | Target, *, entries: int = 16, interval: tuple[float, float] | None = None
) -> LutTable:
    """Return a table of equally wide segments that meets the function at their ends (Linear-LUT)."""
    target = find_target(function, interval)
    return _join(target, np.linspace(*target.interval, check_entries(entries) + 1))


def fit_exponential_mode(
    function: str | Function | Target, *, entries: int = 16, interval: tuple[float, float] | None = None
) -> LutTable:
    """Return a table whose segments double in width away from 0, half of them on each side of an interval around it."""
    target = find_target(function, interval)
    low, high = target.interval
    count = check_entries(entries)
    if low >= 0.0:
        knots = _spread(low, high, count)
    elif high <= 0.0:
        knots = -_spread(-high, -low, count)[::-1]
    else:
        left = max(count // 2, 1)
        knots = np.concatenate([-_spread(0.0, -low, left)[:0:-1], _spread(0.0, high, count - left)])
    return _join(target, knots)


def fit_near_optimal(
    function: str | Function | Target, *, entries: int = 16, interval: tuple[float, float] | None = None
) -> LutTable:
    """Return the continuous table of least squares over uniform inputs, with knots as dense as |f''|^0.4."""
    target = find_target(function, interval)
    grid, density = find_density(target)
    knots = place_by_density(grid, density, np.linspace(0.0, 1.0, check_entries(entries) + 1))
    edges = place_strata(grid, density, _SAMPLES)
    samples = draw_uniform(target, edges, np.full(_SAMPLES, 0.5))
    return _connect(knots, solve_values(samples, knots, {}))


def _spread(low: float, high: float, count: int) -> Floats:
    """Return count+1 points from low >= 0 to high, their distances from 0 in one ratio."""
    first = low if low > 0.0 else high * 2.0 ** -min(count - 1, _MODES)
    if low > 0.0:
        return np.geomspace(first, high, count + 1)
    return np.concatenate([[0.0], np.geomspace(first, high, count)])


def _join(target: Target, knots: Floats) -> LutTable:
    return _connect(knots, evaluate(target, knots))


def _connect(knots: Floats, values: Floats) -> LutTable:
    """Return the table through values at knots (N+1,); the outer segments go on outside."""
    slopes = np.diff(values) / np.diff(knots)
    return LutTable(knots[1:-1].copy(), slopes, values[:-1] - slopes * knots[:-1])


# I-BERT (arXiv 2101.01321): second-order polynomials. The code's coefficients are a x^2 + b x + c of exp; the
# paper's rounded ones are a (x + b)^2 + c.
_EXP_CODE = (0.35815147, 0.96963238, 1.0)
_EXP_PAPER = (0.3585, 1.353, 0.344)
_ERF = (-0.2888, -1.769, 1.0)  # a (x + b)^2 + c of erf for 0 <= x <= 1.769
_EXP_SHIFT, _GELU_SHIFT = 30, 14  # n of the code


def approximate_exp(x: ArrayLike) -> Floats:
    """Return I-BERT's exp of x <= 0: x = -z ln 2 + p, exp = (a p^2 + b p + c) / 2^z, with the code's coefficients."""
    a, b, c = _EXP_CODE
    octaves, rest = _split_octaves(x)
    return np.asarray(np.ldexp(a * rest**2 + b * rest + c, -octaves))


def approximate_exp_rounded(x: ArrayLike) -> Floats:
    """Return I-BERT's exp of x <= 0 with the rounded coefficients that the paper prints."""
    a, b, c = _EXP_PAPER
    octaves, rest = _split_octaves(x)
    return np.asarray(np.ldexp(a * (rest + b) ** 2 + c, -octaves))


def _split_octaves(x: ArrayLike) -> tuple[NDArray[np.int64], Floats]:
    values = np.asarray(x, np.float64)
    octaves = np.floor(-values / math.log(2.0))
    return octaves.astype(np.int64), values + octaves * math.log(2.0)


def approximate_gelu(x: ArrayLike) -> Floats:
    """Return I-BERT's GELU: x / 2 (1 + L(x / sqrt 2)), L(x) = sgn(x) (a (min(|x|, -b) + b)^2 + c)."""
    values = np.asarray(x, np.float64)
    a, b, c = _ERF
    reached = np.minimum(np.abs(values) / math.sqrt(2.0), -b)
    return np.asarray(0.5 * values * (1.0 + np.sign(values) * (a * (reached + b) ** 2 + c)))


def compute_integer_exp(x_q: ArrayLike, scale: float) -> tuple[NDArray[np.int64], float]:
    """Return I-BERT's i-exp of integers x_q <= 0, and the scale of its outputs.

    q_b = floor((b / a) / S), q_c = floor(c / (a S^2)); the outputs (q (q + q_b) + q_c) 2^(n - z) have a S^2 / 2^n.

    Args:
        x_q: integers of any shape.
        scale: S, at least 2^-15, or the outputs would not fit int64.

    Raises:
        UsageError: a finer scale.
    """
    if not 2.0**-15 <= scale < math.inf:
        raise UsageError(f"the scale of i-exp must be 2^-15 or more, got {scale!r}")
    a, b, c = _EXP_CODE
    octave = math.floor(-math.log(2.0) / scale)  # -ln 2
    values = np.maximum(np.asarray(x_q, np.int64), _EXP_SHIFT * octave)
    count = values // octave
    rest = values - octave * count
    by_b, by_c = math.floor(b / a / scale), math.floor(c / a / scale**2)
    return ((rest * (rest + by_b) + by_c) << (_EXP_SHIFT - count)).astype(
        np.int64
    ), a * scale**2 / 2**_EXP_SHIFT


def compute_integer_gelu(x_q: ArrayLike, scale: float) -> tuple[NDArray[np.int64], float]:
    """Return I-BERT's i-GELU of integers, and the scale of its outputs.

    Its shift of 14 bits is made for fine scales, such as 2^-14 of an accumulator.

    Args:
        x_q: integers of any shape.
        scale: S, > 0.
    """
    a, b, c = _ERF
    values = np.asarray(x_q, np.int64)
    inner = scale / math.sqrt(2.0)
    by_b, by_c = math.floor(b / inner), math.floor(c / a / inner**2)
    reached = np.minimum(np.abs(values), -by_b)
    erf = np.sign(values) * ((reached + by_b) ** 2 + by_c) >> _GELU_SHIFT
    erf_scale = a * inner**2 * 2**_GELU_SHIFT
    return values * (erf + math.floor(1.0 / erf_scale)), scale * erf_scale / 2.0


def compute_integer_sqrt(n: ArrayLike) -> NDArray[np.int64]:
    """Return I-BERT's i-sqrt: floor(sqrt(n)) of integers 0 <= n < 2^62 by Newton's steps from 2^ceil(bits / 2)."""
    values = np.maximum(np.asarray(n, np.int64), 1)
    bits = np.frexp(values.astype(np.float64))[1].astype(np.int64)
    root = np.int64(1) << ((bits + 1) // 2)
    while True:
        following = (root + values // root) >> 1
        if not (following < root).any():
            return np.where(np.asarray(n) > 0, root, 0)
        root = np.minimum(root, following)
