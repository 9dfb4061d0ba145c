"""histogram.py: how values >= 0 are distributed, gathered batch by batch in fixed memory."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError

BINS = 4096  # over a range of a power of two, so at least 2048 up to the largest value: 8 to a step of 1/255
_LEAST_EXPONENT = (
    -60
)  # bins do not get narrower than this range makes them: smaller values lie in the first one


class ValueHistogram:
    """Counts of the values above 0, in bins of equal width from 0 on.

    The width is a power of two that doubles, merging pairs of bins, when a larger value comes. That is exact, so
    the counts do not depend on how the values are cut into batches, nor on the order of these.
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)
        self.largest = 0.0
        self._exponent = _LEAST_EXPONENT  # the bins reach up to 2^exponent

    @property
    def width(self) -> float:
        """Width of a bin."""
        return math.ldexp(1.0, self._exponent) / BINS

    @property
    def total(self) -> int:
        """Number of values above 0 so far."""
        return int(self.counts.sum())

    def observe(self, values: ArrayLike) -> None:
        """Count values of any shape; zeros (and what is below) are left out, as they need no step.

        Raises:
            UsageError: a value is not finite.
        """
        flat = np.asarray(values, np.float32).ravel()
        active = flat[flat > 0] if np.isfinite(flat).all() else None
        if active is None:
            raise UsageError("values to calibrate on must be finite; one is NaN or infinity")
        if active.size == 0:
            return
        largest = float(active.max())
        self.largest = max(self.largest, largest)
        self._reach(math.frexp(largest)[1])  # largest < 2^exponent
        self.counts += np.bincount((active * np.float32(1.0 / self.width)).astype(np.int64), minlength=BINS)

    def merge(self, other: ValueHistogram) -> None:
        """Count what `other` has counted, too."""
        if other.total == 0:
            return
        self.largest = max(self.largest, other.largest)
        self._reach(other._exponent)
        self.counts += other._widen(self._exponent)

    def _reach(self, exponent: int) -> None:
        """Widen the bins so that they reach 2^exponent."""
        if not self.counts.any():
            self._exponent = max(exponent, self._exponent)
        exponent = max(exponent, self._exponent)
        self.counts, self._exponent = self._widen(exponent), exponent

    def _widen(self, exponent: int) -> NDArray[np.int64]:
        """Return the counts in bins that reach 2^exponent, which is no less than they reach now."""
        counts = self.counts
        for _ in range(exponent - self._exponent):
            merged = counts.reshape(-1, 2).sum(axis=1)
            counts = np.concatenate([merged, np.zeros_like(merged)])
        return counts
