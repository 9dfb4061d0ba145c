"""encoder.py: the pillar feature net at inference: one linear layer over points and pillars, maximum, ReLU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..runtime.jit import parallel_kernel, prange
from .pillars import Pillars


@dataclass(frozen=True)
class EncoderWeights:
    """Weights with batch norm folded in.

    Attributes:
        point: (POINT_FEATURES, C) float32; the maximum over a pillar's points is taken of points @ point.
        scale: (C,) float32 factor of that maximum.
        pillar: (PILLAR_FEATURES, C) float32.
        bias: (C,) float32.
    """

    point: NDArray[np.float32]
    scale: NDArray[np.float32]
    pillar: NDArray[np.float32]
    bias: NDArray[np.float32]


@parallel_kernel
def _encode(
    starts: NDArray[np.int32],
    points: NDArray[np.float32],
    pillars: NDArray[np.float32],
    point_weight: NDArray[np.float32],
    scale: NDArray[np.float32],
    pillar_weight: NDArray[np.float32],
    bias: NDArray[np.float32],
) -> NDArray[np.float32]:
    channels = len(bias)
    out = np.empty((len(pillars), channels), np.float32)
    for p in prange(len(pillars)):
        # The pillar's part is the same for all its points: the maximum is taken over the points' part alone.
        best = np.full(channels, -np.inf, np.float32)
        for n in range(starts[p], starts[p + 1]):
            x, y, z = points[n, 0], points[n, 1], points[n, 2]
            for c in range(channels):
                value = x * point_weight[0, c] + y * point_weight[1, c] + z * point_weight[2, c]
                best[c] = max(best[c], value)
        own = bias.copy()
        for f in range(pillars.shape[1]):
            v = pillars[p, f]
            for c in range(channels):
                own[c] += v * pillar_weight[f, c]
        for c in range(channels):
            out[p, c] = max(best[c] * scale[c] + own[c], np.float32(0.0))
    return out


def encode(pillars: Pillars, weights: EncoderWeights) -> NDArray[np.float32]:
    """Return the pillars' features (P, C) float32 >= 0."""
    return _encode(
        pillars.starts,
        pillars.point_features,
        pillars.pillar_features,
        weights.point,
        weights.scale,
        weights.pillar,
        weights.bias,
    )
