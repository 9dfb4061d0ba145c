"""test_bench_peers.py: the peers compute what the engine computes, and say what is missing where they cannot."""

import sys

import numpy as np
import pytest

from colonnade.detector.architecture import Architecture, Layer
from colonnade.detector.network import LayerWeights, Network, QuantisedLayer
from colonnade.runtime.errors import MissingExtraError, UsageError
from colonnade.runtime.sparse import HAS_FAST_INT8, PillarGrid
from colonnade.runtime.threads import thread_budget
from colonnade.tools.bench.dense_onnx import DenseOnnx, build_dense_model, densify
from colonnade.tools.bench.openvino_peer import OpenVino
from colonnade.tools.bench.peers import gather_peers
from colonnade.tools.bench.spconv_peer import SpconvNetwork

FP32_TOLERANCE = 1e-4  # relative to the largest output: sums in another order
SHAPE = (16, 24)
HEAD_STEP = 0.125

# The standard network in small: two blocks, both kinds of upsampling, concatenated heads.
SMALL = Architecture(
    8,
    (
        Layer("block1.0", "strided", ("pillars",), 8, 12, stride=2),
        Layer("block1.1", "submanifold", ("block1.0",), 12, 12),
        Layer("block2.0", "strided", ("block1.1",), 12, 16, stride=2),
        Layer("block2.1", "submanifold", ("block2.0",), 16, 16),
        Layer("up1", "submanifold", ("block1.1",), 12, 8, kernel=1),
        Layer("up2", "transposed", ("block2.1",), 16, 8, kernel=2, stride=2),
        Layer("heads", "submanifold", ("up1", "up2"), 16, 5, kernel=1, relu=False),
    ),
    output_stride=2,
)


def draw_floats() -> tuple[LayerWeights, ...]:
    rng = np.random.default_rng(1)
    return tuple(
        LayerWeights(
            rng.normal(0, 0.2, (la.out_channels, la.in_channels, la.kernel, la.kernel)).astype(np.float32),
            rng.normal(0, 0.1, la.out_channels).astype(np.float32),
        )
        for la in SMALL.layers
    )


def draw_integers() -> tuple[QuantisedLayer, ...]:
    """Return weights whose sums, scaled, spread over 0..255 and beyond both ends."""
    rng = np.random.default_rng(2)
    layers = []
    for la in SMALL.layers:
        shape = (la.out_channels, la.in_channels, la.kernel, la.kernel)
        taps = 1 if la.kind == "transposed" else la.kernel**2
        spread = 127 / np.sqrt(3) * 100 * np.sqrt(la.in_channels * taps)  # of the sums, about
        scale = rng.uniform(0.7, 1.3, la.out_channels) * (100 if la.relu else 12) / spread
        layers.append(
            QuantisedLayer(
                rng.integers(-127, 128, shape, np.int8),
                rng.integers(-500, 500, la.out_channels, np.int32),
                scale.astype(np.float32),
            )
        )
    return tuple(layers)


def draw_grid(dtype: type) -> PillarGrid:
    rng = np.random.default_rng(3)
    values = rng.integers(0, 256, (SHAPE[0] * SHAPE[1], 8)) / (1 if dtype is np.uint8 else 64)
    return PillarGrid.full(SHAPE, values.astype(dtype))


def find_runtimes() -> list[type]:
    pytest.importorskip("onnx", reason="needs the extra [bench]")
    try:
        import openvino  # noqa: F401
    except ImportError:
        return [DenseOnnx]
    return [DenseOnnx, OpenVino]


def test_dense_runtimes_compute_the_float_network() -> None:
    runtimes = find_runtimes()
    weights, grid = draw_floats(), draw_grid(np.float32)
    with thread_budget(1):
        expected = Network(SMALL, weights).run(grid).to_dense()
    model = build_dense_model(SMALL, weights, SHAPE)
    for runtime in runtimes:
        found = runtime(model, 1).run(densify(grid.to_dense()))[0]
        assert found.shape == expected.shape == (5, 8, 12)
        assert np.abs(found - expected).max() <= FP32_TOLERANCE * np.abs(expected).max()


@pytest.mark.skipif(not HAS_FAST_INT8, reason="onnxruntime's sums of int16 saturate on such a CPU")
def test_dense_onnxruntime_computes_the_integer_network() -> None:
    """Its head is rounded to steps, ours is not; and its products of floats may round a step the other way."""
    find_runtimes()
    weights, grid = draw_integers(), draw_grid(np.uint8)
    with thread_budget(1):
        expected = Network(SMALL, weights).run(grid).to_dense()
    model = build_dense_model(SMALL, weights, SHAPE, head_step=HEAD_STEP)
    found = DenseOnnx(model, 1).run(densify(grid.to_dense()))[0]
    limits = -128 * HEAD_STEP, 127 * HEAD_STEP
    assert np.std(expected) > 10 * HEAD_STEP, "a test of nothing"
    assert np.abs(found - np.clip(expected, *limits)).max() <= HEAD_STEP


def test_the_model_is_valid_onnx() -> None:
    onnx = pytest.importorskip("onnx", reason="needs the extra [bench]")
    for weights in (draw_floats(), draw_integers()):
        onnx.checker.check_model(onnx.load_from_string(build_dense_model(SMALL, weights, SHAPE)))


def test_spconv_computes_the_submanifold_network() -> None:
    pytest.importorskip("spconv", reason="needs the extra [peers]")
    rng = np.random.default_rng(4)
    coords = np.argwhere(rng.random(SHAPE) < 0.2).astype(np.int32)
    grid = PillarGrid.from_coords(coords, rng.random((len(coords), 8), np.float32), SHAPE)
    weights = draw_floats()
    with thread_budget(1):
        expected = Network(SMALL, weights).run(grid)
    peer = SpconvNetwork(SMALL, weights, 1)
    cells, found = peer.run(grid)
    row, col = expected.coords.astype(np.int64).T
    assert np.array_equal(cells, row * expected.shape[1] + col)
    assert np.abs(found - expected.features).max() <= FP32_TOLERANCE * np.abs(expected.features).max()
    peer.find_indices(grid)


def test_spconv_is_for_submanifold_networks() -> None:
    pytest.importorskip("spconv", reason="needs the extra [peers]")
    layers = (Layer("a", "dilating", ("pillars",), 8, 8),)
    weights = (LayerWeights(np.zeros((8, 8, 3, 3), np.float32), np.zeros(8, np.float32)),)
    with pytest.raises(UsageError, match="submanifold"):
        SpconvNetwork(Architecture(8, layers, 1), weights, 1)


@pytest.mark.parametrize(
    ("module", "extra", "build"),
    [
        ("onnx", "bench", lambda: build_dense_model(SMALL, draw_floats(), SHAPE)),
        ("openvino", "peers", lambda: OpenVino(b"", 1)),
        ("spconv", "peers", lambda: SpconvNetwork(SMALL, draw_floats(), 1)),
    ],
)
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, module, extra, build) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"'{module}'.*pip install 'colonnade\[{extra}\]'"):
        build()


def test_missing_peers_are_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("onnx", "openvino", "spconv"):
        monkeypatch.setitem(sys.modules, module, None)
    peers, missing = gather_peers(("fp32",), (1,))
    assert peers == ()
    assert len(missing) == 2
    assert "'onnx'" in missing[0]
    assert "'spconv'" in missing[1]
