"""Training: gradients are true, the loss falls, runs resume, and the exported network is the trained one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install 'colonnade[train]'")

from colonnade.detector.architecture import Sparsity, Widths, build_architecture  # noqa: E402
from colonnade.detector.checkpoints import load_checkpoint, save_checkpoint  # noqa: E402
from colonnade.detector.density import measure_density  # noqa: E402
from colonnade.detector.detector import Detector  # noqa: E402
from colonnade.detector.ground import estimate_ground, split_columns  # noqa: E402
from colonnade.detector.train import train_model  # noqa: E402
from colonnade.detector.train.augment import Augmentation, LabelledScan  # noqa: E402
from colonnade.detector.train.config import Schedule, TrainingConfig, read_config  # noqa: E402
from colonnade.detector.train.curve import Curve  # noqa: E402
from colonnade.detector.train.export import describe_model, fold_network  # noqa: E402
from colonnade.detector.train.loop import OPEN, _Run  # noqa: E402
from colonnade.detector.train.network import GatherMultiply, SparseNetwork  # noqa: E402
from colonnade.detector.train.pool import check_classes  # noqa: E402
from colonnade.detector.train.rules import LayerTable, Sites  # noqa: E402
from colonnade.detector.train.samples import build_sample, collate_samples, place_pillars  # noqa: E402
from colonnade.detector.train.validation import validate  # noqa: E402
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


MIXED = Sparsity()


def randomise(network: SparseNetwork) -> None:
    """Give batch norm statistics that are not the identity, negative slopes included."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias, 0, 0.1)
        if getattr(module, "importance", None) is not None:
            torch.nn.init.normal_(module.importance)


def compare_on(points: np.ndarray, sparsity: Sparsity = MIXED, gates: int = 0) -> float:
    """Return the share of the head's cells on which torch and engine agree within AGREEMENT of the largest output."""
    torch.manual_seed(1)
    config = TrainingConfig("agreement", sparsity=sparsity, widths=Widths(gates=gates))
    network = SparseNetwork(config.architecture).eval()
    randomise(network)
    scan = LabelledScan(points[:, :3].copy(), *(np.zeros(len(points), kind) for kind in (np.int16, np.int32)),
                        np.zeros((0, 7)), ())  # fmt: skip
    sample = build_sample(scan, config.architecture, config.detection_grid)
    if network.encoder.gates is not None:
        network.encoder.gates.fit(torch.from_numpy(sample.density))
    detector = Detector(fold_network(network, describe_model(config, config.architecture)))
    with torch.no_grad():
        expected = network(collate_samples([sample])[0], torch.float32)
    columns = split_columns(scan.points)
    ground = estimate_ground(scan.points)
    density = measure_density(columns, ground, sample.pillars, config.detection_grid) if gates else None
    features = detector._encode(sample.pillars, density)
    found = detector._network.run(place_pillars(sample.pillars).with_features(features))
    assert found.features.shape == expected.rows.shape
    cells = map(tuple, expected.cells[0].coords.tolist())
    known = dict(zip(cells, expected.rows.numpy(), strict=True))
    largest, nowhere = np.abs(found.features).max(), np.full(found.channels, np.inf)
    other = np.stack([known.get(tuple(cell), nowhere) for cell in found.coords.tolist()])
    return float((np.abs(found.features - other).max(1) < AGREEMENT * largest).mean())


@pytest.mark.parametrize("gates", [0, 16])
@pytest.mark.parametrize("variant", ["mixed", "dilating", "submanifold"])
def test_torch_and_engine_agree_on_real_frames(kitti_points, pandaset_points, variant, gates):
    assert compare_on(kitti_points, Sparsity(variant), gates) == 1.0
    assert compare_on(pandaset_points, Sparsity(variant), gates) == 1.0


