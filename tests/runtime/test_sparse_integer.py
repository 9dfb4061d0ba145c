"""test_sparse_integer.py: uint8 × int8 convolution is bit-exact with the reference, whatever the form and threads."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.runtime.errors import UsageError
from colonnade.runtime.sparse import (
    Dequantise,
    PillarGrid,
    Requantise,
    build_rules,
    concatenate,
    conv2d,
    pack_weight,
)
from colonnade.runtime.sparse.forms import INTEGER_FORM, VECTOR_INTEGER_FORM
from colonnade.runtime.sparse.kernels import convolve, prepare_integer
from colonnade.runtime.sparse.reference import concatenate_reference, conv2d_reference
from colonnade.runtime.sparse.weights import pack_panels
from colonnade.runtime.threads import available_threads, thread_budget

CONVOLUTIONS = [
    ("submanifold", 1, 1),
    ("submanifold", 3, 1),
    ("submanifold", 5, 1),
    ("dilating", 3, 1),
    ("strided", 3, 2),
    ("strided", 2, 2),
    ("transposed", 2, 2),
    ("transposed", 4, 4),
]
CHANNELS = [1, 2, 3, 4, 5, 7, 16, 33, 48, 63, 64, 65, 130]


def make_grid(rng, shape, share, channels) -> PillarGrid:
    sites = np.argwhere(rng.random(shape) < share).astype(np.int32)
    features = rng.integers(0, 256, (len(sites), channels)).astype(np.uint8)
    return PillarGrid.from_coords(sites, features, shape)


def make_layer(rng, in_channels, out_channels, kernel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weight, bias and scales that spread the sums over 0..255 and beyond."""
    weight = rng.integers(-128, 128, (out_channels, in_channels, kernel, kernel)).astype(np.int8)
    spread = 128 * 75 * np.sqrt(in_channels * kernel**2)
    bias = rng.integers(-int(spread), int(spread) + 1, out_channels).astype(np.int32)
    return weight, bias, (rng.uniform(20, 400, out_channels) / spread).astype(np.float32)


def assert_same(actual: PillarGrid, expected: PillarGrid) -> None:
    assert actual.shape == expected.shape
    assert np.array_equal(actual.coords, expected.coords)
    assert actual.features.dtype == expected.features.dtype
    assert np.array_equal(actual.features, expected.features)


@pytest.mark.parametrize(("kind", "kernel", "stride"), CONVOLUTIONS)
@settings(deadline=None, max_examples=15)
@given(
    shape=st.tuples(st.integers(2, 17), st.integers(2, 70)),
    seed=st.integers(0, 2**32 - 1),
    share=st.sampled_from([0.0, 0.03, 0.4, 1.0]),
    in_channels=st.sampled_from(CHANNELS),
    out_channels=st.sampled_from([1, 13, 16, 31, 32, 48, 64, 72, 100]),
)
def test_equals_the_reference_to_the_bit(kind, kernel, stride, shape, seed, share, in_channels, out_channels):
    rng = np.random.default_rng(seed)
    grid = make_grid(rng, shape, share, in_channels)
    weight, bias, scale = make_layer(rng, in_channels, out_channels, kernel)
    packed = pack_weight(weight)
    for rescale in (None, Requantise(scale), Dequantise(scale)):
        options = {"kind": kind, "stride": stride, "rescale": rescale}
        assert_same(conv2d(grid, packed, bias, **options), conv2d_reference(grid, weight, bias, **options))


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    shares=st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=2, max_size=3),
    kernel=st.sampled_from([1, 3]),
    kind=st.sampled_from(["submanifold", "dilating", "strided"]),
)
def test_several_grids_equal_their_concatenation(seed, shares, kernel, kind):
    rng = np.random.default_rng(seed)
    stride = 2 if kind == "strided" else 1
    kernel = 3 if kind == "strided" else kernel
    grids = [make_grid(rng, (9, 75), share, int(rng.choice(CHANNELS))) for share in shares]
    weight, bias, scale = make_layer(rng, sum(grid.channels for grid in grids), 20, kernel)
    options = {"kind": kind, "stride": stride, "rescale": Requantise(scale)}
    expected = conv2d_reference(concatenate_reference(grids), weight, bias, **options)
    assert_same(conv2d(grids, weight, bias, **options), expected)
    assert_same(conv2d(concatenate(grids), weight, bias, **options), expected)


@pytest.mark.parametrize(("in_channels", "out_channels"), [(32, 32), (48, 13), (200, 20), (64, 65)])
def test_tile_and_vector_unit_agree_in_one_process(in_channels, out_channels):
    """Whole and partial panels, and more steps than the tile form keeps gathered for one panel."""
    rng = np.random.default_rng(4)
    grid = make_grid(rng, (40, 50), 0.4, in_channels)
    weight, bias, scale = make_layer(rng, in_channels, out_channels, 3)
    rules = build_rules(grid)
    for requantise, rescale in ((True, Requantise(scale)), (False, Dequantise(scale))):
        expected = conv2d_reference(grid, weight, bias, rescale=rescale).features
        for form in (INTEGER_FORM, VECTOR_INTEGER_FORM):
            packed = pack_panels(weight, (in_channels,), form)
            operation = prepare_integer(packed, bias, scale, requantise=requantise)
            assert np.array_equal(convolve([grid.features], rules, operation), expected)


