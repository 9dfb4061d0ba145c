"""test_report_trace.py: Chrome traces: a track per unit, no overlap, busy cycles and totals as in the report."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_cases import make_report

from colonnade.accel_model.chrome_trace import format_trace
from colonnade.accel_model.report import Report
from colonnade.accel_model.report_csv import format_layers
from colonnade.accel_model.simulate import simulate
from colonnade.accel_model.spec_files import load_spec
from colonnade.accel_model.transformer_shapes import SHAPES, list_operations


def read_tracks(text: str) -> dict[tuple[int, str], list[dict]]:
    """Return the blocks of each track, by process and name."""
    events = json.loads(text)["traceEvents"]
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    tracks: dict[tuple[int, str], list[dict]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            tracks[event["pid"], names[event["pid"], event["tid"]]].append(event)
    return tracks


def check_tracks(report: Report, text: str) -> None:
    """Check that blocks follow each other on each track, and that a unit's add up to its busy cycles."""
    tracks = read_tracks(text)
    for blocks in tracks.values():
        ends = 0
        for block in sorted(blocks, key=lambda b: b["args"]["start_cycle"]):
            assert block["args"]["start_cycle"] >= ends
            ends = block["args"]["start_cycle"] + block["args"]["cycles"]
            assert block["ts"] == pytest.approx(block["args"]["start_cycle"] / report.spec.clock_mhz)
            assert block["dur"] == pytest.approx(block["args"]["cycles"] / report.spec.clock_mhz)
        assert ends <= report.cycles
    assert sum(block["args"]["cycles"] for block in tracks[1, "layers"]) == report.cycles
    for unit in {unit for layer in report.layers for unit, _ in layer.cost.busy}:
        busy = sum(layer.cost.busy_cycles(unit) for layer in report.layers)
        assert sum(block["args"]["cycles"] for block in tracks[1, unit]) == busy


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 100).map(lambda n: 8 * n), max_size=6),
    clock=st.sampled_from((500.0, 1000.0, 333.0)),
)
def test_tracks_follow_and_add_up(lengths: list[int], clock: float) -> None:
    report = make_report(*lengths, clock_mhz=clock)
    check_tracks(report, report.to_chrome_trace())


def test_counters_integrate_to_the_bytes_and_the_energy() -> None:
    report = make_report(800, 1600, clock_mhz=500.0)
    events = [e for e in json.loads(report.to_chrome_trace())["traceEvents"] if e["ph"] == "C"]
    for name, unit, total in (
        ("DRAM GB/s", "GB/s", report.actions.dram_bytes * 1e-3),  # GB/s over microseconds are kilobytes
        ("power W", "W", report.energy_mj * 1e3),  # watts over microseconds are microjoules
    ):
        steps = [(e["ts"], e["args"][unit]) for e in events if e["name"] == name]
        assert steps == sorted(steps, key=lambda step: step[0])
        area = sum(value * (after - time) for (time, value), (after, _) in pairwise(steps))
        assert area == pytest.approx(total)
        assert steps[-1][1] == 0


def test_several_reports_are_processes() -> None:
    text = format_trace((make_report(80), make_report(160)))
    assert {process for process, _ in read_tracks(text)} == {1, 2}
    content = json.loads(text)
    assert [design["clock_mhz"] for design in content["otherData"]["designs"]] == [1000, 1000]
    assert {event["ph"] for event in content["traceEvents"]} == {"M", "X", "C"}
    assert all({"name", "ph", "pid"} <= event.keys() for event in content["traceEvents"])


def test_a_transformer_has_tracks_too() -> None:
    report = simulate(list_operations(next(iter(SHAPES.values())), 16), load_spec("transformer-int8"))
    check_tracks(report, report.to_chrome_trace())
    assert json.loads(report.to_json())["totals"]["cycles"] == report.cycles
    assert len(format_layers([report]).splitlines()) == 1 + len(report.layers)
