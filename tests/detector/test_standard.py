"""test_standard.py: the standard network has the published layers, and its variants compute what they claim."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

import colonnade.detector
from colonnade.detector.architecture import INPUT, Architecture
from colonnade.detector.detector import Detector
from colonnade.detector.evaluate.kitti_labels import read_kitti_calibration
from colonnade.detector.network import LayerWeights, Network, QuantisedLayer
from colonnade.detector.pruning import count_kept
from colonnade.detector.quantise import Steps, encode_points, quantise_layers
from colonnade.detector.standard import (
    CHANNELS,
    DENSE_MACS,
    SHAPE,
    StandardNetwork,
    draw_pillars,
    fill_grid,
    standard_architecture,
    standard_checkpoint,
    standard_network,
)
from colonnade.detector.standard_weights import (
    INPUT_STEP,
    draw_sample,
    draw_street,
    draw_weights,
    measure_steps,
)
from colonnade.runtime.errors import ModelError, UsageError
from colonnade.runtime.sparse import PillarGrid
from colonnade.runtime.sparse.reference import concatenate_reference, conv2d_reference
from colonnade.runtime.trace import Trace

NETWORK_TOLERANCE = 1e-4  # float32 sums in another order, over twenty layers
SAVING_TOLERANCE = (
    0.15  # percentage points: the published savings have one decimal, and a pillar may round away
)

TABLE = (  # layers, Cin, Cout, kernel, stride, rows and columns of the output, dense MACs of each
    (("block1.0",), 64, 64, 3, 2, (248, 216), 1_974_730_752),
    (("block1.1", "block1.2", "block1.3"), 64, 64, 3, 1, (248, 216), 1_974_730_752),
    (("block2.0",), 64, 128, 3, 2, (124, 108), 987_365_376),
    (tuple(f"block2.{i}" for i in range(1, 6)), 128, 128, 3, 1, (124, 108), 1_974_730_752),
    (("block3.0",), 128, 256, 3, 2, (62, 54), 987_365_376),
    (tuple(f"block3.{i}" for i in range(1, 6)), 256, 256, 3, 1, (62, 54), 1_974_730_752),
    (("up1",), 64, 128, 1, 1, (248, 216), 438_829_056),
    (("up2",), 128, 128, 2, 2, (248, 216), 877_658_112),
    (("up4",), 256, 128, 4, 4, (248, 216), 1_755_316_224),
    (("heads",), 384, 72, 1, 1, (248, 216), 1_481_048_064),
)
WEIGHTS = 4_828_160  # of all layers


@lru_cache(maxsize=1)
def draw_small() -> PillarGrid:
    """Return a sparse frame of 24 x 16 pillars, enough for three blocks."""
    rng = np.random.default_rng(4)
    coords = np.argwhere(rng.random((24, 16)) < 0.06).astype(np.int32)
    features = np.maximum(rng.standard_normal((len(coords), CHANNELS), np.float32), 0)
    return PillarGrid.from_coords(coords, features, (24, 16))


def trace_frame(variant: str, coords: np.ndarray, **options: object) -> Trace:
    """Trace the standard network on a frame's pillars."""
    network = standard_network(variant, **options)
    heads, trace = network.trace(draw_pillars(coords))
    assert heads.channels == 72
    assert heads.features.dtype == np.float32
    return trace


def find_coords(points: np.ndarray) -> np.ndarray:
    """Return the (P, 2) row, column of a frame's pillars, as OpenPCDet cuts them."""
    low, high = np.array([0, -39.68, -3], np.float32), np.array([69.12, 39.68, 1], np.float32)
    kept = points[((points[:, :3] >= low) & (points[:, :3] < high)).all(axis=1)]
    cells = ((kept[:, :2] - low[:2]) / np.float32(0.16)).astype(np.int32)
    return np.unique(cells[:, ::-1], axis=0)


def read_coords(folder: Path, name: str, image: tuple[int, int] | None = None) -> np.ndarray:
    """Return the pillars of a KITTI frame; with `image` (width, height) only of the points that its camera sees."""
    training = folder / "kitti_object" / "training"
    points = np.fromfile(training / f"{name}.bin", np.float32).reshape(-1, 4)
    if image is not None:
        calibration = read_kitti_calibration(training / "calib" / f"{Path(name).name}.txt")
        u, v, depth = calibration.lidar_to_image @ np.column_stack([points[:, :3], np.ones(len(points))]).T
        points = points[(depth > 0) & (u >= 0) & (u < image[0] * depth) & (v >= 0) & (v < image[1] * depth)]
    return find_coords(points)


