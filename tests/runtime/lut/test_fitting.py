"""test_fitting.py: fits reach the errors of the fact sheet, go on sensibly outside, and repeat themselves."""

import numpy as np
import pytest

from colonnade.runtime.errors import UsageError
from colonnade.runtime.lut import TARGETS, LutTable, calibrate, fit, fit_equal, fit_near_optimal
from colonnade.runtime.lut.scaling import fit_scaled

GRID = 200_001
BAR = 1.5  # times the near-optimal error
LINEAR_WORSE = 40.0


def measure(table: LutTable, name: str, interval: tuple[float, float]) -> float:
    x = np.linspace(*interval, GRID)
    return float(np.abs(table(x) - TARGETS[name].function(x)).mean())


def test_sixteen_entries_reach_the_bar(known):
    error = measure(fit(known.function, interval=known.interval), known.function, known.interval)
    assert error <= BAR * known.near_optimal
    assert error <= known.equal / 2
    if known.function != "gelu":
        assert error <= known.equal / LINEAR_WORSE


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("entries", [2, 3, 7, 64, 256])
def test_any_number_of_entries_is_fitted(name, entries):
    target = TARGETS[name]
    table = fit(name, entries=entries)
    assert table.entries == entries
    error = measure(table, name, target.interval)
    x = np.linspace(*target.interval, 1001)
    assert error < 0.4 * np.ptp(target.function(x))
    if entries >= 64:
        assert error <= 3.0 * measure(fit_near_optimal(name, entries=entries), name, target.interval)


def test_outside_the_interval_tables_go_on_as_their_functions():
    far = np.array([-1e4, -300.0, -40.0, 40.0, 300.0, 1e4])
    for name in ("gelu", "silu", "softplus"):
        np.testing.assert_allclose(fit(name)(far), np.maximum(far, 0.0), atol=1e-8)
    np.testing.assert_allclose(fit("sigmoid")(far), far > 0, atol=1e-9)
    np.testing.assert_allclose(fit("tanh")(far), np.sign(far), atol=1e-9)
    assert (fit("exp")(np.array([-1e6, -257.0])) == 0.0).all()
    for name in ("reciprocal", "rsqrt"):
        table = fit(name)
        assert 0.0 <= table(1e6) <= 1.1 * TARGETS[name].function(np.array(1024.0))


def test_an_interval_inside_the_asymptotes_bends_freely():
    """GELU is neither 0 at -1 nor x at 1: there its table keeps the end's value, and goes on straight."""
    table = fit("gelu", interval=(-1.0, 1.0))
    assert measure(table, "gelu", (-1.0, 1.0)) < 1e-3
    assert table(-9.0) == pytest.approx(-0.1587, abs=2e-3)


def test_any_function_can_be_fitted():
    table = fit(lambda x: np.sin(x) * x, interval=(0.0, 6.0), entries=32)
    x = np.linspace(0, 6, 1001)
    assert np.abs(table(x) - np.sin(x) * x).max() < 0.05


def test_a_fit_repeats_itself_and_the_seed_matters():
    first, again, other = fit("gelu", seed=3), fit("gelu", seed=3), fit("gelu", seed=4)
    for name in ("breakpoints", "slopes", "intercepts"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.breakpoints != other.breakpoints).any()


def test_a_network_opens_away_from_its_flat_side():
    """The paper's signs: n > 0, b > 0 for exp (breakpoints below 0); n < 0, b > 0 for 1/x and 1/sqrt(x)."""
    network = fit("exp").to_network()
    assert (network.n > 0).all()
    assert (network.b > 0).all()
    for name in ("reciprocal", "rsqrt"):
        table = fit(name)
        assert table.slopes[-1] == 0.0
        shifted = LutTable(table.breakpoints, table.slopes, table.intercepts - table.intercepts[-1])
        network = shifted.to_network()
        assert (network.n < 0).all()
        assert (network.b > 0).all()


@pytest.mark.parametrize(
    ("arguments", "options", "reason"),
    [
        (("gelo",), {}, "must be one of"),
        ((np.sin,), {}, "needs an interval"),
        ((3,), {}, "a name or a callable"),
        (("gelu",), {"entries": 1}, r"2\.\.256"),
        (("gelu",), {"entries": 257}, r"2\.\.256"),
        (("gelu",), {"entries": 2.5}, "whole number"),
        (("gelu",), {"interval": (1.0, 1.0)}, "ascending"),
        (("reciprocal",), {"interval": (-1.0, 1.0)}, "finite number"),
        ((lambda x: 1.0,), {"interval": (0.0, 1.0)}, "each of"),
    ],
)
def test_wrong_calls_are_explained(arguments, options, reason):
    with pytest.raises(UsageError, match=reason):
        fit(*arguments, **options)


def test_calibration_is_better_where_the_values_are():
    values = np.random.default_rng(0).normal(-0.5, 0.2, 20_000)
    exact = TARGETS["gelu"].function(values)
    plain = np.abs(fit("gelu")(values) - exact).mean()
    calibrated = np.abs(calibrate("gelu", values)(values) - exact).mean()
    assert calibrated < plain / 3


def test_calibration_is_never_worse_than_a_fit_over_the_range():
    generator = np.random.default_rng(1)
    for values in (generator.uniform(-5, 5, 5000), np.array([-3.0, 2.0]), generator.normal(0, 1, 50) ** 3):
        exact = TARGETS["silu"].function(values)
        plain = fit("silu", interval=(values.min(), values.max()))
        errors = [np.abs(table(values) - exact).mean() for table in (calibrate("silu", values), plain)]
        assert errors[0] <= errors[1] * (1 + 1e-12)


@pytest.mark.parametrize("values", [[], [1.0, 1.0], [np.nan, 1.0]])
def test_calibration_needs_values(values):
    with pytest.raises(UsageError, match="two different"):
        calibrate("gelu", np.array(values))


@pytest.mark.parametrize(("name", "top", "bound"), [("reciprocal", 2.0, 1e-3), ("rsqrt", 4.0, 1e-3)])
def test_powers_of_two_carry_a_table_over_all_magnitudes(name, top, bound):
    table = fit_scaled(name, top=top)
    x = np.logspace(-12, 12, 100_001)
    exact = TARGETS[name].function(x)
    assert (np.abs(table(x) - exact) / exact).max() < bound


def test_scaled_and_plain_tables_agree_inside():
    table = fit_scaled("rsqrt", top=1024.0)
    x = np.linspace(1.0, 1023.9, 1001)
    np.testing.assert_array_equal(table(x), table.table(x))


def test_scaling_refuses_what_it_cannot_move():
    with pytest.raises(UsageError, match="above 0"):
        fit_scaled("rsqrt", top=4.0)(np.array([0.0]))
    with pytest.raises(UsageError, match="at least 4"):
        fit_scaled("rsqrt", top=2.0)
    with pytest.raises(UsageError, match="only reciprocal"):
        fit_scaled("gelu")


def test_equal_segments_meet_the_function_at_their_ends():
    table = fit_equal("gelu", entries=10)
    knots = np.linspace(-5, 5, 11)
    np.testing.assert_allclose(table(knots), TARGETS["gelu"].function(knots), atol=1e-14)
