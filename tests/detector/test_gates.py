"""The encoder's gates: equal to the NumPy twins, bounded, stored with the model, and used by the detector."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from colonnade.detector import density_reference, reference
from colonnade.detector.architecture import Widths, build_architecture
from colonnade.detector.checkpoints import WEIGHTS, Checkpoint, Manifest, load_checkpoint, save_checkpoint
from colonnade.detector.density import SCALES, PillarDensity, measure_density
from colonnade.detector.detector import Detector
from colonnade.detector.encoder import EncoderWeights, encode, encode_u8
from colonnade.detector.gates import DensityGates, clip_density, open_gates
from colonnade.detector.ground import estimate_ground, split_columns
from colonnade.detector.network import LayerWeights
from colonnade.detector.pillars import PILLAR_FEATURES, POINT_FEATURES, PillarGeometry, Pillars, pillarise
from colonnade.detector.quantise import calibrate, encode_points, quantise, scale_encoder
from colonnade.runtime.errors import ModelError, UsageError
from colonnade.runtime.threads import available_threads, thread_budget

GRID = PillarGeometry(-12.8, -12.8, 12.8, 12.8, -1.0, 4.0, 0.32)


def draw_gates(rng: np.random.Generator, hidden: int, channels: int) -> DensityGates:
    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    middle, reach = (
        rng.uniform(10, 30, SCALES).astype(np.float32),
        rng.uniform(5, 20, SCALES).astype(np.float32),
    )
    outputs = draw(hidden, channels), draw(channels), draw(hidden, channels), draw(channels)
    return DensityGates(middle, reach, draw(SCALES, 2 * hidden), draw(2 * hidden), *outputs)


def draw_encoder(rng: np.random.Generator, channels: int, hidden: int) -> EncoderWeights:
    return EncoderWeights(
        rng.normal(size=(POINT_FEATURES, channels)).astype(np.float32),
        rng.normal(size=channels).astype(np.float32),
        rng.normal(size=(PILLAR_FEATURES, channels)).astype(np.float32),
        rng.normal(size=channels).astype(np.float32),
        draw_gates(rng, hidden, channels),
    )


def draw_points(seed: int, count: int = 3000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    road = rng.uniform((-12, -12, -1.75), (12, 12, -1.65), (count, 3))
    things = rng.normal((3, 2, -0.9), (0.9, 0.4, 0.4), (count // 8, 3))
    return np.vstack([road, things]).astype(np.float32)


def prepare(points: np.ndarray, grid: PillarGeometry = GRID) -> tuple[Pillars, PillarDensity]:
    ground = estimate_ground(points)
    pillars = pillarise(points, ground, grid)
    return pillars, measure_density(split_columns(points), ground, pillars, grid)


def make_checkpoint() -> Checkpoint:
    rng = np.random.default_rng(0)
    architecture = build_architecture(Widths(8, (8, 8, 8), (1, 1, 1), 1, (8, 8), 8, gates=6), 1)
    layers = tuple(
        LayerWeights(
            rng.normal(0, 0.3, (n.out_channels, n.in_channels, n.kernel, n.kernel)).astype(np.float32),
            rng.normal(0, 0.3, n.out_channels).astype(np.float32),
        )
        for n in architecture.layers
    )
    manifest = Manifest("tiny", ("car",), GRID, architecture, 0.3, "nothing", "Apache-2.0", "", ((1.0, 0.0),))
    return Checkpoint(manifest, draw_encoder(rng, 8, 6), layers)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 40), st.integers(1, 20), st.integers(1, 70))
def test_gates_equal_the_twin(cells: int, hidden: int, channels: int) -> None:
    rng = np.random.default_rng(cells)
    gates = draw_gates(rng, hidden, channels)
    density = rng.uniform(0, 200, (cells, SCALES)).astype(np.float32)
    found = open_gates(gates, density)
    assert found.dtype == np.float32
    assert found.shape == (cells, 2, channels)
    expected = density_reference.open_gates(gates, density)
    for ours, theirs in zip(found.swapaxes(0, 1), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert ((found > 0) & (found <= 1)).all()  # (0, 1) up to rounding


def test_what_pushes_a_gate_far_keeps_it_in_bounds() -> None:
    gates = draw_gates(np.random.default_rng(0), 4, 3)
    gates = replace(gates, point_bias=np.array([-1e4, 0, 1e4], np.float32))
    found = open_gates(gates, np.array([[0] * SCALES, [3e38] * SCALES], np.float32))
    assert (found[:, 0, 0] == 0).all()
    assert (found[:, 0, 2] == 1).all()


def test_a_density_far_beyond_the_training_is_as_one_at_the_end_of_the_clip() -> None:
    gates = draw_gates(np.random.default_rng(1), 8, 5)
    ends = np.stack([gates.middle + 10 * gates.reach, gates.middle + 1000 * gates.reach])
    found = open_gates(gates, ends)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


def test_the_clip_is_the_papers() -> None:
    low, high = np.array([5, 8, 2, 20], np.float32), np.array([33, 30, 6, 90], np.float32)
    middle, reach = (low + high) / 2, (high - low) / 2
    density = np.linspace(-50, 300, 4001, dtype=np.float32)[:, None] * np.ones(4, np.float32)
    clipped = clip_density(density, middle, reach)
    assert (np.diff(clipped, axis=0) >= 0).all()
    assert (clipped >= middle - reach).all()
    assert (clipped <= middle + reach).all()
    np.testing.assert_allclose(clip_density(high, middle, reach), middle + reach * np.tanh(1.0), rtol=1e-6)
    np.testing.assert_allclose(clip_density(low, middle, reach), middle - reach * np.tanh(1.0), rtol=1e-6)
    slope = (clip_density(middle + 0.1, middle, reach) - clip_density(middle - 0.1, middle, reach)) / 0.2
    np.testing.assert_allclose(slope, 1.0, atol=0.01)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 300), st.integers(1, 70))
def test_gated_encoding_equals_the_twin(count: int, channels: int) -> None:
    pillars, density = prepare(draw_points(count, count))
    weights = draw_encoder(np.random.default_rng(channels), channels, 5)
    found, expected = encode(pillars, weights, density), reference.encode(pillars, weights, density)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    step = 0.03
    levels = encode_u8(pillars, weights, step, density)
    np.testing.assert_array_equal(levels, np.minimum(np.rint(found * np.float32(1 / step)), 255))
    assert (
        np.abs(levels.astype(int) - reference.encode_u8(pillars, weights, step, density)).max(initial=0) <= 1
    )


def test_gates_that_are_open_leave_the_encoder_as_it_is() -> None:
    pillars, density = prepare(draw_points(0))
    weights = draw_encoder(np.random.default_rng(0), 16, 4)
    wide = np.full(16, 50, np.float32)  # a sigmoid of 50 is 1
    nothing = np.zeros((4, 16), np.float32)
    gates = replace(weights.gates, point_bias=wide, point_weight=nothing)  # type: ignore[type-var]
    gates = replace(gates, pillar_bias=wide, pillar_weight=nothing)
    found = encode(pillars, replace(weights, gates=gates), density)
    np.testing.assert_allclose(found, encode(pillars, replace(weights, gates=None)), rtol=1e-5, atol=1e-5)


def test_a_real_frame_gives_the_same_bits_on_one_and_two_threads(kitti_points: np.ndarray) -> None:
    pillars, density = prepare(kitti_points, PillarGeometry(-51.2, -51.2, 51.2, 51.2, -1.0, 4.0, 0.32))
    weights = draw_encoder(np.random.default_rng(0), 48, 16)
    with thread_budget(1):
        one = encode(pillars, weights, density), encode_u8(pillars, weights, 0.05, density)
    with thread_budget(available_threads()):
        two = encode(pillars, weights, density), encode_u8(pillars, weights, 0.05, density)
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(one[0], reference.encode(pillars, weights, density), rtol=1e-5, atol=1e-5)


def test_the_order_of_a_pillars_points_does_not_matter() -> None:
    points = draw_points(3)
    weights = draw_encoder(np.random.default_rng(0), 16, 4)
    shuffled = np.random.default_rng(1).permutation(points)
    one, two = prepare(points), prepare(shuffled)
    np.testing.assert_array_equal(one[1].at_pillars, two[1].at_pillars)
    np.testing.assert_allclose(
        encode(one[0], weights, one[1]), encode(two[0], weights, two[1]), rtol=1e-4, atol=1e-4
    )


def test_an_encoder_with_gates_asks_for_the_density() -> None:
    pillars, _ = prepare(draw_points(0))
    _, other = prepare(draw_points(1, 50))
    weights = draw_encoder(np.random.default_rng(0), 8, 4)
    for density in (None, other):
        with pytest.raises(UsageError, match="density"):
            encode(pillars, weights, density)
        with pytest.raises(UsageError, match="density"):
            encode_u8(pillars, weights, 0.1, density)


def test_gates_are_stored_with_the_model(tmp_path: Path) -> None:
    made = make_checkpoint()
    save_checkpoint(made, tmp_path)
    read = load_checkpoint(tmp_path)
    assert read.manifest.architecture.gate_channels == 6
    for field in fields(DensityGates):
        ours, theirs = getattr(made.encoder.gates, field.name), getattr(read.encoder.gates, field.name)
        assert theirs.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)
        assert f"encoder.gates.{field.name}" in load_file(tmp_path / WEIGHTS)


def test_a_model_without_gates_has_no_tensors_of_them(tmp_path: Path) -> None:
    made = make_checkpoint()
    architecture = replace(made.manifest.architecture, gate_channels=0)
    plain = replace(made.encoder, gates=None)
    save_checkpoint(
        Checkpoint(replace(made.manifest, architecture=architecture), plain, made.layers), tmp_path
    )
    assert load_checkpoint(tmp_path).encoder.gates is None
    assert not [name for name in load_file(tmp_path / WEIGHTS) if "gates" in name]


@pytest.mark.parametrize(
    ("name", "values", "complaint"),
    [
        ("reach", np.zeros(SCALES, np.float32), "above 0"),
        ("reach", np.full(SCALES, np.nan, np.float32), "NaN"),
        ("middle", np.zeros(3, np.float32), "middle"),
        ("hidden_bias", np.zeros(6, np.float32), "hidden_bias"),
        ("pillar_weight", np.zeros((6, 7), np.float32), "pillar_weight"),
    ],
)
def test_damaged_gates_are_refused(tmp_path: Path, name: str, values: np.ndarray, complaint: str) -> None:
    made = make_checkpoint()
    damaged = replace(made.encoder.gates, **{name: values})  # type: ignore[type-var]
    save_checkpoint(replace(made, encoder=replace(made.encoder, gates=damaged)), tmp_path)
    with pytest.raises(ModelError, match=complaint):
        load_checkpoint(tmp_path)


def test_a_model_has_the_gates_that_its_architecture_says() -> None:
    made = make_checkpoint()
    for gates in (None, draw_gates(np.random.default_rng(0), 5, 8)):
        with pytest.raises(ModelError, match="gates"):
            replace(made, encoder=replace(made.encoder, gates=gates))


def test_the_detector_and_its_twin_use_the_gates() -> None:
    made, points = make_checkpoint(), draw_points(0)
    architecture = replace(made.manifest.architecture, gate_channels=0)
    manifest = replace(made.manifest, architecture=architecture)
    plain = Checkpoint(manifest, replace(made.encoder, gates=None), made.layers)
    twin = quantise(made, [points, draw_points(1)])
    assert twin.encoder.gates is made.encoder.gates
    for model in (made, twin):
        one, two = (Detector(model, threads=t).detect(points, score=0.0) for t in (1, available_threads()))
        assert len(one) > 0
        np.testing.assert_array_equal(one.boxes, two.boxes)
        np.testing.assert_array_equal(one.scores, two.scores)
    gated = Detector(made).detect(points, score=0.0)
    ungated = Detector(plain).detect(points, score=0.0)
    assert not np.array_equal(gated.scores, ungated.scores)
    assert len(Detector(made).detect(np.zeros((0, 3), np.float32))) == 0


def test_the_detector_encodes_what_calibration_encodes() -> None:
    made, points = make_checkpoint(), draw_points(2)
    pillars, density = prepare(points)
    grid = encode_points(points, GRID, made.encoder)
    np.testing.assert_array_equal(grid.features, encode(pillars, made.encoder, density))


def test_a_scaled_encoder_keeps_its_gates() -> None:
    made, points = make_checkpoint(), draw_points(2)
    steps = calibrate(made, [points])
    encoder, step = scale_encoder(made.encoder, steps.encoder)
    ours, theirs = (encode_points(points, GRID, e).features for e in (made.encoder, encoder))
    np.testing.assert_allclose(theirs / step, ours / steps.encoder, rtol=1e-5, atol=1e-3)
