"""uniform.py: uniform integer formats: value = step * integer, symmetric int8 for weights, uint8 for activations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError

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
