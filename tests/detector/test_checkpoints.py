"""Int8 model folders: round trip, damage, and which precision a name loads."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from colonnade.detector import detector as detector_module
from colonnade.detector.architecture import Widths, build_architecture
from colonnade.detector.checkpoints import (
    MANIFEST,
    WEIGHTS,
    Checkpoint,
    Manifest,
    find_twin,
    load_checkpoint,
    save_checkpoint,
)
from colonnade.detector.detector import load
from colonnade.detector.encoder import EncoderWeights
from colonnade.detector.network import LayerWeights, QuantisedLayer
from colonnade.detector.pillars import PILLAR_FEATURES, POINT_FEATURES, PillarGeometry
from colonnade.detector.quantise import quantise
from colonnade.runtime.errors import ModelError, UsageError

POINTS = np.random.default_rng(1).uniform((-12, -12, -1.8), (12, 12, -0.5), (2000, 3))


def make_checkpoint() -> Checkpoint:
    rng = np.random.default_rng(0)
    architecture = build_architecture(Widths(8, (8, 8, 8), (1, 1, 1), 1, (8, 8), 8), 1)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    layers = tuple(
        LayerWeights(draw(n.out_channels, n.in_channels, n.kernel, n.kernel), draw(n.out_channels))
        for n in architecture.layers
    )
    encoder = EncoderWeights(draw(POINT_FEATURES, 8), draw(8), draw(PILLAR_FEATURES, 8), draw(8))
    grid = PillarGeometry(-12.8, -12.8, 12.8, 12.8, -1.0, 4.0, 0.32)
    manifest = Manifest("tiny", ("car",), grid, architecture, 0.3, "nothing", "Apache-2.0", "", ((1.0, 0.0),))
    return Checkpoint(manifest, encoder, layers)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a float32 model, beside which its twin lies."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_checkpoint(make_checkpoint(), folder)
    save_checkpoint(quantise(load_checkpoint(folder), [POINTS]), folder.with_name("tiny-int8"))
    return folder


@pytest.fixture
def twin(pair: Path, tmp_path: Path) -> Path:
    """Return a copy of the int8 model that may be damaged."""
    return Path(shutil.copytree(pair.with_name("tiny-int8"), tmp_path / "copy"))


def test_an_int8_folder_round_trips_to_the_bit(pair: Path) -> None:
    made = quantise(load_checkpoint(pair), [POINTS])
    read = load_checkpoint(pair.with_name("tiny-int8"))
    assert replace(read.manifest, sha256="") == made.manifest
    assert read.encoder_step == made.encoder_step
    for ours, theirs in zip(made.layers, read.layers, strict=True):
        assert isinstance(theirs, QuantisedLayer)
        for name in ("weight", "bias", "scale"):
            expected, found = getattr(ours, name), getattr(theirs, name)
            assert expected.dtype == found.dtype
            assert np.array_equal(expected, found)


def test_float_manifests_stay_readable_by_older_versions(pair: Path) -> None:
    written = yaml.safe_load((pair / MANIFEST).read_text(encoding="utf-8"))
    assert not {"precision", "calibration"} & written.keys()
    assert "keep" not in written["layers"][0]
    assert load_checkpoint(pair).manifest.precision == "fp32"


@pytest.mark.parametrize(
    "pruning",
    [
        {"keep": 0.5},
        {"keep": 1, "importance": "l1"},
        {"threshold": 0.25},
        {"threshold": -0.1, "importance": "learned"},
        {"keep": 0.5, "importance": "learned"},
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_pruning_is_kept(tmp_path: Path, pruning: dict[str, object], precision: str) -> None:
    model = make_pruned(**pruning)
    if precision == "int8":
        model = quantise(model, [POINTS])
    save_checkpoint(model, tmp_path)
    read = load_checkpoint(tmp_path)
    assert read.manifest.architecture == model.manifest.architecture
    has_tensor = "block1.0.importance" in load_file(tmp_path / WEIGHTS)
    assert has_tensor == (pruning.get("importance") == "learned")
    if has_tensor:
        np.testing.assert_array_equal(read.layers[0].importance, IMPORTANCE)
    assert all(part.importance is None for part in read.layers[1:])
    own = model.manifest.architecture.layers[0]
    assert load(tmp_path).keep == (own.keep,)
    load(tmp_path).detect(POINTS)  # it runs


IMPORTANCE = np.linspace(-1, 2, 8, dtype=np.float32)


def make_pruned(**pruning: object) -> Checkpoint:
    """Return a model whose first layer is pruned."""
    model = make_checkpoint()
    architecture = model.manifest.architecture
    layers = (replace(architecture.layers[0], **pruning), *architecture.layers[1:])
    manifest = replace(model.manifest, architecture=replace(architecture, layers=layers))
    learned = IMPORTANCE if pruning.get("importance") == "learned" else None
    return replace(
        model, manifest=manifest, layers=(replace(model.layers[0], importance=learned), *model.layers[1:])
    )


def test_a_learned_importance_is_checked(tmp_path: Path) -> None:
    model = make_pruned(keep=0.5, importance="learned")
    with pytest.raises(ModelError, match=r"'block1.0'.*learned importance"):
        save_checkpoint(replace(model, layers=make_checkpoint().layers), tmp_path / "none")
    for name, damage in (
        ("shape", lambda v: v[:-1]),
        ("number", put(np.nan)),
        ("type", lambda v: v.astype("f8")),
    ):
        save_checkpoint(model, tmp_path / name)
        edit_tensor(tmp_path / name, "block1.0.importance", damage)
        with pytest.raises(ModelError, match=r"block1.0.importance"):
            load(tmp_path / name)


def test_a_twin_that_prunes_otherwise_is_not_taken(tmp_path: Path) -> None:
    save_checkpoint(make_pruned(keep=0.5), tmp_path / "ours")
    save_checkpoint(quantise(load_checkpoint(tmp_path / "ours"), [POINTS]), tmp_path / "ours-int8")
    assert find_twin(tmp_path / "ours") == tmp_path / "ours-int8"
    for pruning in ({"keep": 0.6}, {"threshold": 0.5}, {}):
        save_checkpoint(make_pruned(**pruning), tmp_path / "ours")
        assert find_twin(tmp_path / "ours") is None
    save_checkpoint(make_pruned(threshold=0.5), tmp_path / "ours")
    save_checkpoint(quantise(load_checkpoint(tmp_path / "ours"), [POINTS]), tmp_path / "ours-int8")
    assert find_twin(tmp_path / "ours") == tmp_path / "ours-int8"
    save_checkpoint(make_pruned(threshold=0.75), tmp_path / "ours")
    assert find_twin(tmp_path / "ours") is None  # of the same weights, but other thresholds


@pytest.mark.parametrize("pruning", [{"keep": 10**400}, {"threshold": 10**400}])
def test_pruning_by_numbers_that_are_none_is_refused(tmp_path: Path, pruning: dict[str, object]) -> None:
    save_checkpoint(make_pruned(keep=0.5), tmp_path)
    manifest = yaml.safe_load((tmp_path / MANIFEST).read_text(encoding="utf-8"))
    layer = manifest["layers"][0]
    edit_manifest(tmp_path, layers=[layer | {"keep": None} | pruning, *manifest["layers"][1:]])
    with pytest.raises(ModelError, match="too large"):
        load(tmp_path)


def edit_tensor(folder: Path, name: str, change) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors[name] = change(tensors[name].copy())
    save_file(tensors, folder / WEIGHTS)
    edit_manifest(folder, sha256=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest())


def edit_manifest(folder: Path, **values: object) -> None:
    manifest = yaml.safe_load((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest.update(values)
    (folder / MANIFEST).write_text(yaml.safe_dump(manifest), encoding="utf-8")


def put(value: float):
    def change(tensor: np.ndarray) -> np.ndarray:
        tensor.flat[0] = value
        return tensor

    return change


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("head.weight", lambda t: t.astype(np.int16), "int16.*expected int8"),
        ("head.bias", lambda t: t.astype(np.float32), "float32.*expected int32"),
        ("head.scale", lambda t: t[:-1].copy(), "head.scale"),
        ("block1.0.scale", put(np.nan), "NaN or infinity"),
        ("block1.0.scale", put(np.inf), "NaN or infinity"),
        ("block1.0.scale", put(0.0), "above 0"),
        ("encoder.step", put(-1.0), "above 0"),
        ("encoder.step", put(np.nan), "NaN"),
        ("head.bias", put(2**31 - 1), "int32"),
    ],
)
def test_damaged_tensors_are_refused(twin: Path, name: str, change, complaint: str) -> None:
    edit_tensor(twin, name, change)
    with pytest.raises(ModelError, match=complaint):
        load(twin)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"precision": "int4"}, "precision must be one of fp32, int8"),
        ({"precision": ["int8"]}, "precision must be one of fp32, int8"),
        ({"calibration": None}, "calibration"),
        ({"calibration": {"method": "mse", "frames": "three", "source": "", "model_sha256": ""}}, "frames"),
        ({"precision": "fp32"}, "expected float32"),
    ],
)
def test_manifests_that_contradict_themselves_are_refused(
    twin: Path, values: dict[str, object], complaint: str
) -> None:
    edit_manifest(twin, **values)
    with pytest.raises(ModelError, match=complaint):
        load(twin)


@pytest.mark.parametrize(("fast", "expected"), [(True, "int8"), (False, "fp32")])
def test_the_twin_is_taken_where_it_is_faster(pair: Path, monkeypatch, fast: bool, expected: str) -> None:
    monkeypatch.setattr(detector_module, "HAS_FAST_INT8", fast)
    assert load(pair).precision == expected
    assert load(pair, precision="fp32").precision == "fp32"
    assert load(pair, precision="int8").precision == "int8"
    assert load(pair.with_name("tiny-int8")).precision == "int8"


def test_a_model_is_not_found_in_a_precision_that_it_does_not_have(pair: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="this model is int8"):
        load(pair.with_name("tiny-int8"), precision="fp32")
    lonely = shutil.copytree(pair, tmp_path / "lonely")
    assert load(lonely).precision == "fp32"
    with pytest.raises(ModelError, match="colonnade quantize"):
        load(lonely, precision="int8")
    with pytest.raises(UsageError, match="precision must be one of fp32, int8"):
        load(pair, precision="int4")


def test_the_twin_of_other_weights_is_not_taken(pair: Path, tmp_path: Path) -> None:
    ours = Path(shutil.copytree(pair, tmp_path / "tiny"))
    shutil.copytree(pair.with_name("tiny-int8"), tmp_path / "tiny-int8")
    assert find_twin(ours) == tmp_path / "tiny-int8"
    edit_tensor(ours, "head.bias", put(0.5))
    assert find_twin(ours) is None
    with pytest.raises(ModelError, match="colonnade quantize"):
        load(ours, precision="int8")


def test_int8_gives_the_same_bits_on_one_and_two_threads(pair: Path) -> None:
    one, two = (load(pair, precision="int8", threads=n).detect(POINTS, score=0.05) for n in (1, 2))
    assert np.array_equal(one.boxes, two.boxes)
    assert np.array_equal(one.scores, two.scores)
