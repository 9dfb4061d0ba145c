"""convolution.py: conv2d on pillar grids: rules, plan, kernel."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from .grid import PillarGrid
from .kernels import TILE, Float32, PackedWeight, convolve_f32, pack_panels
from .rules import Kind, Rulebook, build_rules

Activation = Literal["relu"]


def pack_weight(weight: npt.ArrayLike) -> PackedWeight:
    """Prepare a weight for `conv2d`; do it once for a layer that is called again and again.

    Args:
        weight: (Cout, Cin, kh, kw) float32, kh = kw.

    Raises:
        UsageError: wrong shape or dtype, or a value that is not finite.
    """
    values = np.asarray(weight)
    if values.dtype != np.float32:
        raise UsageError(f"weight must be float32, got {values.dtype}; convert it with .astype(np.float32)")
    if values.ndim != 4 or values.shape[2] != values.shape[3] or min(values.shape) < 1:
        raise UsageError(f"weight must be (Cout, Cin, k, k) with no empty axis, got shape {values.shape}")
    if not np.isfinite(values).all():
        # A missing neighbour counts as zeros times the weight, which must be zero.
        raise UsageError("weight holds NaN or infinity; check the model that it came from")
    return pack_panels(values)


def conv2d(
    grid: PillarGrid,
    weight: npt.ArrayLike | PackedWeight,
    bias: npt.ArrayLike | None = None,
    *,
    kind: Kind = "submanifold",
    stride: int = 1,
    activation: Activation | None = None,
    rulebook: Rulebook | None = None,
) -> PillarGrid:
    """Convolve a pillar grid in float32, on the current Numba threads; the same bits whatever their number.

    Args:
        grid: float32 features (P, Cin).
        weight: (Cout, Cin, k, k) float32 in the cross-correlation order of deep-learning frameworks, or what
            `pack_weight` made of it. For "transposed" also (Cout, Cin, s, s), not (Cin, Cout, s, s): tap
            (a, b) of the weight gives output (s · row + a, s · col + b).
        bias: (Cout) float32, added at active outputs only.
        kind: which outputs are active, and the kernels and strides allowed: see `build_rules`.
        stride: 1 for "submanifold" and "dilating", 2 for "strided", the kernel size for "transposed".
        activation: "relu", fused into the kernel, or None.
        rulebook: `build_rules(grid, kind, kernel=k, stride=stride)` kept from another layer on the same
            active set; None builds it.

    Returns:
        The active outputs with (P_out, Cout) float32 features.

    Raises:
        UsageError: wrong kinds, shapes or dtypes, or a rulebook made for something else.
    """
    if activation not in (None, "relu"):
        raise UsageError(f"activation must be None or 'relu', got {activation!r}")
    packed = weight if isinstance(weight, PackedWeight) else pack_weight(weight)
    if grid.features.dtype != np.float32:
        raise UsageError(f"conv2d needs float32 features, got {grid.features.dtype}")
    if grid.channels != packed.in_channels:
        raise UsageError(
            f"the grid has {grid.channels} channels, but the weight was made for {packed.in_channels}"
        )
    if rulebook is None:
        rulebook = build_rules(grid, kind, kernel=packed.kernel[0], stride=stride)
    else:
        _check_rulebook(rulebook, grid, kind, packed.kernel[0], stride)
    features = convolve_f32(
        grid.features, rulebook.plan(TILE.rows), packed, _checked_bias(bias, packed), activation == "relu"
    )
    return PillarGrid(rulebook.row_ptr, rulebook.cols, features, rulebook.shape)


def _checked_bias(bias: npt.ArrayLike | None, weight: PackedWeight) -> Float32:
    if bias is None:
        return np.zeros(weight.out_channels, np.float32)
    values = np.asarray(bias)
    if values.dtype != np.float32 or values.shape != (weight.out_channels,):
        raise UsageError(
            f"bias must be ({weight.out_channels},) float32, got {values.dtype} of shape {values.shape}"
        )
    return values


def _check_rulebook(rulebook: Rulebook, grid: PillarGrid, kind: str, kernel: int, stride: int) -> None:
    wanted, given = (kind, kernel, stride), (rulebook.kind, rulebook.kernel, rulebook.stride)
    if wanted != given:
        raise UsageError(
            f"the rulebook is for a {given[0]} convolution with kernel {given[1]} and stride {given[2]}, "
            f"the call for a {wanted[0]} one with kernel {wanted[1]} and stride {wanted[2]}"
        )
    if not rulebook.fits(grid):
        raise UsageError("the rulebook was built for another active set; build it again from this grid")
