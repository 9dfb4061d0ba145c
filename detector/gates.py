"""gates.py: what the encoder makes of the density at a pillar: a factor in (0, 1) for each of its channels.

The factors of the points' part and of the pillar's own part are two small networks of the softly clipped density.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..runtime.jit import kernel


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


def open_gates(gates: DensityGates, density: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the factors of each cell, (cells, 2, C) float32 in 0..1: of the points' part, then of the pillar's own.

    Args:
        gates: the networks.
        density: (cells, SCALES) float32 [points per metre].

    Source: arXiv 2312.12098, Eq. 6-8.
    """
    clipped = np.tanh((density - gates.middle) / gates.reach)  # (D^c - m) / l
    hidden = np.empty((len(density), 2, len(gates.hidden_bias) // 2), np.float32)
    factors = np.empty((len(density), 2, len(gates.point_bias)), np.float32)
    _sum_hidden(clipped, gates.hidden_weight, gates.hidden_bias, hidden.reshape(-1, len(gates.hidden_bias)))
    _sum_outputs(
        hidden, gates.point_weight, gates.point_bias, gates.pillar_weight, gates.pillar_bias, factors
    )
    with np.errstate(over="ignore"):  # of exp(-x), far below 0: the factor is 0
        np.exp(np.negative(factors, out=factors), out=factors)
    return np.reciprocal(np.add(factors, np.float32(1.0), out=factors), out=factors)


@kernel
def _sum_layer(
    inputs: NDArray[np.float32],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Write the row inputs @ weight + bias, summed in the order of the inputs, the bias first."""
    for c in range(len(bias)):
        out[c] = bias[c]
    for i in range(len(weight)):
        value, row = inputs[i], weight[i]
        for c in range(len(bias)):
            out[c] += value * row[c]


@kernel
def _sum_hidden(
    inputs: NDArray[np.float32],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    for n in range(len(inputs)):
        _sum_layer(inputs[n], weight, bias, out[n])
        for c in range(len(bias)):
            out[n, c] = max(out[n, c], np.float32(0.0))


@kernel
def _sum_outputs(
    hidden: NDArray[np.float32],
    point_weight: NDArray[np.float32],
    point_bias: NDArray[np.float32],
    pillar_weight: NDArray[np.float32],
    pillar_bias: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    for n in range(len(hidden)):
        _sum_layer(hidden[n, 0], point_weight, point_bias, out[n, 0])
        _sum_layer(hidden[n, 1], pillar_weight, pillar_bias, out[n, 1])