# --- shapes and work ---


def test_the_layers_are_those_of_the_published_configuration():
    architecture = standard_architecture("dilating")
    assert [layer.name for layer in architecture.layers] == [name for names, *_ in TABLE for name in names]
    layers = {layer.name: layer for layer in architecture.layers}
    for names, wide_in, wide_out, kernel, stride, _, _ in TABLE:
        for layer in map(layers.get, names):
            found = (layer.in_channels, layer.out_channels, layer.kernel, layer.stride)
            assert found == (wide_in, wide_out, kernel, stride), layer.name
    assert layers["heads"].inputs == ("up1", "up2", "up4")
    architecture.check_grid(SHAPE)


def test_a_full_grid_costs_what_the_dense_network_costs():
    heads, trace = standard_network("dense").trace(draw_pillars(np.array([[3, 5], [100, 7]])))
    assert len(heads) == 248 * 216
    assert trace.dense_macs == DENSE_MACS
    layers = {layer.name: layer for layer in trace.layers}
    for names, _, _, _, _, shape, macs in TABLE:
        for layer in map(layers.get, names):
            assert (layer.out_shape, layer.dense_macs) == (shape, macs), layer.name
            assert layer.active_outputs == shape[0] * shape[1]
    assert sum(layers["block1.0"].rules) == (3 * 248 - 1) * (3 * 216 - 1)  # all but the padding
    assert sum(layers["block3.5"].rules) == (3 * 62 - 2) * (3 * 54 - 2)
    assert 0 < trace.saving < 0.02
    assert sum(layer.bytes_weights for layer in trace.layers) == 4 * WEIGHTS


def test_what_the_variants_do_to_the_active_set():
    coords = np.argwhere(np.random.default_rng(0).random(SHAPE) < 0.01).astype(np.int32)
    dilating, submanifold, smaller = (
        trace_frame(variant, coords) for variant in ("dilating", "submanifold", "submanifold-2x2")
    )
    assert dilating.macs > submanifold.macs > smaller.macs
    for trace in (submanifold, smaller):
        blocks = [layer for layer in trace.layers if layer.name.startswith("block") and layer.stride == 1]
        assert all(layer.active_inputs == layer.active_outputs for layer in blocks)
    grown = [layer.active_outputs for layer in dilating.layers[:4]]
    assert grown == sorted(grown)
    assert [layer.kernel for layer in smaller.layers if layer.kind == "strided"] == [2, 2, 2]
    heads = dilating.layers[-1]
    assert heads.rules == (heads.active_outputs,)
    assert [branch.source for branch in heads.branches] == ["up1", "up2", "up4"]
    assert heads.branch_macs < heads.macs


@pytest.mark.parametrize("keep", [None, 0.5])
def test_pruning_keeps_exactly_its_share_of_the_blocks_entry(keep: float | None):
    coords = np.argwhere(np.random.default_rng(0).random(SHAPE) < 0.005).astype(np.int32)
    layers = trace_frame("pruned", coords, keep=keep).layers
    for block in (1, 2, 3):
        entry, *others = (layer for layer in layers if layer.name.startswith(f"block{block}"))
        assert entry.kept_outputs == entry.active_outputs
        wanted = count_kept(keep or 1.0, entry.active_outputs)
        for layer, before in zip(others, [entry, *others], strict=False):
            assert layer.kept_outputs == wanted < layer.active_outputs
            assert layer.active_inputs == before.kept_outputs


# Pillars, and savings in percent, of the published ten-frame table and of the full frames: heads counted sparse.
@pytest.mark.parametrize(
    ("name", "image", "pillars", "savings"),
    [
        ("velodyne/000000", (1224, 370), 3384, {"submanifold": 95.0, "submanifold-2x2": 96.6}),
        ("velodyne/000002", (1242, 375), 3103, {"dilating": 78.4}),
        ("velodyne/000000", None, 8235, {"dilating": 62.7, "submanifold": 88.5}),
        ("velodyne_reduced/000134", None, 6169, {"dilating": 47.8, "submanifold": 82.8}),
        ("velodyne_reduced/000008", None, 3945, {"submanifold": 91.0}),
    ],
)
def test_savings_on_real_frames_are_the_known_ones(data_folder, name, image, pillars, savings):
    coords = read_coords(data_folder, name, image)
    assert abs(len(coords) - pillars) <= 0.003 * pillars
    for variant, percent in savings.items():
        found = 100 * (1 - trace_frame(variant, coords).macs / DENSE_MACS)
        assert abs(found - percent) < SAVING_TOLERANCE, variant


