"""test_integer_accuracy.py: how far the integer operators are from the exact functions."""

import numpy as np
import pytest

from colonnade.runtime.lut import TARGETS, build_norm, build_softmax, fit, kernels, quantise_affine

ELEMENT_ERROR = {"gelu": 5e-3, "silu": 1.5e-2, "sigmoid": 4e-3, "tanh": 8e-3, "exp": 3e-3}  # of 16 entries
SOFTMAX_ERROR = 0.015  # of a probability, 16 entries
SOFTMAX_MEAN_ERROR = 1e-4
ROW_SUM_ERROR = 2e-3  # of the sum of a row, beside the rounding of its outputs
NORM_ERROR = 1.5e-3  # of a normalised value times gamma, relative to the largest
SCALE = 2.0**-9


@pytest.mark.parametrize("name", ELEMENT_ERROR)
@pytest.mark.parametrize("bits", [16, 32])
def test_functions_of_one_number(name, bits):
    step = 2.0**-12
    table = fit(name).to_integer(step, step, input_bits=bits, output_bits=bits)
    x_q = np.arange(-(2**15), 1 if name == "exp" else 2**15, dtype=np.int32)
    error = np.abs(getattr(kernels, name)(x_q, table) * step - TARGETS[name].function(x_q * step))
    assert error.max() <= ELEMENT_ERROR[name] + step


@pytest.mark.parametrize("spread", [0.3, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("length", [8, 128, 512])
def test_softmax(spread, length):
    x_q = np.rint(np.random.default_rng(0).normal(0, spread / SCALE, (500, length))).astype(np.int32)
    real = x_q * SCALE
    exact = np.exp(real - real.max(axis=-1, keepdims=True))
    exact /= exact.sum(axis=-1, keepdims=True)
    tables = build_softmax(SCALE, output_bits=16)
    found = kernels.softmax(x_q, tables) / tables.high
    assert np.abs(found - exact).max() <= SOFTMAX_ERROR
    assert np.abs(found - exact).mean() <= SOFTMAX_MEAN_ERROR * 128 / length + 0.5 / tables.high
    assert np.abs(found.sum(axis=-1) - 1.0).max() <= ROW_SUM_ERROR + 0.5 * length / tables.high
    coarse = kernels.softmax(x_q, build_softmax(SCALE))
    assert np.abs(coarse / 255 - found).max() <= 0.5 / 255 + 2e-4
    assert np.abs(coarse.sum(axis=-1, dtype=np.int64) / 255 - 1.0).max() <= ROW_SUM_ERROR + 0.5 * length / 255


def test_softmax_of_equal_and_single_values():
    tables = build_softmax(SCALE)
    assert (kernels.softmax(np.full((3, 5), 77), tables) == 51).all()
    single = kernels.softmax(np.eye(4, dtype=np.int64) * 10**6, tables)
    np.testing.assert_array_equal(single, 255 * np.eye(4))


@pytest.mark.parametrize("length", [16, 384, 4096])
@pytest.mark.parametrize("input_scale", [2.0**-4, 2.0**-8, 2.0**-12])
def test_norms(length, input_scale):
    generator, step = np.random.default_rng(1), 2.0**-10
    gamma, beta = generator.normal(1, 0.3, length), generator.normal(0, 0.3, length)
    x_q = np.rint(generator.normal(0.5, 2, (200, length)) / input_scale).astype(np.int32)
    tables = build_norm(input_scale, 1e-5, low=-(2**15), high=2**15 - 1)
    gamma_q, beta_q = quantise_affine(gamma, beta, step)
    real = x_q * input_scale
    for operator, centre in (
        (kernels.layer_norm, real.mean(axis=-1, keepdims=True)),
        (kernels.rms_norm, 0.0),
    ):
        deviation = real - centre
        normal = deviation / np.sqrt((deviation**2).mean(axis=-1, keepdims=True) + 1e-5)
        found = operator(x_q, tables, gamma_q, beta_q) * step
        bound = NORM_ERROR * np.abs(normal * gamma).max() + step
        assert np.abs(found - normal * gamma - beta).max() <= bound


def test_norm_of_a_row_without_variance_is_beta():
    gamma_q, beta_q = quantise_affine(np.ones(6), np.arange(6.0), 1.0)
    tables = build_norm(1.0, 1e-5)
    for value in (-(2**31), -3, 0, 2**31 - 1):
        found = kernels.layer_norm(np.full((2, 6), value), tables, gamma_q, beta_q)
        np.testing.assert_array_equal(found, np.tile(np.arange(6), (2, 1)))


def test_epsilon_counts():
    gamma_q, beta_q = quantise_affine(np.ones(2), None, 2.0**-6)
    x_q = np.array([[-100, 100]])
    found = kernels.layer_norm(x_q, build_norm(0.01, 3.0), gamma_q, beta_q) * 2.0**-6
    np.testing.assert_allclose(found, [[-0.5, 0.5]], atol=2.0**-6)
