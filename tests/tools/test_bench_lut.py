"""test_bench_lut.py: the errors of look-up tables: their page, their JSON, their picture, and the bars."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from colonnade.runtime.errors import ConfigError
from colonnade.tools.bench import lut
from colonnade.tools.bench.lut import draw_errors, measure_errors, read_report
from colonnade.tools.cli.app import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "lut.md").read_text(encoding="utf-8")
REPORT = read_report((ROOT / "docs" / "results" / "lut.json").read_text(encoding="utf-8"))
NAMES = ("NN-LUT", "near-optimal", "Linear-LUT", "exponential LUT", "I-BERT")
CASES = {(case.function, case.interval): case for case in REPORT.functions}


def test_the_page_shows_the_errors_of_the_report():
    for case in REPORT.functions:
        found = {error.method: error for error in case.methods}
        cells = [f"{found[name].mae:.2e} / {found[name].max:.2e}" if name in found else "-" for name in NAMES]
        low, high = case.interval
        assert f"| {case.function} | {low:g} to {high:g} | {' | '.join(cells)} |" in PAGE


def test_the_page_shows_i_bert_as_the_report():
    exp, gelu = CASES["exp", (-16.0, 0.0)], CASES["gelu", (-4.0, 4.0)].find("I-BERT")
    for name in ("I-BERT", "I-BERT, rounded"):
        assert f"{exp.find(name).max:.2e}" in PAGE
    assert f"{gelu.mse**0.5:.2e} and is at most {gelu.max:.3e} off" in PAGE
    assert exp.find("I-BERT").max == pytest.approx(1.91e-3, rel=2e-3)
    assert exp.find("I-BERT, rounded").max == pytest.approx(2.13e-3, rel=2e-3)
    assert gelu.mse**0.5 == pytest.approx(8.19e-3, rel=1e-3)
    assert gelu.max == pytest.approx(1.815e-2, rel=1e-3)


def test_the_page_shows_the_measured_speed():
    speed = json.loads((ROOT / "docs" / "results" / "lut-speed.json").read_text(encoding="utf-8"))
    assert speed["hardware"]["cpu"] in PAGE
    for run in speed["operators"]:
        shape, integer, native = " × ".join(map(str, run["shape"])), run["integer_us"], run["float_us"]
        assert (
            f"| {run['operator']} | {shape} | {integer:.0f} | {native:.0f} | {integer / native:.2f} |" in PAGE
        )


@pytest.mark.parametrize(
    "key",
    [("exp", (-256.0, 0.0)), ("reciprocal", (1.0, 1024.0)), ("rsqrt", (1.0, 1024.0)), ("gelu", (-5.0, 5.0))],
)
def test_the_report_reaches_the_bars(key):
    case = CASES[key]
    assert case.find("NN-LUT").mae <= 1.5 * case.find("near-optimal").mae
    if key[0] != "gelu":
        assert case.find("Linear-LUT").mae >= 40.0 * case.find("NN-LUT").mae


def test_the_report_is_what_is_measured_today(monkeypatch):
    key = ("gelu", (-5.0, 5.0))
    monkeypatch.setattr(lut, "CASES", (key,))
    (today,) = measure_errors().functions
    for error in today.methods:
        assert error.mae == pytest.approx(CASES[key].find(error.method).mae, rel=1e-3), error.method


def test_a_report_survives_its_json():
    assert read_report(REPORT.to_json()) == REPORT
    with pytest.raises(ConfigError, match="not a report"):
        read_report("{}")


def test_the_picture_is_a_png():
    pytest.importorskip("matplotlib")
    assert draw_errors(entries=4).startswith(b"\x89PNG")


def test_the_command_writes_its_files(tmp_path, monkeypatch):
    monkeypatch.setattr(lut, "CASES", (("gelu", (-5.0, 5.0)),))
    path = tmp_path / "lut.json"
    result = CliRunner().invoke(app, ["bench", "lut", "--entries", "8", "--json", str(path), "--quiet"])
    assert result.exit_code == 0, result.output
    assert "NN-LUT" in result.output
    assert read_report(path.read_text()).entries == 8
