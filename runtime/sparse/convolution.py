"""convolution.py: conv2d on pillar grids: rules, plan, kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..checks import check_array, check_instance, show
from ..errors import UsageError
from .grid import PillarGrid, list_grids
from .kernels import Operation, convolve, prepare_operation
from .microkernel import Finish
from .rescale import Dequantise, Requantise, Rescale
from .rules import Kind, Rulebook, build_rules
from .weights import PackedWeight, pack_weight

Activation = Literal["relu"]


def conv2d(
    grid: PillarGrid | Sequence[PillarGrid],
    weight: npt.ArrayLike | PackedWeight,
    bias: npt.ArrayLike | None = None,
    *,
    kind: Kind = "submanifold",
    stride: int = 1,
    activation: Activation | None = None,
    rescale: Rescale | None = None,
    rulebook: Rulebook | None = None,
) -> PillarGrid:
    """Convolve a pillar grid on the current Numba threads; the same bits whatever their number.

    float32 features take a float32 weight and bias and give float32. uint8 features (zero-point 0) take an int8
    weight and an int32 bias; the exact int32 sums are handed back as they are, or rescaled.

    Args:
        grid: features (P, Cin) float32 or uint8; several grids of one shape are convolved as if their channels
            were concatenated over the union of their active sets, without making that concatenation.
        weight: (Cout, Cin, k, k) in the cross-correlation order of deep-learning frameworks, or what
            `pack_weight` made of it. For "transposed" also (Cout, Cin, s, s), not (Cin, Cout, s, s): tap
            (a, b) of the weight gives output (s · row + a, s · col + b).
        bias: (Cout) float32 or int32, added at active outputs only.
        kind: which outputs are active, and the kernels and strides allowed: see `build_rules`.
        stride: 1 for "submanifold" and "dilating", 2 for "strided", the kernel size for "transposed".
        activation: "relu" on float32, fused into the kernel, or None.
        rescale: `Requantise` (which is a ReLU too) or `Dequantise` on uint8, fused into the kernel, or None.
        rulebook: `build_rules(grid, kind, kernel=k, stride=stride)` kept from another layer on the same
            active set; None builds it.

    Returns:
        The active outputs with (P_out, Cout) features: float32, uint8 after `Requantise`, or int32 sums.

    Raises:
        UsageError: wrong kinds, shapes or dtypes, or a rulebook made for something else.
    """
    grids = list_grids(grid)
    packed = _checked_weight(weight, grids)
    finish = _choose_finish(packed, activation, rescale)
    if rescale is not None and rescale.scale.size != packed.out_channels:
        raise UsageError(
            f"rescale has {rescale.scale.size} scales, the weight {packed.out_channels} output channels"
        )
    if rulebook is None:
        rulebook = build_rules(grids, kind, kernel=packed.kernel, stride=stride)
    else:
        _check_rulebook(rulebook, grids, kind, packed.kernel, stride)
    scale = None if rescale is None else rescale.scale
    operation = prepare_operation(packed, _checked_bias(bias, packed), scale, finish)
    return convolve_grid(grids, rulebook, operation)


def convolve_grid(grids: tuple[PillarGrid, ...], rulebook: Rulebook, operation: Operation) -> PillarGrid:
    """Run a prepared operation on grids that its rules and weights are known to fit; `conv2d` without checks."""
    features = convolve([grid.features for grid in grids], rulebook, operation)
    return PillarGrid.assemble(rulebook.row_ptr, rulebook.cols, features, rulebook.shape)


def _checked_weight(weight: npt.ArrayLike | PackedWeight, grids: tuple[PillarGrid, ...]) -> PackedWeight:
    """Return the weight, packed, after comparing it with the features that it meets."""
    if not grids:
        raise UsageError("conv2d needs a grid, got an empty sequence")
    channels = tuple(grid.channels for grid in grids)
    packed = weight if isinstance(weight, PackedWeight) else None
    if packed is None:
        values = check_array("weight", weight)
        if values.ndim == 4 and values.shape[1] != sum(channels):
            raise UsageError(
                f"the grid has {sum(channels)} channels, but the weight was made for {values.shape[1]}"
            )
        packed = pack_weight(values, channels)
    if channels != packed.in_channels:
        raise UsageError(
            f"the grid has {_join(channels)} channels, but the weight was made for {_join(packed.in_channels)}"
        )
    wanted = np.dtype(np.float32 if packed.dtype == np.float32 else np.uint8)
    for grid in grids:
        if grid.features.dtype != wanted:
            raise UsageError(
                f"{packed.dtype} weights need {wanted} features, got {grid.features.dtype}: "
                "float32 goes with float32, uint8 features with an int8 weight"
            )
    return packed


def _join(channels: tuple[int, ...]) -> str:
    return " + ".join(map(str, channels))


def _choose_finish(weight: PackedWeight, activation: str | None, rescale: Rescale | None) -> Finish:
    """Return the finish that the arguments of `conv2d` ask for."""
    if not (activation is None or (isinstance(activation, str) and activation == "relu")):
        raise UsageError(f"activation must be None or 'relu', got {show(activation)}")
    if not (rescale is None or isinstance(rescale, (Requantise, Dequantise))):
        raise UsageError(f"rescale must be None, a Requantise or a Dequantise, got {show(rescale)}")
    if weight.dtype == np.float32:
        if rescale is not None:
            raise UsageError("rescale is for uint8 features with an int8 weight; float32 takes none")
        return Finish.NONE if activation is None else Finish.RELU
    if activation is not None:
        raise UsageError("on uint8 features the ReLU is part of Requantise; leave activation out")
    if rescale is None:
        return Finish.NONE
    return Finish.REQUANTISE if isinstance(rescale, Requantise) else Finish.DEQUANTISE


def _checked_bias(bias: npt.ArrayLike | None, weight: PackedWeight) -> npt.NDArray[Any]:
    wanted = np.dtype(np.float32 if weight.dtype == np.float32 else np.int32)
    if bias is None:
        return np.zeros(weight.out_channels, wanted)
    values = check_array("bias", bias)
    if values.dtype != wanted or values.shape != (weight.out_channels,):
        raise UsageError(
            f"bias must be ({weight.out_channels},) {wanted}, got {values.dtype} of shape {values.shape}"
        )
    return values


def _check_rulebook(
    rulebook: Rulebook, grids: tuple[PillarGrid, ...], kind: str, kernel: int, stride: int
) -> None:
    check_instance("rulebook", rulebook, Rulebook)
    wanted, given = (kind, kernel, stride), (rulebook.kind, rulebook.kernel, rulebook.stride)
    if wanted != given:
        raise UsageError(
            f"the rulebook is for a {given[0]} convolution with kernel {given[1]} and stride {given[2]}, "
            f"the call for a {wanted[0]} one with kernel {wanted[1]} and stride {wanted[2]}"
        )
    if not rulebook.fits(*grids):
        raise UsageError("the rulebook was built for another active set; build it again from this grid")
