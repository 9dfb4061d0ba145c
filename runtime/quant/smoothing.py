"""smoothing.py: scales of input channels that move a range from activations to weights, or the other way."""

from __future__ import annotations

import numpy as np

from ..checks import check_number
from ..errors import UsageError
from .formats import Floats

_LEAST = 1e-5  # of the largest: no channel counts for less, so that no scale gets out of hand
EXPONENTS: tuple[float, ...] = tuple(step / 20 for step in range(20))  # 0, 0.05 ... 0.95


def find_smooth_scale(weight: Floats, activations: Floats, strength: float = 0.5) -> Floats:
    """Return SmoothQuant's scale max|X_c|^strength / max|W_c|^(1 - strength).

    The product is kept by X / s and W·diag(s): a larger s makes activations smaller and weights larger.
    The family that AQAS searches, Lee et al. 2023 (arXiv 2311.05161), appendix A.4, holds it.

    Args:
        weight: (out, in).
        activations: (samples, in).
        strength: 0..1, how much of the activations' range is moved.

    Returns:
        (in,) float64 > 0.

    Raises:
        UsageError: `strength` is outside its range.
    """
    if not 0.0 <= check_number("strength", strength) <= 1.0:
        raise UsageError(f"strength must be 0..1, got {strength}")
    seen, held = _fill(np.abs(activations).max(axis=0)), _fill(np.abs(weight).max(axis=0))
    return np.asarray(seen**strength / held ** (1.0 - strength))


def find_activation_scale(activations: Floats, exponent: float) -> Floats:
    """Return AWQ's scale mean|X_c|^exponent, normalised: salient weight channels are made larger, and round finer.

    What the public code of AWQ searches.

    Args:
        activations: (samples, in).
        exponent: 0..1; 0 is a scale of 1.
    """
    return normalise(np.asarray(_fill(np.abs(activations).mean(axis=0)) ** exponent))


def normalise(scale: Floats) -> Floats:
    """Divide a scale by the square root of its largest times its smallest element."""
    return np.asarray(scale / np.sqrt(scale.max() * scale.min()))


def _fill(range_of_channel: Floats) -> Floats:
    """Return ranges above 0; a channel that was never seen active gets the mean of the others."""
    active = range_of_channel > 0
    if not active.any():
        return np.ones_like(range_of_channel)
    filled = np.where(active, range_of_channel, range_of_channel[active].mean())
    return np.asarray(np.maximum(filled, _LEAST * filled.max()))
