"""weight_clipping.py: how far to clip weights before their levels are found, by the error of the output."""

from __future__ import annotations

import numpy as np

from .formats import Floats
from .matrices import WeightFormat, list_groups

RATIOS: tuple[float, ...] = tuple(1.0 - step / 40 for step in range(21))  # 1, 0.975 ... 0.5


def find_limits(weight: Floats, seen: Floats, weights: WeightFormat) -> Floats:
    """Return the magnitude to clip each group of weights to: the share of the largest with the least output error.

    The search of AWQ that AQAS ends with (Lee et al. 2023, arXiv 2311.05161, appendix A.4), 20 steps down to a half.
    Groups are looked at one by one; where a whole matrix shares its levels there is one limit for it.

    Args:
        weight: (out, in), channel scales multiplied in.
        seen: (samples, in) activations as the product sees them.
        weights: format.

    Returns:
        (out, groups) float64 >= 0.
    """
    limits = []
    for columns in list_groups(weight.shape[1], weights.width(weight.shape[1])):
        limits.append(_search_group(weight[:, columns], seen[:, columns], weights))
    return np.stack(limits, axis=1)


def _search_group(block: Floats, seen: Floats, weights: WeightFormat) -> Floats:
    """Return the limit of each row (out,) of a group (out, width)."""
    shared = weights.granularity == "tensor"
    shape = (1, -1) if shared else block.shape
    largest = np.abs(block.reshape(shape)).max(axis=1)
    losses = []
    for ratio in RATIOS:
        limit = (ratio * largest)[:, None]
        levels = weights.numbers.fit(np.clip(block, -limit, limit).reshape(shape))
        loss = (((levels.decode(levels.encode(block)) - block) @ seen.T) ** 2).sum(axis=1)
        losses.append(loss.sum(keepdims=True) if shared else loss)
    best = np.asarray(RATIOS)[np.argmin(losses, axis=0)]
    return np.broadcast_to(best * largest, len(block))
