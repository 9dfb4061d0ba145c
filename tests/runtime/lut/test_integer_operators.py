"""test_integer_operators.py: kernels give the reference's integers, whatever the shape and the values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from colonnade.runtime.errors import UsageError
from colonnade.runtime.lut import (
    IntegerTable,
    Levels,
    LutTable,
    build_norm,
    build_softmax,
    fit,
    kernels,
    quantise_affine,
    reference,
)

INT32 = np.iinfo(np.int32)
CHUNK, CHUNKS = 1_000_000, 10
SCALE = 1 / 16


def make_tables() -> dict[str, IntegerTable]:
    """Return integer tables of every kind: narrow, wide, few and many entries, signed and unsigned."""
    gelu = fit("gelu")
    mirrored = LutTable(-gelu.breakpoints[::-1], -gelu.slopes[::-1], gelu.intercepts[::-1])
    return {
        "int8": gelu.to_integer(SCALE, SCALE, input_bits=8, output_bits=8),
        "int16": gelu.to_integer(2**-11, 2**-11, input_bits=16, output_bits=16),
        "int32": gelu.to_integer(2**-16, 2**-16),
        "silu": fit("silu").to_integer(2**-20, 2**-16),
        "sigmoid": fit("sigmoid").to_integer(2**-12, 2**-15, output_bits=16),
        "tanh": fit("tanh", entries=5).to_integer(2**-12, 2**-15, input_bits=16, output_bits=16),
        "exp": fit("exp", entries=64).to_integer(2**-10, 2**-15),
        "uint8": gelu.to_levels(Levels.unsigned(1 / 20, 8, 100), Levels.unsigned(1 / 40, 8, 10)),
        "steep on the left": mirrored.to_integer(2**-11, 2**-11, input_bits=16, output_bits=16),
        "two entries": fit("gelu", entries=2).to_integer(SCALE, SCALE),
    }


TABLES = make_tables()
FITS = {name: fit(name) for name in ("gelu", "silu", "sigmoid", "tanh", "exp")}
SOFTMAX = {
    "coarse": build_softmax(SCALE),
    "fine": build_softmax(1e-6),
    "uint16": build_softmax(2**-9, output_bits=16),
    "many entries": build_softmax(SCALE, entries=40),
    "few entries": build_softmax(SCALE, entries=3),  # so coarse that 1 would be more than its `high`
}
NORM = {"int8": build_norm(2**-8, 1e-5), "int16": build_norm(SCALE, 0.0, low=-(2**15), high=2**15 - 1)}


@pytest.mark.parametrize("name", TABLES)
def test_every_byte_gives_the_reference(name):
    table = TABLES[name]
    for dtype in (np.int8, np.uint8):
        x_q = np.arange(256).astype(dtype)
        found = kernels.apply(x_q, table)
        np.testing.assert_array_equal(found, reference.apply(x_q, table))
        assert found.dtype == table.dtype
    np.testing.assert_array_equal(
        table.expand(), reference.apply(np.arange(256).astype(np.uint8).view(np.int8), table)
    )


@pytest.mark.parametrize("name", ["int16", "int32", "exp", "two entries"])
def test_ten_million_random_integers_give_the_reference(name):
    table, generator = TABLES[name], np.random.default_rng(0)
    for chunk in range(CHUNKS):
        reach = 2 ** (31 - 2 * chunk)  # from all of int32 to where the segments are
        x_q = generator.integers(-reach, reach, CHUNK).astype(np.int32)
        np.testing.assert_array_equal(kernels.apply(x_q, table), reference.apply(x_q, table))


any_shape = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=40)
corners = st.sampled_from([INT32.min, INT32.min + 1, -1, 0, 1, INT32.max - 1, INT32.max])
int32s = st.one_of(st.integers(-300, 300), st.integers(INT32.min, INT32.max), corners)


@given(hnp.arrays(np.int32, any_shape, elements=int32s), st.sampled_from(sorted(TABLES)), st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_shape_and_stride_gives_the_reference(x_q, name, reverse):
    view = x_q.T[..., ::-1] if reverse and x_q.ndim else x_q.T
    expected = reference.apply(view, TABLES[name])
    found = kernels.apply(view, TABLES[name])
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


rows = hnp.arrays(
    np.int32, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=40), elements=int32s
)


@given(rows, st.sampled_from(sorted(SOFTMAX)))
@settings(max_examples=150, deadline=None)
def test_any_softmax_gives_the_reference(x_q, name):
    expected = reference.softmax(x_q, SOFTMAX[name])
    found = kernels.softmax(x_q, SOFTMAX[name])
    assert found.dtype == expected.dtype == SOFTMAX[name].dtype
    np.testing.assert_array_equal(found, expected)


@given(rows, st.sampled_from(sorted(NORM)), st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_any_norm_gives_the_reference(x_q, name, seed):
    generator = np.random.default_rng(seed)
    length = x_q.shape[-1]
    gamma_q = generator.integers(INT32.min, INT32.max, length).astype(np.int32)
    beta_q = generator.integers(-(2**50), 2**50, length)
    for operator in ("layer_norm", "rms_norm"):
        expected = getattr(reference, operator)(x_q, NORM[name], gamma_q, beta_q)
        found = getattr(kernels, operator)(x_q, NORM[name], gamma_q, beta_q)
        assert found.dtype == expected.dtype == NORM[name].dtype
        np.testing.assert_array_equal(found, expected)


def list_extreme_rows(length: int) -> np.ndarray:
    """Return (rows, length) int32: equal ones, ones with a single other value, alternating ends, far ends."""
    low, high = INT32.min, INT32.max
    equal = [np.full(length, value, np.int64) for value in (low, -7, 0, 1, high)]
    single = [np.eye(1, length, length // 2, dtype=np.int64)[0] * value for value in (low, -1, 1, 1000, high)]
    mixed = [np.where(np.arange(length) % 2, low, high), np.linspace(low, high, length).astype(np.int64)]
    return np.clip(np.stack([*equal, *single, *mixed]), low, high).astype(np.int32)


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 128, 384, 5001, 2**14])
def test_extreme_rows_give_the_reference(length):
    x_q = list_extreme_rows(length)
    gamma_q, beta_q = quantise_affine(np.linspace(-3, 3, length), np.linspace(-1, 1, length), SCALE)
    for tables in SOFTMAX.values():
        np.testing.assert_array_equal(kernels.softmax(x_q, tables), reference.softmax(x_q, tables))
    for tables in NORM.values():
        for name in ("layer_norm", "rms_norm"):
            expected = getattr(reference, name)(x_q, tables, gamma_q, beta_q)
            np.testing.assert_array_equal(getattr(kernels, name)(x_q, tables, gamma_q, beta_q), expected)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int64])
def test_every_integer_format_is_taken(dtype):
    x_q = np.random.default_rng(0).integers(0, 127, (3, 33)).astype(dtype)
    wide = x_q.astype(np.int32)
    gamma_q, beta_q = quantise_affine(np.ones(33), None, SCALE)
    tables = TABLES["int32"], SOFTMAX["coarse"], NORM["int8"]
    for found, expected in (
        (kernels.apply(x_q, tables[0]), reference.apply(wide, tables[0])),
        (kernels.softmax(x_q, tables[1]), reference.softmax(wide, tables[1])),
        (
            kernels.layer_norm(x_q, tables[2], gamma_q, beta_q),
            reference.layer_norm(wide, tables[2], gamma_q, beta_q),
        ),
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", TABLES)
def test_sums_stay_within_their_format(name):
    """The bounds that IntegerTable states, at both ends of every segment, in exact integers."""
    table = TABLES[name]
    bound = 2**30 if table.narrow else 2**62
    ends = [table.input_low, *(int(point) for point in table.breakpoints), table.input_high]
    for segment in range(table.entries):
        for x in (ends[segment], min(ends[segment + 1], table.input_high)):
            assert abs(int(table.slopes[segment]) * x) < bound
        assert abs(int(table.intercepts[segment])) < bound


@pytest.mark.parametrize("name", TABLES)
def test_no_bit_of_the_format_is_wasted(name):
    """With one more, a product, an intercept or the slopes would not fit; a thousandth is for rounding."""
    table = TABLES[name]
    ends = np.array([table.input_low, *table.breakpoints, table.input_high], np.float64)
    products = np.abs(table.slopes * np.array([ends[:-1], ends[1:]])).max()
    reach = max(products, np.abs(table.intercepts.astype(np.float64)).max())
    steepest = np.abs(table.slopes.astype(np.float64)).max()
    bound = 0.999 * (2**30 if table.narrow else 2**62)
    assert 2 * reach + 2**table.shift >= bound or 2 * steepest >= 0.999 * 2**31


@pytest.mark.parametrize("name", ["int8", "int16", "tanh", "uint8"])
def test_small_inputs_take_narrow_arithmetic(name):
    assert TABLES[name].narrow
    assert not TABLES["int32"].narrow


def test_a_shift_that_int32_lacks_is_wide():
    none, zero, minus = np.zeros(0, np.int32), np.zeros(1, np.int32), np.array([-1], np.int64)
    table = IntegerTable(none, zero, minus, shift=40, input_low=-128, input_high=127, low=-128, high=127)
    assert not table.narrow
    np.testing.assert_array_equal(kernels.apply(np.arange(20), table), np.full(20, -1))


@given(
    st.sampled_from(sorted(FITS)),
    st.floats(-14, 0),
    st.floats(-14, 0),
    st.sampled_from([8, 16, 24, 32]),
)
@settings(max_examples=60, deadline=None)
def test_an_integer_table_is_the_real_one_rounded(name, input_power, output_power, bits):
    """Within half an output step, plus what 15 bits (narrow) or 30 (wide) of the slope lose over the input's range."""
    table, input_scale, output_scale = FITS[name], 2.0**input_power, 2.0**output_power
    integer = table.to_integer(input_scale, output_scale, input_bits=bits)
    reach = min(2 ** (bits - 1) - 1, int(20 / input_scale) + 1)
    x_q = np.unique(np.linspace(-reach, 0 if name == "exp" else reach, 4001).astype(np.int32))
    exact = np.clip(table(x_q * input_scale) / output_scale, INT32.min, INT32.max)
    lost = (0.5 + 0.5 * np.abs(x_q.astype(float))) / 2.0**integer.shift + 1e-9 * np.abs(exact)
    assert (np.abs(reference.apply(x_q, integer) - exact) <= 0.5 + lost + 1e-6).all()


