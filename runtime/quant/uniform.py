"""uniform.py: uniform integer formats: value = step * (code - zero), symmetric or with a zero-point of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import check_whole
from ..errors import UsageError
from .formats import Codes, Floats, IntegerImage, as_float32, spread

LARGEST_INT8 = 127  # -128 is not used: the format is symmetric
LARGEST_UINT8 = 255
LARGEST_INT32 = 2**31 - 1
LEAST_STEP = 2.0**-100  # of a channel without weights; as good as zero, yet far from float32's underflow


@dataclass(frozen=True, eq=False)
class SymmetricWeights:
    """Weights as int8 with one step per output channel: weight[c] is about step[c] * values[c].

    Attributes:
        values: (Cout, ...) int8, -127..127.
        step: (Cout,) float64 > 0.
    """

    values: NDArray[np.int8]
    step: NDArray[np.float64]


def quantise_weights(weight: ArrayLike, least_step: ArrayLike = LEAST_STEP) -> SymmetricWeights:
    """Round weights to the nearest of 255 levels per output channel, the largest of a channel becoming 127.

    No weight moves by more than half a step. A channel without weights gets zeros and the least step.

    Args:
        weight: (Cout, ...) finite numbers.
        least_step: (Cout,) or one number: steps below it are raised to it, such as where a bias in the units of
            the step must fit int32. At least LEAST_STEP.

    Raises:
        UsageError: a weight is not finite, or there is none.
    """
    values = np.asarray(weight, np.float64)
    if values.ndim < 1 or values.size == 0 or not np.isfinite(values).all():
        raise UsageError(
            f"weights to quantise must be finite numbers (Cout, ...), got {values.shape} with "
            f"{np.count_nonzero(~np.isfinite(values))} that are not finite"
        )
    largest = np.abs(values.reshape(len(values), -1)).max(axis=1)
    step = np.maximum(np.maximum(largest / LARGEST_INT8, least_step), LEAST_STEP)
    levels = np.rint(values / step.reshape(-1, *(1,) * (values.ndim - 1)))
    # Division may land a hair above 127 where the step was rounded down.
    return SymmetricWeights(np.clip(levels, -LARGEST_INT8, LARGEST_INT8).astype(np.int8), step)


def quantise_unsigned(values: ArrayLike, step: ArrayLike) -> NDArray[np.uint8]:
    """Return values >= 0 as uint8 with zero-point 0: rint(value / step), at most 255.

    Args:
        values: (..., C) numbers.
        step: one for all, or (C,) one for each channel.

    Raises:
        UsageError: the step is not a finite number above 0.
    """
    steps = np.asarray(step, np.float64)
    if not ((steps > 0.0) & np.isfinite(steps)).all():
        raise UsageError(f"a step must be a finite number above 0, got {step!r}")
    levels = np.rint(np.asarray(values, np.float64) / steps)
    return np.clip(levels, 0, LARGEST_UINT8).astype(np.uint8)


def largest_sum(weight: NDArray[np.int8], bias: NDArray[np.int32]) -> int:
    """Return a bound of |sum| in a layer with uint8 inputs: the most over channels of 255 * sum |weight| + |bias|."""
    taps = np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(axis=1)  # (Cout,)
    return int((LARGEST_UINT8 * taps + np.abs(bias.astype(np.int64))).max())


@dataclass(frozen=True, eq=False)
class UniformLevels:
    """Equal steps: value = step * (code - zero), code 0..2^bits - 1.

    Attributes:
        step: (rows or 1, 1) float64 > 0, float32 values.
        zero: (rows or 1, 1) int64, the code of 0.
        bits: of a code.
        symmetric: as many levels below 0 as above; code 0 is not used, so that the two sides match.
    """

    step: Floats
    zero: NDArray[np.int64]
    bits: int
    symmetric: bool

    @property
    def overhead(self) -> int:
        """Bytes of steps, and of zero-points where they differ."""
        return self.step.size * (4 if self.symmetric else 5)

    def encode(self, values: Floats) -> Codes:
        """Return rint(value / step) + zero, clipped to the codes there are."""
        levels = np.rint(values / self.step)
        levels += self.zero
        return np.clip(levels, int(self.symmetric), 2**self.bits - 1, out=levels).astype(np.uint8)

    def decode(self, codes: Codes) -> Floats:
        """Return step * (code - zero)."""
        values = codes.astype(np.float64)
        values -= self.zero
        values *= self.step
        return values

    def image(self, codes: Codes) -> IntegerImage:
        """Return code - zero: int8, or int16 where 8 bits are asymmetric."""
        narrow = self.symmetric or self.bits < 8
        values = (codes - self.zero)[None]
        scale = spread(self.step, len(codes))[None]
        return IntegerImage(values.astype(np.int8) if narrow else values.astype(np.int16), scale)

    def take_rows(self, rows: slice) -> UniformLevels:
        """Return the levels of some rows."""
        if len(self.step) == 1:
            return self
        return UniformLevels(self.step[rows], self.zero[rows], self.bits, self.symmetric)


@dataclass(frozen=True)
class UniformFormat:
    """INT2 to INT8, each row from its least to its largest number.

    The range always includes 0, which is represented exactly.

    Attributes:
        bits: of a code, 2..8.
        symmetric: zero is the middle code, and the largest magnitude becomes 2^(bits - 1) - 1; else
            step = (max - min) / (2^bits - 1) and zero = -rint(min / step).

    Raises:
        UsageError: `bits` is outside its range.
    """

    bits: int
    symmetric: bool = True

    def __post_init__(self) -> None:
        if not 2 <= check_whole("bits", self.bits) <= 8:
            raise UsageError(f"bits of a uniform format must be 2..8, got {self.bits}")

    def fit(self, values: Floats) -> UniformLevels:
        """Return levels from the range of each row of (rows, n) numbers."""
        if self.symmetric:
            largest = np.abs(values).max(axis=1, keepdims=True)
            step = as_float32(np.maximum(largest / (2 ** (self.bits - 1) - 1), LEAST_STEP))
            return UniformLevels(step, np.full(step.shape, 2 ** (self.bits - 1)), self.bits, True)
        step, zero = fit_range(values, 2**self.bits - 1)
        return UniformLevels(step, zero, self.bits, False)


def fit_range(values: Floats, largest: int) -> tuple[Floats, NDArray[np.int64]]:
    """Return the step and the zero-point of codes 0..largest over each row's range, 0 included.

    Args:
        values: (rows, n).
        largest: code of the largest number.

    Returns:
        step (rows, 1), float32 values, and zero (rows, 1), 0..largest.
    """
    low = np.minimum(values.min(axis=1, keepdims=True), 0.0)
    high = np.maximum(values.max(axis=1, keepdims=True), 0.0)
    step = as_float32(np.maximum((high - low) / largest, LEAST_STEP))
    zero = np.clip(-np.rint(low / step), 0, largest).astype(np.int64)
    return step, zero
