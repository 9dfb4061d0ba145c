"""scaling.py: powers of two that move an input into a table's interval, and its output back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from .fitting import fit
from .table import LutTable


@dataclass(frozen=True, eq=False)
class ScaledTable:
    """A table of 1/x or 1/sqrt(x) on 1..top that serves every x > 0 (NN-LUT, input scaling).

    x outside 1..top is moved to S x within by a power of two S, an even one for the root:
    1/x = S LUT(S x), 1/sqrt(x) = sqrt(S) LUT(S x). Both are shifts.

    Attributes:
        table: fitted on 1..top, top being at least 2 (1/x) or 4 (1/sqrt x).
        top: end of its interval.
        power: 1 of 1/x, 2 of 1/sqrt(x): S is a power of 2^power.
    """

    table: LutTable
    top: float
    power: Literal[1, 2]

    def __call__(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return the function at every x.

        Raises:
            UsageError: an x is not a finite number above 0.
        """
        values = np.asarray(x, np.float64)
        if not ((values > 0.0) & np.isfinite(values)).all():
            raise UsageError("1/x and 1/sqrt(x) take finite numbers above 0")
        octave = np.frexp(values)[1] - 1  # 2^octave <= x
        outside = (values < 1.0) | (values >= self.top)
        steps = np.where(outside, -(octave // self.power), 0)
        return np.asarray(np.ldexp(self.table(np.ldexp(values, self.power * steps)), steps))


def fit_scaled(
    name: Literal["reciprocal", "rsqrt"], *, entries: int = 16, top: float = 1024.0, seed: int = 0
) -> ScaledTable:
    """Return a scaled table of 1/x or 1/sqrt(x), fitted on 1..top.

    Raises:
        UsageError: another function, or a top below 2 (1/x) or 4 (1/sqrt x).
    """
    if name not in ("reciprocal", "rsqrt"):
        raise UsageError(f"only reciprocal and rsqrt scale by powers of two, got {name!r}")
    power: Literal[1, 2] = 1 if name == "reciprocal" else 2
    if not 2.0**power <= top < np.inf:
        raise UsageError(f"top must be at least {2**power} for {name}, got {top!r}")
    return ScaledTable(fit(name, entries=entries, interval=(1.0, float(top)), seed=seed), float(top), power)
