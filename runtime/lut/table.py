"""table.py: a piecewise-linear look-up table, and the network of one hidden ReLU layer that it equals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike, NDArray

from ..checks import check_array
from ..errors import UsageError
from .integer import IntegerTable, Levels, round_table

Floats = NDArray[np.floating]
MOST_ENTRIES = 256
_CONTINUITY = 64  # roundings of the largest value at a breakpoint that two segments may lie apart


@dataclass(frozen=True, eq=False)
class LutTable:
    """y = slopes[i] * x + intercepts[i], i being the number of breakpoints <= x (NN-LUT, Eq. 4).

    Attributes:
        breakpoints: (N-1,) ascending, in one float format with the others; equal ones leave an empty segment.
        slopes, intercepts: (N,).

    Raises:
        UsageError: not such arrays.
    """

    breakpoints: Floats
    slopes: Floats
    intercepts: Floats

    def __post_init__(self) -> None:
        arrays = [check_array(name, getattr(self, name), "f") for name in self.__dataclass_fields__]
        breakpoints, slopes, intercepts = arrays
        if slopes.ndim != 1 or slopes.shape != intercepts.shape or len(slopes) != breakpoints.size + 1:
            raise UsageError(
                f"a table of N entries has N-1 breakpoints, N slopes and N intercepts; got arrays of shapes "
                f"{', '.join(str(array.shape) for array in arrays)}"
            )
        if len({array.dtype for array in arrays}) != 1 or not all(
            np.isfinite(array).all() for array in arrays
        ):
            raise UsageError("the arrays of a table must be finite and of one float format")
        if (breakpoints[1:] < breakpoints[:-1]).any():
            raise UsageError("the breakpoints of a table must ascend; sort them with their segments")

    @property
    def entries(self) -> int:
        """Number of segments N."""
        return len(self.slopes)

    def __call__(self, x: ArrayLike) -> Floats:
        """Return the table at every x, in the format of the table and the shape of `x`."""
        values = np.asarray(x, self.slopes.dtype)
        index = np.searchsorted(self.breakpoints, values, side="right")
        return np.asarray(self.slopes[index] * values + self.intercepts[index])

    def to_precision(self, dtype: npt.DTypeLike) -> LutTable:
        """Return the table with its numbers rounded to a float format, in which it then computes.

        Args:
            dtype: such as np.float32 or np.float16.

        Raises:
            UsageError: a number does not fit the format.
        """
        with np.errstate(over="ignore"):
            return LutTable(
                *(array.astype(dtype) for array in (self.breakpoints, self.slopes, self.intercepts))
            )

    def to_integer(
        self, input_scale: float, output_scale: float, *, input_bits: int = 32, output_bits: int = 32
    ) -> IntegerTable:
        """Return the table between signed integers: x = input_scale * x_q, y = output_scale * y_q.

        Args:
            input_scale, output_scale: > 0.
            input_bits: 2..32; inputs saturate to that many bits. Up to 16, all arithmetic fits int32.
            output_bits: 2..32; outputs saturate to that many bits.

        Raises:
            UsageError: an argument outside its domain, or the output scale is too fine for the arithmetic.
        """
        inputs, outputs = Levels.signed(input_scale, input_bits), Levels.signed(output_scale, output_bits)
        return self.to_levels(inputs, outputs)

    def to_levels(self, inputs: Levels, outputs: Levels) -> IntegerTable:
        """Return the table between integers of any scale, zero-point and range, such as uint8 from int16.

        Raises:
            UsageError: the outputs' scale is too fine for the arithmetic.
        """
        points, slopes, intercepts = (
            array.astype(np.float64) for array in (self.breakpoints, self.slopes, self.intercepts)
        )
        return round_table(points, slopes, intercepts, inputs, outputs)

    def to_network(self) -> ReluNetwork:
        """Return a network that equals the table.

        Where the first segment is 0, all neurons open to the right, and where the last is, to the left: N-1
        neurons. Otherwise a neuron with n = 0 adds the constant and two that meet at 0 add the slope of the first
        segment.

        Raises:
            UsageError: the table jumps at a breakpoint, which no such network does.
        """
        points, slopes = self.breakpoints.astype(np.float64), self.slopes.astype(np.float64)
        intercepts = self.intercepts.astype(np.float64)
        jumps = np.diff(slopes) * points + np.diff(intercepts)
        scale = np.abs(slopes[1:] * points) + np.abs(intercepts[1:]) + np.abs(intercepts[:-1]) + 1e-300
        tolerance = _CONTINUITY * max(float(np.finfo(self.slopes.dtype).eps), 1e-11)
        if (np.abs(jumps) > tolerance * scale.max(initial=0.0)).any():
            worst = int(np.argmax(np.abs(jumps)))
            raise UsageError(
                f"the table jumps by {jumps[worst]:.3g} at its breakpoint {points[worst]:.6g}; a ReLU network is "
                "continuous, so only a continuous table can be one"
            )
        turns = np.diff(slopes)
        ones = np.ones_like(points)
        if slopes[-1] == 0.0 and intercepts[-1] == 0.0 and (slopes[0] != 0.0 or intercepts[0] != 0.0):
            return ReluNetwork(turns, -ones, points)
        network = ReluNetwork(turns, ones, -points)
        if intercepts[0] != 0.0:
            network = network.extend(intercepts[0], 0.0, 1.0)
        if slopes[0] != 0.0:
            network = network.extend(slopes[0], 1.0, 0.0).extend(-slopes[0], -1.0, 0.0)
        return network


@dataclass(frozen=True, eq=False)
class ReluNetwork:
    """y = sum over j of m[j] * max(n[j] * x + b[j], 0): one hidden layer, no output bias (NN-LUT, Eq. 5).

    Attributes:
        m, n, b: (H,) float64. A neuron with n = 0 is the constant m * max(b, 0).

    Raises:
        UsageError: not three vectors of one length, or not finite.
    """

    m: NDArray[np.float64]
    n: NDArray[np.float64]
    b: NDArray[np.float64]

    def __post_init__(self) -> None:
        shapes = {np.shape(self.m), np.shape(self.n), np.shape(self.b)}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise UsageError(f"m, n and b of a network must be vectors of one length, got shapes {shapes}")
        if not all(np.isfinite(array).all() for array in (self.m, self.n, self.b)):
            raise UsageError("m, n and b of a network must be finite")

    def __call__(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return the network at every x, float64 in the shape of `x`."""
        values = np.asarray(x, np.float64)
        total = np.zeros_like(values)
        for m, n, b in zip(self.m, self.n, self.b, strict=True):  # neuron by neuron: no (points, H) array
            total += m * np.maximum(n * values + b, 0.0)
        return total

    def extend(self, m: float, n: float, b: float) -> ReluNetwork:
        """Return the network with one more neuron."""
        return ReluNetwork(np.append(self.m, m), np.append(self.n, n), np.append(self.b, b))

    def to_table(self) -> LutTable:
        """Return the table that equals the network: an entry more than there are neurons with n != 0.

        To the right of breakpoint j a neuron with n > 0 is active, to its left one with n < 0; the slope of a
        segment is the sum of m * n over its active neurons, the intercept that of m * b (NN-LUT, Eq. 7).
        Neurons with n = 0 add their constant to every intercept.

        Raises:
            UsageError: a breakpoint -b / n is too large for a float.
        """
        bent = self.n != 0.0
        constant = float((self.m[~bent] * np.maximum(self.b[~bent], 0.0)).sum())
        m, n, b = self.m[bent], self.n[bent], self.b[bent]
        with np.errstate(over="ignore"):
            points = -b / n
        order = np.argsort(points, kind="stable")
        m, n, b, points = m[order], n[order], b[order], points[order] + 0.0
        place = np.arange(len(m) + 1)[:, None]  # segment i lies right of the breakpoints 0..i-1
        active = np.where(n > 0.0, np.arange(len(m)) < place, np.arange(len(m)) >= place)
        slopes = np.where(active, m * n, 0.0).sum(axis=1)
        intercepts = np.where(active, m * b, 0.0).sum(axis=1) + constant
        return LutTable(points, slopes, intercepts)
