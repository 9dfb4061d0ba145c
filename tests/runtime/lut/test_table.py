"""test_table.py: a table equals its network, at and between the breakpoints; what is no table is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.runtime.errors import UsageError
from colonnade.runtime.lut import TARGETS, LutTable, ReluNetwork, fit

EXACT = 1e-12
POINTS = 1_000_000


@pytest.mark.parametrize("name", TARGETS)
def test_a_fitted_table_equals_its_network_on_a_million_points(name):
    table = fit(name)
    low, high = TARGETS[name].interval
    x = np.sort(np.concatenate([np.linspace(low, high, POINTS), table.breakpoints]))
    network = table.to_network()
    scale = max(1.0, float(np.abs(table(x)).max()))
    assert np.abs(network(x) - table(x)).max() <= EXACT * scale
    assert np.abs(network.to_table()(x) - table(x)).max() <= EXACT * scale


def test_a_network_of_each_sign_becomes_the_table_of_the_paper():
    """Eq. 7 by hand: relu(x - 1) * 2 - relu(3 - x)."""
    table = ReluNetwork(np.array([2.0, -1.0]), np.array([1.0, -1.0]), np.array([-1.0, 3.0])).to_table()
    np.testing.assert_array_equal(table.breakpoints, [1.0, 3.0])
    np.testing.assert_array_equal(table.slopes, [1.0, 3.0, 2.0])
    np.testing.assert_array_equal(table.intercepts, [-3.0, -5.0, -2.0])


numbers = st.floats(-10, 10, allow_subnormal=False)


@given(st.lists(st.tuples(numbers, st.sampled_from([-2.0, -0.5, 0.0, 0.5, 1.0, 3.0]), numbers), max_size=20))
def test_any_network_becomes_an_equal_table(neurons):
    m, n, b = (np.array([neuron[k] for neuron in neurons], float) for k in range(3))
    network = ReluNetwork(m, n, b)
    table = network.to_table()
    assert table.entries == np.count_nonzero(n) + 1
    x = np.concatenate([np.linspace(-30, 30, 1001), table.breakpoints])
    np.testing.assert_allclose(table(x), network(x), rtol=0, atol=1e-9)


@given(
    st.lists(numbers, min_size=1, max_size=30, unique=True).map(sorted),
    numbers,
    numbers,
    st.randoms(use_true_random=False),
)
@settings(max_examples=50)
def test_any_continuous_table_becomes_an_equal_network(points, slope, intercept, random):
    slopes, intercepts = [slope], [intercept]
    for point in points:
        slopes.append(random.uniform(-3, 3))
        intercepts.append(intercepts[-1] + (slopes[-2] - slopes[-1]) * point)
    table = LutTable(np.array(points), np.array(slopes), np.array(intercepts))
    x = np.linspace(-15, 15, 1001)
    np.testing.assert_allclose(table.to_network()(x), table(x), rtol=0, atol=1e-10)
    np.testing.assert_allclose(table.to_network().to_table()(x), table(x), rtol=0, atol=1e-10)


def test_neurons_without_slope_are_constants():
    table = ReluNetwork(
        np.array([1.0, 2.0, 5.0]), np.array([1.0, 0.0, 0.0]), np.array([0.0, 3.0, -1.0])
    ).to_table()
    assert table.entries == 2
    np.testing.assert_array_equal(table([-1.0, 1.0]), [6.0, 7.0])


def test_a_breakpoint_belongs_to_the_segment_on_its_right():
    table = LutTable(np.array([0.0]), np.array([0.0, 0.0]), np.array([1.0, 2.0]))
    np.testing.assert_array_equal(table([-1e-300, 0.0]), [1.0, 2.0])


def test_a_jump_is_no_network():
    with pytest.raises(UsageError, match=r"jumps by 1 at its breakpoint 0"):
        LutTable(np.array([0.0]), np.array([0.0, 0.0]), np.array([1.0, 2.0])).to_network()


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        (([0.0, 1.0], [1.0, 1.0], [0.0, 0.0]), "N-1 breakpoints"),
        (([1.0, 0.0], [1.0] * 3, [0.0] * 3), "must ascend"),
        (([0.0], [np.nan, 1.0], [0.0, 0.0]), "finite"),
    ],
)
def test_what_is_no_table_is_refused(arrays, reason):
    with pytest.raises(UsageError, match=reason):
        LutTable(*map(np.array, arrays))


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-6), (np.float16, 2e-2)])
def test_a_table_computes_in_its_own_precision(dtype, tolerance):
    table = fit("gelu")
    small = table.to_precision(dtype)
    x = np.linspace(-8, 8, 10_001).astype(dtype)
    assert small(x).dtype == dtype
    assert np.abs(small(x) - table(x)).max() <= tolerance


def test_float32_stays_as_close_as_the_facts_ask():
    table = fit("gelu").to_precision(np.float32)
    x = np.concatenate([np.linspace(-5, 5, 100_001), table.breakpoints]).astype(np.float32)
    assert np.abs(table(x) - table.to_network()(x)).max() < 1e-6 * np.abs(table(x)).max()


def test_a_number_that_float16_cannot_hold_is_refused():
    with pytest.raises(UsageError, match="finite"):
        LutTable(np.array([1e6]), np.ones(2), np.zeros(2)).to_precision(np.float16)
