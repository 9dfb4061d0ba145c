"""dint.py: dINT, integers with two more levels at plus and minus half a step, so that small numbers do not vanish."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..checks import check_whole
from ..errors import UsageError
from .formats import Codes, Floats, IntegerImage, spread
from .uniform import fit_range


@dataclass(frozen=True, eq=False)
class DIntLevels:
    """Codes 0..p = 2^bits - 3 mean step * (code - zero); the last two mean -step/2 and +step/2.

    Lee et al. 2023 (arXiv 2311.05161), section 4.2, Eq. 5 and 6. Which bits the two special codes have is not
    printed there: 2^bits - 2 is -step/2 and 2^bits - 1 is +step/2 here.

    Attributes:
        step: (rows or 1, 1) float64 > 0, float32 values.
        zero: (rows or 1, 1) int64, 0..p, the code of 0.
        bits: of a code.
    """

    step: Floats
    zero: NDArray[np.int64]
    bits: int

    @property
    def largest(self) -> int:
        """The last uniform code, p."""
        return int(2**self.bits - 3)

    @property
    def minus_half(self) -> int:
        """The code of -step/2."""
        return int(2**self.bits - 2)

    @property
    def plus_half(self) -> int:
        """The code of +step/2."""
        return int(2**self.bits - 1)

    @property
    def overhead(self) -> int:
        """Bytes of steps and zero-points."""
        return self.step.size * 5

    def encode(self, values: Floats) -> Codes:
        """Return the special codes on (s/4, 3s/4] and [-3s/4, -s/4), elsewhere rint(value / s) + zero in 0..p."""
        levels = np.rint(values / self.step)
        levels += self.zero
        codes = np.clip(levels, 0, self.largest, out=levels).astype(np.uint8)
        near, far = 0.25 * self.step, 0.75 * self.step
        codes[(values > near) & (values <= far)] = self.plus_half
        codes[(values < -near) & (values >= -far)] = self.minus_half
        return codes

    def decode(self, codes: Codes) -> Floats:
        """Return +step/2, -step/2, or step * (code - zero)."""
        return self._halves(codes) * (0.5 * self.step)

    def image(self, codes: Codes) -> IntegerImage:
        """Return 2 * (code - zero), or plus or minus 1, as int8 in units of half a step."""
        values = self._halves(codes).astype(np.int8)
        return IntegerImage(values[None], spread(0.5 * self.step, len(codes))[None])

    def take_rows(self, rows: slice) -> DIntLevels:
        """Return the levels of some rows."""
        return self if len(self.step) == 1 else DIntLevels(self.step[rows], self.zero[rows], self.bits)

    def _halves(self, codes: Codes) -> Floats:
        """Return the numbers in units of half a step, which are whole."""
        halves = codes.astype(np.float64)
        halves -= self.zero
        halves *= 2.0
        halves[codes == self.plus_half] = 1.0
        halves[codes == self.minus_half] = -1.0
        return halves


@dataclass(frozen=True)
class DIntFormat:
    """dINT of some bits: step = (max - min) / (2^bits - 3) of each row, the range including 0.

    Attributes:
        bits: of a code, 2..6; 4 and 3 in the paper. With more, the integers would not fit int8.

    Raises:
        UsageError: `bits` is outside its range.
    """

    bits: int

    def __post_init__(self) -> None:
        if not 2 <= check_whole("bits", self.bits) <= 6:
            raise UsageError(f"bits of dINT must be 2..6, so that its integers fit int8, got {self.bits}")

    def fit(self, values: Floats) -> DIntLevels:
        """Return levels from the range of each row of (rows, n) numbers."""
        step, zero = fit_range(values, 2**self.bits - 3)
        return DIntLevels(step, zero, self.bits)