# --- values ---


def run_dense(architecture: Architecture, weights: tuple[LayerWeights, ...], grid: PillarGrid) -> np.ndarray:
    """Return the heads' (C, H, W) in float64 by plain dense convolution, zero padding around the map."""
    maps = {INPUT: grid.to_dense().astype(np.float64)}
    for layer, part in zip(architecture.layers, weights, strict=True):
        x = np.concatenate([maps[name] for name in layer.inputs])
        step, size = layer.stride, layer.kernel
        if layer.kind == "transposed":
            out = np.einsum("oiab,iyx->oyaxb", part.weight, x, optimize=True)
            out = out.reshape(len(out), x.shape[1] * step, x.shape[2] * step)
        else:
            pad = size // 2
            padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
            windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
            out = np.einsum("oiab,iyxab->oyx", part.weight, windows[:, ::step, ::step], optimize=True)
        out = out + part.bias[:, None, None]
        maps[layer.name] = np.maximum(out, 0) if layer.relu else out
    return maps["heads"]


def test_the_dense_variant_equals_a_dense_network():
    architecture = standard_architecture("dense")
    weights = draw_weights(architecture, 0)
    found = Network(architecture, weights).run(fill_grid(draw_small())).to_dense()
    np.testing.assert_allclose(found, run_dense(architecture, weights, draw_small()), atol=NETWORK_TOLERANCE)


def test_without_biases_dilating_equals_dense():
    """A site that no pillar reaches is zero in both; a bias would make it active in the dense network alone."""
    dense, dilating = standard_architecture("dense"), standard_architecture("dilating")
    drawn = draw_weights(dense, 0)
    weights = tuple(LayerWeights(part.weight, np.zeros_like(part.bias)) for part in drawn)
    small = draw_small()
    expected = Network(dense, weights).run(fill_grid(small)).to_dense()
    found = Network(dilating, weights).run(small)
    np.testing.assert_allclose(found.to_dense(), expected, atol=NETWORK_TOLERANCE)
    assert np.abs(found.features).max() > 0.1


def test_filling_a_grid_keeps_its_values():
    small = draw_small()
    full = fill_grid(small)
    assert len(full) == 24 * 16
    np.testing.assert_array_equal(full.to_dense(), small.to_dense())
    assert fill_grid(full) is full


