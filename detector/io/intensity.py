"""intensity.py: which scale the intensities of a recording have, and their way to 0..1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import UsageError
from .clouds import RawCloud


@dataclass(frozen=True)
class IntensityScale:
    """The stored value that means full intensity; 0 = there is no intensity, it is set to 0.

    Attributes:
        full: 1, 255, 65535, or whatever the user gave.
    """

    full: float

    def __str__(self) -> str:
        return f"0..{self.full:g}" if self.full > 0 else "none"

    def normalise(self, cloud: RawCloud) -> NDArray[np.float32]:
        """Return the intensities (N,) float32 of `cloud` in 0..1; a value that is no number becomes 0."""
        if self.full <= 0 or cloud.intensity is None:
            return np.zeros(len(cloud.xyz), np.float32)
        with np.errstate(all="ignore"):
            scaled = cloud.intensity if self.full == 1 else cloud.intensity / np.float32(self.full)
            return np.clip(np.nan_to_num(scaled, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0).astype(
                np.float32
            )


def parse_intensity_scale(scale: float | str | None) -> IntensityScale | None:
    """Return the scale that the user gave (a full-scale value, or "none"), or None to find it out.

    Raises:
        UsageError: it is neither a positive number nor "none".
    """
    if scale is None:
        return None
    try:
        full = 0.0 if str(scale).strip().lower() == "none" else float(scale)
    except (TypeError, ValueError, OverflowError):
        full = -1.0
    if not np.isfinite(full) or full < 0:
        raise UsageError(
            f"--intensity-scale {scale}: give the value of full intensity (1, 255, 65535) or 'none'"
        )
    return IntensityScale(full)


def guess_intensity_scale(clouds: Sequence[RawCloud]) -> IntensityScale:
    """Return the smallest usual scale that holds the intensities of the first `clouds`.

    A few outliers do not decide: 0.5 % of the values may lie above.
    """
    stored = [cloud for cloud in clouds if cloud.intensity is not None and len(cloud.intensity)]
    values = np.concatenate(
        [np.empty(0, np.float32), *(cloud.intensity for cloud in stored if cloud.intensity is not None)]
    )
    values = values[np.isfinite(values)]
    if not len(values):
        return IntensityScale(0.0)
    if all(cloud.byte_intensity for cloud in stored):
        return IntensityScale(255.0)
    high, top = float(np.quantile(values, 0.995)), float(values.max())
    if high <= 1.0 and top <= 2.0:
        return IntensityScale(1.0)
    return IntensityScale(255.0 if high <= 255.0 else 65535.0)
