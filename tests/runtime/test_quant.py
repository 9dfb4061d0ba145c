"""Formats, histograms and clipping of runtime.quant."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from colonnade.runtime.errors import UsageError
from colonnade.runtime.quant import (
    LARGEST_INT32,
    METHODS,
    ValueHistogram,
    find_top,
    largest_sum,
    quantise_unsigned,
    quantise_weights,
)

WEIGHTS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5),
    elements=st.floats(-(2.0**100), 2.0**100, width=32),
)
VALUES = hnp.arrays(
    np.float32, hnp.array_shapes(max_dims=2, max_side=40), elements=st.floats(0, 1e6, width=32)
)


def observe(*batches: np.ndarray) -> ValueHistogram:
    histogram = ValueHistogram()
    for batch in batches:
        histogram.observe(batch)
    return histogram


@given(WEIGHTS)
def test_no_weight_moves_by_more_than_half_a_step(weight: np.ndarray) -> None:
    found = quantise_weights(weight)
    assert found.values.dtype == np.int8
    assert found.values.shape == weight.shape
    assert (np.abs(found.values.astype(int)) <= 127).all()
    assert np.isfinite(found.step).all()
    assert (found.step > 0).all()
    step = found.step.reshape(-1, *(1,) * (weight.ndim - 1))
    error = np.abs(found.values * step - weight.astype(np.float64))
    assert (error <= step * 0.5 * (1 + 1e-9)).all()


def test_the_largest_weight_of_every_channel_becomes_127() -> None:
    weight = (
        np.random.default_rng(0).normal(size=(6, 5, 3, 3)) * np.geomspace(1e-9, 1e9, 6)[:, None, None, None]
    )
    largest = np.abs(quantise_weights(weight).values.astype(int)).reshape(6, -1).max(axis=1)
    assert (largest == 127).all()


def test_a_channel_without_weights_gets_zeros_and_a_step_above_zero() -> None:
    found = quantise_weights(np.array([[0.0, 0.0], [1.0, -2.0]]))
    assert found.values.tolist() == [[0, 0], [64, -127]]
    assert found.step[0] > 0


def test_steps_are_raised_to_the_least() -> None:
    assert quantise_weights(np.ones((2, 3)), [0.5, 0.0]).step.tolist() == [0.5, 1 / 127]


@pytest.mark.parametrize("weight", [np.zeros((0, 3)), [[np.nan]], [[np.inf]], 1.0])
def test_weights_that_are_none_are_refused(weight: object) -> None:
    with pytest.raises(UsageError, match="weights to quantise"):
        quantise_weights(weight)


@given(VALUES, st.floats(1e-6, 1e3))
def test_unsigned_values_round_to_half_a_step_or_saturate(values: np.ndarray, step: float) -> None:
    found = quantise_unsigned(values, step)
    assert found.dtype == np.uint8
    clipped = np.minimum(values.astype(np.float64), 255 * step)
    assert (np.abs(found * step - clipped) <= 0.5 * step * (1 + 1e-9)).all()


@pytest.mark.parametrize("step", [0.0, -1.0, np.nan, np.inf])
def test_steps_that_are_none_are_refused(step: float) -> None:
    with pytest.raises(UsageError, match="step"):
        quantise_unsigned(np.ones(3), step)


def test_the_bound_of_the_sums_is_reached() -> None:
    weight = np.array([[[[127, -127]]], [[[3, 0]]]], np.int8)
    assert largest_sum(weight, np.array([-5, 7], np.int32)) == 255 * 254 + 5
    assert np.iinfo(np.int32).max == LARGEST_INT32


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_a_histogram_does_not_depend_on_batches_or_their_order(batches: list[np.ndarray]) -> None:
    once = observe(np.concatenate([batch.ravel() for batch in batches]))
    backwards = observe(*batches[::-1])
    assert np.array_equal(once.counts, backwards.counts)
    assert (once.width, once.largest) == (backwards.width, backwards.largest)
    merged = observe()
    for batch in batches:
        merged.merge(observe(batch))
    assert np.array_equal(once.counts, merged.counts)
    assert (once.width, once.largest) == (merged.width, merged.largest)
    assert once.total == sum(int((batch > 0).sum()) for batch in batches)


@given(VALUES)
def test_bins_hold_the_values_in_them(values: np.ndarray) -> None:
    histogram = observe(values)
    for edge in (1, 17, 2048, 4096):
        below = int(((values > 0) & (values < edge * histogram.width)).sum())
        assert int(histogram.counts[:edge].sum()) == below


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(UsageError, match="finite"):
        observe(np.array([1.0, value]))


@given(VALUES, st.sampled_from(METHODS))
def test_the_top_lies_above_zero_and_not_above_the_largest(values: np.ndarray, method: str) -> None:
    histogram = observe(values)
    top = find_top(histogram, method)
    assert top > 0
    assert top <= (histogram.largest if histogram.total else 1.0)
    if method == "min-max" and histogram.total:
        assert top == values.max()


def test_the_percentile_is_that_of_numpy_within_a_bin() -> None:
    values = np.random.default_rng(1).exponential(size=200_000).astype(np.float32)
    histogram = observe(*np.array_split(values, 7))
    for percent in (50.0, 99.0, 99.99, 100.0):
        expected = np.percentile(values, percent, method="inverted_cdf")
        assert find_top(histogram, "percentile", percent=percent) == pytest.approx(
            expected, abs=histogram.width
        )


def test_mse_clips_what_is_rare_and_beats_the_others() -> None:
    values = np.abs(np.random.default_rng(2).normal(size=100_000)).astype(np.float32)
    values[0] = 20.0
    histogram = observe(values)

    def error(top: float) -> float:
        step = top / 255
        return float(((quantise_unsigned(values, step) * step - values) ** 2).sum())

    best = find_top(histogram, "mse")
    assert best < 20.0
    assert all(error(best) <= error(find_top(histogram, other)) * 1.001 for other in METHODS)


def test_unknown_methods_and_percents_are_refused() -> None:
    with pytest.raises(UsageError, match="method"):
        find_top(observe(np.ones(3)), "guess")  # type: ignore[arg-type]
    for percent in (0.0, 100.1, np.nan):
        with pytest.raises(UsageError, match="percent"):
            find_top(observe(np.ones(3)), "percentile", percent=percent)
