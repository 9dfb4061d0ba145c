"""Post-training quantisation: GPTQ against rounding to nearest, AQAS against what it must beat, clipping, schemes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.runtime.errors import UsageError
from colonnade.runtime.quant import (
    ActivationFormat,
    BinaryCodingFormat,
    DIntFormat,
    Scheme,
    TernaryFormat,
    UniformFormat,
    WeightFormat,
    cut_samples,
    cut_stream,
    parse_scheme,
    quantise_matrix,
)
from colonnade.runtime.quant.aqas import search_aqas, search_awq
from colonnade.runtime.quant.calibration import thin_rows
from colonnade.runtime.quant.distortion import Distortion
from colonnade.runtime.quant.formats import NumberFormat
from colonnade.runtime.quant.gptq import GptqOptions, find_hessian, measure_rows, round_gptq
from colonnade.runtime.quant.rounding import round_nearest
from colonnade.runtime.quant.smoothing import EXPONENTS, find_activation_scale, find_smooth_scale
from colonnade.runtime.quant.weight_clipping import RATIOS, find_limits

FORMATS: tuple[NumberFormat, ...] = (
    UniformFormat(8),
    UniformFormat(4, symmetric=False),
    DIntFormat(4),
    DIntFormat(3),
    TernaryFormat(),
    BinaryCodingFormat(2),
)
LAYOUTS = (("tensor", 0), ("channel", 0), ("group", 8))


def draw(seed: int, rows: int = 12, columns: int = 40, samples: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """Return weights and correlated activations, some channels of which are far larger than the others."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(columns, columns)) @ np.diag(rng.exponential(size=columns))
    inputs = rng.normal(size=(samples, columns)) @ mix * np.exp(1.5 * rng.normal(size=columns))
    return rng.standard_t(4, (rows, columns)), inputs


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("numbers", FORMATS, ids=str)
def test_gptq_is_never_worse_than_nearest_on_its_activations(
    numbers: NumberFormat, layout: tuple[str, int]
) -> None:
    weights = WeightFormat(numbers, *layout)  # type: ignore[arg-type]
    gained = []
    for seed in range(5):
        weight, inputs = draw(seed)
        levels, width, hessian = weights.fit(weight), weights.width(40), find_hessian(inputs)
        nearest = round_nearest(weight, levels, width)
        found = round_gptq(weight, levels, width, hessian)
        before = (((nearest.decode() - weight) @ inputs.T) ** 2).mean(axis=1)
        after = (((found.decode() - weight) @ inputs.T) ** 2).mean(axis=1)
        assert (after <= before * (1 + 1e-9)).all()
        assert measure_rows(found.decode() - weight, hessian) == pytest.approx(after)
        gained.append(after.sum() / before.sum())
    assert np.mean(gained) < 0.9


@pytest.mark.parametrize("numbers", FORMATS, ids=str)
def test_gptq_is_nearest_where_columns_do_not_depend_on_each_other(numbers: NumberFormat) -> None:
    weight, _ = draw(0)
    weights = WeightFormat(numbers, "group", 16)
    levels = weights.fit(weight)
    nearest = round_nearest(weight, levels, 16)
    for diagonal in (np.ones(40), np.linspace(0.0, 3.0, 40)):
        assert np.array_equal(round_gptq(weight, levels, 16, np.diag(diagonal)).codes, nearest.codes)
    column = weight[:, :1]
    levels = weights.fit(column)
    found = round_gptq(column, levels, 1, find_hessian(np.arange(1.0, 4.0)[:, None]))
    assert np.array_equal(found.codes, round_nearest(column, levels, 1).codes)