def test_extreme_values_do_not_wrap_or_saturate():
    """All of 255 · 127 and 255 · -128 over 9 taps and 256 channels, beyond what 16-bit sums could hold."""
    grid = PillarGrid.full((5, 5), np.full((25, 256), 255, np.uint8))
    weight = np.concatenate([np.full((8, 256, 3, 3), 127), np.full((8, 256, 3, 3), -128)]).astype(np.int8)
    result = conv2d(grid, weight).features[12]
    assert result.tolist() == [255 * 127 * 2304] * 8 + [255 * -128 * 2304] * 8


def test_halves_round_to_even_and_the_rest_is_clamped():
    grid = PillarGrid.from_coords([(0, 0)], np.ones((1, 1), np.uint8), (1, 1))
    sums = np.array([-9, -1, 0, 1, 2, 3, 5, 7, 509, 510, 511, 513, 100000, -(2**31) + 1, 2**31 - 2], np.int32)
    weight = np.zeros((sums.size, 1, 1, 1), np.int8)
    scale = np.full(sums.size, 0.5, np.float32)
    found = conv2d(grid, weight, sums, rescale=Requantise(scale)).features[0]
    assert found.tolist() == [0, 0, 0, 0, 1, 2, 2, 4, 254, 255, 255, 255, 255, 0, 255]
    halves = conv2d(grid, weight, sums, rescale=Dequantise(scale)).features[0]
    assert np.array_equal(halves, sums.astype(np.float32) / 2)


@pytest.mark.skipif(available_threads() < 2, reason="needs two threads")
def test_same_bits_for_one_and_two_threads():
    rng = np.random.default_rng(2)
    grid = make_grid(rng, (120, 130), 0.3, 48)
    weight, bias, scale = make_layer(rng, 48, 72, 3)
    results = []
    for threads in (1, 2, 2, 1):
        with thread_budget(threads):
            results.append(conv2d(grid, weight, bias, rescale=Requantise(scale)).features.tobytes())
    assert len(set(results)) == 1


def test_wrong_combinations_are_told():
    rng = np.random.default_rng(3)
    grid = make_grid(rng, (6, 6), 0.5, 4)
    weight, bias, scale = make_layer(rng, 4, 8, 3)
    with pytest.raises(UsageError, match="float32 goes with float32"):
        conv2d(grid, weight.astype(np.float32))
    with pytest.raises(UsageError, match="need uint8 features"):
        conv2d(grid.with_features(grid.features.astype(np.float32)), weight)
    with pytest.raises(UsageError, match="bias must be"):
        conv2d(grid, weight, bias.astype(np.float32))
    with pytest.raises(UsageError, match="part of Requantise"):
        conv2d(grid, weight, bias, activation="relu")
    with pytest.raises(UsageError, match="rescale is for uint8"):
        conv2d(
            grid.with_features(np.ones((len(grid), 4), np.float32)),
            np.ones((8, 4, 3, 3), np.float32),
            rescale=Requantise(scale),
        )
    with pytest.raises(UsageError, match="7 scales"):
        conv2d(grid, weight, bias, rescale=Requantise(scale[:7]))
    with pytest.raises(UsageError, match="NaN or infinity"):
        Requantise(np.array([np.nan], np.float32))
    with pytest.raises(UsageError, match="float32 array"):
        Dequantise(np.ones(3))
    with pytest.raises(UsageError, match="add up"):
        pack_weight(weight, (1, 2))
    with pytest.raises(UsageError, match="2 \\+ 2"):
        conv2d(grid, pack_weight(weight, (2, 2)), bias)
    with pytest.raises(UsageError, match="one shape"):
        build_rules([grid, make_grid(rng, (7, 6), 0.5, 4)])
    with pytest.raises(UsageError, match="more than 64 taps"):
        build_rules([grid, grid], kernel=7)
    with pytest.raises(UsageError, match="takes one grid"):
        build_rules([grid, grid], "transposed", kernel=2, stride=2)
    with pytest.raises(UsageError, match="empty sequence"):
        conv2d([], weight)


FORMS = ("amx", "vnni", "avx512", "avx2", "generic")


@pytest.mark.skipif("COLONNADE_KERNEL" in os.environ, reason="is itself run under every form")
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_this_cpu_passes_these_tests(form, tmp_path):
    """Bit-exact with one reference means bit-identical with each other."""
    environment = {**os.environ, "COLONNADE_KERNEL": form, "COLONNADE_CACHE_DIR": str(tmp_path)}
    environment.pop("NUMBA_CACHE_DIR", None)
    probe = "from colonnade.runtime.sparse.forms import INTEGER_FORM; print(INTEGER_FORM.name)"
    asked = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, text=True)
    if "this CPU has no" in asked.stderr or "the operating system refuses" in asked.stderr:
        pytest.skip(f"this CPU cannot run the {form} form")
    assert asked.stdout.strip() == form, asked.stderr
    if form == INTEGER_FORM.name:
        return  # the tests above ran in this form
    options = ["-q", "-x", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    command = [sys.executable, "-m", "pytest", *options, __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
