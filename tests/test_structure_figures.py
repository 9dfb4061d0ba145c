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
    assert f"{speed['frames_per_second']:.1f} frames/s" in README
    assert f"{speed['points_per_frame']:,.0f} points" in README


@pytest.mark.parametrize("threads", [1, 2])
def test_engine_page_shows_the_measured_layers(threads):
    page = (ROOT / "docs" / "engine.md").read_text(encoding="utf-8")
    for layer in read(f"speed-engine-{threads}")["layers"]:
        assert f"{layer['total_ms']:.2f} | {layer['speedup']:.2f}×" in page
        assert layer["speedup"] >= 1.0, "slower than spconv"