def run_integers(
    architecture: Architecture, weights: tuple[QuantisedLayer, ...], grid: PillarGrid
) -> PillarGrid:
    """Run an int8 network layer by layer by brute force; the sums are exact in float64 and fit float32's result."""
    outputs = {INPUT: grid}
    for layer, part in zip(architecture.layers, weights, strict=True):
        inputs = [outputs[name] for name in layer.inputs]
        joint = inputs[0] if len(inputs) == 1 else concatenate_reference(inputs)
        high, low = (part.weight // 16) * 16, part.weight % 16  # halves whose sums stay exact in float32
        halves = [
            conv2d_reference(
                joint.with_features(joint.features.astype(np.float32)),
                half.astype(np.float32),
                kind=layer.kind,
                stride=layer.stride,
            )
            for half in (high, low)
        ]
        sums = sum(half.features.astype(np.int64) for half in halves) + part.bias
        values = sums.astype(np.float32) * part.scale
        if layer.relu:
            values = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        outputs[layer.name] = halves[0].with_features(values)
    return outputs["heads"]


def test_the_int8_network_equals_brute_force_bit_by_bit():
    architecture = standard_architecture("submanifold")
    floats = draw_weights(architecture, 0)
    weights = quantise_layers(
        architecture, floats, measure_steps(architecture, floats, draw_sample(CHANNELS))
    )
    small = draw_small()
    grid = small.with_features(np.rint(small.features / INPUT_STEP).clip(0, 255).astype(np.uint8))
    found = Network(architecture, weights).run(grid)
    expected = run_integers(architecture, weights, grid)
    np.testing.assert_array_equal(found.coords, expected.coords)
    np.testing.assert_array_equal(found.features, expected.features)


def test_the_int8_form_follows_the_float_one_and_uses_its_range():
    architecture = standard_architecture("submanifold")
    floats = draw_weights(architecture, 0)
    weights = quantise_layers(
        architecture, floats, measure_steps(architecture, floats, draw_sample(CHANNELS))
    )
    sample = draw_sample(CHANNELS)
    steps = np.rint(sample.features / INPUT_STEP).clip(0, 255).astype(np.uint8)
    for part in weights:
        assert np.abs(part.weight.astype(int)).max(axis=(1, 2, 3)).min() == 127
    exact = Network(architecture, floats).run(sample).features
    integer = None
    for layer, grid in Network(architecture, weights).outputs(sample.with_features(steps)):
        integer = grid.features
        if layer.relu:
            assert integer.dtype == np.uint8
            assert 0.2 < (integer > 0).mean() < 0.9, layer.name
            assert integer.max() == 255
            assert (integer == 255).mean() < 0.005
    assert np.corrcoef(exact.ravel(), integer.ravel())[0, 1] > 0.98


def test_the_integer_network_runs_on_the_whole_grid(data_folder):
    coords = read_coords(data_folder, "velodyne_reduced/000008")
    network = standard_network("submanifold", "int8")
    heads, trace = network.trace(draw_pillars(coords, "int8"))
    assert heads.features.dtype == np.float32
    assert {layer.precision for layer in trace.layers} == {"int8"}
    assert sum(layer.bytes_weights for layer in trace.layers) == WEIGHTS
    floats = standard_network("submanifold").run(draw_pillars(coords))
    np.testing.assert_array_equal(heads.coords, floats.coords)
    assert np.corrcoef(heads.features.ravel(), floats.features.ravel())[0, 1] > 0.97


def test_a_seed_gives_the_same_network_and_tracing_the_same_bits():
    coords = np.argwhere(np.random.default_rng(0).random(SHAPE) < 0.002).astype(np.int32)
    grid = draw_pillars(coords, seed=5)
    np.testing.assert_array_equal(grid.features, draw_pillars(coords, seed=5).features)
    first, again, other = (standard_network("pruned", keep=1.25, seed=seed) for seed in (3, 3, 4))
    heads = first.run(grid)
    np.testing.assert_array_equal(heads.features, again.trace(grid)[0].features)
    assert not np.array_equal(heads.features, other.run(grid).features)


def test_variants_share_the_weights_of_the_layers_that_they_share():
    usual, smaller = (
        draw_weights(standard_architecture(variant), 0) for variant in ("dilating", "submanifold-2x2")
    )
    for a, b in zip(usual, smaller, strict=True):
        assert b.weight.shape[2] == 2 or np.array_equal(a.weight, b.weight)


# --- imported weights and errors ---


def test_imported_weights_are_used():
    architecture = standard_architecture("submanifold")
    weights = draw_weights(architecture, 9)
    grid = draw_pillars(np.array([[10, 10], [10, 11]]))
    given = standard_network("submanifold", weights=weights)
    np.testing.assert_array_equal(given.run(grid).features, standard_network(seed=9).run(grid).features)
    own = standard_network("submanifold", "int8", seed=9)
    for imported in (weights, own.weights):
        integer = standard_network("submanifold", "int8", weights=imported)
        for a, b in zip(integer.weights, own.weights, strict=True):
            np.testing.assert_array_equal(a.weight, b.weight)
            np.testing.assert_array_equal(a.scale, b.scale)


def test_weights_that_do_not_fit_are_refused():
    architecture = standard_architecture("submanifold")
    floats = draw_weights(architecture, 0)
    integers = quantise_layers(architecture, floats, Steps(1.0, (1.0,) * 20, "min-max", 1))
    with pytest.raises(UsageError, match="weights must be 20 layers, got 19"):
        standard_network("submanifold", weights=floats[1:])
    for weights in (integers, (*floats[:-1], integers[-1])):
        with pytest.raises(UsageError, match="weights for fp32 must all be float"):
            standard_network("submanifold", weights=weights)
    with pytest.raises(ModelError, match="layer 'block1"):
        standard_network("submanifold-2x2", weights=floats)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "thick"}, "variant must be one of dense, dilating, submanifold"),
        ({"precision": "fp16"}, "precision must be one of fp32, int8"),
        ({"variant": "dilating", "keep": 1.0}, "keep is for the variant 'pruned'"),
        ({"variant": "pruned", "keep": 0.0}, "keep must be above 0"),
        ({"variant": "pruned", "keep": float("nan")}, "keep must be above 0"),
        ({"variant": "pruned", "keep": 10}, "keep must be above 0 and at most 9"),
        ({"threads": 0}, "threads must be between 1"),
    ],
)
def test_impossible_networks_are_refused(arguments: dict[str, object], message: str):
    with pytest.raises(UsageError, match=message):
        standard_network(**arguments)


