"""binary_coding.py: binary-coding quantisation: w ≈ Σ α_i * b_i with b_i = ±1, and three ways to find it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..checks import check_choice, check_whole
from ..errors import UsageError
from .formats import Codes, Floats, IntegerImage, as_float32, spread

Solver = Literal["greedy", "refined", "alternating"]
SOLVERS: tuple[Solver, ...] = get_args(Solver)
ROUNDS = 15  # of the alternating solver


@dataclass(frozen=True, eq=False)
class BinaryCoding:
    """Numbers as sums of signed scales.

    Attributes:
        alphas: (rows, bits) float64.
        signs: (bits, rows, n) int8, -1 or 1.
    """

    alphas: Floats
    signs: NDArray[np.int8]

    def decode(self) -> Floats:
        """Return (rows, n): Σ over i of alphas[:, i] * signs[i]."""
        return np.asarray(np.einsum("rb,brn->rn", self.alphas, self.signs))


def solve_greedy(values: Floats, bits: int) -> BinaryCoding:
    """Take the sign of what is left and its mean magnitude, bit by bit (Guo et al. 2017).

    Args:
        values: (rows, n) finite numbers.
        bits: signs per number.
    """
    rest = values.copy()
    alphas = np.empty((len(values), bits))
    signs = np.empty((bits, *values.shape), np.int8)
    for bit in range(bits):
        signs[bit] = _sign(rest)
        alphas[:, bit] = np.abs(rest).mean(axis=1)
        rest -= alphas[:, bit, None] * signs[bit]
    return BinaryCoding(alphas, signs)


def solve_refined(values: Floats, bits: int) -> BinaryCoding:
    """As `solve_greedy`, but all scales found so far are solved anew, by least squares, after every bit."""
    signs = np.empty((bits, *values.shape), np.int8)
    alphas = np.empty((len(values), 0))
    rest = values
    for bit in range(bits):
        signs[bit] = _sign(rest)
        alphas = solve_scales(values, signs[: bit + 1])
        rest = values - BinaryCoding(alphas, signs[: bit + 1]).decode()
    return BinaryCoding(alphas, signs)


def solve_alternating(
    values: Floats, bits: int, rounds: int = ROUNDS, start: BinaryCoding | None = None
) -> BinaryCoding:
    """Solve the scales and move every number to its nearest sum, by turns (Xu et al. 2018).

    No round makes the squared error larger, apart from rounding.

    Args:
        values: (rows, n) finite numbers.
        bits: signs per number.
        rounds: of the two steps.
        start: where to begin; None begins with `solve_refined`, from which fewer rounds do than from `solve_greedy`.
    """
    coding = start or solve_refined(values, bits)
    for _ in range(rounds):
        alphas = -np.sort(-np.abs(solve_scales(values, coding.signs)), axis=1)
        coding = BinaryCoding(alphas, _signs_of(BinaryLevels(alphas).encode(values), bits))
    return coding


def solve_scales(values: Floats, signs: NDArray[np.int8]) -> Floats:
    """Return (BᵀB)⁻¹ Bᵀ w of each row, (rows, bits); the shortest solution where signs depend on each other."""
    planes = signs.astype(np.float64)
    products = np.einsum("irn,jrn->rij", planes, planes)
    right = np.einsum("irn,rn->ri", planes, values)
    return np.asarray((np.linalg.pinv(products, hermitian=True) @ right[..., None])[..., 0])


@dataclass(frozen=True, eq=False)
class BinaryLevels:
    """All 2^bits sums ±α_1 ± α_2 …; bit i of a code is set where α_(i+1) is added.

    Attributes:
        alphas: (rows or 1, bits) float64.
    """

    alphas: Floats

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return int(self.alphas.shape[1])

    @property
    def overhead(self) -> int:
        """Bytes of scales."""
        return self.alphas.size * 4

    def encode(self, values: Floats) -> Codes:
        """Return the code of the nearest sum; half way between two, the lower one."""
        sums = self.alphas @ _signs_of(np.arange(2**self.bits, dtype=np.uint8), self.bits)  # (rows, 2^bits)
        order = np.argsort(sums, axis=1, kind="stable")
        ascending = np.take_along_axis(sums, order, axis=1)
        middles = 0.5 * (ascending[:, :-1] + ascending[:, 1:])
        rank = np.zeros(values.shape, np.uint8)
        for index in range(middles.shape[1]):
            rank += values > middles[:, index, None]
        codes = order.astype(np.uint8)
        return codes[0][rank] if len(codes) == 1 else np.take_along_axis(codes, rank.astype(np.intp), axis=1)

    def decode(self, codes: Codes) -> Floats:
        """Return the sums behind the codes."""
        signs = _signs_of(codes, self.bits)
        return sum((self.alphas[:, i, None] * signs[i] for i in range(self.bits)), np.zeros(codes.shape))

    def image(self, codes: Codes) -> IntegerImage:
        """Return one plane of -1 and 1 per bit, with the α of each row."""
        scale = spread(self.alphas, len(codes), self.bits).T[:, :, None]
        return IntegerImage(_signs_of(codes, self.bits), scale)

    def take_rows(self, rows: slice) -> BinaryLevels:
        """Return the levels of some rows."""
        return self if len(self.alphas) == 1 else BinaryLevels(self.alphas[rows])


@dataclass(frozen=True)
class BinaryCodingFormat:
    """Binary coding of some bits; the solver finds the α, then every number takes its nearest sum.

    The objective is Eq. 1 of nuQmm (arXiv 2206.09557).

    Attributes:
        bits: 1..6.
        solver: "greedy", "refined" or "alternating".

    Raises:
        UsageError: `bits` is outside its range, or the solver unknown.
    """

    bits: int
    solver: Solver = "alternating"

    def __post_init__(self) -> None:
        check_choice("solver", self.solver, SOLVERS)
        if not 1 <= check_whole("bits", self.bits) <= 6:
            raise UsageError(f"bits of binary coding must be 1..6, got {self.bits}")

    def fit(self, values: Floats) -> BinaryLevels:
        """Return the scales of each row of (rows, n) numbers."""
        solve = {"greedy": solve_greedy, "refined": solve_refined, "alternating": solve_alternating}
        return BinaryLevels(as_float32(solve[self.solver](values, self.bits).alphas))


def _sign(values: Floats) -> NDArray[np.int8]:
    return np.where(values < 0, -1, 1).astype(np.int8)


def _signs_of(codes: Codes, bits: int) -> NDArray[np.int8]:
    """Return (bits, ...) int8: 1 where a bit is set, -1 elsewhere."""
    return np.stack([((codes >> bit & 1) << 1).astype(np.int8) - np.int8(1) for bit in range(bits)])
