"""test_runs.py: an experiment's runs: what the arms differ in, what a script sets, what is trained and what is not."""

from __future__ import annotations

import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from runs import Options, Run, fill_in_processes, plan_runs, read_options, train_runs

from colonnade.detector.train.config import Pool, read_config
from colonnade.detector.train.pool import list_pool
from colonnade.runtime.errors import ConfigError

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
ARMS = sorted(EXPERIMENTS.glob("*/*.yaml"))
DENSITY = EXPERIMENTS / "density"


def flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one level, `a.b` for nested ones."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= flatten(item, f"{prefix}{key}.") if isinstance(item, dict) else {prefix + key: item}
    return flat


def compare(first: Path, second: Path) -> set[str]:
    """Return the keys in which two configurations differ, but for the name."""
    one, two = (flatten(asdict(read_config(path))) for path in (first, second))
    return {key for key in one if one[key] != two[key]} - {"name"}


def ignore(_: str) -> None:
    """Report nothing."""


@pytest.mark.parametrize("path", ARMS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_arm_is_a_configuration_of_its_own(path: Path) -> None:
    config = read_config(path)
    assert config.name == f"{path.parent.name}-{path.stem}"
    assert config.schedule.validate_every == 0


def test_arms_of_density_differ_in_what_they_are_called_by() -> None:
    plain, augmentation, density, both = (
        DENSITY / f"{name}.yaml" for name in ("plain", "augmentation", "density", "both")
    )
    changed = {f"augmentation.{name}" for name in ("drop_points", "sparse_beams", "resample", "mix")}
    assert compare(plain, density) == {"widths.gates"}
    assert compare(augmentation, both) == {"widths.gates"}
    assert compare(plain, augmentation) == compare(density, both) == changed
    config = read_config(plain)
    assert config.pool.sensors == ("hdl64e",)
    assert config.augmentation.thin_beams == config.augmentation.thin_azimuth == 0


def test_arms_of_pruning_differ_in_their_sparsity() -> None:
    paths = sorted((EXPERIMENTS / "pruning").glob("*.yaml"))
    variants = {path.stem: read_config(path).sparsity.variant for path in paths}
    assert set(variants.values()) == {"dilating", "submanifold", "pruned"}
    for path in paths:
        changed = compare(EXPERIMENTS / "pruning" / "dilating.yaml", path)
        assert changed <= {"sparsity.variant", "sparsity.keep"}
    keeps = [sum(read_config(path).sparsity.keep) for path in paths if variants[path.stem] == "pruned"]
    assert len(set(keeps)) == len(keeps) >= 2


def test_a_script_sets_name_seed_and_samples_only(options: Options, tmp_path: Path) -> None:
    runs = plan_runs(DENSITY, options)
    assert [(run.arm, run.seed) for run in runs] == [
        (arm, seed) for seed in (1, 2) for arm in ("augmentation", "both", "density", "plain")
    ]
    assert len({run.folder for run in runs}) == len(runs)
    for run in runs:
        source = flatten(yaml.safe_load((DENSITY / f"{run.arm}.yaml").read_text()))
        made = flatten(yaml.safe_load(run.settings))
        assert made == source | {
            "name": f"density-{run.arm}-{run.seed}",
            "seed": run.seed,
            "schedule.samples": 40,
        }
    whole = plan_runs(DENSITY, replace(options, samples=None))
    assert {yaml.safe_load(run.settings)["schedule"]["samples"] for run in whole} == {2000}


def test_runs_begin_with_the_weights_of_a_base(options: Options) -> None:
    (base,) = plan_runs(DENSITY / "base", replace(options, seeds=(0,)))
    for run in plan_runs(DENSITY, options, base):
        start = yaml.safe_load(run.settings)["schedule"]["start_from"]
        assert Path(start) == base.folder / "checkpoint.pt"


def test_quick_runs_use_a_pool_of_their_own(options: Options, tmp_path: Path) -> None:
    for run in plan_runs(DENSITY, replace(options, quick=True)):
        pool = yaml.safe_load(run.settings)["pool"]
        assert Path(pool["folder"]).parent == tmp_path
        assert pool["scans"] < 10
        assert pool["sensors"] == ["hdl64e"]


def test_runs_are_trained_once_and_so_many_at_once(options: Options) -> None:
    runs = plan_runs(DENSITY, options)
    lock, trained = threading.Lock(), []
    together = threading.Barrier(2, timeout=30)  # breaks unless two train at once

    def train(run: Run) -> None:
        assert read_config(run.config).name == f"density-{run.arm}-{run.seed}"
        together.wait()
        with lock:
            trained.append(run)

    train_runs(runs, options, train=train, report=ignore)
    assert sorted(run.folder.name for run in trained) == sorted(run.folder.name for run in runs)
    assert all(run.finished for run in runs)
    train_runs(runs, options, train=pytest.fail, report=ignore)


def test_only_the_named_arms_are_trained(options: Options) -> None:
    options = replace(options, only=("both",), jobs=1)
    runs = plan_runs(DENSITY, options)
    trained: list[str] = []
    train_runs(runs, options, train=lambda run: trained.append(run.folder.name), report=ignore)
    assert trained == ["both-1", "both-2"]
    assert [run.folder.name for run in runs if run.folder.exists()] == ["both-1", "both-2"]
    with pytest.raises(ConfigError, match=r"no arm \['bot'\]; known are augmentation, both, density, plain"):
        plan_runs(DENSITY, replace(options, only=("bot",)))


def test_a_run_that_failed_is_not_finished_and_goes_on_later(options: Options) -> None:
    options = replace(options, jobs=1, seeds=(1,))
    runs = plan_runs(DENSITY, options)

    def fail(run: Run) -> None:
        if run.arm == "density":
            raise ConfigError("cut")

    with pytest.raises(ConfigError, match="cut"):
        train_runs(runs, options, train=fail, report=ignore)
    assert [run.arm for run in runs if run.finished] == ["augmentation", "both"]
    trained: list[str] = []
    train_runs(runs, options, train=lambda run: trained.append(run.arm), report=ignore)
    assert trained == ["density", "plain"]


def test_a_run_of_other_settings_is_not_taken_for_this_one(options: Options) -> None:
    train_runs(plan_runs(DENSITY, options), options, train=ignore, report=ignore)  # type: ignore[arg-type]
    changed = replace(options, samples=80)
    with pytest.raises(ConfigError, match="augmentation-1 was made with other settings"):
        train_runs(plan_runs(DENSITY, changed), changed, train=pytest.fail, report=ignore)


def test_a_training_that_fails_is_told_with_the_end_of_its_log(options: Options, tmp_path: Path) -> None:
    pool = {"folder": str(tmp_path / "pool"), "scans": 1}
    settings = {"name": "x", "pool": pool, "schedule": {"start_from": str(tmp_path / "nowhere.pt")}}
    run = Run("x", 1, tmp_path / "x-1", yaml.safe_dump(settings))
    with pytest.raises(ConfigError, match=r"(?s)x-1: the training ended with exit code \d.*nowhere\.pt"):
        train_runs([run], replace(options, jobs=1), report=ignore)
    assert not run.finished


def test_a_pool_is_filled_by_several_processes(tmp_path: Path) -> None:
    pool = Pool(folder=str(tmp_path), scans=3, seed=40, sensors=("vlp16",))
    fill_in_processes(pool, 2)
    assert [path.name for path in list_pool(tmp_path)] == ["000000.npz", "000001.npz", "000002.npz"]


def test_options_are_read_from_the_command_line(tmp_path: Path) -> None:
    words = f"--output {tmp_path} --jobs 2 --samples 50 --seeds 4 5 --only a --only b --frames 7 --dataset d"
    assert read_options("x", "runs/x", words.split()) == Options(
        tmp_path, 2, 50, (4, 5), ("a", "b"), 7, (Path("d"),), False
    )
    quick = read_options("x", "runs/x", ["--quick"])
    assert quick.output == Path("runs/x/quick")
    assert quick.samples is not None
    assert (len(quick.seeds), quick.quick) == (1, True)
    assert read_options("x", "runs/x", []).seeds == (1, 2, 3)
    assert read_options("x", "runs/x", ["--seeds", "4", "4"]).seeds == (4,)