def test_zero_points_stand_for_zero():
    x_q, integer = np.arange(256).astype(np.uint8), TABLES["uint8"]
    exact = np.clip(FITS["gelu"]((x_q - 100.0) / 20) * 40 + 10, 0, 255)
    lost = (0.5 + 0.5 * x_q) / 2.0**integer.shift
    assert (np.abs(reference.apply(x_q, integer) - exact) <= 0.5 + lost + 1e-6).all()


def test_breakpoints_beyond_the_inputs_do_not_matter():
    table = LutTable(np.array([-100.0, 100.0]), np.array([5.0, 1.0, 7.0]), np.array([400.0, 0.0, -600.0]))
    integer = table.to_integer(0.5, 0.5, input_bits=8)
    x_q = np.arange(-128, 128).astype(np.int8)
    np.testing.assert_array_equal(reference.apply(x_q, integer), x_q)


def test_a_breakpoint_at_the_last_input_counts():
    table = LutTable(np.array([-64.0, 63.5]), np.zeros(3), np.array([9.0, 0.0, 5.0]))
    integer = table.to_integer(0.5, 0.5, input_bits=8)
    x_q = np.arange(-128, 128).astype(np.int8)
    np.testing.assert_array_equal(reference.apply(x_q, integer), np.where(x_q == 127, 10, 0))


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: reference.apply([0.5], TABLES["int8"]), "array of numbers"),
        (lambda: kernels.apply([2**31], TABLES["int8"]), "fit int32"),
        (lambda: kernels.softmax(3, SOFTMAX["coarse"]), "rows"),
        (lambda: kernels.softmax(np.zeros((1, 2**14 + 1), np.int32), SOFTMAX["coarse"]), "at most 16384"),
        (
            lambda: kernels.layer_norm([[1]], NORM["int8"], np.ones(2, np.int32), np.ones(1, np.int64)),
            "gamma_q",
        ),
        (lambda: kernels.rms_norm([[1]], NORM["int8"], np.ones(1, np.int32), np.ones(1, np.int32)), "beta_q"),
        (lambda: fit("gelu").to_integer(0.0, 1.0), "above 0"),
        (lambda: fit("gelu").to_integer(1.0, 1.0, input_bits=33), r"2\.\.32"),
        (lambda: fit("gelu").to_integer(1.0, 1e-12, input_bits=16), "too fine"),
        (lambda: Levels(1.0, 5, 3), "must ascend"),
        (lambda: build_softmax(1.0, output_bits=17), r"2\.\.16"),
        (lambda: build_norm(1.0, -1.0), "epsilon"),
        (lambda: quantise_affine([1e9], [0.0], 1e-9), "coarser"),
        (lambda: quantise_affine([1.0], [0.0, 1.0], 1.0), "one length"),
    ],
)
def test_wrong_calls_are_explained(call, reason):
    with pytest.raises(UsageError, match=reason):
        call()