@pytest.mark.parametrize("importance", ["l2", "l1", "learned"])
def test_torch_and_engine_prune_alike(kitti_points, importance):
    # Two pillars whose importances differ by less than rounding may change places, and all around them with them.
    assert compare_on(kitti_points, Sparsity("pruned", (0.9, 0.6, 0.5), importance)) > 0.97


def test_torch_and_engine_agree_without_real_data():
    points = np.random.default_rng(0).uniform(-40, 40, (4000, 3)).astype(np.float32) * [1, 1, 0.05]
    assert compare_on(points.astype(np.float32)) == 1.0


@pytest.mark.parametrize("importance", ["l2", "l1", "learned"])
def test_the_mask_is_straight_through(importance):
    sparsity = Sparsity("pruned", (0.5, 0.5, 0.5), importance)
    network = SparseNetwork(build_architecture(Widths(8, (8, 8, 8), (1, 1, 1), 1, (8, 8), 8), 3, sparsity))
    randomise(network)
    spec, module = network.architecture.layers[0], network.layers[0]
    coords = np.stack(np.divmod(np.arange(12), 4), 1).astype(np.int32)
    grid = PillarGrid.from_coords(coords, np.zeros((12, 1), np.float32), (3, 4))
    rows = torch.rand(12, 8, generator=torch.Generator().manual_seed(2)).requires_grad_()
    norms = torch.sqrt((rows * rows).sum(1) + 1e-12)
    out, left = network._prune(spec, module, rows, norms, Sites.whole((grid,)))
    stays = np.zeros(12, bool)
    stays[left.rows[0]] = True
    assert stays.sum() == 6
    score = {"l2": norms, "l1": rows.sum(1)}.get(importance)
    score = rows @ module.importance if score is None else score
    assert score[stays].detach().min() >= score[~stays].detach().max()
    torch.testing.assert_close(out, rows * torch.from_numpy(stays).float()[:, None])
    out.sum().backward()
    # A pillar that went hears whether it is missed: its gradient is not that of a constant zero.
    assert (rows.grad[~stays].abs().sum(1) > 1e-4).all()


def test_pruning_opens_wide_and_closes(tmp_path):
    schedule = Schedule(samples=400, batch=4, opening=0.5)
    sparsity = Sparsity("pruned", (1.0, 1.0, 1.0))
    run = _Run(TrainingConfig("x", sparsity=sparsity, schedule=schedule), tmp_path)
    factors = []
    for run.step in (0, 25, 50, 99):
        run.open_pruning()
        factors.append(run.network.opening)
    assert factors == [OPEN, (OPEN + 1) / 2, 1.0, 1.0]


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
        ("name: x\nclasses: [car, car]", "different names"),
        ("name: x\nclasses: [car, 3]", "classes: expected text"),
        ("name: x\nseed: 99999999999999999999", "seed"),
        ("name: x\nschedule: {learning_rate: .inf}", "learning_rate: expected 0 or more"),
        ("name: x\nschedule: {learning_rate: .nan}", "learning_rate: expected 0 or more"),
        (f"name: x\nschedule: {{learning_rate: {10**400}}}", "too large"),
        ("name: x\nschedule: {learning_rate: fast}", "learning_rate: expected a number"),
        ("name: x\nschedule: {samples: 2e4}", "samples: expected a whole number, without point or exponent"),
        ("name: x\nwidths: {blocks: [8, 8]}", "blocks: expected 3 values, got 2"),
        ("name: x\nwidths: {blocks: [8, 8, a]}", "blocks: expected a whole number"),
        ("name: x\nwidths: {blocks: 8}", "blocks: expected a list"),
        ("name: x\nwidths: {ups: [8, 0]}", "must be 1 or more"),
        ("name: x\nwidths: {depths: [1, 1, -1]}", "must be 0 or more"),
        ("name: x\ntraining_grid: {size: 0.16}", "give both grids the same"),
        ("name: x\ntraining_grid: {x_max: 51.52}", "different shapes"),
        ("name: x\ntraining_grid: {x_min: -.inf}", "x_min is -inf"),
        ("name: x\naugmentation: {jitter: -1}", "augmentation.jitter: expected 0 to 1"),
        ("name: x\naugmentation: {paste: -1}", "augmentation.paste: expected 0 to 100"),
        ("name: x\naugmentation: {hide: .nan}", "augmentation.hide: expected 0 to 1"),
        ("name: x\naugmentation: {hide: 7.5}", "augmentation.hide"),
        ("name: x\naugmentation: {scale: 2}", "augmentation.scale: expected 0 to 0.5"),
        ("name: 2024-99-99", "YAML"),
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


