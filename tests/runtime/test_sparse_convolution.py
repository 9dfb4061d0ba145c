"""test_sparse_convolution.py: conv2d of every kind against brute force and dense convolution."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.runtime.errors import UsageError
from colonnade.runtime.sparse import PillarGrid, build_rules, conv2d, pack_weight
from colonnade.runtime.sparse.reference import conv2d_reference
from colonnade.runtime.threads import available_threads, thread_budget

CONVOLUTIONS = [
    ("submanifold", 1, 1),
    ("submanifold", 3, 1),
    ("dilating", 3, 1),
    ("strided", 3, 2),
    ("strided", 2, 2),
    ("transposed", 1, 1),
    ("transposed", 2, 2),
    ("transposed", 4, 4),
    ("dilating", 5, 1),
]
# Ulp-bounded, not bit-exact: float32 sums of taps · Cin products against float64. Rounding errors of n random
# terms grow like sqrt(n) · 6e-8; this is ten times that for n = 2,304, relative to the largest output.
FLOAT32_TOLERANCE = 3e-5


def make_layer(rng, in_channels, out_channels, kernel) -> tuple[np.ndarray, np.ndarray]:
    shape = (out_channels, in_channels, kernel, kernel)
    scale = 1 / np.sqrt(in_channels * kernel**2)
    weight = (rng.standard_normal(shape) * scale).astype(np.float32)
    return weight, rng.standard_normal(out_channels).astype(np.float32)


def make_grid(rng, shape, share, channels) -> PillarGrid:
    sites = np.argwhere(rng.random(shape) < share).astype(np.int32)
    return PillarGrid.from_coords(
        sites, rng.standard_normal((len(sites), channels)).astype(np.float32), shape
    )


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.dtype == np.float32
    assert actual.shape == expected.shape
    limit = FLOAT32_TOLERANCE * max(1.0, np.abs(expected).max(initial=0))
    assert np.abs(actual - expected).max(initial=0) <= limit


def convolve_dense(dense: np.ndarray, weight: np.ndarray, kind: str, stride: int) -> np.ndarray:
    """Return the dense convolution (Cout, H', W') of (C, H, W) in float64, by shifted slices."""
    out_channels, _, kernel, _ = weight.shape
    _, height, width = dense.shape
    if kind == "transposed":
        result = np.zeros((out_channels, height * stride, width * stride))
        for ky, kx in np.ndindex(kernel, kernel):
            result[:, ky::stride, kx::stride] = np.einsum("oc,chw->ohw", weight[:, :, ky, kx], dense)
        return result
    pad = 0 if kernel == 2 else kernel // 2
    padded = np.pad(dense.astype(np.float64), ((0, 0), (pad, pad), (pad, pad)))
    rows, cols = (height + 2 * pad - kernel) // stride + 1, (width + 2 * pad - kernel) // stride + 1
    result = np.zeros((out_channels, rows, cols))
    for ky, kx in np.ndindex(kernel, kernel):
        window = padded[:, ky : ky + stride * rows : stride, kx : kx + stride * cols : stride]
        result += np.einsum("oc,chw->ohw", weight[:, :, ky, kx], window[:, :rows, :cols])
    return result


@pytest.mark.parametrize(("kind", "kernel", "stride"), CONVOLUTIONS)
@settings(deadline=None, max_examples=25)
@given(
    shape=st.tuples(st.integers(2, 17), st.integers(2, 70)),
    seed=st.integers(0, 2**32 - 1),
    share=st.sampled_from([0.0, 0.03, 0.4, 1.0]),
    in_channels=st.sampled_from([1, 2, 3, 7, 16, 33, 64]),
    out_channels=st.sampled_from([1, 3, 15, 16, 17, 31, 48, 64, 72, 100, 130]),
    with_bias=st.booleans(),
    activation=st.sampled_from([None, "relu"]),
)
def test_equals_brute_force(
    kind, kernel, stride, shape, seed, share, in_channels, out_channels, with_bias, activation
):
    rng = np.random.default_rng(seed)
    grid = make_grid(rng, shape, share, in_channels)
    weight, bias = make_layer(rng, in_channels, out_channels, kernel)
    options = {"kind": kind, "stride": stride, "activation": activation}
    result = conv2d(grid, weight, bias if with_bias else None, **options)
    expected = conv2d_reference(grid, weight, bias if with_bias else None, **options)
    assert result.shape == expected.shape
    assert np.array_equal(result.coords, expected.coords)
    assert_close(result.features, expected.features)


@pytest.mark.parametrize(("kind", "kernel", "stride"), CONVOLUTIONS)
def test_equals_dense_convolution_on_its_support(kind, kernel, stride):
    rng = np.random.default_rng(5)
    grid = make_grid(rng, (21, 70), 0.1, 6)
    weight, _ = make_layer(rng, 6, 20, kernel)
    result = conv2d(grid, weight, kind=kind, stride=stride)
    dense = convolve_dense(grid.to_dense(), weight, kind, stride)
    rows, cols = result.coords.T
    assert_close(result.to_dense()[:, rows, cols], dense[:, rows, cols])
    if kind != "submanifold":  # the others have an output wherever the dense result is not zero
        assert_close(result.to_dense(), dense)


@pytest.mark.parametrize(("kind", "kernel", "stride"), CONVOLUTIONS[:-1])
def test_equals_brute_force_on_real_frames(kitti_pillars, kind, kernel, stride):
    rng = np.random.default_rng(1)
    for name in ("velodyne/000000", "velodyne_reduced/000008"):
        sites = kitti_pillars[name]
        grid = PillarGrid.from_coords(sites, rng.random((len(sites), 24), np.float32), (496, 432))
        weight, bias = make_layer(rng, 24, 40, kernel)
        result = conv2d(grid, weight, bias, kind=kind, stride=stride, activation="relu")
        expected = conv2d_reference(grid, weight, bias, kind=kind, stride=stride, activation="relu")
        assert np.array_equal(result.coords, expected.coords)
        assert_close(result.features, expected.features)


@pytest.mark.skipif(available_threads() < 2, reason="needs two threads")
@pytest.mark.parametrize(("kind", "kernel", "stride"), CONVOLUTIONS)
def test_same_bits_for_one_and_two_threads(kitti_pillars, kind, kernel, stride):
    rng = np.random.default_rng(2)
    sites = kitti_pillars["velodyne_reduced/000134"]
    grid = PillarGrid.from_coords(sites, rng.standard_normal((len(sites), 32)).astype(np.float32), (496, 432))
    weight, bias = make_layer(rng, 32, 72, kernel)
    results = []
    for threads in (1, 2, 2, 1):
        with thread_budget(threads):
            results.append(conv2d(grid, weight, bias, kind=kind, stride=stride).features.tobytes())
    assert len(set(results)) == 1


def test_a_chain_of_layers_equals_the_dense_network():
    """Strided, submanifold twice on one rulebook, transposed back: as a block of the detector runs them."""
    rng = np.random.default_rng(3)
    grid = make_grid(rng, (32, 48), 0.15, 5)
    layers = [make_layer(rng, *sizes) for sizes in ((5, 16, 3), (16, 16, 3), (16, 16, 3), (16, 8, 2))]
    (down, down_bias), (first, first_bias), (second, second_bias), (up, up_bias) = layers

    sparse = conv2d(grid, down, down_bias, kind="strided", stride=2, activation="relu")
    rules = build_rules(sparse)
    for weight, bias in ((first, first_bias), (second, second_bias)):
        sparse = conv2d(sparse, pack_weight(weight), bias, activation="relu", rulebook=rules)
    active = np.zeros(sparse.shape, bool)
    active[tuple(sparse.coords.T)] = True
    sparse = conv2d(sparse, up, up_bias, kind="transposed", stride=2)

    dense = grid.to_dense()
    for (weight, bias), kind, stride in zip(
        layers[:3], ("strided", "dilating", "dilating"), (2, 1, 1), strict=True
    ):
        dense = np.maximum(convolve_dense(dense, weight, kind, stride) + bias[:, None, None], 0) * active
    dense = convolve_dense(dense, up, "transposed", 2) + up_bias[:, None, None]
    assert_close(sparse.to_dense(), dense * active.repeat(2, 0).repeat(2, 1))


def test_a_rulebook_fits_equal_active_sets_only():
    rng = np.random.default_rng(4)
    grid = make_grid(rng, (8, 9), 0.5, 3)
    weight, _ = make_layer(rng, 3, 4, 3)
    rules = build_rules(grid)
    same = PillarGrid.from_coords(grid.coords.copy(), grid.features, grid.shape)
    assert np.array_equal(conv2d(same, weight, rulebook=rules).features, conv2d(grid, weight).features)
    shifted = PillarGrid.full(grid.shape, np.ones((72, 3), np.float32))
    with pytest.raises(UsageError, match="another active set"):
        conv2d(shifted, weight, rulebook=rules)
    with pytest.raises(UsageError, match="rulebook is for a submanifold"):
        conv2d(grid, weight, kind="dilating", rulebook=rules)
    with pytest.raises(UsageError, match="kernel 1"):
        conv2d(grid, weight[:, :, :1, :1], rulebook=rules)


def test_strided_weights_and_features_are_read_as_they_look():
    rng = np.random.default_rng(6)
    grid = make_grid(rng, (9, 9), 0.5, 12)
    weight = rng.standard_normal((3, 3, 6, 10)).astype(np.float32).transpose(3, 2, 0, 1)  # (10, 6, 3, 3)
    thinned = grid.with_features(grid.features[:, ::2])
    expected = conv2d_reference(thinned, weight)
    assert_close(conv2d(thinned, weight).features, expected.features)


def test_a_bad_value_reaches_only_its_neighbours():
    features = np.ones((3, 4), np.float32)
    features[0, 2] = np.nan
    grid = PillarGrid.from_coords([(1, 1), (1, 2), (1, 4)], features, (3, 6))
    weight = np.ones((5, 4, 3, 3), np.float32)
    result = conv2d(grid, weight, activation="relu").features
    assert np.isnan(result[:2]).all()  # ReLU does not hide it
    assert (result[2] == 4).all()


def test_relu_and_bias_act_on_active_outputs_only():
    grid = PillarGrid.from_coords([(0, 0), (2, 2)], np.array([[1], [-1]], np.float32), (3, 3))
    weight = np.ones((2, 1, 1, 1), np.float32)
    bias = np.array([0.5, -3], np.float32)
    result = conv2d(grid, weight, bias, activation="relu")
    assert result.features.tolist() == [[1.5, 0], [0, 0]]
    assert conv2d(grid, weight, bias).features.tolist() == [[1.5, -2], [-0.5, -4]]
    assert np.count_nonzero(result.to_dense()) == 1


WEIGHT = np.ones((4, 3, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("weight", "options", "message"),
    [
        (WEIGHT.astype(np.float64), {}, "weight must be float32"),
        (WEIGHT[0], {}, r"weight must be \(Cout, Cin, k, k\)"),
        (WEIGHT[:, :, :2], {}, r"weight must be \(Cout, Cin, k, k\)"),
        (WEIGHT[:0], {}, "no empty axis"),
        (WEIGHT * np.float32(np.nan), {}, "NaN or infinity"),
        (WEIGHT[:, :2], {}, "grid has 3 channels, but the weight was made for 2"),
        (WEIGHT, {"bias": np.ones(3, np.float32)}, r"bias must be \(4,\) float32"),
        (WEIGHT, {"bias": np.ones(4)}, r"bias must be \(4,\) float32"),
        (WEIGHT, {"activation": "gelu"}, "activation must be None or 'relu'"),
        (WEIGHT, {"kind": "dense"}, "choose one of"),
        (WEIGHT, {"kind": "strided"}, "needs stride 2"),
        (WEIGHT, {"kind": "transposed", "stride": 2}, "kernel = stride"),
    ],
)
def test_bad_arguments_are_refused(weight, options, message):
    grid = PillarGrid.from_coords([(0, 0)], np.ones((1, 3), np.float32), (3, 3))
    with pytest.raises(UsageError, match=message):
        conv2d(grid, weight, **options)


def test_integer_features_are_refused():
    grid = PillarGrid.from_coords([(0, 0)], np.ones((1, 3), np.uint8), (3, 3))
    with pytest.raises(UsageError, match="float32 features"):
        conv2d(grid, WEIGHT)
