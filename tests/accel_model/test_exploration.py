"""test_exploration.py: spaces and their errors, points in order, results in parallel, the front, logs that survive."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.accel_model.exploration import (
    OBJECTIVES,
    Point,
    PointResult,
    Space,
    cost_point,
    explore,
    find_front,
    list_points,
    load_space,
)
from colonnade.accel_model.exploration_files import OPENING, ResultLog, format_exploration, format_results
from colonnade.accel_model.simulate import simulate
from colonnade.accel_model.spec_files import change_values, load_spec
from colonnade.runtime.errors import ConfigError
from colonnade.runtime.trace import BranchRecord, LayerRecord, SiteMap, Trace

SPACE = """based_on: pillaracc-64x64
values:
  array.rows: [16, 32]
  dram.bandwidth_gb_per_s: [6.4, 12.8, 25.6]
  dataflow.tile_search: [true, false]
"""


def make_trace(side: int = 12, channels: int = 32) -> Trace:
    """Return the trace of one submanifold layer, 1 x 1, on a checkered grid."""
    active = np.indices((side, side)).sum(axis=0) % 2 == 0
    sites, count = SiteMap.from_cells(active), int(active.sum())
    layer = LayerRecord(
        name="only", kind="submanifold", kernel=1, stride=1, in_channels=channels, out_channels=channels,
        in_shape=(side, side), out_shape=(side, side), active_inputs=count, active_outputs=count,
        kept_outputs=count, rules=(count,), branches=(BranchRecord("pillars", channels, count, (count,)),),
        bytes_in=count * channels, bytes_weights=channels**2, bytes_out=count * channels, precision="int8",
        in_sites=sites, out_sites=sites, kept_sites=sites,
    )  # fmt: skip
    return Trace("one layer", (layer,))


def write_space(tmp_path: Path, text: str = SPACE) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_all_combinations_in_order(tmp_path: Path) -> None:
    space = load_space(write_space(tmp_path))
    points = list_points(space, [make_trace()])
    assert len(points) == space.size == 12
    values = [tuple(value for _, value in point.values) for point in points]
    assert values[:4] == [(16, 6.4, True), (16, 6.4, False), (16, 12.8, True), (16, 12.8, False)]
    assert values == sorted(values, key=lambda v: (v[0], v[1], not v[2]))
    assert len({point.key for point in points}) == 12


def test_a_sample_is_drawn_by_its_seed(tmp_path: Path) -> None:
    traces = [make_trace()]
    every = list_points(load_space(write_space(tmp_path)), traces)
    some = list_points(load_space(write_space(tmp_path, SPACE + "sample: 5\nseed: 3\n")), traces)
    again = list_points(load_space(write_space(tmp_path, SPACE + "sample: 5\nseed: 3\n")), traces)
    other = list_points(load_space(write_space(tmp_path, SPACE + "sample: 5\nseed: 4\n")), traces)
    assert some == again != other
    assert len(some) == 5
    assert set(some) < set(every)
    many = list_points(load_space(write_space(tmp_path, SPACE + "sample: 99\n")), traces)
    assert many == every


def test_a_huge_space_can_be_sampled(tmp_path: Path) -> None:
    rows = ", ".join(map(str, range(1, 1200)))
    text = f"based_on: dense-64x64\nvalues:\n  array.rows: [{rows}]\n  array.columns: [{rows}]\n"
    with pytest.raises(ConfigError, match="1,437,601 points; add 'sample'"):
        load_space(write_space(tmp_path, text))
    assert len(list_points(load_space(write_space(tmp_path, text + "sample: 7\n")), [make_trace()])) == 7


def test_keys_tell_values_base_and_traces_apart(tmp_path: Path) -> None:
    space = load_space(write_space(tmp_path))
    keys = {point.key for point in list_points(space, [make_trace()])}
    faster = replace(space, base=change_values(space.base, {"clock_mhz": 500.0}))
    assert keys.isdisjoint({point.key for point in list_points(faster, [make_trace()])})
    assert keys.isdisjoint({point.key for point in list_points(space, [make_trace(13)])})
    assert keys.isdisjoint({point.key for point in list_points(space, [make_trace(), make_trace()])})
    wider = replace(space, values={**space.values, "array.rows": (16, 32, 64)})
    assert keys < {point.key for point in list_points(wider, [make_trace()])}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("based_on: pillaracc-64x64\n", "'values'"),
        ("values: {array.rows: [1]}\n", "'based_on'"),
        ("based_on: nonsense\nvalues: {array.rows: [1]}\n", "nonsense"),
        ("based_on: [1]\nvalues: {array.rows: [1]}\n", "'based_on' must be the name"),
        (SPACE + "smaple: 3\n", "unknown key 'smaple'"),
        (SPACE + "sample: 0\n", "'sample' must be a whole number from 1, got 0"),
        (SPACE + "seed: x\n", "'seed' must be a whole number from 0"),
        ("based_on: pillaracc-64x64\nvalues: {array.rowz: [1]}\n", "array.rowz"),
        ("based_on: pillaracc-64x64\nvalues: {array.rows: [16, 0]}\n", "array.rows.*got 0"),
        ("based_on: pillaracc-64x64\nvalues: {array.rows: 16}\n", "'array.rows' must be a list"),
        ("based_on: pillaracc-64x64\nvalues: {array.rows: []}\n", "'array.rows' must be a list"),
        ("based_on: pillaracc-64x64\nvalues: {array.rows: [[16]]}\n", "'array.rows' must be numbers"),
        ("based_on: pillaracc-64x64\nvalues: {array.rows: [16, 16]}\n", "'array.rows' name one twice"),
        (
            "based_on: pillaracc-64x64\nvalues:\n  array.rows: [1]\n  array.rows: [2]\n",
            "array.rows is there twice",
        ),
        ("based_on: dense-64x64\nvalues: {mapping.lanes: [1]}\n", "mapping"),
        ("based_on: [\n", "YAML"),
        ("- 1\n", "mapping"),
    ],
)
def test_a_space_that_is_none_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    path = write_space(tmp_path, text)
    with pytest.raises(ConfigError, match=complaint) as caught:
        load_space(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_space_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_space(tmp_path / "missing.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="no text"):
        load_space(tmp_path / "bytes.yaml")


def test_a_point_costs_what_its_design_costs(tmp_path: Path) -> None:
    space = load_space(write_space(tmp_path))
    traces = [make_trace(), make_trace(20)]
    point = list_points(space, traces)[5]
    found = cost_point(space.base, point, traces)
    reports = [simulate(trace, change_values(space.base, dict(point.values))) for trace in traces]
    assert found.milliseconds == pytest.approx(sum(report.seconds for report in reports) * 1e3 / 2)
    assert found.millijoules == pytest.approx(sum(report.energy_mj for report in reports) / 2)
    assert found.low_mj < found.millijoules < found.high_mj
    assert found.area_mm2 > 0
    assert 0 < found.utilisation <= 1


def test_processes_change_nothing_and_stop_when_told(tmp_path: Path) -> None:
    space = load_space(write_space(tmp_path))
    traces = [make_trace()]
    points = list_points(space, traces)
    alone = list(explore(space.base, points, traces, processes=1))
    assert list(explore(space.base, points, traces, processes=2)) == alone
    assert [result.point for result in alone] == list(points)
    several = explore(space.base, points, traces, processes=2)
    assert next(several) == alone[0]
    several.close()


def test_what_cannot_run_says_why() -> None:
    base = load_spec("transformer-int8")
    found = cost_point(base, Point("k", (("array.rows", 16),)), [make_trace()])
    assert found.problem
    assert "\n" not in found.problem
    assert find_front([found]) == ()


costs = st.tuples(*[st.integers(1, 6)] * 3)


@settings(max_examples=100, deadline=None)
@given(found=st.lists(costs, max_size=25))
def test_the_front_is_what_nothing_beats(found: list[tuple[int, int, int]]) -> None:
    results = [
        PointResult(Point(str(n), ()), float(a), float(b), 0.0, 9.0, float(c))
        for n, (a, b, c) in enumerate(found)
    ]
    front = find_front(results)

    def is_beaten(mine: tuple[int, ...]) -> bool:
        return any(all(o <= m for o, m in zip(other, mine, strict=True)) and other != mine for other in found)

    assert {result.point.key for result in front} == {
        str(n) for n, mine in enumerate(found) if not is_beaten(mine)
    }
    ordered = [tuple(getattr(result, name) for name in OBJECTIVES) for result in front]
    assert ordered == sorted(ordered)


def make_result(key: str, time: float = 1.5) -> PointResult:
    return PointResult(
        Point(key, (("array.rows", 16), ("dataflow.tile_search", True))), time, 2.0, 1.0, 3.0, 4.5, 0.25
    )


def test_a_log_keeps_what_was_added(tmp_path: Path) -> None:
    path = tmp_path / "points.jsonl"
    results = [
        make_result("a", 0.1 + 0.2),
        PointResult(Point("b", (("array.rows", 1),)), problem="too small"),
    ]
    with ResultLog(path) as log:
        for result in results:
            log.add(result)
    with ResultLog(path) as log:
        assert list(log.found.values()) == results


@pytest.mark.parametrize("lost", [1, 20, 10_000])
def test_a_torn_line_is_mended(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "points.jsonl"
    with ResultLog(path) as log:
        log.add(make_result("a"))
        before = path.stat().st_size
        log.add(make_result("b"))
    whole = path.read_bytes()
    path.write_bytes(whole[: max(before + 1, len(whole) - lost)])
    with ResultLog(path) as log:
        assert set(log.found) == {"a"}
        log.add(make_result("c"))
    with ResultLog(path) as log:
        assert set(log.found) == {"a", "c"}


@pytest.mark.parametrize("kept", [0, 1, len(OPENING) - 1, len(OPENING)])
def test_a_torn_opening_is_mended(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "points.jsonl"
    path.write_text(OPENING[:kept], encoding="utf-8")
    with ResultLog(path) as log:
        assert log.found == {}
        log.add(make_result("a"))
    with ResultLog(path) as log:
        assert set(log.found) == {"a"}


def test_other_files_are_no_logs(tmp_path: Path) -> None:
    path = tmp_path / "points.jsonl"
    for content in (b'{"mine": 1}\n', b"no newline", b'{"schema": "colonnade-exploration", "version": 99}\n'):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="no log"):
            ResultLog(path)
        assert path.read_bytes() == content
    for damage in ("nonsense\n", '{"key": "a"}\n', "[]\n", '{"key": "a", "values": 3, "problem": null}\n'):
        path.write_text(OPENING + damage, encoding="utf-8")
        with pytest.raises(ConfigError, match="line 2: damaged"):
            ResultLog(path)


def test_tables_hold_every_point(tmp_path: Path) -> None:
    results = [
        make_result("a"),
        make_result("b", 9.0),
        PointResult(Point("c", (("array.rows", 1),)), problem="no"),
    ]
    front = find_front(results)
    rows = list(csv.DictReader(io.StringIO(format_results(results, front))))
    assert [row["on_front"] for row in rows] == ["True", "False", "False"]
    assert [row["array.rows"] for row in rows] == ["16", "16", "1"]
    assert [(row["milliseconds"], row["problem"]) for row in rows] == [("1.5", ""), ("9.0", ""), ("", "no")]
    space = Space(load_spec("pillaracc-64x64"), {"array.rows": (16, 1)})
    content = json.loads(format_exploration(space, results, front, ["000000"]))
    assert [point["key"] for point in content["points"]] == ["a", "b", "c"]
    assert [point["key"] for point in content["front"]] == ["a"]
    assert content["points"][2]["milliseconds"] is None
    assert content["objectives"] == list(OBJECTIVES)
