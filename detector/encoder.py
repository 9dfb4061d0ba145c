"""encoder.py: the pillar feature net at inference: one linear layer over points and pillars, maximum, ReLU.

Gates, where a model has them, weigh the points' part and the pillar's own by the density at the pillar.

Sums are taken in the order of the NumPy twin, one rounding per operation, so that both agree to the
bit where there are no gates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import UsageError
from ..runtime.jit import kernel, parallel_kernel, prange
from .density import PillarDensity
from .gates import DensityGates, open_gates
from .pillars import PILLAR_FEATURES, Pillars

_TASKS = 16  # parts of a frame that threads share out
_BLOCK = 32  # pillars that are rounded at once, while they are in the cache
_SHARED_WORK = 6  # what a pillar's own features cost, in points

_Floats = NDArray[np.float32]
_Inputs = tuple[NDArray[np.int64], NDArray[np.int32], _Floats, _Floats, _Floats, _Floats, _Floats, _Floats]


@dataclass(frozen=True)
class EncoderWeights:
    """Weights with batch norm folded in.

    Attributes:
        point: (POINT_FEATURES, C) float32; the maximum over a pillar's points is taken of points @ point.
        scale: (C,) float32 factor of that maximum.
        pillar: (PILLAR_FEATURES, C) float32.
        bias: (C,) float32.
        gates: factors by the density at a pillar, of `scale` and of `pillar`; None for an encoder without.
    """

    point: NDArray[np.float32]
    scale: NDArray[np.float32]
    pillar: NDArray[np.float32]
    bias: NDArray[np.float32]
    gates: DensityGates | None = None


@kernel
def _find_highest(
    first: int,
    last: int,
    points: NDArray[np.float32],
    of_x: NDArray[np.float32],
    of_y: NDArray[np.float32],
    of_z: NDArray[np.float32],
    row: NDArray[np.float32],
) -> None:
    """Write the maximum of the points' part over points `first` to `last`; the loops over channels are vectorised."""
    for c in range(len(row)):
        row[c] = -np.inf
    # Four points at once read the weights once; past the end the last point comes again, which changes no maximum.
    for n in range(first, last + 1, 4):
        n1, n2, n3 = min(n + 1, last), min(n + 2, last), min(n + 3, last)
        x0, y0, z0 = points[n, 0], points[n, 1], points[n, 2]
        x1, y1, z1 = points[n1, 0], points[n1, 1], points[n1, 2]
        x2, y2, z2 = points[n2, 0], points[n2, 1], points[n2, 2]
        x3, y3, z3 = points[n3, 0], points[n3, 1], points[n3, 2]
        for c in range(len(row)):
            a, b, d = of_x[c], of_y[c], of_z[c]
            near = max(x0 * a + y0 * b + z0 * d, x1 * a + y1 * b + z1 * d)
            far = max(x2 * a + y2 * b + z2 * d, x3 * a + y3 * b + z3 * d)
            row[c] = max(row[c], max(near, far))


@kernel
def _encode_pillars(
    begin: int,
    end: int,
    starts: NDArray[np.int32],
    points: NDArray[np.float32],
    pillars: NDArray[np.float32],
    point_weight: NDArray[np.float32],
    scale: NDArray[np.float32],
    pillar_weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    rows: NDArray[np.float32],
) -> None:
    """Write the features of pillars `begin` to `end` to `rows`.

    The pillar's part is the same for all its points: the maximum is taken over the points' part alone.
    """
    of_x, of_y, of_z = point_weight[0], point_weight[1], point_weight[2]
    for p in range(begin, end):
        row, own = rows[p - begin], pillars[p]
        _find_highest(starts[p], starts[p + 1] - 1, points, of_x, of_y, of_z, row)
        for c in range(len(bias)):
            shared = bias[c]
            for f in range(PILLAR_FEATURES):
                shared += own[f] * pillar_weight[f, c]
            row[c] = max(row[c] * scale[c] + shared, np.float32(0.0))


@kernel
def _encode_gated_pillars(
    begin: int,
    end: int,
    starts: NDArray[np.int32],
    points: NDArray[np.float32],
    pillars: NDArray[np.float32],
    point_weight: NDArray[np.float32],
    scale: NDArray[np.float32],
    pillar_weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    cells: NDArray[np.int32],
    factors: NDArray[np.float32],
    rows: NDArray[np.float32],
) -> None:
    """As `_encode_pillars`, both parts weighed by the factors of the pillar's cell."""
    of_x, of_y, of_z = point_weight[0], point_weight[1], point_weight[2]
    for p in range(begin, end):
        row, own, of_points, of_pillar = (
            rows[p - begin],
            pillars[p],
            factors[cells[p], 0],
            factors[cells[p], 1],
        )
        _find_highest(starts[p], starts[p + 1] - 1, points, of_x, of_y, of_z, row)
        for c in range(len(bias)):
            shared = np.float32(0.0)
            for f in range(PILLAR_FEATURES):
                shared += own[f] * pillar_weight[f, c]
            value = row[c] * scale[c] * of_points[c] + (shared * of_pillar[c] + bias[c])
            row[c] = max(value, np.float32(0.0))


@kernel
def _round_rows(rows: NDArray[np.float32], levels: np.float32, out: NDArray[np.uint8]) -> None:
    for p in range(len(out)):
        for c in range(out.shape[1]):
            out[p, c] = np.uint8(np.int32(min(np.rint(rows[p, c] * levels), np.float32(255.0))))


