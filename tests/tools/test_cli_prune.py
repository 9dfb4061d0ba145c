"""test_cli_prune.py: `colonnade prune` writes models that prune otherwise, and --keep changes a model for one run."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from colonnade.accel_model.simulate import simulate
from colonnade.accel_model.spec_files import load_spec
from colonnade.detector.checkpoints import MANIFEST, WEIGHTS, load_checkpoint, read_manifest, save_checkpoint
from colonnade.detector.detector import load
from colonnade.detector.io import open_recording
from colonnade.detector.keeping import report_keep
from colonnade.detector.quantise import quantise
from colonnade.runtime.errors import UsageError
from colonnade.runtime.trace import Trace
from colonnade.tools.cli.options import read_keep


def test_other_shares(colonnade, pruned_model: Path) -> None:
    outcome = colonnade("prune", pruned_model, "--keep", "1,inf,0.25", "-o", "new/place")
    assert outcome.code == 0, outcome.err
    assert "keep     1,0.25" in outcome.out
    assert {path.name for path in Path("new/place").iterdir()} == {MANIFEST, WEIGHTS}
    assert (Path("new/place") / WEIGHTS).read_bytes() == (pruned_model / WEIGHTS).read_bytes()
    manifest = read_manifest(Path("new/place"))
    assert (manifest.name, report_keep(manifest.architecture)) == ("place", (1.0, 0.25))


def test_thresholds(colonnade, pruned_model: Path, recording: Path) -> None:
    outcome = colonnade(
        "prune", pruned_model, "--thresholds", "--frames", recording, "--limit", 3, "-o", "bound"
    )
    assert outcome.code == 0, outcome.err
    for words in ("frames           3", "with shares", "with thresholds", "block1.0   l2", "deviation"):
        assert words in outcome.out
    layers = read_manifest(Path("bound")).architecture.layers
    assert [layer.name for layer in layers if layer.threshold is not None] == [
        "block1.0",
        "block2.0",
        "block2.1",
        "block3.0",
        "block3.1",
    ]
    outcome = colonnade("prune", "bound", "--thresholds", "--frames", recording, "-o", "again")
    assert (outcome.code, "give it shares" in outcome.err) == (2, True)
    outcome = colonnade(
        "prune",
        "bound",
        "--keep",
        0.5,
        "--thresholds",
        "--frames",
        recording,
        "--limit",
        1,
        "-o",
        "again",
        "-q",
    )
    assert outcome.code == 0, outcome.err
    outcome = colonnade("quantize", "bound", "--frames", recording, "--limit", 1, "-q", "-o", "bound-int8")
    assert outcome.code == 0, outcome.err
    assert load("bound", precision="int8").keep == (None, None, None)


def test_corrupt_frames_are_left_out(colonnade, pruned_model: Path, recording: Path) -> None:
    (recording / "000001.bin").write_bytes(b"xyz")
    outcome = colonnade("prune", pruned_model, "--thresholds", "--frames", recording, "-o", "bound", "-q")
    assert outcome.code == 3
    assert outcome.err.count("frame skipped") == 1
    assert "frames           5" in outcome.out


def test_only_a_pruned_model_is_replaced_and_only_when_told(
    colonnade, pruned_model: Path, tiny_model: Path, recording: Path
) -> None:
    shutil.copytree(pruned_model, "ours")
    twin = quantise(
        load_checkpoint(Path("ours")), [frame.points for frame in open_recording(recording, limit=1)]
    )
    save_checkpoint(twin, Path("ours-int8"))
    before = (Path("ours") / MANIFEST).read_bytes()
    outcome = colonnade("prune", pruned_model, "--keep", 0.5, "-o", "ours")
    assert (outcome.code, "--overwrite replaces it" in outcome.err) == (2, True)
    assert (Path("ours") / MANIFEST).read_bytes() == before
    outcome = colonnade("prune", pruned_model, "--keep", 0.5, "-o", "ours", "--overwrite")
    assert outcome.code == 0, outcome.err
    assert "quantise this one anew" in outcome.err
    assert report_keep(read_manifest(Path("ours")).architecture) == (0.5, 0.5, 0.5)
    (Path("ours-int8") / MANIFEST).write_text("damaged")
    outcome = colonnade("prune", pruned_model, "--keep", 0.4, "-o", "ours", "--overwrite")
    assert outcome.code == 0, outcome.err
    Path("a-file").touch()
    shutil.copytree(tiny_model, "plain")
    for place in ("plain", "ours-int8", "a-file", pruned_model, pruned_model / "inside"):
        outcome = colonnade("prune", pruned_model, "--keep", 0.5, "-o", place, "--overwrite")
        assert (outcome.code, "error: --output" in outcome.err) == (2, True)


def test_what_cannot_be_done_is_told(
    colonnade, pruned_model: Path, tiny_model: Path, recording: Path
) -> None:
    cases = (
        ((pruned_model,), 2, "nothing to change"),
        ((pruned_model, "--thresholds"), 2, "name one with --frames"),
        ((pruned_model, "--keep", 0.5, "--frames", recording), 2, "recordings are for --thresholds"),
        ((pruned_model, "--keep", 0.5, "--limit", 3), 2, "recordings are for --thresholds"),
        ((pruned_model, "--keep", "a"), 2, "--keep a: give shares"),
        ((pruned_model, "--keep", "1,0"), 2, "keep must be one number, or 3"),
        ((pruned_model, "--keep", -1), 2, "above 0"),
        ((tiny_model, "--keep", 1), 2, "keep is for models with vector pruning"),
        (("default-int8", "--keep", 1), 1, "int8 already"),
        ((pruned_model, "--thresholds", "--frames", "nowhere"), 1, "nowhere"),
    )
    for arguments, code, complaint in cases:
        outcome = colonnade("prune", *arguments, "-o", "made/here")
        assert outcome.code == code, outcome.err
        assert complaint in outcome.err
        assert "Traceback" not in outcome.err
        assert not list(Path().iterdir())


def test_the_option_is_one_number_or_several() -> None:
    assert read_keep(None) is None
    assert read_keep("0.5") == 0.5
    assert read_keep("1, 0.6,inf") == (1.0, 0.6, math.inf)
    for text in ("", "1,,2", "half", "1;2"):
        with pytest.raises(UsageError, match="give shares above 0"):
            read_keep(text)


def test_detect_and_eval_keep_what_they_are_told(colonnade, pruned_model: Path, recording: Path) -> None:
    outcome = colonnade(
        "detect", recording, "-m", pruned_model, "--keep", "1,0.5,0.3", "-o", "found", "--limit", 1
    )
    assert outcome.code == 0, outcome.err
    assert "keep 1,0.5,0.3" in outcome.err
    assert yaml.safe_load(Path("found/config.yaml").read_text())["keep"] == "1,0.5,0.3"
    assert json.loads(Path("found/summary.json").read_text())["keep"] == "1,0.5,0.3"
    assert colonnade("simulate", "street", "--sensor", "vlp16", "--frames", 1).code == 0
    outcome = colonnade("eval", "-m", pruned_model, "street", "--keep", 0.5, "--json", "scores.json", "-q")
    assert outcome.code == 0, outcome.err
    assert json.loads(Path("scores.json").read_text())["keep"] == "0.5,0.5,0.5"
    outcome = colonnade("detect", recording, "-m", pruned_model, "--keep", "1,2", "-o", "none")
    assert (outcome.code, "3: one for each pruned block" in outcome.err) == (2, True)


def test_bench_detect_keeps_what_it_is_told(colonnade, pruned_model: Path, recording: Path) -> None:
    options = ("--limit", 1, "--rounds", 1, "--threads", 1, "--precision", "fp32", "--json", "s.json", "-q")
    outcome = colonnade("bench", "detect", recording, "-m", pruned_model, "--keep", "1,0.5,0.3", *options)
    assert outcome.code == 0, outcome.err
    assert "keeping 1,0.5,0.3" in outcome.out
    (run,) = json.loads(Path("s.json").read_text())["runs"]
    assert (run["keep"], run["rules_ms"]) == ("1,0.5,0.3", None)
    assert (
        colonnade("prune", pruned_model, "--thresholds", "--frames", recording, "-o", "bound", "-q").code == 0
    )
    outcome = colonnade("bench", "detect", recording, "-m", "bound", *options)
    assert outcome.code == 0, outcome.err
    (run,) = json.loads(Path("s.json").read_text())["runs"]
    assert (run["keep"], run["rules_ms"]) == ("own,own,own", None)


def test_profile_costs_a_pruned_model(colonnade, pruned_model: Path, recording: Path) -> None:
    millions = []
    for keep in (0.4, 1.0, "inf"):
        outcome = colonnade(
            "profile", recording, "-m", pruned_model, "--keep", keep, "--frames", 1, "--json", "p.json", "-q"
        )
        assert outcome.code == 0, outcome.err
        shares = ",".join([str(keep).removesuffix(".0")] * 3)
        assert f"pruned keeping {shares} (fp32)" in outcome.out
        millions.append(read_cycles(Path("p.json")))
    assert millions == sorted(set(millions))


def read_cycles(path: Path) -> float:
    (frame,) = json.loads(path.read_text())["designs"][0]["frames"]
    return float(frame["cycles"])


@pytest.mark.parametrize("form", ["shares", "thresholds"])
def test_the_accelerator_stores_and_reads_only_what_stays(
    colonnade, pruned_model: Path, recording: Path, form: str
) -> None:
    model = pruned_model
    if form == "thresholds":
        model = Path("bound")
        assert (
            colonnade("prune", pruned_model, "--thresholds", "--frames", recording, "-o", model, "-q").code
            == 0
        )
    frame = next(iter(open_recording(recording)))
    _, trace = load(model, threads=1).trace(frame.points)
    layers = {layer.name: layer for layer in trace.layers}
    follows = {"block1.0": "block2.0", "block2.1": "up2", "block3.1": "up4"}
    for name, follower in follows.items():
        before, after = layers[name], layers[follower]
        assert before.kind == "dilating"
        assert before.kept_outputs < before.active_outputs == len(before.out_sites)
        assert before.kept_outputs == len(before.kept_sites) == after.active_inputs
        assert (before.kept_sites.cells & ~before.out_sites.cells).sum() == 0
        assert after.in_sites == before.kept_sites
        assert before.bytes_out == before.kept_outputs * before.out_channels * 4
    spec = load_spec("pillaracc-64x64")
    report = simulate(trace, spec)
    costed = {layer.name: layer.macs for layer in report.layers}
    assert costed.items() >= {layer.name: layer.macs for layer in trace.layers}.items()
    whole = load(pruned_model, threads=1, keep=math.inf).trace(frame.points)[1]
    assert report.cycles < simulate(whole, spec).cycles
    for name in follows:  # dropped pillars are computed, but not stored
        unpruned = replace(
            layers[name], kept_outputs=layers[name].active_outputs, kept_sites=layers[name].out_sites
        )
        costs = [
            simulate(Trace("one layer", (layer,)), spec).layers[0].cost for layer in (layers[name], unpruned)
        ]
        assert costs[0].actions.mac == costs[1].actions.mac
        assert costs[0].actions.dram_bytes < costs[1].actions.dram_bytes
