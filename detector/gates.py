"""gates.py: what the encoder makes of the density at a pillar: a factor in (0, 1) for each of its channels.

The factors of the points' part and of the pillar's own part are two small networks of the softly clipped density.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DensityGates:
    """Two networks SCALES -> G -> C, ReLU between and a sigmoid behind, and the clip before them.

    A pillar's points share one density, so that the points' gate is one factor for all of them: they lie within a
    pillar's side of each other, far less than densities change over. Being above 0 it passes through the maximum.

    Attributes:
        middle: (SCALES,) float32 m of the clip [points per metre].
        reach: (SCALES,) float32 l of the clip, above 0 [points per metre].
        hidden_weight: (SCALES, 2 G) float32: first the points' network, then the pillars'.
        hidden_bias: (2 G,) float32.
        point_weight: (G, C) float32.
        point_bias: (C,) float32.
        pillar_weight: (G, C) float32.
        pillar_bias: (C,) float32.

    Source: arXiv 2312.12098, Eq. 6-8.
    """

    middle: NDArray[np.float32]
    reach: NDArray[np.float32]
    hidden_weight: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    point_weight: NDArray[np.float32]
    point_bias: NDArray[np.float32]
    pillar_weight: NDArray[np.float32]
    pillar_bias: NDArray[np.float32]


def clip_density(
    density: NDArray[np.float32], middle: NDArray[np.float32], reach: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return D^c = tanh((D - m) / l) l + m: as it is near m, and never beyond m - l and m + l.

    Args:
        density: (..., SCALES) [points per metre].
        middle, reach: (SCALES,) m and l: half the sum and half the difference of the training data's 10th and 90th
            percentiles.

    Source: arXiv 2312.12098, Eq. 6.
    """
    return np.asarray(np.tanh((density - middle) / reach) * reach + middle, np.float32)
