"""test_baselines.py: the figures of the fact sheet, computed again."""

import numpy as np
import pytest

from colonnade.runtime.errors import UsageError
from colonnade.runtime.lut import TARGETS, fit_equal, fit_exponential_mode, fit_near_optimal
from colonnade.runtime.lut import baselines as b

GRID = 200_001
RELATIVE = 0.02  # the sheet prints three digits, and its grid is another


def test_equal_and_near_optimal_tables_have_the_known_errors(known):
    x = np.linspace(*known.interval, GRID)
    exact = TARGETS[known.function].function(x)
    errors = [
        np.abs(make(known.function, interval=known.interval)(x) - exact)
        for make in (fit_equal, fit_near_optimal)
    ]
    assert errors[0].mean() == pytest.approx(known.equal, rel=RELATIVE)
    assert errors[1].mean() == pytest.approx(known.near_optimal, rel=RELATIVE)
    assert (errors[1] ** 2).mean() == pytest.approx(known.near_optimal_mse, rel=RELATIVE)


def test_exponential_mode_is_between_equal_and_near_optimal(known):
    if known.function == "gelu":
        pytest.skip("GELU has no large range")
    x = np.linspace(*known.interval, GRID)
    table = fit_exponential_mode(known.function, interval=known.interval)
    assert table.entries == 16
    error = np.abs(table(x) - TARGETS[known.function].function(x)).mean()
    assert known.near_optimal < error < known.equal / 10


@pytest.mark.parametrize("interval", [(-5.0, 5.0), (0.0, 5.0), (-5.0, 0.0), (2.0, 5.0), (-5.0, -2.0)])
@pytest.mark.parametrize("entries", [2, 3, 16])
def test_exponential_mode_covers_any_interval(interval, entries):
    table = fit_exponential_mode("gelu", interval=interval, entries=entries)
    assert table.entries == entries
    ends = np.array(interval)
    np.testing.assert_allclose(table(ends), TARGETS["gelu"].function(ends), atol=1e-12)


def test_i_bert_exp_has_the_known_error():
    x = np.linspace(-40, 0, 1_000_001)
    assert np.abs(b.approximate_exp(x) - np.exp(x)).max() == pytest.approx(1.91e-3, abs=5e-6)
    assert np.abs(b.approximate_exp_rounded(x) - np.exp(x)).max() == pytest.approx(2.13e-3, abs=5e-6)


def test_i_bert_gelu_has_the_known_error():
    x = np.linspace(-4, 4, 1_000_001)
    errors = b.approximate_gelu(x) - TARGETS["gelu"].function(x)
    assert np.sqrt((errors**2).mean()) == pytest.approx(8.19e-3, abs=5e-6)
    assert np.abs(errors).max() == pytest.approx(1.815e-2, abs=5e-6)


def test_i_bert_integer_forms_follow_the_real_ones():
    scale = 2.0**-14
    x_q = np.arange(-200_000, 1, 17)
    outputs, step = b.compute_integer_exp(x_q, scale)
    np.testing.assert_allclose(outputs * step, b.approximate_exp(x_q * scale), atol=1e-3)
    x_q = np.arange(-70_000, 70_001, 7)
    outputs, step = b.compute_integer_gelu(x_q, scale)
    np.testing.assert_allclose(outputs * step, b.approximate_gelu(x_q * scale), atol=1e-3)


def test_i_bert_exp_refuses_a_scale_that_overflows():
    with pytest.raises(UsageError, match="2\\^-15"):
        b.compute_integer_exp([0], 2.0**-16)


def test_i_bert_root_is_exact():
    n = np.concatenate([np.arange(10_000), 2 ** np.arange(62, dtype=np.int64), 2 ** np.arange(1, 62) - 1])
    root = b.compute_integer_sqrt(n)
    assert ((root * root <= n) & (n < (root + 1) * (root + 1))).all()
