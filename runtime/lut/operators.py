"""operators.py: what the integer softmax and norms hold: small tables and the places of their binary points."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import check_array, check_whole
from ..errors import UsageError
from .calibration import calibrate
from .fitting import fit
from .integer import IntegerTable, Levels, check_scale, find_dtype
from .table import LutTable

# Softmax: exponentials are 2^15 for 1; 1/sum is a table over the sum's leading bits, moved to 2^28..2^29.
EXP_BITS = 15
SUM_BITS = 28
RECIPROCAL_BITS = 15
LARGEST_SHIFT = 31  # beyond, every output is 0
_EXP_REACH = -(EXP_BITS + 1) * math.log(2.0)  # below, an exponential rounds to 0
_TILT, _DISTANCES = 0.5, 2**15  # of the default exponential's calibration

# Norms: deviations have 6 bits below the binary point; 1/sqrt is a table over the variance's leading bits, moved
# to 2^28..2^30; the normalised value has 10 bits below the point, and gamma times it has 20.
LARGEST_INPUT = 2**18 - 1
MEAN_BITS = 6
VARIANCE_BITS = 28
RSQRT_BITS = 15
NORMAL_BITS = 10
OUTPUT_SHIFT = 20
LONGEST_ROW = 2**14


@dataclass(frozen=True, eq=False)
class SoftmaxTables:
    """What `softmax` needs beside its input.

    Attributes:
        exponential: x - max(x), clipped to its input_low..0, to exp of it in units of 2^-EXP_BITS.
        reciprocal: sum moved to 2^SUM_BITS..2^(SUM_BITS+1), to 2^RECIPROCAL_BITS * high / 2^output_bits / (that sum
            / 2^SUM_BITS).
        output_bits: of the outputs, 2..16.
    """

    exponential: IntegerTable
    reciprocal: IntegerTable
    output_bits: int

    @property
    def high(self) -> int:
        """The output that means 1."""
        return (1 << self.output_bits) - 1

    @property
    def dtype(self) -> np.dtype[np.integer]:
        """uint8, or uint16 where there are more than 8 output bits."""
        return find_dtype(0, self.high)


def build_softmax(
    input_scale: float,
    *,
    entries: int = 16,
    output_bits: int = 8,
    seed: int = 0,
    exponential: LutTable | None = None,
) -> SoftmaxTables:
    """Return the tables of a softmax whose output `high` = 2^output_bits - 1 means 1.

    Args:
        input_scale: of the inputs: x = input_scale * x_q; from 2e-4 on, all arithmetic on rows fits int32.
        entries: of both tables, 2..256.
        output_bits: 2..16; the outputs are uint8 up to 8, uint16 beyond.
        seed: of the fits.
        exponential: table of exp in place of the default, such as one calibrated on x - max(x) of a model.

    Raises:
        UsageError: an argument outside its domain.
    """
    if not 2 <= check_whole("output_bits", output_bits) <= 16:
        raise UsageError(f"output_bits must be 2..16, got {output_bits}")
    scale = check_scale("input_scale", input_scale)
    lowest = -int(min(max(math.ceil(_EXP_REACH / -scale), 1), 2**31 - 1))
    one = 1 << EXP_BITS
    table = fit_exponential(entries, seed) if exponential is None else exponential
    share = ((1 << output_bits) - 1) / (1 << output_bits)
    reciprocal = _fit_octave("reciprocal", 2.0, entries, seed).to_levels(
        Levels(2.0**-SUM_BITS, 0, 1 << (SUM_BITS + 1)),
        Levels(1.0 / (share * (1 << RECIPROCAL_BITS)), 0, 1 << RECIPROCAL_BITS),
    )
    exponents = table.to_levels(Levels(scale, lowest, 0), Levels(1.0 / one, 0, one))
    return SoftmaxTables(exponents, reciprocal, output_bits)


@cache
def fit_exponential(entries: int = 16, seed: int = 0) -> LutTable:
    """Return the table of exp for a softmax.

    A row sums many small exponentials, whose errors add up where its numbers lie close together; so inputs
    count more the further they are below 0, by exp(-x / 2).
    """
    places = (np.arange(_DISTANCES) + 0.5) / _DISTANCES
    distances = np.log1p(places * math.expm1(-_TILT * _EXP_REACH)) / _TILT
    return calibrate("exp", -distances, entries=entries, seed=seed)


@cache
def _fit_octave(name: str, top: float, entries: int, seed: int) -> LutTable:
    """Return the table of a function on 1..top, into which powers of two move every input."""
    return fit(name, entries=entries, interval=(1.0, top), seed=seed)


@dataclass(frozen=True, eq=False)
class NormTables:
    """What `layer_norm` and `rms_norm` need beside input, gamma and beta.

    Attributes:
        rsqrt: variance moved to 2^VARIANCE_BITS..2^(VARIANCE_BITS+2), to 2^RSQRT_BITS / sqrt(that / 2^VARIANCE_BITS).
        epsilon: added to the variance, in units of the squared input scale * 4^-MEAN_BITS.
        low, high: what outputs saturate to.
    """

    rsqrt: IntegerTable
    epsilon: int
    low: int
    high: int

    @property
    def dtype(self) -> np.dtype[np.integer]:
        """The smallest integer format that holds every output."""
        return find_dtype(self.low, self.high)


def build_norm(
    input_scale: float,
    epsilon: float,
    *,
    entries: int = 16,
    low: int = -128,
    high: int = 127,
    seed: int = 0,
) -> NormTables:
    """Return the tables of a layer norm or RMS norm.

    Args:
        input_scale: of the inputs: x = input_scale * x_q. Inputs saturate to +-LARGEST_INPUT; a scale that lets them
            be a few thousand loses nothing.
        epsilon: of the norm, in squared units of x, >= 0.
        entries: of the table, 2..256.
        low, high: of the outputs.
        seed: of the fit.

    Raises:
        UsageError: an argument outside its domain.
    """
    scale = check_scale("input_scale", input_scale)
    if not 0.0 <= epsilon < math.inf:
        raise UsageError(f"epsilon must be a finite number of 0 or more, got {epsilon!r}")
    levels = Levels(1.0, low, high, min(max(0, low), high))
    rsqrt = _fit_octave("rsqrt", 4.0, entries, seed).to_levels(
        Levels(2.0**-VARIANCE_BITS, 0, 1 << (VARIANCE_BITS + 2)), Levels(2.0**-RSQRT_BITS, 0, 1 << RSQRT_BITS)
    )
    fixed = round(min(epsilon / scale**2 * 4.0**MEAN_BITS, 2.0**48))
    return NormTables(rsqrt, fixed, levels.low, levels.high)


def quantise_affine(
    gamma: ArrayLike, beta: ArrayLike | None, output_scale: float, output_zero: int = 0
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return gamma_q (n,) int32 and beta_q (n,) int64 as the norms take them.

    gamma_q = round(gamma / S_y * 2^(OUTPUT_SHIFT - NORMAL_BITS)); beta_q = round((beta / S_y + zero) * 2^OUTPUT_SHIFT)
    plus the half that makes the last shift round to nearest.

    Args:
        gamma: (n,).
        beta: (n,), or None where there is none.
        output_scale, output_zero: y = output_scale * (y_q - output_zero).

    Raises:
        UsageError: a number does not fit, which takes a coarser output scale.
    """
    scale = check_scale("output_scale", output_scale)
    gains = check_array("gamma", gamma).astype(np.float64) / scale
    shifts = np.zeros_like(gains) if beta is None else check_array("beta", beta).astype(np.float64) / scale
    gains, shifts = np.ldexp(gains, OUTPUT_SHIFT - NORMAL_BITS), np.ldexp(shifts + output_zero, OUTPUT_SHIFT)
    if gains.ndim != 1 or gains.shape != shifts.shape:
        raise UsageError(
            f"gamma and beta must be vectors of one length, got {gains.shape} and {shifts.shape}"
        )
    if not (np.abs(gains) < 2.0**31).all() or not (np.abs(shifts) < 2.0**61).all():
        raise UsageError("gamma or beta does not fit the integers of the norm; use a coarser output_scale")
    half = 1 << (OUTPUT_SHIFT - 1)
    return np.rint(gains).astype(np.int32), np.rint(shifts).astype(np.int64) + half
