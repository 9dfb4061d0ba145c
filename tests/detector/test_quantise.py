"""A float32 model and its int8 twin: steps, weights, boxes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from colonnade.detector.architecture import Architecture, Layer, Widths, build_architecture
from colonnade.detector.checkpoints import MODELS, Checkpoint, Manifest, find_model, load_checkpoint
from colonnade.detector.detector import Detector
from colonnade.detector.encoder import EncoderWeights
from colonnade.detector.network import LayerWeights, Network, QuantisedLayer
from colonnade.detector.pillars import PILLAR_FEATURES, POINT_FEATURES, PillarGeometry
from colonnade.detector.precision_loss import compare_scores, measure_loss
from colonnade.detector.quantise import (
    Steps,
    apply_steps,
    calibrate,
    encode_points,
    quantise,
    quantise_layer,
    quantise_layers,
    scale_encoder,
)
from colonnade.runtime.errors import ModelError, UsageError
from colonnade.runtime.quant import METHODS, quantise_unsigned
from colonnade.runtime.sparse import PillarGrid

CLASSES = ("car", "pedestrian", "cyclist")
GEOMETRY = PillarGeometry(-12.8, -12.8, 12.8, 12.8, -1.0, 4.0, 0.32)


def make_checkpoint(seed: int = 0) -> Checkpoint:
    """Return a small network with random weights, two branches included."""
    rng = np.random.default_rng(seed)
    architecture = build_architecture(Widths(8, (8, 8, 16), (1, 1, 2), 1, (8, 8), 8), len(CLASSES))
    layers = []
    for layer in architecture.layers:
        shape = layer.out_channels, layer.in_channels, layer.kernel, layer.kernel
        weight = rng.normal(0, (2 / (layer.in_channels * layer.kernel**2)) ** 0.5, shape)
        bias = rng.normal(0, 0.1, layer.out_channels)
        layers.append(LayerWeights(weight.astype(np.float32), bias.astype(np.float32)))
    encoder = EncoderWeights(
        rng.normal(size=(POINT_FEATURES, 8)).astype(np.float32),
        np.ones(8, np.float32),
        rng.normal(size=(PILLAR_FEATURES, 8)).astype(np.float32),
        np.zeros(8, np.float32),
    )
    manifest = Manifest(
        "random", CLASSES, GEOMETRY, architecture, 0.3, "nothing", "Apache-2.0", "5eed", ((1.0, 0.0),) * 3
    )
    return Checkpoint(manifest, encoder, tuple(layers))


def draw_points(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    road = rng.uniform((-12, -12, -1.75), (12, 12, -1.65), (3000, 3))
    things = rng.normal((3, 2, -0.9), (0.9, 0.4, 0.4), (400, 3))
    return np.vstack([road, things]).astype(np.float32)


FRAMES = tuple(draw_points(seed) for seed in range(3))


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return make_checkpoint()


@pytest.mark.parametrize("method", METHODS)
def test_the_integer_network_computes_what_the_float_one_does(checkpoint: Checkpoint, method: str) -> None:
    steps = calibrate(checkpoint, FRAMES, method=method)
    twin = apply_steps(checkpoint, steps, "drawn")
    loss = measure_loss(checkpoint, twin, steps, FRAMES)
    assert loss.frames == 3
    assert [layer.name for layer in loss.layers] == [n.name for n in checkpoint.manifest.architecture.layers]
    assert min(layer.sqnr_db for layer in loss.layers) > 24.0
    assert loss.layers[0].sqnr_db > 32.0


def test_every_step_of_two_branches_is_folded_into_its_own_columns() -> None:
    """Where all numbers are whole multiples of the steps, nothing is rounded and the result is exact."""
    layers = (
        Layer("fine", "submanifold", ("pillars",), 2, 2, kernel=1),
        Layer("coarse", "submanifold", ("pillars",), 2, 2, kernel=1),
        Layer("head", "submanifold", ("fine", "coarse"), 4, 1, kernel=1, relu=False),
    )
    architecture = Architecture(2, layers, 1)
    fine = LayerWeights(
        127 * 2.0**-9 * np.eye(2, dtype=np.float32)[:, :, None, None], np.zeros(2, np.float32)
    )
    coarse = replace(fine, weight=fine.weight * np.float32(64))
    head = LayerWeights(
        (127 * np.array([1, -1, 2.0**-6, 2.0**-6])).reshape(1, 4, 1, 1).astype(np.float32),
        np.array([3.0], np.float32),
    )
    floats = (fine, coarse, head)
    steps = Steps(1.0, (127 * 2.0**-9, 127 * 2.0**-3, 1.0), "min-max", 1)
    integers = quantise_layers(architecture, floats, steps)
    assert np.abs(integers[2].weight).tolist() == [[[[127]], [[127]], [[127]], [[127]]]]
    rng = np.random.default_rng(3)
    coords = np.argwhere(rng.random((6, 6)) < 0.5)
    levels = rng.integers(0, 200, (len(coords), 2)).astype(np.uint8)
    whole = PillarGrid.from_coords(coords, levels, (6, 6))
    found = Network(architecture, integers).run(whole)
    expected = Network(architecture, floats).run(whole.with_features(levels.astype(np.float32)))
    np.testing.assert_allclose(found.features, expected.features, rtol=1e-6, atol=127 * 127 * 2.0**-9)


def test_quantising_is_deterministic_whatever_the_order_of_frames_and_threads(checkpoint: Checkpoint) -> None:
    first, second = quantise(checkpoint, FRAMES, threads=1), quantise(checkpoint, FRAMES[::-1])
    assert first.encoder_step == second.encoder_step
    assert np.array_equal(first.encoder.bias, second.encoder.bias)
    for ours, theirs in zip(first.layers, second.layers, strict=True):
        assert isinstance(ours, QuantisedLayer)
        for name in ("weight", "bias", "scale"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name))


def test_the_manifest_tells_where_the_integers_came_from(checkpoint: Checkpoint) -> None:
    manifest = quantise(checkpoint, FRAMES, method="min-max", source="a drawn street").manifest
    assert (manifest.name, manifest.precision) == ("random-int8", "int8")
    calibration = manifest.calibration
    assert calibration is not None
    assert (calibration.method, calibration.frames, calibration.source) == ("min-max", 3, "a drawn street")
    assert calibration.model_sha256 == "5eed"


def test_dead_channels_and_layers_have_finite_scales_above_zero(checkpoint: Checkpoint) -> None:
    first = checkpoint.layers[0]
    weight, bias = first.weight.copy(), first.bias.copy()
    weight[0], bias[0] = 0.0, 0.0  # nothing at all
    weight[1], bias[1] = 0.0, 0.7  # a constant
    weight[2], bias[2] = 1e-30, 5.0  # all but constant: the bias decides the step
    weight[3], bias[3] = 0.1, -1e6  # never above zero
    dead = LayerWeights(
        np.zeros_like(checkpoint.layers[1].weight), np.full_like(checkpoint.layers[1].bias, -1)
    )
    model = replace(checkpoint, layers=(LayerWeights(weight, bias), dead, *checkpoint.layers[2:]))
    steps = calibrate(model, FRAMES)
    twin = apply_steps(model, steps, "drawn")
    for part in twin.layers:
        assert isinstance(part, QuantisedLayer)
        assert np.isfinite(part.scale).all()
        assert (part.scale > 0).all()
    grid = encode_points(FRAMES[0], GEOMETRY, model.encoder)
    whole = grid.with_features(quantise_unsigned(grid.features, steps.encoder))
    output = next(found for _, found in Network(model.manifest.architecture, twin.layers).outputs(whole))
    values = (output.features * steps.layers[0])[:, :4]
    np.testing.assert_allclose(
        values, np.broadcast_to([0, 0.7, 5.0, 0], values.shape), atol=np.max(steps.layers[0])
    )


def test_small_channels_get_smaller_steps_but_not_where_pillars_are_pruned(checkpoint: Checkpoint) -> None:
    strided = 1
    assert len(np.unique(calibrate(checkpoint, FRAMES).layers[strided])) > 1
    manifest, layers = checkpoint.manifest, checkpoint.manifest.architecture.layers
    kept = replace(layers[strided], keep=0.9)
    pruned = replace(manifest.architecture, layers=(*layers[:strided], kept, *layers[strided + 1 :]))
    steps = calibrate(replace(checkpoint, manifest=replace(manifest, architecture=pruned)), FRAMES)
    assert len(np.unique(steps.layers[strided])) == 1
    assert len(np.unique(steps.layers[0])) > 1


def test_the_encoder_hands_out_one_step(checkpoint: Checkpoint) -> None:
    steps = calibrate(checkpoint, FRAMES)
    encoder, step = scale_encoder(checkpoint.encoder, steps.encoder)
    ours, theirs = (encode_points(FRAMES[0], GEOMETRY, e).features for e in (checkpoint.encoder, encoder))
    np.testing.assert_allclose(theirs / step, ours / steps.encoder, rtol=1e-5, atol=1e-3)


def test_extreme_weights_are_refused() -> None:
    layer = Layer("one", "submanifold", ("pillars",), 1, 1, kernel=1)
    part = LayerWeights(np.full((1, 1, 1, 1), 3e38, np.float32), np.zeros(1, np.float32))
    with pytest.raises(ModelError, match=r"one.*float32 scale"):
        quantise_layer(layer, part, np.array([1e3]), 1e-18)


def test_sums_that_could_leave_int32_are_refused() -> None:
    layer = Layer("wide", "submanifold", ("pillars",), 70_000, 1, kernel=1)
    part = LayerWeights(np.ones((1, 70_000, 1, 1), np.float32), np.zeros(1, np.float32))
    with pytest.raises(ModelError, match=r"wide.*int32"):
        quantise_layer(layer, part, np.ones(70_000), 1.0)


def test_what_cannot_be_quantised_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(UsageError, match="no frame"):
        quantise(checkpoint, ())
    with pytest.raises(UsageError, match="method"):
        quantise(checkpoint, FRAMES, method="guess")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="points"):
        quantise(checkpoint, [np.zeros((3, 2))])
    twin = quantise(checkpoint, FRAMES[:1])
    with pytest.raises(ModelError, match="int8 already"):
        quantise(twin, FRAMES)
    with pytest.raises(ModelError, match="is not int8"):
        measure_loss(checkpoint, checkpoint, calibrate(checkpoint, FRAMES[:1]), FRAMES)


def test_a_layer_in_the_middle_needs_its_relu() -> None:
    layers = (
        Layer("a", "submanifold", ("pillars",), 1, 1, kernel=1, relu=False),
        Layer("b", "submanifold", ("a",), 1, 1, kernel=1, relu=False),
    )
    part = LayerWeights(np.ones((1, 1, 1, 1), np.float32), np.zeros(1, np.float32))
    with pytest.raises(ModelError, match="'a' has no ReLU"):
        quantise_layers(Architecture(1, layers, 1), (part, part), Steps(1.0, (1.0, 1.0), "mse", 1))


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.full((9, 3), np.nan), np.full((9, 3), 5e4)])
def test_frames_that_hold_nothing_are_no_calibration(checkpoint: Checkpoint, points: np.ndarray) -> None:
    with pytest.raises(UsageError, match="in the model's range"):
        quantise(checkpoint, [points])
    steps = calibrate(checkpoint, [points, *FRAMES])
    assert steps.frames == len(FRAMES)
    assert np.array_equal(steps.encoder, calibrate(checkpoint, FRAMES).encoder)


@pytest.mark.parametrize("name", ["default", "edge", "standard", "synthetic"])
def test_the_shipped_twins_belong_to_the_shipped_models(name: str) -> None:
    ours, twin = load_checkpoint(find_model(name)), load_checkpoint(MODELS / f"{name}-int8")
    calibration = twin.manifest.calibration
    assert calibration is not None
    assert calibration.model_sha256 == ours.manifest.sha256
    assert calibration.source in (MODELS / f"{name}-int8" / "README.md").read_text(encoding="utf-8").replace(
        "\n", " "
    )
    same = ("classes", "geometry", "architecture", "score", "score_exponents", "training_data", "licence")
    assert [n for n in same if getattr(ours.manifest, n) != getattr(twin.manifest, n)] == []


def test_the_shipped_twin_finds_the_same_cars(kitti_points: np.ndarray) -> None:
    ours, theirs = (
        Detector(load_checkpoint(find_model(name)), threads=1).detect(kitti_points)
        for name in ("default", "default-int8")
    )
    differences = compare_scores(ours, theirs)
    assert differences.size >= 0.85 * max(len(ours), len(theirs))
    assert differences.mean() < 0.03
    one, two = (
        Detector(load_checkpoint(find_model("default-int8")), threads=n).detect(kitti_points) for n in (1, 2)
    )
    assert np.array_equal(one.boxes, two.boxes)
    assert np.array_equal(one.scores, two.scores)