def test_gptq_corrects_as_its_equation_says() -> None:
    """Against the plain form: invert the Hessian of what is left anew for every column."""
    weight, inputs = draw(1, columns=10)
    weights = WeightFormat(UniformFormat(8))
    levels, hessian = weights.fit(weight), find_hessian(inputs)
    damped = hessian + 0.01 * np.diag(hessian).mean() * np.eye(10)
    order = np.argsort(-np.diag(hessian), kind="stable")
    rest, codes = weight.copy(), np.zeros(weight.shape, np.uint8)
    for step, column in enumerate(order):
        left = order[step:]
        inverse = np.linalg.inv(damped[np.ix_(left, left)])
        codes[:, column] = levels[0].encode(rest[:, [column]])[:, 0]
        error = rest[:, column] - levels[0].decode(codes[:, [column]])[:, 0]
        rest[:, left] -= np.outer(error / inverse[0, 0], inverse[0])
    for block in (1, 3, 10, 64):
        found = round_gptq(weight, levels, 10, hessian, GptqOptions(block=block)).codes
        same = (found == codes).all(axis=1)
        nearest = (found == round_nearest(weight, levels, 10).codes).all(axis=1)
        assert (same | nearest).all()
        assert same.sum() > 6


def test_gptq_without_activations_is_nearest() -> None:
    weight, _ = draw(2)
    weights = WeightFormat(DIntFormat(4))
    levels = weights.fit(weight)
    found = round_gptq(weight, levels, 40, np.zeros((40, 40)))
    assert np.array_equal(found.codes, round_nearest(weight, levels, 40).codes)


def test_too_little_damping_is_told() -> None:
    weight, _ = draw(2)
    weights = WeightFormat(DIntFormat(4))
    hessian = np.ones((40, 40)) - 1e-9 * np.eye(40)  # below 0 in all directions but one
    with pytest.raises(UsageError, match="damping"):
        round_gptq(weight, weights.fit(weight), 40, hessian, GptqOptions(damping=1e-12))


@pytest.mark.parametrize("options", [{"damping": 0.0}, {"damping": np.inf}, {"block": 0}, {"block": 1.5}])
def test_gptq_options_outside_their_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        GptqOptions(**options)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 2**20),
    st.sampled_from(FORMATS),
    st.sampled_from(LAYOUTS),
    st.sampled_from(["token", "tensor"]),
)
def test_aqas_is_never_worse_than_what_it_competes_with(
    seed: int, numbers: NumberFormat, layout: tuple[str, int], sharing: str
) -> None:
    weight, inputs = draw(seed, rows=5, columns=16, samples=24)
    weights = WeightFormat(numbers, *layout)  # type: ignore[arg-type]
    distortion = Distortion(weight, inputs, weights, ActivationFormat(8, sharing))  # type: ignore[arg-type]
    found = distortion.measure(search_aqas(distortion))
    rivals = [np.ones(16), find_smooth_scale(weight, inputs), search_awq(distortion)]
    rivals += [find_activation_scale(inputs, exponent) for exponent in EXPONENTS]
    assert all(found <= distortion.measure(rival) for rival in rivals)


def test_the_objective_is_equation_1() -> None:
    weight, inputs = draw(4)
    scale = np.random.default_rng(0).uniform(0.5, 2.0, 40)
    step = np.abs(weight * scale).max(axis=1, keepdims=True) / 7
    rounded = np.clip(np.rint(weight * scale / step), -7, 7) * step
    divided = inputs / scale
    low = divided.min(axis=1, keepdims=True)
    steps = (divided.max(axis=1, keepdims=True) - low) / 255
    zero = -np.rint(low / steps)
    seen = (np.clip(np.rint(divided / steps) + zero, 0, 255) - zero) * steps
    expected = ((seen @ rounded.T - inputs @ weight.T) ** 2).mean()
    distortion = Distortion(weight, inputs, WeightFormat(UniformFormat(4)), ActivationFormat(8))
    assert distortion.measure(scale) == pytest.approx(expected, rel=1e-4)
    assert distortion.energy == pytest.approx(((inputs @ weight.T) ** 2).mean())


def test_scaling_moves_outliers_out_of_the_activations() -> None:
    rng = np.random.default_rng(0)
    weight, inputs = rng.normal(size=(16, 32)), rng.normal(size=(200, 32))
    inputs[:, 5] *= 50
    plain = parse_scheme("w8a8")
    errors = {
        name: quantise_matrix(weight, inputs, replace(plain, scaling=name)).error
        for name in ("none", "smooth", "aqas")
    }
    assert errors["smooth"] < errors["none"] / 5
    assert errors["aqas"] <= errors["smooth"]
    scale = find_smooth_scale(weight, inputs, 0.5)
    assert np.argmax(scale) == 5
    assert scale == pytest.approx(np.sqrt(np.abs(inputs).max(axis=0) / np.abs(weight).max(axis=0)))


