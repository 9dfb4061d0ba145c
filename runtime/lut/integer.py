"""integer.py: a look-up table between integers: compare, one multiply-add, shift."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..checks import check_number, check_whole
from ..errors import UsageError

VECTOR_ENTRIES = 16  # that fit one vector register
_NARROW_INPUT = 2**16  # largest |input| for which all arithmetic is made to fit int32
_NARROW_SUM, _WIDE_SUM = 2.0**30, 2.0**62  # bounds of |slope * x|, of |intercept| and so of half their sum
_LARGEST_SLOPE = 2**31 - 1
_FORMATS = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64)


@dataclass(frozen=True)
class Levels:
    """Integers that stand for numbers: number = scale * (level - zero), levels saturate to low..high.

    Raises:
        UsageError: the scale is not a finite number above 0, or the levels are no range within int32.
    """

    scale: float
    low: int
    high: int
    zero: int = 0

    def __post_init__(self) -> None:
        check_scale("scale", self.scale)
        low, high, zero = (check_whole(name, getattr(self, name)) for name in ("low", "high", "zero"))
        if not (-(2**31) <= low <= zero <= high < 2**31 and low < high):
            raise UsageError(f"levels {low}..{high} around {zero} must ascend and fit int32")

    @classmethod
    def signed(cls, scale: float, bits: int) -> Levels:
        """Return the levels of `bits` (2..32) bits, symmetric around 0 but for one."""
        half = 1 << (_check_bits(bits) - 1)
        return cls(scale, -half, half - 1)

    @classmethod
    def unsigned(cls, scale: float, bits: int, zero: int = 0) -> Levels:
        """Return the levels 0..2^bits - 1, of 2..31 bits."""
        return cls(scale, 0, (1 << _check_bits(bits)) - 1, zero)


@dataclass(frozen=True, eq=False)
class IntegerTable:
    """y = clip((slopes[i] * x + intercepts[i]) >> shift, low, high), i = number of breakpoints <= x.

    Before anything else x is clipped to input_low..input_high. `>>` rounds down; the half that makes it round to
    nearest is part of the intercepts. For every x in the domain |slope * x| and |intercept| stay below 2^30
    where `narrow`, and then their sum fits int32; else below 2^62, and their sum fits int64.

    Attributes:
        breakpoints: (N-1,) int32 ascending.
        slopes: (N,) int32.
        intercepts: (N,) int64, of int32 size where `narrow`.
        shift: 0..62, and 0..30 where `narrow`.
        input_low, input_high: what inputs saturate to, int32.
        low, high: what outputs saturate to.
    """

    breakpoints: NDArray[np.int32]
    slopes: NDArray[np.int32]
    intercepts: NDArray[np.int64]
    shift: int
    input_low: int
    input_high: int
    low: int
    high: int

    @property
    def entries(self) -> int:
        """Number of segments N."""
        return len(self.slopes)

    @cached_property
    def narrow(self) -> bool:
        """Whether all arithmetic fits int32."""
        arrays = (self.breakpoints, self.slopes, self.intercepts)
        segments = _Segments(*(array.astype(np.float64) for array in arrays))
        return segments.reach(self.input_low, self.input_high) < _NARROW_SUM and self.shift <= 30

    @cached_property
    def dtype(self) -> np.dtype[np.integer]:
        """The smallest integer format that holds every output."""
        return find_dtype(self.low, self.high)

    @cached_property
    def padded(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
        """The arrays with the last segment repeated up to VECTOR_ENTRIES, as kernels take them."""
        missing = max(VECTOR_ENTRIES - self.entries, 0)
        points = np.full(max(VECTOR_ENTRIES - len(self.breakpoints), 0), np.iinfo(np.int32).max, np.int32)
        return (
            np.concatenate([self.breakpoints, points]),
            np.pad(self.slopes, (0, missing), mode="edge"),
            np.pad(self.intercepts, (0, missing), mode="edge"),
        )

    def expand(self) -> NDArray[np.integer]:
        """Return the outputs of all 256 bytes: (256,), index x & 255, for inputs of 8 signed bits."""
        from .reference import apply

        return apply(np.arange(256).astype(np.uint8).view(np.int8), self)


def find_dtype(low: int, high: int) -> np.dtype[np.integer]:
    """Return the smallest integer format that holds low..high."""
    for dtype in _FORMATS:
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    raise UsageError(f"no integer format holds {low}..{high}")


def round_table(
    breakpoints: NDArray[np.float64],
    slopes: NDArray[np.float64],
    intercepts: NDArray[np.float64],
    inputs: Levels,
    outputs: Levels,
) -> IntegerTable:
    """Fold scales and zero-points into a table and round it (NN-LUT's integer form).

    With zero-points of 0: d_q = ceil(d / S_x), so that each integer falls into the same segment as its real value;
    s_q = round(s * S_x / S_y * 2^k), t_q = round(t / S_y * 2^k) + 2^(k-1), with the largest k that the bounds of
    `IntegerTable` allow.

    Raises:
        UsageError: no k fits.
    """
    low, high = inputs.low, inputs.high
    with np.errstate(over="ignore"):
        points = np.ceil(breakpoints / inputs.scale) + inputs.zero
        steep = slopes * (inputs.scale / outputs.scale)
        offset = intercepts / outputs.scale - steep * inputs.zero + outputs.zero
    segments = _Segments(points, steep, offset).drop_beyond(low, high)
    bound = _NARROW_SUM if max(-low, high) <= _NARROW_INPUT else _WIDE_SUM
    shift = _find_shift(segments.reach(low, high), float(np.abs(segments.slopes).max()), bound)
    return IntegerTable(
        segments.points.astype(np.int32),
        np.rint(np.ldexp(segments.slopes, shift)).astype(np.int32),
        np.rint(np.ldexp(segments.intercepts, shift)).astype(np.int64) + ((1 << shift) >> 1),
        shift,
        low,
        high,
        outputs.low,
        outputs.high,
    )


def check_scale(name: str, value: float) -> float:
    """Return a scale.

    Raises:
        UsageError: it is not a finite number above 0.
    """
    number = check_number(name, value)
    if not (0.0 < number < np.inf):
        raise UsageError(f"{name} must be a finite number above 0, got {value!r}")
    return number


def _check_bits(bits: int) -> int:
    if not 2 <= check_whole("bits", bits) <= 32:
        raise UsageError(f"bits must be 2..32, got {bits}")
    return int(bits)


@dataclass(frozen=True, eq=False)
class _Segments:
    """A table between levels before it is rounded: (N-1,) points, (N,) slopes and intercepts."""

    points: NDArray[np.float64]
    slopes: NDArray[np.float64]
    intercepts: NDArray[np.float64]

    def drop_beyond(self, low: int, high: int) -> _Segments:
        """Make the segments that no input low..high reaches equal to the next that one does."""
        first, last = int((self.points <= low).sum()), int((self.points <= high).sum())
        index = np.clip(np.arange(len(self.slopes)), first, last)
        return _Segments(np.clip(self.points, low, high), self.slopes[index], self.intercepts[index])

    def reach(self, low: int, high: int) -> float:
        """Return the largest |slope * x| or |intercept| of any segment over its own inputs."""
        ends = np.concatenate([[float(low)], self.points, [float(high)]])
        largest_inputs = np.maximum(np.abs(ends[:-1]), np.abs(ends[1:]))
        return float(max(np.abs(self.slopes * largest_inputs).max(), np.abs(self.intercepts).max()))


def _find_shift(reach: float, largest_slope: float, bound: float) -> int:
    """Return the largest k with reach * 2^k < bound, slopes that fit int32, and room for rounding."""
    most = int(np.log2(bound))
    for shift in range(most, -1, -1):
        # A slope rounds by up to a half, which the largest input multiplies; then comes the half of the output.
        spread = np.ldexp(reach, shift) + 2.0 ** (most // 2 + 1) + 2.0 ** max(shift - 1, 0)
        if spread < bound and np.ldexp(largest_slope, shift) <= _LARGEST_SLOPE - 1:
            return shift
    raise UsageError(
        "the outputs do not fit the integer arithmetic: output_scale is too fine for these inputs; "
        "make it coarser, or the range of the inputs smaller"
    )
