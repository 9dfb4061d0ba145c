"""Training: gradients are true, the loss falls, runs resume, and the exported network is the trained one."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install 'colonnade[train]'")

from colonnade.detector.architecture import build_architecture  # noqa: E402
from colonnade.detector.checkpoints import load_checkpoint, save_checkpoint  # noqa: E402
from colonnade.detector.detector import Detector  # noqa: E402
from colonnade.detector.encoder import encode  # noqa: E402
from colonnade.detector.ground import estimate_ground  # noqa: E402
from colonnade.detector.pillars import pillarise  # noqa: E402
from colonnade.detector.train import train_model  # noqa: E402
from colonnade.detector.train.config import TrainingConfig, read_config  # noqa: E402
from colonnade.detector.train.curve import Curve  # noqa: E402
from colonnade.detector.train.export import describe_model, fold_network  # noqa: E402
from colonnade.detector.train.network import GatherMultiply, LayerTable, SparseNetwork  # noqa: E402
from colonnade.detector.train.samples import collate_inputs, trace_rules  # noqa: E402
from colonnade.runtime.errors import ConfigError, CorruptFrameError, DatasetError  # noqa: E402
from colonnade.runtime.sparse import PillarGrid  # noqa: E402

AGREEMENT = 1e-4  # of the largest output: torch and the sparse engine on real frames

CONFIG = """
name: smoke
seed: 3
widths: {encoder: 8, blocks: [8, 16, 16], depths: [1, 1, 2], ups: [8, 8], shared: 16}
pool: {folder: POOL, scans: 6, seed: 77, start_with: 6}
schedule: {samples: 80, batch: 2, learning_rate: 0.01, validate_every: 0, checkpoint_every: 20}
"""


def randomise(network: SparseNetwork) -> None:
    """Give batch norm statistics that are not the identity, negative slopes included."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias, 0, 0.1)


def compare_on(points: np.ndarray) -> float:
    """Return the largest difference of torch and engine on a frame, relative to the largest output."""
    torch.manual_seed(1)
    config = TrainingConfig("agreement")
    architecture = build_architecture(config.widths, len(config.classes))
    network = SparseNetwork(architecture).eval()
    randomise(network)
    detector = Detector(fold_network(network, describe_model(config, architecture)))
    pillars = pillarise(points, estimate_ground(points), config.detection_grid)
    rules = trace_rules(architecture, pillars.coords, pillars.shape)
    with torch.no_grad():
        expected = network(collate_inputs([pillars], [rules]), torch.float32).numpy()
    grid = PillarGrid.from_coords(pillars.coords, encode(pillars, detector._encoder), pillars.shape)
    found = detector._network.run(grid)
    assert found.features.shape == expected.shape
    return float(np.abs(found.features - expected).max() / np.abs(expected).max())


def test_torch_and_engine_agree_on_real_frames(kitti_points, pandaset_points):
    assert compare_on(kitti_points) < AGREEMENT
    assert compare_on(pandaset_points) < AGREEMENT


def test_torch_and_engine_agree_without_real_data():
    points = np.random.default_rng(0).uniform(-40, 40, (4000, 3)).astype(np.float32) * [1, 1, 0.05]
    assert compare_on(points.astype(np.float32)) < AGREEMENT


def test_gather_multiply_has_true_gradients():
    rng = np.random.default_rng(0)
    forward = np.where(rng.random((9, 4)) < 0.6, rng.permuted(np.tile(np.arange(9), (4, 1)), axis=1).T, 9)[:7]
    backward = np.full((9, 4), 7)
    o, tap = np.nonzero(forward < 9)
    backward[forward[o, tap], tap] = o
    pad = np.full((64, 4), 9, np.int32), np.full((64, 4), 7, np.int32)
    pad[0][:7], pad[1][:9] = forward, backward
    table = LayerTable(torch.from_numpy(pad[0]), torch.from_numpy(pad[1]), 9, 7, ())
    rows = torch.randn(9, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r, w: GatherMultiply.apply(r, w, table), (rows, weight))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    config = folder / "smoke.yaml"
    config.write_text(CONFIG.replace("POOL", str(folder / "pool")))
    model = train_model(config, output=folder / "run")
    return config, folder / "run", model


def read_curve(run):
    return [json.loads(line) for line in (run / "curve.jsonl").read_text().splitlines()]


def test_the_loss_falls_and_the_model_loads(trained):
    _, run, model = trained
    curve = read_curve(run)
    assert curve[-1]["samples"] == 80
    assert curve[-1]["heatmap"] < 6
    detector = Detector(load_checkpoint(model))
    assert detector.classes == ("car", "pedestrian", "cyclist")
    assert np.isfinite(detector.detect(np.zeros((10, 4), np.float32)).boxes).all()


