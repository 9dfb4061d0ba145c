"""test_cli_explore.py: `colonnade explore`: designs, files, going on after an interruption, and what is refused."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path
from xml.etree import ElementTree

import pytest

from colonnade.accel_model import exploration

SPACE = """based_on: pillaracc-64x64
values:
  array.rows: [16, 64]
  array.columns: [16, 64]
  dram.bandwidth_gb_per_s: [6.4, 51.2]
"""
FILES = ("exploration.json", "front.svg", "points.csv", "points.jsonl")


@pytest.fixture
def traced(colonnade, tiny_model: Path, recording: Path) -> Path:
    """Return a file with the traces of two frames; beside it lies space.yaml."""
    Path("space.yaml").write_text(SPACE, encoding="utf-8")
    outcome = colonnade(
        "profile", recording, "-m", tiny_model, "--frames", 2, "--save-trace", "traces.jsonl", "-q"
    )
    assert outcome.code == 0, outcome.err
    return Path("traces.jsonl")


def read_files(folder: str) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(Path(folder).iterdir())}


def test_a_space_is_explored(colonnade, traced: Path) -> None:
    outcome = colonnade("explore", "space.yaml", "--trace", traced, "-o", "sweep", "--frames", 2, "-q")
    assert outcome.code == 0, outcome.err
    for words in (
        "8, 0 cannot run",
        "2; figures are means",
        "Pareto front",
        "rows",
        "mm2",
        "no RTL",
        "a proxy",
    ):
        assert words in outcome.out, words
    files = read_files("sweep")
    assert tuple(files) == FILES
    rows = list(csv.DictReader(files["points.csv"].splitlines()))
    assert len(rows) == 8
    front = [row for row in rows if row["on_front"] == "True"]
    content = json.loads(files["exploration.json"])
    assert (len(content["front"]), len(content["frames"])) == (len(front), 2)
    figures = [tuple(float(row[name]) for name in exploration.OBJECTIVES) for row in rows]
    for row, mine in zip(rows, figures, strict=True):
        beaten = any(
            all(o <= m for o, m in zip(other, mine, strict=True)) and other != mine for other in figures
        )
        assert beaten == (row["on_front"] == "False")
    chart = ElementTree.fromstring(files["front.svg"])
    marks = [mark.get("class") for mark in chart.iter("{http://www.w3.org/2000/svg}circle")]
    assert (marks.count("mark best"), len(marks)) == (len(front), 8)


def test_it_goes_on_where_it_stopped(colonnade, traced: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call = ("explore", "space.yaml", "--trace", traced, "--processes", 1)
    assert colonnade(*call, "-o", "whole", "-q").code == 0

    cost_point, costed = exploration.cost_point, []

    def cost_and_count(base, point, traces):
        costed.append(point.key)
        if len(costed) == 3:
            signal.raise_signal(signal.SIGINT)
        return cost_point(base, point, traces)

    monkeypatch.setattr(exploration, "cost_point", cost_and_count)
    outcome = colonnade(*call, "-o", "parts", "-q")
    assert outcome.code == 130
    assert "3 of 8, then interrupted" in outcome.out
    log = Path("parts/points.jsonl")
    log.write_bytes(log.read_bytes()[:-9])  # as a lost computer leaves it
    outcome = colonnade(*call, "-o", "parts")
    assert outcome.code == 0, outcome.err
    assert "2 of 8 designs are in" in outcome.err
    assert len(costed) == 3 + 6
    assert read_files("parts") == read_files("whole")
    assert colonnade(*call, "-o", "parts", "-q").code == 0
    assert len(costed) == 9


def test_a_recording_is_traced(colonnade, tiny_model: Path, recording: Path) -> None:
    Path("space.yaml").write_text("based_on: dense-64x64\nvalues: {array.rows: [16, 32]}\n", encoding="utf-8")
    outcome = colonnade(
        "explore", "space.yaml", "--recording", recording, "-m", tiny_model, "-o", "a/sweep", "-q"
    )
    assert outcome.code == 0, outcome.err
    assert json.loads(Path("a/sweep/exploration.json").read_text())["frames"] == ["000000"]


def test_designs_that_cannot_run_are_told(colonnade, traced: Path) -> None:
    Path("space.yaml").write_text(
        "based_on: transformer-int8\nvalues: {array.rows: [16, 32]}\n", encoding="utf-8"
    )
    outcome = colonnade("explore", "space.yaml", "--trace", traced, "-o", "sweep", "-q")
    assert outcome.code == 3
    assert "2, 2 cannot run the frames, 0 on the front" in outcome.out
    assert "transformer-int8" in outcome.err


def test_what_cannot_be_is_told_in_a_line(colonnade, traced: Path) -> None:
    Path("wrong.yaml").write_text("based_on: pillaracc-64x64\nvalues: {array.rowz: [1]}\n", encoding="utf-8")
    Path("full").mkdir()
    Path("full/points.csv").write_text("mine")
    Path("foreign").mkdir()
    Path("foreign/points.jsonl").write_text("mine\n")
    Path("a-file").touch()
    cases = (
        (("space.yaml", "-o", "sweep"), 2, "--trace FILE"),
        (("missing.yaml", "-o", "sweep", "--trace", traced), 1, "missing.yaml: cannot be read"),
        (("wrong.yaml", "-o", "sweep", "--trace", traced), 1, "array.rowz"),
        (("space.yaml", "-o", "sweep", "--trace", "space.yaml"), 1, "space.yaml, line 1"),
        (("space.yaml", "-o", "sweep", "--trace", "nowhere"), 1, "nowhere"),
        (("space.yaml", "-o", "sweep", "--recording", "nowhere"), 1, "nowhere"),
        (("space.yaml", "-o", "a-file", "--trace", traced), 2, "choose a folder"),
        (("space.yaml", "-o", "full", "--trace", traced), 2, "not ours"),
        (("space.yaml", "-o", "foreign", "--trace", traced), 2, "no log of an exploration"),
    )
    for arguments, code, complaint in cases:
        outcome = colonnade("explore", *arguments)
        assert (outcome.code, complaint in outcome.err) == (code, True), (arguments, outcome.err)
        assert "Traceback" not in outcome.err
        assert not Path("sweep").exists()
    assert Path("full/points.csv").read_text() == "mine"
    assert Path("foreign/points.jsonl").read_text() == "mine\n"