def test_scales_stay_finite_where_channels_are_silent() -> None:
    weight, inputs = draw(5)
    inputs[:, 3], weight[:, 7] = 0.0, 0.0
    for values in (inputs, np.zeros_like(inputs)):
        for strength in (0.0, 0.5, 1.0):
            scale = find_smooth_scale(weight, values, strength)
            assert (np.isfinite(scale) & (scale > 0)).all()
        assert find_activation_scale(values, 0.0) == pytest.approx(1.0)
        found = quantise_matrix(weight, values, parse_scheme("w4a8-dint4"))
        assert np.isfinite(found.relative_error)
    for strength in (-0.1, 1.1, np.nan):
        with pytest.raises(UsageError, match="strength"):
            find_smooth_scale(weight, inputs, strength)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_clipping_takes_the_best_of_its_ratios(layout: tuple[str, int]) -> None:
    weight, inputs = draw(6)
    weights = WeightFormat(UniformFormat(3, symmetric=False), *layout)  # type: ignore[arg-type]
    limits = find_limits(weight, inputs, weights)
    width = weights.width(40)
    assert limits.shape == (12, -(-40 // width))

    def error(tried: np.ndarray, columns: slice) -> np.ndarray:
        decoded = round_nearest(weight, weights.fit(weight, tried), width).decode()
        return ((((decoded - weight)[:, columns]) @ inputs[:, columns].T) ** 2).sum(axis=1)

    for group in range(limits.shape[1]):
        columns = slice(group * width, (group + 1) * width)
        largest = np.abs(weight[:, columns]).max(axis=1)
        largest = np.full(12, largest.max()) if layout[0] == "tensor" else largest
        for ratio in RATIOS:
            tried = limits.copy()
            tried[:, group] = ratio * largest
            best, other = error(limits, columns), error(tried, columns)
            if layout[0] == "tensor":
                best, other = best.sum(), other.sum()
            assert (best <= other * (1 + 1e-9)).all()
    assert (limits < np.abs(weight).max()).any()


def test_each_step_of_a_scheme_lowers_the_error_of_correlated_activations() -> None:
    errors = []
    for name in (
        "int4-unscaled-rtn-unclipped",
        "dint4-unscaled-rtn-unclipped",
        "dint4-rtn-unclipped",
        "dint4",
    ):
        found = [
            quantise_matrix(*draw(seed, 32, 64, 400), parse_scheme(f"w4a8-{name}")).relative_error
            for seed in range(3)
        ]
        errors.append(np.mean(found))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 3


def test_the_result_is_what_a_runtime_computes() -> None:
    weight, inputs = draw(7)
    scheme = parse_scheme("w4a8-dint4-g8")
    found = quantise_matrix(weight, inputs, scheme)
    image = found.tensor.integers()
    scale = np.repeat(image.scale[0], 8, axis=1)
    outputs = scheme.activations.approximate(inputs / found.channel_scale) @ (image.values[0] * scale).T
    exact = inputs @ weight.T
    assert ((outputs - exact) ** 2).mean() == pytest.approx(found.error)
    assert found.relative_error == pytest.approx(found.error / (exact**2).mean())
    assert found.error < found.error_nearest
    assert np.array_equal(found.take_rows(2, 5).codes, found.tensor.codes[2:5])


def test_the_same_input_gives_the_same_bits() -> None:
    weight, inputs = draw(8)
    scheme = parse_scheme("w4a8-dint4")
    first, second = (quantise_matrix(weight.copy(), inputs.copy(), scheme) for _ in range(2))
    assert np.array_equal(first.tensor.codes, second.tensor.codes)
    assert np.array_equal(first.channel_scale, second.channel_scale)
    assert first.error == second.error


def test_names_are_the_schemes_they_say() -> None:
    assert parse_scheme("w8a8") == Scheme(WeightFormat(UniformFormat(8)), ActivationFormat(8))
    full = Scheme(
        WeightFormat(DIntFormat(4)),
        ActivationFormat(8),
        scaling="aqas",
        rounding="gptq",
        clipping="search",
    )
    assert parse_scheme("w4a8-dint4") == parse_scheme("W4A8-dint") == full
    assert parse_scheme("w4a8").weights == WeightFormat(UniformFormat(4, symmetric=False))
    assert parse_scheme("w4a8-int4-rtn-unscaled-unclipped") == Scheme(parse_scheme("w4a8").weights)
    assert parse_scheme("w4a16").activations.bits is None
    assert parse_scheme("w3a8-dint-g64").weights == WeightFormat(DIntFormat(3), "group", 64)
    assert parse_scheme("w8a8-tensor-smooth").weights.granularity == "tensor"
    assert parse_scheme("w8a8-tensor-smooth").scaling == "smooth"
    assert parse_scheme("w2a8-ternary").weights.numbers == TernaryFormat()
    assert parse_scheme("w3a8-bcq3").weights.numbers == BinaryCodingFormat(3)
    assert parse_scheme("w1a8").weights.numbers == BinaryCodingFormat(1)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "named such as"),
        ("int8", "named such as"),
        ("w8", "named such as"),
        ("w9a8", "bits"),
        ("w4a9", "bits"),
        ("w4a8-dint3", "dint3"),
        ("w4a8-ternary", "ternary"),
        ("w8a8-dint8", "bits of dINT"),
        ("w4a8-rtn-gptq", "'rtn' and 'gptq'"),
        ("w4a8-g0", "group_size"),
        ("w4a8-", "unknown word ''"),
        (None, "str"),
    ],
)
def test_names_of_no_scheme_are_refused(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_scheme(name)


@pytest.mark.parametrize(
    ("weight", "inputs", "said"),
    [
        (np.ones(3), np.ones((2, 3)), "weight must be a matrix"),
        (np.ones((0, 3)), np.ones((2, 3)), "weight must be a matrix"),
        (np.ones((2, 3)), np.ones((0, 3)), "activations must be a matrix"),
        (np.ones((2, 3)), np.ones((2, 4)), "3 columns, got 4"),
        (np.full((2, 3), np.nan), np.ones((2, 3)), "weight must be finite; 6 of 6"),
        (np.ones((2, 3)), np.array([[1, np.inf, 2]]), "activations must be finite; 1 of 3"),
        ("weights", np.ones((2, 3)), "weight must be an array"),
    ],
)
def test_operands_that_are_none_are_refused(weight: np.ndarray, inputs: np.ndarray, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        quantise_matrix(weight, inputs, parse_scheme("w8a8"))


@pytest.mark.parametrize(
    "change",
    [
        {"weights": UniformFormat(4)},
        {"activations": 8},
        {"scaling": "most"},
        {"rounding": "up"},
        {"clipping": True},
        {"search_rows": 0},
        {"calibration_length": 0},
    ],
)
def test_schemes_of_nothing_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(parse_scheme("w8a8"), **change)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        ActivationFormat(8, "row")  # type: ignore[arg-type]


def test_calibration_is_cut_to_the_length_of_the_task() -> None:
    tokens = np.arange(1000)
    windows = cut_stream(tokens, 128, 50, seed=1)
    assert windows.shape == (50, 128)
    assert (np.diff(windows, axis=1) == 1).all()
    assert len(np.unique(windows[:, 0])) > 40
    assert np.array_equal(windows, cut_stream(tokens, 128, 50, seed=1))
    assert cut_stream(tokens, 1000, 2).tolist() == [tokens.tolist()] * 2
    samples = np.arange(24).reshape(2, 4, 3)
    assert np.array_equal(cut_samples(samples, 2), samples[:, :2])
    assert cut_samples(samples, None) is samples
    for length in (5, 0):
        with pytest.raises(UsageError):
            cut_samples(samples, length)
    for row, length in ((tokens, 1001), (tokens[:, None], 1), (tokens / 2, 3)):
        with pytest.raises(UsageError):
            cut_stream(row, length)
    assert thin_rows(np.arange(10.0)[:, None], 4)[:, 0].tolist() == [0, 2, 5, 7]