def test_a_finished_run_resumes_to_nothing_and_a_longer_one_goes_on(trained, tmp_path):
    config, run, model = trained
    before = (model / "weights.safetensors").read_bytes()
    train_model(config, output=run)
    assert (model / "weights.safetensors").read_bytes() == before
    longer = tmp_path / "longer.yaml"
    longer.write_text(config.read_text().replace("samples: 80", "samples: 100"))
    train_model(longer, output=run)
    assert read_curve(run)[-1]["step"] == 50
    assert (model / "weights.safetensors").read_bytes() != before


def test_a_damaged_checkpoint_is_refused(trained, tmp_path):
    config, _, _ = trained
    (tmp_path / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ConfigError, match="checkpoint"):
        train_model(config, output=tmp_path)


def damage_pool(config, folder):
    """Return the configuration with a copy of its pool in which every scan is cut off."""
    pool = folder / "damaged"
    pool.mkdir()
    for scan in sorted((config.parent / "pool").glob("*.npz")):
        (pool / scan.name).write_bytes(scan.read_bytes()[:5000])
    damaged = folder / "damaged.yaml"
    damaged.write_text(config.read_text().replace(str(config.parent / "pool"), str(pool)))
    return damaged


def test_a_restart_that_takes_no_step_leaves_the_run_as_it_was(trained, tmp_path):
    config, run, _ = trained
    copy = shutil.copytree(run, tmp_path / "run")
    before = {name: (copy / name).read_bytes() for name in ("checkpoint.pt", "curve.jsonl")}
    with pytest.raises(DatasetError):
        train_model(damage_pool(config, tmp_path), output=copy, resume=False)
    assert {name: (copy / name).read_bytes() for name in before} == before


def test_a_damaged_scan_of_the_pool_is_one_line_that_names_it(trained, tmp_path):
    with pytest.raises(DatasetError, match=r"^\S+damaged/00000\d\.npz: .*delete it") as caught:
        train_model(damage_pool(trained[0], tmp_path), output=tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_a_damaged_real_frame_is_one_line_that_names_it(trained, tmp_path):
    frames = tmp_path / "real" / "frames"
    frames.mkdir(parents=True)
    (frames / "000000.bin").write_bytes(bytes(33))
    (tmp_path / "real" / "labels.jsonl").write_text('{"frame": "000000", "objects": []}\n')
    config = tmp_path / "real.yaml"
    config.write_text(trained[0].read_text() + f"real: {{dataset: {tmp_path / 'real'}, share: 0.5}}\n")
    with pytest.raises(CorruptFrameError, match=r"^\S+000000\.bin") as caught:
        train_model(config, output=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


@pytest.mark.parametrize(("begin", "kept"), [(0, [1]), (50, [50, 51]), (200, [50, 100, 201])])
def test_a_curve_goes_on_from_where_its_run_begins(tmp_path, begin, kept):
    path = tmp_path / "curve.jsonl"
    path.write_text('{"step": 50}\n{"step": 100}\n{"step": 15')
    curve = Curve(path, begin)
    for _ in range(2):
        curve.add({"step": begin + 1})
    assert [entry["step"] for entry in read_curve(tmp_path)] == [*kept, begin + 1]


def test_a_model_folder_round_trips(trained, tmp_path):
    checkpoint = load_checkpoint(trained[2])
    save_checkpoint(checkpoint, tmp_path / "again")
    again = load_checkpoint(tmp_path / "again")
    assert again.manifest == checkpoint.manifest
    np.testing.assert_array_equal(again.layers[0].weight, checkpoint.layers[0].weight)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[1, 2]", "mapping"),
        ("name: x\nspeed: 3", "unknown keys"),
        ("name: x\nschedule: {batch: two}", "batch"),
        ("name: x\nschedule: {batch: 0}", "schedule.batch: expected 1 or more, got 0"),
        ("name: x\nschedule: {warm_up: 1.5}", "schedule.warm_up: expected 0 to 1"),
        ("name: x\npool: {scans: 0}", "pool.scans"),
        ("name: x\nreal: {share: .nan}", "real.share"),
        ("name: x\nclasses: []", "classes"),
        ("seed: 1", "name"),
        ("name: [", "YAML"),
        ("name: x\ntraining_grid: {x_min: 0, y_min: 0, x_max: 1, y_max: 1, z_min: 0, z_max: 1, size: 0.3}", "whole"),
    ],
)  # fmt: skip
def test_bad_configurations_are_refused(tmp_path, text, complaint):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        read_config(path)


def test_a_missing_real_dataset_is_refused_before_anything_is_written(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("name: x\nreal: {dataset: nowhere, share: 0.5}")
    with pytest.raises(DatasetError, match="nowhere"):
        train_model(path, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_missing_configuration_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "none.yaml")