@lru_cache(maxsize=1)
def build_default() -> StandardNetwork:
    return standard_network()


@pytest.mark.parametrize(
    ("shape", "channels", "dtype"),
    [(SHAPE, 32, "float32"), (SHAPE, 64, "uint8"), ((432, 496), 64, "float32")],
)
def test_grids_that_do_not_fit_are_refused(shape, channels, dtype):
    grid = PillarGrid.from_coords(np.array([[1, 1]]), np.ones((1, channels), dtype), shape)
    for call in (build_default().run, build_default().trace):
        with pytest.raises(UsageError, match="takes 496 x 432 pillars with 64 channels of float32, got"):
            call(grid)


def test_an_empty_frame_gives_no_heads():
    grid = draw_pillars(np.empty((0, 2), np.int32))
    for variant in ("dilating", "pruned"):
        heads, trace = standard_network(variant).trace(grid)
        assert len(heads) == 0
        assert trace.saving == 1.0


def test_pillars_are_drawn_in_either_precision():
    coords = np.array([[5, 2], [1, 3]])
    floats, integers = draw_pillars(coords), draw_pillars(coords, "int8")
    assert (floats.features.dtype, integers.features.dtype) == (np.float32, np.uint8)
    np.testing.assert_allclose(integers.features * INPUT_STEP, floats.features, atol=INPUT_STEP / 2)
    with pytest.raises(UsageError, match="precision must be one of"):
        draw_pillars(coords, "fp16")


def test_the_public_name_is_there():
    assert colonnade.detector.standard_network is standard_network


# --- as a detector ---


@pytest.mark.parametrize(("variant", "precision"), [("submanifold", "fp32"), ("pruned", "int8")])
def test_the_standard_detector_turns_points_into_boxes(data_folder, variant, precision):
    checkpoint = standard_checkpoint(variant, precision=precision)
    assert checkpoint.manifest.geometry.shape == SHAPE
    path = data_folder / "kitti_object" / "training" / "velodyne_reduced" / "000008.bin"
    found = Detector(checkpoint).detect(np.fromfile(path, np.float32).reshape(-1, 4))
    assert 10 <= len(found.boxes) <= 150
    assert np.isfinite(found.boxes).all()
    assert (found.boxes[:, 3:6] > 0.3).all()
    assert (found.boxes[:, 3:6] < 30).all()


def test_the_standard_detector_is_reproducible_and_its_backbone_the_standard_one():
    a, b, other = (standard_checkpoint("submanifold", seed) for seed in (2, 2, 3))
    for x, y, z in zip(a.layers, b.layers, other.layers, strict=True):
        np.testing.assert_array_equal(x.weight, y.weight)
        assert not np.array_equal(x.weight, z.weight)
    standard = draw_weights(standard_architecture("submanifold"), 2)
    for x, y in zip(a.layers[:-1], standard[:-1], strict=True):
        np.testing.assert_array_equal(x.weight, y.weight)
    architecture = standard_architecture("submanifold", head_channels=13)
    assert a.manifest.architecture == architecture
    assert (
        replace(architecture.layers[-1], out_channels=72) == standard_architecture("submanifold").layers[-1]
    )


def test_the_int8_detector_follows_the_float_one():
    exact, integer = (standard_checkpoint("submanifold", precision=p) for p in ("fp32", "int8"))
    assert (integer.manifest.precision, integer.manifest.name) == ("int8", "standard-submanifold-int8")
    street = encode_points(draw_street(), exact.manifest.geometry, exact.encoder)
    steps = np.rint(street.features / integer.encoder_step).clip(0, 255).astype(np.uint8)
    wanted = Network(exact.manifest.architecture, exact.layers).run(street).features
    found = Network(integer.manifest.architecture, integer.layers).run(street.with_features(steps)).features
    assert np.corrcoef(wanted[:, 0], found[:, 0])[0, 1] > 0.97  # of the first class


def test_a_dense_detector_is_refused():
    with pytest.raises(UsageError, match="variant other than 'dense'"):
        standard_checkpoint("dense")
