"""functions.py: the functions that transformers need, with the intervals on which their tables are fitted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import show
from ..errors import UsageError

Function = Callable[[NDArray[np.float64]], ArrayLike]
Line = tuple[float, float]  # slope, intercept


@dataclass(frozen=True)
class Target:
    """A function to be approximated.

    Attributes:
        name: for messages and pictures.
        function: of a float64 array, exact.
        interval: on which it is fitted by default.
        left, right: the line that it approaches far outside, where there is one.
        opening: 1 where the ReLUs open to the right, -1 where they open to the left: away from the flat side.
    """

    name: str
    function: Function
    interval: tuple[float, float]
    left: Line | None = None
    right: Line | None = None
    opening: int = 1


_SQRT_HALF = math.sqrt(0.5)
_erf: Function = np.vectorize(math.erf, otypes=[np.float64])


def _gelu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * x * (1.0 + np.asarray(_erf(x * _SQRT_HALF))))


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


_FLAT: Line = (0.0, 0.0)
_IDENTITY: Line = (1.0, 0.0)
TARGETS = {
    target.name: target
    for target in (
        Target("gelu", _gelu, (-5.0, 5.0), _FLAT, _IDENTITY),
        Target("silu", lambda x: x * _sigmoid(x), (-20.0, 20.0), _FLAT, _IDENTITY),
        Target("sigmoid", _sigmoid, (-20.0, 20.0), _FLAT, (0.0, 1.0)),
        Target("tanh", np.tanh, (-10.0, 10.0), (0.0, -1.0), (0.0, 1.0)),
        Target("erf", _erf, (-4.0, 4.0), (0.0, -1.0), (0.0, 1.0)),
        Target("softplus", lambda x: np.logaddexp(0.0, x), (-20.0, 20.0), _FLAT, _IDENTITY),
        Target("exp", np.exp, (-256.0, 0.0), _FLAT),
        Target("exp2", np.exp2, (-32.0, 0.0), _FLAT),
        Target("reciprocal", lambda x: 1.0 / x, (1.0, 1024.0), opening=-1),
        Target("rsqrt", lambda x: 1.0 / np.sqrt(x), (1.0, 1024.0), opening=-1),
        Target("sqrt", np.sqrt, (0.0, 1024.0)),
    )
}


def find_target(function: str | Function | Target, interval: tuple[float, float] | None = None) -> Target:
    """Return a function with the interval that it is to be fitted on.

    Args:
        function: a name, such as "gelu", "silu", "sigmoid", "tanh", "exp", "reciprocal", "rsqrt"; or any function of
            a float64 array, which then needs an interval.
        interval: (low, high); that of the named function by default.

    Raises:
        UsageError: an unknown name, no interval, or one that is none.
    """
    if isinstance(function, str):
        if function not in TARGETS:
            raise UsageError(f"function must be one of {', '.join(TARGETS)}, or a callable; got {function!r}")
        function = TARGETS[function]
    if not isinstance(function, Target):
        if not callable(function):
            raise UsageError(f"function must be a name or a callable, got {show(function)}")
        if interval is None:
            raise UsageError("a function that is given as a callable needs an interval=(low, high)")
        function = Target(getattr(function, "__name__", "function"), function, interval)
    low, high = map(float, function.interval if interval is None else interval)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(f"interval must be (low, high), finite and ascending, got ({low:g}, {high:g})")
    return Target(
        function.name, function.function, (low, high), function.left, function.right, function.opening
    )


def evaluate(target: Target, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the exact function at x.

    Raises:
        UsageError: it gives something else than one finite number for each.
    """
    with np.errstate(all="ignore"):
        values = np.asarray(target.function(x), np.float64)
    if values.shape != x.shape or not np.isfinite(values).all():
        raise UsageError(
            f"{target.name} must give a finite number for each of {x.size} inputs in "
            f"{x.min():g}..{x.max():g}; got an array {values.shape}"
        )
    return values
