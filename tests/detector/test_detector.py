"""The detector as an embedder meets it: any points in, boxes out, the same bits every time."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file, save_file

import colonnade
from colonnade.detector.architecture import Architecture, Layer, Widths, build_architecture
from colonnade.detector.checkpoints import (
    MANIFEST,
    WEIGHTS,
    Checkpoint,
    Manifest,
    find_model,
    save_checkpoint,
)
from colonnade.detector.detector import STAGES, Detector, load
from colonnade.detector.encoder import EncoderWeights
from colonnade.detector.network import LayerWeights
from colonnade.detector.pillars import PILLAR_FEATURES, POINT_FEATURES, PillarGeometry
from colonnade.runtime.errors import ConfigError, ModelError, UsageError

CLASSES = ("car", "pedestrian", "cyclist")


def make_checkpoint(seed: int = 0) -> Checkpoint:
    """Return a small network with random weights that finds something in most clouds."""
    rng = np.random.default_rng(seed)
    architecture = build_architecture(Widths(8, (8, 8, 16), (1, 1, 2), 1, (8, 8), 8), len(CLASSES))
    layers = []
    for layer in architecture.layers:
        shape = layer.out_channels, layer.in_channels, layer.kernel, layer.kernel
        weight = rng.normal(0, (2 / (layer.in_channels * layer.kernel**2)) ** 0.5, shape)
        layers.append(LayerWeights(weight.astype(np.float32), np.zeros(layer.out_channels, np.float32)))
    encoder = EncoderWeights(
        rng.normal(size=(POINT_FEATURES, 8)).astype(np.float32),
        np.ones(8, np.float32),
        rng.normal(size=(PILLAR_FEATURES, 8)).astype(np.float32),
        np.zeros(8, np.float32),
    )
    grid = PillarGeometry(-25.6, -25.6, 25.6, 25.6, -1.0, 4.0, 0.32)
    manifest = Manifest(
        "random",
        CLASSES,
        grid,
        architecture,
        0.3,
        "nothing",
        "Apache-2.0",
        "",
        ((0.6, 0.4), (0.9, 0.1), (1.0, 0.0)),
    )
    return Checkpoint(manifest, encoder, tuple(layers))


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(make_checkpoint())


@pytest.fixture(scope="module")
def street() -> np.ndarray:
    rng = np.random.default_rng(5)
    points = np.column_stack(
        [rng.uniform(-25, 25, (6000, 2)), rng.normal(-1.7, 0.02, 6000), rng.random(6000)]
    )
    lumps = np.repeat(rng.uniform(-20, 20, (12, 2)), 150, axis=0) + rng.normal(0, 0.6, (1800, 2))
    tall = np.column_stack([lumps, rng.uniform(-1.6, 0.2, 1800), rng.random(1800)])
    return np.concatenate([points, tall]).astype(np.float32)


def assert_equal(a, b):
    np.testing.assert_array_equal(a.boxes, b.boxes)
    np.testing.assert_array_equal(a.scores, b.scores)
    np.testing.assert_array_equal(a.labels, b.labels)


def test_detections_are_sorted_finite_and_typed(detector, street):
    found = detector.detect(street)
    assert len(found) > 0
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert found.labels.dtype == np.int32
    assert (np.diff(found.scores) <= 0).all()
    assert (found.scores >= detector.default_score).all()
    assert np.isfinite(found.boxes).all()
    assert (found.boxes[:, 3:6] > 0).all()
    assert (np.abs(found.boxes[:, 6]) <= np.pi + 1e-6).all()


def test_the_same_bits_for_one_and_all_threads(street):
    checkpoint = make_checkpoint()
    assert_equal(
        Detector(checkpoint, threads=1).detect(street, score=0.1),
        Detector(checkpoint).detect(street, score=0.1),
    )


def test_rows_that_are_not_finite_change_nothing(detector, street):
    bad = np.full((50, 4), np.nan, np.float32)
    bad[10:20, :3] = np.inf
    bad[20:30, 2] = -np.inf
    mixed = np.concatenate([street[:100], bad, street[100:]])
    assert_equal(detector.detect(mixed), detector.detect(street))


def test_without_a_finite_point_there_is_no_ground(detector, street):
    nothing = np.full((50, 4), np.nan, np.float32)
    nothing[:, 0] = np.inf
    assert detector.detect(nothing).ground is None
    assert detector.detect(nothing, ground=-1.5).ground == -1.5
    assert detector.detect(np.concatenate([nothing, street])).ground == detector.detect(street).ground


def test_types_layouts_and_more_columns_change_nothing(detector, street):
    expected = detector.detect(street)
    assert_equal(detector.detect(street.astype(np.float64)), expected)
    assert_equal(detector.detect(street[:, :3]), expected)
    assert_equal(detector.detect(np.asfortranarray(street)), expected)
    assert_equal(detector.detect(np.repeat(street, 2, axis=0)[::2]), expected)
    assert_equal(detector.detect(np.column_stack([street, street])), expected)


def test_mounting_height_is_compensated(detector, street):
    low = street.copy()
    low[:, 2] += 1.5
    high, moved = detector.detect(street), detector.detect(low)
    assert len(high) == len(moved)
    np.testing.assert_allclose(moved.boxes[:, :2], high.boxes[:, :2], atol=0.02)
    np.testing.assert_allclose(moved.boxes[:, 2] - high.boxes[:, 2], 1.5, atol=0.02)


def test_no_points_give_no_boxes(detector):
    assert len(detector.detect(np.zeros((0, 4), np.float32), score=0.0)) == 0


@pytest.mark.parametrize("count", [1, 2])
def test_hardly_any_points_are_fine(detector, count):
    found = detector.detect(np.full((count, 4), 3.0, np.float32), score=0.0)
    assert (np.linalg.norm(found.boxes[:, :2] - 3.0, axis=1) < 25.0).all()  # boxes around the points only


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(0, 30), st.just(4)),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    )
)
def test_any_floats_are_survived(points):
    found = Detector(make_checkpoint()).detect(points, score=0.01)
    assert np.isfinite(found.boxes).all()


@pytest.mark.parametrize(
    "points", [np.zeros(4), np.zeros((3, 2)), np.zeros((1, 3, 4)), np.array([["a", "b", "c"]])]
)
def test_what_is_no_cloud_is_refused(detector, points):
    with pytest.raises(UsageError, match="points must"):
        detector.detect(points)


def test_options_are_checked(detector, street):
    with pytest.raises(UsageError, match="score"):
        detector.detect(street, score=1.5)
    with pytest.raises(UsageError, match="threads"):
        Detector(make_checkpoint(), threads=0)
    with pytest.raises(UsageError, match="precision"):
        load("default", precision="fp7")


def test_stage_times_add_up(detector, street):
    _, times = detector.detect_timed(street)
    assert times.names == STAGES
    assert times.total == pytest.approx(sum(times.seconds))
    assert all(t >= 0 for t in times.seconds)


def test_a_trace_records_every_layer_and_changes_no_box(detector, street):
    found, trace = detector.trace(street)
    assert found.boxes.tobytes() == detector.detect(street).boxes.tobytes()
    layers = detector.manifest.architecture.layers
    assert [record.name for record in trace.layers] == [layer.name for layer in layers]
    assert all(record.macs > 0 for record in trace.layers)


def test_a_model_folder_round_trips(tmp_path, street):
    checkpoint = make_checkpoint()
    save_checkpoint(checkpoint, tmp_path / "model")
    assert {p.name for p in (tmp_path / "model").iterdir()} == {MANIFEST, WEIGHTS}
    loaded = load(tmp_path / "model")
    assert_equal(loaded.detect(street), Detector(checkpoint).detect(street))
    assert replace(loaded.manifest, sha256="") == checkpoint.manifest
    assert colonnade.load(tmp_path / "model").classes == CLASSES


def test_a_model_that_cannot_be_written_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(make_checkpoint(), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_model_names_those_there_are(tmp_path):
    with pytest.raises(ModelError, match="no model 'nonsense'"):
        find_model("nonsense")
    with pytest.raises(ModelError):
        load(tmp_path)


def damage_weights(folder):
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / WEIGHTS).write_bytes(content)


def edit_manifest(key, value):
    def edit(folder):
        manifest = yaml.safe_load((folder / MANIFEST).read_text())
        if value is None:
            del manifest[key]
        else:
            manifest[key] = value
        (folder / MANIFEST).write_text(yaml.safe_dump(manifest))

    return edit


@pytest.mark.parametrize(
    "damage",
    [
        damage_weights,
        lambda folder: (folder / WEIGHTS).unlink(),
        lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe\x00"),
        lambda folder: (folder / MANIFEST).write_text("- a list"),
        lambda folder: (folder / MANIFEST).write_text("a: ["),
        edit_manifest("format", 99),
        edit_manifest("classes", None),
        edit_manifest("geometry", {"x_min": 0}),
        edit_manifest("layers", [{"name": "a"}]),
        edit_manifest("layers", "none"),
        edit_manifest("encoder", {"channels": 8, "point_features": 9, "pillar_features": 1}),
        edit_manifest("score", "high"),
        edit_manifest("output_stride", "two"),
        edit_manifest("classes", ["car"]),
    ],
)
def test_damaged_models_are_refused(tmp_path, damage):
    save_checkpoint(make_checkpoint(), tmp_path)
    damage(tmp_path)
    with pytest.raises(ModelError):
        load(tmp_path)


def edit_layer(index, **values):
    def edit(folder):
        manifest = yaml.safe_load((folder / MANIFEST).read_text())
        manifest["layers"][index].update(values)
        (folder / MANIFEST).write_text(yaml.safe_dump(manifest))

    return edit


def edit_geometry(**values):
    def edit(folder):
        manifest = yaml.safe_load((folder / MANIFEST).read_text())
        manifest["geometry"].update(values)
        (folder / MANIFEST).write_text(yaml.safe_dump(manifest))

    return edit


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (edit_manifest("output_stride", 4), "output_stride is 4, the strides of the layers make 2"),
        (edit_manifest("output_stride", 0), "output_stride is 0"),
        (edit_manifest("output_stride", 2.5), "output_stride"),
        (edit_manifest("classes", ["car", "car", "car"]), "different names"),
        (edit_manifest("classes", ["car", "pedestrian", False]), "different names"),
        (edit_manifest("score_exponents", [[1, 0]]), "two numbers in 0..4 for each class"),
        (edit_manifest("score_exponents", [[1, 0], [1, 0], [1, -1]]), "two numbers in 0..4 for each class"),
        (
            edit_manifest("score_exponents", [[1, 0], [1, True], [1, "x"]]),
            "two numbers in 0..4 for each class",
        ),
        (edit_manifest("score_exponents", [[1], [1], [1]]), "two numbers in 0..4 for each class"),
        (edit_manifest("score_exponents", 0.5), "two numbers in 0..4 for each class"),
        (edit_manifest("score", 7), "score must lie in 0..1, got 7"),
        (edit_manifest("score", 10**400), "score must lie in 0..1"),
        (edit_manifest("score", float("nan")), "score must lie in 0..1"),
        (edit_layer(0, relu="no"), "'relu'"),
        (edit_layer(0, kernel=3.0), "'kernel'"),
        (edit_layer(0, stride=0), "stride must be 1 or more"),
        (edit_layer(0, kernel=4), "odd kernel"),
        (edit_layer(-1, relu=True), "no ReLU"),
        (edit_geometry(x_min=float("-inf"), x_max=float("inf")), "x_min is -inf"),
        (edit_geometry(z_max=float("inf")), "z_max is inf"),
        (edit_geometry(size="0.32"), "'size'"),
        (edit_geometry(x_max=10**400), "too large"),
        (edit_geometry(size=0.0001), "too large"),
        (edit_geometry(x_max=24.96), "different shapes"),
        (lambda folder: (folder / MANIFEST).write_text("name: 2024-99-99"), "YAML"),
    ],
)
def test_manifests_that_contradict_themselves_are_refused(tmp_path, damage, complaint):
    save_checkpoint(make_checkpoint(), tmp_path)
    damage(tmp_path)
    with pytest.raises(ModelError, match=complaint) as caught:
        load(tmp_path)
    assert str(tmp_path / MANIFEST) in str(caught.value)


@pytest.mark.parametrize("name", ["head.bias", "block1.0.weight", "encoder.bias"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, name, value):
    save_checkpoint(make_checkpoint(), tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    tensors[name].flat[0] = value
    save_file(tensors, tmp_path / WEIGHTS)
    digest = hashlib.sha256((tmp_path / WEIGHTS).read_bytes()).hexdigest()
    edit_manifest("sha256", digest)(tmp_path)
    with pytest.raises(ModelError, match=f"{name}' holds NaN or infinity") as caught:
        load(tmp_path)
    assert str(tmp_path / WEIGHTS) in str(caught.value)


def test_layers_that_are_not_finite_are_refused_in_memory():
    checkpoint = make_checkpoint()
    wrong = replace(checkpoint.layers[0], bias=np.full_like(checkpoint.layers[0].bias, np.nan))
    with pytest.raises(ModelError, match=r"block1\.0"):
        Detector(replace(checkpoint, layers=(wrong, *checkpoint.layers[1:])))


def test_weights_that_do_not_fit_are_refused():
    checkpoint = make_checkpoint()
    wrong = LayerWeights(np.zeros((1, 1, 3, 3), np.float32), np.zeros(1, np.float32))
    with pytest.raises(ModelError, match=r"block1\.0"):
        Detector(replace(checkpoint, layers=(wrong, *checkpoint.layers[1:])))


def test_a_bias_that_does_not_fit_is_refused():
    checkpoint = make_checkpoint()
    wrong = replace(checkpoint.layers[0], bias=np.zeros(1, np.float32))
    with pytest.raises(ModelError, match=r"block1\.0"):
        Detector(replace(checkpoint, layers=(wrong, *checkpoint.layers[1:])))


def test_weights_of_another_type_are_refused(tmp_path):
    save_checkpoint(make_checkpoint(), tmp_path)
    tensors = {name: value.astype(np.float64) for name, value in load_file(tmp_path / WEIGHTS).items()}
    save_file(tensors, tmp_path / WEIGHTS)
    digest = hashlib.sha256((tmp_path / WEIGHTS).read_bytes()).hexdigest()
    edit_manifest("sha256", digest)(tmp_path)
    with pytest.raises(ModelError, match="float64"):
        load(tmp_path)


def test_the_ground_that_was_used_comes_with_the_boxes(detector, street):
    assert detector.detect(street).ground == pytest.approx(-1.7, abs=0.1)
    assert detector.detect(street, ground=-1.5).ground == -1.5
    assert detector.detect(street[:0]).ground is None
    with pytest.raises(UsageError, match="ground"):
        detector.detect(street, ground=float("nan"))


def test_a_known_ground_is_used(detector):
    rng = np.random.default_rng(3)  # nothing but roofs: the frame cannot tell where the ground is
    roofs = np.column_stack([rng.uniform(-20, 20, (3000, 2)), rng.normal(0.0, 0.02, 3000)]).astype(np.float32)
    on_ground, above = detector.detect(roofs, score=0.0), detector.detect(roofs, score=0.0, ground=-1.7)
    assert len(on_ground) != len(above) or not np.array_equal(on_ground.boxes, above.boxes)


@pytest.mark.parametrize(
    ("layers", "complaint"),
    [
        ((), "no layers"),
        ((Layer("a", "sideways", ("pillars",), 8, 8),), "unknown kind"),
        ((Layer("a", "submanifold", ("b",), 8, 8),), "not computed"),
        ((Layer("a", "submanifold", ("pillars",), 9, 8),), "in_channels"),
        ((Layer("a", "submanifold", ("pillars",), 8, 8), Layer("a", "submanifold", ("a",), 8, 8)), "twice"),
        ((Layer("a", "submanifold", ("pillars",), 8, 8),), "output_stride is 2"),
        (
            (
                Layer("a", "strided", ("pillars",), 8, 8, stride=2),
                Layer("b", "submanifold", ("pillars", "a"), 16, 8),
            ),
            "different sizes",
        ),
    ],
)
def test_impossible_networks_are_refused(layers, complaint):
    with pytest.raises(ConfigError, match=complaint):
        Architecture(8, layers, 2)
