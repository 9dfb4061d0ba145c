"""ternary.py: ternary weights: -α, 0 and +α, with a threshold below which a number becomes 0."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .formats import Codes, Floats, IntegerImage, as_float32, spread

THRESHOLD = 0.7  # of the mean magnitude


@dataclass(frozen=True, eq=False)
class TernaryLevels:
    """Codes 0, 1, 2 mean -scale, 0, +scale; numbers whose magnitude is at most the threshold are 0.

    Attributes:
        threshold: (rows or 1, 1) float64 >= 0, needed to encode only.
        scale: (rows or 1, 1) float64 >= 0, float32 values.
    """

    threshold: Floats
    scale: Floats
    bits: int = field(default=2, init=False)

    @property
    def overhead(self) -> int:
        """Bytes of scales."""
        return self.scale.size * 4

    def encode(self, values: Floats) -> Codes:
        """Return 1 + sign(value) outside the threshold, 1 within."""
        above = (values > self.threshold).astype(np.uint8)
        return np.uint8(1) + above - (values < -self.threshold).astype(np.uint8)

    def decode(self, codes: Codes) -> Floats:
        """Return scale * (code - 1)."""
        return self.scale * (codes.astype(np.float64) - 1.0)

    def image(self, codes: Codes) -> IntegerImage:
        """Return code - 1 as int8."""
        return IntegerImage((codes.astype(np.int8) - np.int8(1))[None], spread(self.scale, len(codes))[None])

    def take_rows(self, rows: slice) -> TernaryLevels:
        """Return the levels of some rows."""
        return self if len(self.scale) == 1 else TernaryLevels(self.threshold[rows], self.scale[rows])


@dataclass(frozen=True)
class TernaryFormat:
    """TWN: threshold Δ = 0.7 * mean |w| of a row, α = mean of the |w| above it; always 2 bits."""

    bits: int = field(default=2, init=False)

    def fit(self, values: Floats) -> TernaryLevels:
        """Return levels from the magnitudes of each row of (rows, n) numbers."""
        magnitude = np.abs(values)
        threshold = THRESHOLD * magnitude.mean(axis=1, keepdims=True)
        above = magnitude > threshold
        count = np.maximum(above.sum(axis=1, keepdims=True), 1)
        return TernaryLevels(threshold, as_float32((magnitude * above).sum(axis=1, keepdims=True) / count))
