"""test_structure_figures.py: the figures in README and docs are those of the committed JSON reports."""

import hashlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
ACCURACY = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODELS = ("default", "synthetic")


def read(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def find_value(report: dict, label: str, threshold: float) -> float:
    for figure in report["figures"]:
        key = figure["label"], figure["metric"], figure["threshold"], figure["near"], figure["far"]
        if key == (label, "BEV AP|R40", threshold, 0.0, 50.0):
            return figure["value"]
    raise KeyError((label, threshold))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", ["", "-excused"])
def test_quantisation_page_shows_float_and_int8(model, kind):
    page = (ROOT / "docs" / "quantisation.md").read_text(encoding="utf-8")
    floats = {report["dataset"]: cars_of(report) for report in read(f"accuracy-{model}{kind}")["reports"]}
    quantised = read(f"accuracy-{model}-int8{kind}")
    for report in quantised["reports"]:
        assert f"| {floats[report['dataset']]} | {cars_of(report)} |" in page, report["dataset"]
    weights = (ROOT / "detector" / "models" / f"{model}-int8" / "weights.safetensors").read_bytes()
    assert quantised["model_sha256"] == hashlib.sha256(weights).hexdigest()


def cars_of(report: dict) -> str:
    return f"{find_value(report, 'car', 0.5):.1f} / {find_value(report, 'car', 0.7):.1f}"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", ["", "-excused"])
def test_accuracy_page_shows_the_reports(model, kind):
    for report in read(f"accuracy-{model}{kind}")["reports"]:
        assert cars_of(report) in ACCURACY, report["dataset"]
        people = find_value(report, "pedestrian", 0.25)
        if people is not None:
            assert f"people {people:.1f}" in ACCURACY, report["dataset"]


@pytest.mark.parametrize("model", MODELS)
def test_readme_shows_the_reports(model):
    for report in read(f"accuracy-{model}")["reports"]:
        if not (model == "default" and report["dataset"].startswith("pandaset")):
            assert cars_of(report) in README, report["dataset"]


@pytest.mark.parametrize("model", MODELS)
def test_reports_are_about_the_shipped_weights(model):
    weights = (ROOT / "detector" / "models" / model / "weights.safetensors").read_bytes()
    shipped = hashlib.sha256(weights).hexdigest()
    assert read(f"accuracy-{model}")["model_sha256"] == shipped
    assert read(f"accuracy-{model}-excused")["model_sha256"] == shipped


def test_readme_shows_the_measured_speed():
    speed = read("speed-detect")
    runs = {(run["precision"], run["threads"]): run for run in speed["runs"]}
    for key in (("int8", 2), ("int8", 1), ("fp32", 2)):
        assert f"{runs[key]['frames_per_second']:.1f} frames/s" in README, key
    assert f"{speed['points_per_frame']:,.0f} points" in README


def show_network(network: dict) -> str:
    """Return the row of the engine page's table for one network."""
    keep = network["choice"]["keep"]
    name = network["choice"]["variant"] + ("" if keep is None else f", keep {keep:g}")
    ms = network["timing"]["process_ms"]
    share, rules = 100 * network["peak_fraction"], 100 * network["rules_share"]
    saved, ideal = 100 * network["saving"], network["ideal_share"]
    figures = f"{saved:.1f} % | {ms:.1f} | {share:.0f} % | {ideal:.2f} | {rules:.1f} %"
    return f"| {name} | {network['precision']} | {figures} |"


def test_engine_page_shows_the_measured_networks():
    page = (ROOT / "docs" / "engine.md").read_text(encoding="utf-8")
    (frame,) = read("speed-engine-1")["frames"]
    for network in frame["networks"]:
        assert show_network(network) in page
    for peer in frame["peers"]:
        row = f"| {peer['name']} {peer['version']}, {peer['computes']} | {peer['precision']} |"
        assert f"{row} {peer['timing']['process_ms']:.1f} |" in page


def test_engine_page_shows_two_threads():
    page = (ROOT / "docs" / "engine.md").read_text(encoding="utf-8")
    (frame,) = read("speed-engine-2")["frames"]
    walls = {(n["precision"], n["timing"]["threads"]): n["timing"]["wall_ms"] for n in frame["networks"]}
    for precision in ("fp32", "int8"):
        one, two = walls[precision, 1], walls[precision, 2]
        assert f"{precision}: {one:.1f} → {two:.1f} ms, {one / two:.2f}×" in page


def test_transformer_page_shows_the_costed_lengths():
    page = (ROOT / "docs" / "accelerator" / "transformers.md").read_text(encoding="utf-8")
    results = {(entry["sequence"], entry["unit"]): entry for entry in read("transformer-lengths")["results"]}
    for length in (16, 64, 256, 1024):
        shares = [results[length, unit]["nonlinear_share"] for unit in ("nn_lut", "polynomial", "exact")]
        slower = results[length, "polynomial"]
        times = slower["cycles_to_first"], slower["compute_cycles_to_first"]
        cells = [f"{100 * share:.1f} %" for share in shares] + [f"{time:.2f}" for time in times]
        assert f"| {length:,} | {' | '.join(cells)} |" in page, length


def test_costed_lengths_are_those_of_the_models_as_they_are():
    """Models are exact: the committed report comes again, whatever the machine."""
    from colonnade.accel_model import load_spec
    from colonnade.accel_model.sequence_lengths import compare_lengths
    from colonnade.accel_model.transformer_shapes import find_shape

    units = ("nn_lut", "polynomial", "exact")
    found = compare_lengths(find_shape("minilm"), [load_spec("transformer-int8")], (16, 64, 256, 1024), units)
    assert json.loads(found.to_json()) == read("transformer-lengths")