@parallel_kernel
def _encode(
    tasks: NDArray[np.int64],
    starts: NDArray[np.int32],
    points: NDArray[np.float32],
    pillars: NDArray[np.float32],
    point_weight: NDArray[np.float32],
    scale: NDArray[np.float32],
    pillar_weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    for task in prange(len(tasks) - 1):
        first, last = tasks[task], tasks[task + 1]
        rows = out[first:last]
        _encode_pillars(first, last, starts, points, pillars, point_weight, scale, pillar_weight, bias, rows)


@parallel_kernel
def _encode_u8(
    tasks: NDArray[np.int64],
    starts: NDArray[np.int32],
    points: NDArray[np.float32],
    pillars: NDArray[np.float32],
    point_weight: NDArray[np.float32],
    scale: NDArray[np.float32],
    pillar_weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    levels: np.float32,
    blocks: NDArray[np.float32],
    out: NDArray[np.uint8],
) -> None:
    for task in prange(len(tasks) - 1):
        block, end = blocks[task], tasks[task + 1]
        for first in range(tasks[task], end, _BLOCK):
            last = min(first + _BLOCK, end)
            _encode_pillars(
                first, last, starts, points, pillars, point_weight, scale, pillar_weight, bias, block
            )
            _round_rows(block, levels, out[first:last])


@parallel_kernel
def _encode_gated(
    tasks: NDArray[np.int64],
    starts: NDArray[np.int32],
    points: NDArray[np.float32],
    pillars: NDArray[np.float32],
    point_weight: NDArray[np.float32],
    scale: NDArray[np.float32],
    pillar_weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    cells: NDArray[np.int32],
    factors: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    for task in prange(len(tasks) - 1):
        first, last = tasks[task], tasks[task + 1]
        rows = out[first:last]
        _encode_gated_pillars(
            first,
            last,
            starts,
            points,
            pillars,
            point_weight,
            scale,
            pillar_weight,
            bias,
            cells,
            factors,
            rows,
        )


@parallel_kernel
def _encode_gated_u8(
    tasks: NDArray[np.int64],
    starts: NDArray[np.int32],
    points: NDArray[np.float32],
    pillars: NDArray[np.float32],
    point_weight: NDArray[np.float32],
    scale: NDArray[np.float32],
    pillar_weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    cells: NDArray[np.int32],
    factors: NDArray[np.float32],
    levels: np.float32,
    blocks: NDArray[np.float32],
    out: NDArray[np.uint8],
) -> None:
    for task in prange(len(tasks) - 1):
        block, end = blocks[task], tasks[task + 1]
        for first in range(tasks[task], end, _BLOCK):
            last = min(first + _BLOCK, end)
            _encode_gated_pillars(
                first,
                last,
                starts,
                points,
                pillars,
                point_weight,
                scale,
                pillar_weight,
                bias,
                cells,
                factors,
                block,
            )
            _round_rows(block, levels, out[first:last])


def _cut_tasks(starts: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the pillars (_TASKS + 1,) that bound parts of about equal work."""
    work = starts + _SHARED_WORK * np.arange(len(starts))
    shares = np.arange(_TASKS + 1) * work[-1] // _TASKS
    return np.asarray(np.searchsorted(work, shares), np.int64)


def encode(
    pillars: Pillars, weights: EncoderWeights, density: PillarDensity | None = None
) -> NDArray[np.float32]:
    """Return the pillars' features (P, C) float32 >= 0.

    Args:
        pillars: of the frame.
        weights: of the encoder.
        density: at the pillars; an encoder with gates needs it, others do not look at it.

    Raises:
        UsageError: an encoder with gates is not told the density at every pillar.
    """
    out = np.empty((len(pillars), len(weights.bias)), np.float32)
    inputs = _list_inputs(pillars, weights)
    if weights.gates is None:
        _encode(*inputs, out)
    else:
        cells, values = _check_density(density, pillars)
        _encode_gated(*inputs, cells, open_gates(weights.gates, values), out)
    return out


def encode_u8(
    pillars: Pillars, weights: EncoderWeights, step: float, density: PillarDensity | None = None
) -> NDArray[np.uint8]:
    """Return the pillars' features (P, C) in steps of `step`: `encode`'s times float32(1 / step), rounded, at most 255.

    Raises:
        UsageError: the step is not a finite number above 0, or an encoder with gates is not told the density at every
            pillar.
    """
    if not 0.0 < step < np.inf:
        raise UsageError(f"a step must be a finite number above 0, got {step}")
    out, levels = np.empty((len(pillars), len(weights.bias)), np.uint8), np.float32(1.0 / step)
    blocks = np.empty((_TASKS, _BLOCK, len(weights.bias)), np.float32)
    inputs = _list_inputs(pillars, weights)
    if weights.gates is None:
        _encode_u8(*inputs, levels, blocks, out)
    else:
        cells, values = _check_density(density, pillars)
        _encode_gated_u8(*inputs, cells, open_gates(weights.gates, values), levels, blocks, out)
    return out


def _list_inputs(pillars: Pillars, weights: EncoderWeights) -> _Inputs:
    """Return what every kernel takes first."""
    of_frame = (pillars.starts, pillars.point_features, pillars.pillar_features)
    return _cut_tasks(pillars.starts), *of_frame, weights.point, weights.scale, weights.pillar, weights.bias


def _check_density(
    density: PillarDensity | None, pillars: Pillars
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    if density is None or len(density.cells) != len(pillars):
        raise UsageError("an encoder with gates needs the density at every pillar; see measure_density")
    return density.cells, density.values