def test_a_mapping_changes_the_default_only_where_it_says_so(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("name: x\ntraining_grid: {size: 0.16}\ndetection_grid: {size: 0.16, x_max: 25.6}\n")
    config, default = read_config(path), TrainingConfig("x")
    assert config.training_grid == replace(default.training_grid, size=0.16)
    assert config.detection_grid == replace(default.detection_grid, size=0.16, x_max=25.6)
    assert config.schedule == default.schedule


def test_score_exponents_are_a_pair_for_each_class(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("name: x\nscore_exponents: [[0.5, 0.5], [1, 0], [0.9, 0.1]]")
    config = read_config(path)
    model = describe_model(config, build_architecture(config.widths, 3))
    assert model.score_exponents == ((0.5, 0.5), (1.0, 0.0), (0.9, 0.1))
    for wrong in ("[[0.5, 0.5]]", "[[0.5], [1], [1]]", "[[0.5, 9], [1, 0], [1, 0]]", "0.5"):
        path.write_text(f"name: x\nscore_exponents: {wrong}")
        with pytest.raises(ConfigError, match="score_exponents"):
            read_config(path)


def test_numbers_with_an_exponent_are_numbers(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("name: x\nschedule: {learning_rate: 1e-3, weight_decay: 1.5E-2, clip: 1e+1}")
    schedule = read_config(path).schedule
    assert (schedule.learning_rate, schedule.weight_decay, schedule.clip) == (1e-3, 0.015, 10.0)


@pytest.mark.parametrize(
    "chance", ["thin_beams", "thin_azimuth", "drop_points", "hide", "crop_view", "carrier", "shift"]
)
def test_chances_of_augmentation_lie_between_0_and_1(chance):
    for value in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match=f"augmentation.{chance}: expected 0 to 1"):
            Augmentation(**{chance: value})


def test_a_class_that_no_training_data_has_is_refused_before_anything_is_written(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("name: x\nclasses: [car, lorry]")
    with pytest.raises(ConfigError, match=r"no training data has \['lorry'\].*truck"):
        train_model(path, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_classes_come_from_real_frames_too():
    check_classes(("car", "tram"), 0.5, {"tram"})
    check_classes(("car", "van"), 0.0, ())
    for classes, share in ((("car", "tram"), 1.0), (("lorry",), 0.5), (("other",), 0.5)):
        with pytest.raises(ConfigError, match="no training data"):
            check_classes(classes, share, {"tram"})


@pytest.mark.parametrize(("classes", "told"), [(("car",), 4), (("pedestrian", "van"), 1), (("van",), 0)])
def test_networks_of_some_classes_are_validated_in_those(classes, told):
    config = TrainingConfig("x", classes=classes, widths=Widths(8, (8, 8, 8), (1, 1, 1), 1, (8, 8), 8))
    architecture = build_architecture(config.widths, len(classes))
    network = SparseNetwork(architecture).eval()
    result = validate(fold_network(network, describe_model(config, architecture)), frames=2)
    assert len(result.to_dict()) == told


def test_a_missing_real_dataset_is_refused_before_anything_is_written(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("name: x\nreal: {dataset: nowhere, share: 0.5}")
    with pytest.raises(DatasetError, match="nowhere"):
        train_model(path, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_missing_configuration_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "none.yaml")
