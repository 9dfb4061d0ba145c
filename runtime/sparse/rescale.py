"""rescale.py: what follows an integer convolution: back to uint8 steps, or to float32 values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import UsageError

Scale = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Requantise:
    """int32 → uint8: rint(float32(sum) · scale) clamped to 0..255, which is also the ReLU.

    Attributes:
        scale: (Cout) float32, finite: weight step · input step / output step per output channel.

    Raises:
        UsageError: scale has another dtype or shape, or is not finite.
    """

    scale: Scale

    def __post_init__(self) -> None:
        _check_scale(self.scale)


@dataclass(frozen=True, eq=False)
class Dequantise:
    """int32 → float32: float32(sum) · scale.

    Attributes:
        scale: (Cout) float32, finite: weight step · input step per output channel.

    Raises:
        UsageError: scale has another dtype or shape, or is not finite.
    """

    scale: Scale

    def __post_init__(self) -> None:
        _check_scale(self.scale)


Rescale = Requantise | Dequantise


def _check_scale(scale: Scale) -> None:
    if not isinstance(scale, np.ndarray) or scale.dtype != np.float32 or scale.ndim != 1:
        raise UsageError("scale must be a float32 array with one value per output channel")
    if not np.isfinite(scale).all():
        raise UsageError("scale holds NaN or infinity; check the model that it came from")
