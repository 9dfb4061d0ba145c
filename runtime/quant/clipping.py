"""clipping.py: the value that becomes the largest level of a format; what lies above it is clipped."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .histogram import ValueHistogram
from .uniform import LARGEST_UINT8

Method = Literal["mse", "percentile", "min-max"]
METHODS: tuple[Method, ...] = get_args(Method)
PERCENT = 99.999  # of the values above 0 that "percentile" does not clip
_CANDIDATES = np.linspace(0.2, 1.0, 81)  # shares of the largest value that "mse" tries


def find_top(histogram: ValueHistogram, method: Method, *, percent: float = PERCENT) -> float:
    """Return the value that becomes 255 in uint8: above 0, and at most the largest value seen.

    Where no value above 0 was seen any step is right, and 1 is returned.

    Args:
        histogram: of the values.
        method: "min-max" takes the largest value, "percentile" the value that `percent` of them do not exceed,
            "mse" the one of 81 values between a fifth of the largest and the largest with the least mean square
            of rounding and clipping errors.
        percent: above 0, up to 100.

    Raises:
        UsageError: an unknown method, or `percent` outside its range.
    """
    if method not in METHODS:
        raise UsageError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if not 0.0 < percent <= 100.0:
        raise UsageError(f"percent must be above 0 and at most 100, got {percent}")
    if histogram.total == 0:
        return 1.0
    if method == "percentile":
        return _find_percentile(histogram, percent)
    return histogram.largest if method == "min-max" else _find_least_error(histogram)


def _find_percentile(histogram: ValueHistogram, percent: float) -> float:
    """Return the upper edge of the bin in which the percentile lies."""
    cumulated = np.cumsum(histogram.counts)
    index = int(np.searchsorted(cumulated, histogram.total * (percent / 100.0)))
    return min((index + 1) * histogram.width, histogram.largest)


def _find_least_error(histogram: ValueHistogram) -> float:
    filled = np.flatnonzero(histogram.counts)
    counts = histogram.counts[filled].astype(np.float64)
    centres = (filled.astype(np.float64) + 0.5) * histogram.width
    tops = _CANDIDATES * histogram.largest
    errors = [_sum_squares(centres, counts, float(top)) for top in tops]
    return float(tops[np.argmin(errors)])


def _sum_squares(centres: NDArray[np.float64], counts: NDArray[np.float64], top: float) -> float:
    step = top / LARGEST_UINT8
    nearest = np.minimum(np.rint(centres / step), LARGEST_UINT8) * step
    return float(counts @ (nearest - centres) ** 2)
