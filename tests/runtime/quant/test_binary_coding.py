"""Binary coding: the solvers reach the errors of the tables, and none is worse than the one before it."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from colonnade.runtime.quant import BinaryCodingFormat
from colonnade.runtime.quant.binary_coding import (
    BinaryCoding,
    BinaryLevels,
    solve_alternating,
    solve_greedy,
    solve_refined,
    solve_scales,
)

COUNT = 400_000
# Mean square errors on N(0, 1): greedy, one least squares at its end, refined, alternating from greedy with 15 and
# with 50 rounds, alternating as usual; and the magnitudes of the scales after 50 rounds. See docs/number_formats.md.
TABLE = {
    1: ((0.3634, 0.3634, 0.3634, 0.3634, 0.3634, 0.3634), (0.798,)),
    2: ((0.1305, 0.1251, 0.1251, 0.1175, 0.1175, 0.1175), (0.982, 0.529)),
    3: ((0.0584, 0.0537, 0.0505, 0.0370, 0.0369, 0.0370), (1.158, 0.607, 0.301)),
    4: ((0.0329, 0.0287, 0.0246, 0.0120, 0.0114, 0.0118), (1.226, 0.742, 0.369, 0.203)),
}


@pytest.fixture(scope="module")
def normal() -> np.ndarray:
    """Return the quantiles Φ⁻¹((k + ½) / 400000), (1, 400000)."""
    upper = [NormalDist().inv_cdf((k + 0.5) / COUNT) for k in range(COUNT // 2, COUNT)]
    return np.concatenate([-np.array(upper[::-1]), upper])[None]


@pytest.mark.parametrize("bits", TABLE)
def test_the_solvers_reach_the_errors_of_the_table(normal: np.ndarray, bits: int) -> None:
    def error(coding: BinaryCoding) -> float:
        return float(((coding.decode() - normal) ** 2).mean())

    greedy = solve_greedy(normal, bits)
    solved = BinaryCoding(solve_scales(normal, greedy.signs), greedy.signs)
    refined = solve_refined(normal, bits)
    turns = [solve_alternating(normal, bits, rounds, start=greedy) for rounds in (15, 50)]
    usual = solve_alternating(normal, bits)
    errors = [error(coding) for coding in (greedy, solved, refined, *turns, usual)]
    assert errors == pytest.approx(TABLE[bits][0], abs=6e-5)
    assert turns[1].alphas[0] == pytest.approx(TABLE[bits][1], abs=1e-3)
    assert errors[5] <= errors[2] * (1 + 1e-12)  # alternating, refined, greedy
    assert errors[2] <= errors[0] * (1 + 1e-12)
    assert errors[5] <= errors[3] * (1 + 1e-12)  # the refined start is ours, and no worse


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_rows_are_solved_alone_and_rounds_never_lose(bits: int) -> None:
    values = np.random.default_rng(bits).standard_t(4, (5, 64))
    errors = []
    for rounds in range(6):
        coding = solve_alternating(values, bits, rounds)
        errors.append(((coding.decode() - values) ** 2).sum(axis=1))
        alone = solve_alternating(values[2:3], bits, rounds)
        assert alone.decode()[0] == pytest.approx(coding.decode()[2])
    assert (np.diff(errors, axis=0) <= 1e-9).all()


def test_every_number_takes_its_nearest_sum() -> None:
    values = np.random.default_rng(0).normal(size=(4, 200))
    levels = BinaryCodingFormat(3).fit(values)
    sums = levels.decode(np.tile(np.arange(8, dtype=np.uint8), (4, 1)))
    nearest = np.abs(values[:, :, None] - sums[:, None]).min(axis=2)
    assert np.abs(levels.decode(levels.encode(values)) - values) == pytest.approx(nearest)


def test_uniform_codes_are_binary_codings_with_an_offset() -> None:
    step, zero = 0.25, 5
    levels = BinaryLevels(step * 2.0 ** np.arange(4)[None] / 2)
    codes = np.arange(16, dtype=np.uint8)[None]
    offset = levels.alphas.sum() - step * zero  # α_i = s · 2^i / 2, offset Σ α_i - s · zero
    assert np.array_equal(levels.decode(codes) + offset, step * (codes - float(zero)))


def test_rows_without_spread_are_coded_exactly() -> None:
    for value in (0.0, 0.5, -2.0):
        levels = BinaryCodingFormat(3).fit(np.full((2, 6), value))
        assert levels.decode(levels.encode(np.full((2, 6), value))) == pytest.approx(value)
