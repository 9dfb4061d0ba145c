"""test_engine_bench.py: `colonnade bench engine` from frames to files."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colonnade.detector.standard import SHAPE
from colonnade.runtime.errors import RecordingError, UsageError
from colonnade.tools.bench.engine import EngineBench, EnginePlan
from colonnade.tools.bench.engine_report import Choice
from colonnade.tools.bench.frames import EngineFrame, draw_street_sites, find_pillars, read_frames

FEW = EngineFrame("few", 7, np.array([(1, 1), (1, 2), (20, 30), (21, 30), (400, 200)], np.int32))
CHOICES = (Choice("submanifold"), Choice("pruned", 0.5))


def test_every_network_and_layer_is_reported() -> None:
    bench = EngineBench([FEW], EnginePlan(CHOICES, rounds=1, peers=False))
    steps: list[None] = []
    report = bench.run(lambda: steps.append(None))
    assert len(steps) == bench.calls
    (frame,) = report.frames
    assert (frame.name, frame.points, frame.pillars, frame.peers) == ("few", 7, 5, ())
    assert [(run.choice, run.precision) for run in frame.networks] == [
        (choice, precision) for choice in CHOICES for precision in ("fp32", "int8")
    ]
    for run in frame.networks:
        assert 0 < run.saving < 1
        assert min(run.timing.ms, run.rules.ms, run.peak_fraction or 0.0) > 0
        assert run.speedups == ()
    assert frame.networks[0].macs == frame.networks[1].macs
    assert report.layers_of == "submanifold, frame few"
    assert len(report.layers) == 2 * 20
    assert sum(layer.macs for layer in report.layers[:20]) == frame.networks[0].macs
    assert {peak.precision for peak in report.peaks} == {"fp32", "int8"}


@pytest.mark.parametrize(
    "wrong", [{"choices": ()}, {"threads": (1, 1)}, {"rounds": 0}, {"precisions": ("fp32", "fp32")}]
)
def test_a_plan_measures_something_once(wrong: dict) -> None:
    with pytest.raises(UsageError):
        EnginePlan(**({"choices": CHOICES} | wrong))


def test_pillars_are_those_of_the_standard_grid() -> None:
    points = np.array(
        [
            (0.0, -39.68, -1.0, 0),  # first row and column
            (69.119, 39.679, 0.9, 0),  # last of both
            (0.1, -39.6, 0.0, 0),  # the first pillar again
            (69.2, 0.0, 0.0, 0),  # beyond x
            (10.0, 0.0, 1.1, 0),  # above
            (10.0, 0.0, -3.1, 0),  # below
            (np.nan, 0.0, 0.0, 0),
        ],
        np.float32,
    )
    assert find_pillars(points).tolist() == [[0, 0], [SHAPE[0] - 1, SHAPE[1] - 1]]


def test_frames_are_found_by_name_or_in_order(recording: Path) -> None:
    assert [frame.name for frame in read_frames(recording, limit=2)] == ["000000", "000001"]
    (named,) = read_frames(recording, names=["000003"])
    assert named.name == "000003"
    assert len(named.coords) > 100
    with pytest.raises(UsageError, match="no frame 9"):
        read_frames(recording, names=["9"])
    np.array([[-5, 0, 0, 0]], np.float32).tofile(recording / "000000.bin")
    with pytest.raises(RecordingError, match="no points in the range"):
        read_frames(recording)


def test_street_is_as_dense_as_a_real_frame() -> None:
    sites = draw_street_sites(SHAPE)
    assert 5_000 < len(sites) < 15_000
    assert np.array_equal(sites, draw_street_sites(SHAPE))


def test_the_command_writes_report_and_charts(colonnade, recording: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra [bench]")
    options = ("--variant", "submanifold", "--rounds", 1, "--no-peers", "--json", "e.json")
    outcome = colonnade("bench", "engine", recording, *options, "--chart", "t.png", "--roofline", "r.png")
    assert outcome.code == 0, outcome.err
    report = json.loads(Path("e.json").read_text())
    assert report["schema"] == "colonnade-bench-engine"
    assert report["frames"][0]["name"] == "000000"
    for name in ("t.png", "r.png"):
        with Image.open(name) as picture:
            assert picture.format == "PNG"
    assert sorted(path.name for path in Path().iterdir()) == ["e.json", "r.png", "t.png"]
    assert "submanifold int8 x1" in outcome.out
    again = colonnade("bench", "engine", recording, *options, "--no-layers", "--chart", "t.png")
    assert again.code == 0, again.err  # replaces an earlier report and an earlier chart
    assert json.loads(Path("e.json").read_text())["layers"] == []


@pytest.mark.parametrize("option", ["--chart", "--roofline"])
def test_only_an_earlier_chart_is_replaced(colonnade, option: str) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra [bench]")
    Image.new("RGB", (4, 4)).save("holiday.png")
    before = Path("holiday.png").read_bytes()
    outcome = colonnade("bench", "engine", "--no-peers", option, "holiday.png")
    assert (outcome.code, outcome.out) == (2, "")
    assert f"{option} holiday.png: the file exists and is no earlier chart" in outcome.err
    assert Path("holiday.png").read_bytes() == before
    outcome = colonnade("bench", "engine", "--no-peers", "--chart", "a.png", "--roofline", "./a.png")
    assert outcome.code == 2
    assert "the file of --chart" in outcome.err


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--variant", "spiral"), "--variant spiral"),
        (("--precision", "fp8"), "--precision fp8"),
        (("--variant", "dense", "--keep", 0.5), "--keep is for the pruned form"),
        (("--frame", "000000"), "--frame needs a RECORDING"),
        (("--chart", "chart.jpg"), "let the name end in .png"),
        (("--threads", 4096), "threads must be between"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(colonnade, options, why: str) -> None:
    outcome = colonnade("bench", "engine", "--no-peers", *options)
    assert (outcome.code, outcome.out) == (2, ""), outcome.err
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert why in outcome.err
