"""test_tables.py: figures of an experiment: measured once per model, summed up over seeds, beside their base."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import density
import pruning
import pytest
from runs import Options, Run
from scores import FrameSet, hash_model, list_real, list_synthetic, score_models
from tables import spread, write_json
from work import count_macs, time_models

from colonnade.detector.architecture import Sparsity, build_architecture
from colonnade.detector.checkpoints import find_model, load_checkpoint, save_checkpoint
from colonnade.detector.train.config import read_config
from colonnade.runtime.errors import ConfigError, DatasetError


def ignore(_: str) -> None:
    """Report nothing."""


class CountingSet:
    """One simulated frame that counts how often it is asked for."""

    def __init__(self) -> None:
        self.asked = 0
        (frame_set,) = list_synthetic(["vlp16"], 1)
        self.frames = list(frame_set.open())
        self.set = FrameSet("vlp16-1", self.open)

    def open(self) -> list[Any]:
        self.asked += 1
        return self.frames


@pytest.fixture(scope="module")
def frame_set() -> CountingSet:
    return CountingSet()


def copy_model(folder: Path) -> Path:
    """Return a copy of the embedded model `synthetic`."""
    shutil.copytree(find_model("synthetic"), folder)
    return folder


def test_a_model_is_scored_once_until_it_changes(frame_set: CountingSet, tmp_path: Path) -> None:
    model, cache = copy_model(tmp_path / "run" / "model"), tmp_path / "scores"
    frame_set.asked = 0
    (first,) = score_models([model], [frame_set.set], cache, report=ignore)
    assert (first.model, first.frames, first.count) == (model, "vlp16-1", 1)
    assert first.cars > 0
    assert 0 <= first.bev_70 <= first.bev_50 <= 100
    assert first.bev_50 > 0
    twin = copy_model(tmp_path / "twin" / "model")
    again = score_models([model, twin], [frame_set.set], cache, report=ignore)
    assert again == (first, replace(first, model=twin))
    assert frame_set.asked == 1
    manifest = model / "manifest.yaml"
    before = hash_model(model)
    manifest.write_text(manifest.read_text().replace("score: 0.5", "score: 0.6"))
    assert hash_model(model) != before
    score_models([model], [frame_set.set], cache, report=ignore)
    assert frame_set.asked == 2


def test_a_damaged_score_is_told(frame_set: CountingSet, tmp_path: Path) -> None:
    model = copy_model(tmp_path / "run" / "model")
    score_models([model], [frame_set.set], tmp_path / "scores", report=ignore)
    (kept,) = (tmp_path / "scores").glob("*/*.json")
    kept.write_text("{}")
    with pytest.raises(DatasetError, match="not a kept score"):
        score_models([model], [frame_set.set], tmp_path / "scores", report=ignore)


def test_work_is_counted_and_timed_once(frame_set: CountingSet, tmp_path: Path) -> None:
    model, cache = copy_model(tmp_path / "run" / "model"), tmp_path / "scores"
    frame_set.asked = 0
    for _ in range(2):
        (work,) = count_macs([model], [frame_set.set], cache, report=ignore)
        (time,) = time_models([model], [frame_set.set], cache, frames=3, rounds=2)
    trace = pruning_trace(model, frame_set)
    assert work.macs == (trace.macs,)
    assert work.dense == trace.dense_macs
    assert (work.mean, work.variation) == (trace.macs, 0)
    assert 0 < time.network < time.total
    assert frame_set.asked == 2  # to count, and to time


def pruning_trace(model: Path, frame_set: CountingSet) -> Any:
    from scores import load_detector

    return load_detector(model).trace(frame_set.frames[0].frame.points)[1]


def test_sets_of_all_sensors_show_the_same_scenes() -> None:
    first, second = (next(iter(frames.open())) for frames in list_synthetic(["hdl64e", "vlp16"], 1))
    assert first.objects.labels == second.objects.labels
    assert len(first.frame.points) > 2 * len(second.frame.points)


def test_real_sets_that_are_not_there_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLONNADE_DATA", str(tmp_path))
    (tmp_path / "kitti_drive_0005").mkdir()
    told: list[str] = []
    sets = list_real(["kitti-drive", "kitti", "pandaset"], [tmp_path / "mine"], report=told.append)
    assert [frames.name for frames in sets] == ["kitti-drive", "mine"]
    assert len(told) == 2
    for alike in ([tmp_path / "a" / "mine", tmp_path / "b" / "mine"], [tmp_path / "kitti"]):
        with pytest.raises(ConfigError, match="another set is called"):
            list_real([], alike)


def test_mean_and_spread() -> None:
    values = spread([70.0, 74.0, 72.0])
    assert (values.mean, values.deviation, values.least, values.most) == (72.0, 2.0, 70.0, 74.0)
    assert str(values) == "72.0 ± 2.0"
    assert str(spread([5.0])) == "5.0"
    assert str(spread([math.nan, 1.0])) == "-"
    assert spread([71.234]).show(2) == "71.23"


def test_json_has_null_for_what_is_not_a_number(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"rows": (spread([1.0]),), "path": tmp_path})
    assert json.loads((tmp_path / "x.json").read_text()) == {
        "rows": [{"mean": 1.0, "deviation": None, "least": 1.0, "most": 1.0, "values": [1.0]}],
        "path": str(tmp_path),
    }


def make_row(arm: str, seed: int, half: float) -> density.Row:
    return density.Row(arm, seed, "hash", "hdl32e-100", 100, 900, half, half / 2)


def test_arms_of_density_are_told_beside_the_plain_one() -> None:
    rows = [
        make_row("both", 1, 70),
        make_row("plain", 1, 50),
        make_row("plain", 2, 54),
        make_row("both", 2, 74),
    ]
    plain, both = density.summarise(rows)
    assert (plain.arm, plain.bev_50.mean, plain.gain_50) == ("plain", 52, 0)
    assert (both.arm, both.bev_50.mean, both.gain_50, both.gain_70) == ("both", 72, 20, 10)
    assert "| both | 72.0 ± 2.8 / 36.0 ± 1.4 |" in density.format_cells([plain, both])
    (alone,) = density.summarise(rows[:1])
    assert math.isnan(alone.gain_50)


def make_result(
    arm: str, mode: str, seed: int, macs: float, bev_50: float, milliseconds: float
) -> pruning.Row:
    return pruning.Row(arm, mode, seed, "hash", macs, 0.2, bev_50, 60.0, milliseconds, 30.0, ())


def test_variants_are_told_beside_the_dilating_network_of_their_seed() -> None:
    rows = [
        make_result("dilating", "whole", 1, 10e9, 80.0, 50.0),
        make_result("dilating", "whole", 2, 12e9, 82.0, 60.0),
        make_result("pruned-60", "top-k", 1, 2e9, 79.0, 11.0),
        make_result("pruned-60", "top-k", 2, 3e9, 82.5, 15.0),
        make_result("pruned-60", "threshold", 3, 4e9, 70.0, 12.0),
    ]
    dilating, alone, pruned = pruning.summarise(rows)
    assert dilating.saved.values == (0, 0)
    assert dilating.pace.values == (1, 1)
    assert pruned.saved.values == (80, 75)
    assert pruned.lost_50.values == (1.0, -0.5)
    assert pruned.pace.values == pytest.approx((1.1, 1.0))
    assert alone.mode == "threshold"
    assert math.isnan(alone.saved.mean)
    assert pruning.format_summaries([dilating, alone, pruned]).count("\n") == 5


def fake_training(run: Run) -> None:
    """Give a run the weights of `synthetic`, which fit all variants of its widths."""
    source, wanted = load_checkpoint(find_model("synthetic")), read_config(run.config)
    sparsity = wanted.sparsity if run.arm in SHAPES else Sparsity()
    architecture = build_architecture(type(wanted.widths)(), len(source.manifest.classes), sparsity)
    manifest = replace(source.manifest, name=wanted.name, architecture=architecture)
    save_checkpoint(replace(source, manifest=manifest), run.model)


SHAPES = {path.stem for path in pruning.ARMS.glob("*.yaml")}


def test_density_leaves_a_table_json_and_a_picture(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.delenv("COLONNADE_DATA", raising=False)
    monkeypatch.setattr(density, "SENSORS", ("hdl32e", "vlp16"))
    table = density.run_experiment(options, fake_training)
    assert table == (options.output / "density.md").read_text()
    assert [line.split(" | ")[0] for line in table.splitlines()[2:]] == [f"| {arm}" for arm in density.ORDER]
    content = json.loads((options.output / "density.json").read_text())
    assert len(content["runs"]) == 4 * 2 * 2
    assert len(content["summary"]) == 4 * 2
    assert (options.output / "density.png").read_bytes().startswith(b"\x89PNG")


def test_pruning_leaves_tables_json_and_a_picture(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.delenv("COLONNADE_DATA", raising=False)
    monkeypatch.setattr(pruning, "ROUNDS", 1)
    monkeypatch.setattr(pruning, "SENSORS", ("hdl32e", "vlp16"))
    pruned = ("pruned-50", "pruned-45")
    pruning.run_experiment(replace(options, seeds=(1,), only=("dilating", *pruned)), fake_training)
    content = json.loads((options.output / "pruning.json").read_text())
    rows = {(row["arm"], row["mode"]): row for row in content["runs"]}
    modes = {(arm, mode) for arm in pruned for mode in ("top-k", "threshold")}
    assert set(rows) == {("dilating", "whole")} | modes
    work = [rows[kind]["macs"] for kind in (("dilating", "whole"), *((arm, "top-k") for arm in pruned))]
    assert work == sorted(work, reverse=True)
    for arm in pruned:  # thresholds were found on these frames
        assert rows[arm, "threshold"]["macs"] == pytest.approx(rows[arm, "top-k"]["macs"], rel=0.1)
    assert (options.output / "pruning.png").read_bytes().startswith(b"\x89PNG")
    assert (options.output / "pruning.md").read_text().count("| dilating |") == 2
