"""activations.py: activations as asymmetric integers, with one range per token or one for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ..checks import check_choice, check_whole
from ..errors import UsageError
from .formats import Floats
from .uniform import UniformFormat

Sharing = Literal["token", "tensor"]
SHARINGS: tuple[Sharing, ...] = get_args(Sharing)


@dataclass(frozen=True)
class ActivationFormat:
    """Asymmetric min-max integers as in the experiments of Lee et al. 2023 (arXiv 2311.05161): 8 bits per token.

    Attributes:
        bits: 2..8, or None where activations stay floating-point.
        sharing: "token" gives every row a range of its own, found as it is computed; "tensor" one range for all.

    Raises:
        UsageError: `bits` is outside its range, or `sharing` unknown.
    """

    bits: int | None = 8
    sharing: Sharing = "token"

    def __post_init__(self) -> None:
        check_choice("sharing", self.sharing, SHARINGS)
        if self.bits is not None and not 2 <= check_whole("bits", self.bits) <= 8:
            raise UsageError(f"bits of activations must be 2..8, or None for floating-point, got {self.bits}")

    def approximate(self, activations: Floats) -> Floats:
        """Return what a product sees of (samples, in) activations."""
        if self.bits is None:
            return activations
        rows = activations if self.sharing == "token" else activations.reshape(1, -1)
        levels = UniformFormat(self.bits, symmetric=False).fit(rows)
        return levels.decode(levels.encode(rows)).reshape(activations.shape)
