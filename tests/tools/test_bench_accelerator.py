"""test_bench_accelerator.py: figures of the accelerator presets: tables, bands, ablations, the committed page."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from colonnade.accel_model import load_spec
from colonnade.detector.architecture import Architecture, Layer
from colonnade.detector.standard import DENSE_MACS
from colonnade.runtime.errors import UsageError
from colonnade.runtime.sparse import PillarGrid
from colonnade.tools.bench.accelerator import (
    DESIGNS,
    SWITCHES,
    cost_frame,
    count_table,
    run_accelerator_bench,
    trace_frame,
)
from colonnade.tools.bench.accelerator_document import list_headlines, write_document
from colonnade.tools.bench.accelerator_report import compare_cycles, compare_table, read_report
from colonnade.tools.bench.engine_report import round_figures
from colonnade.tools.bench.frames import EngineFrame, crop_to_camera, draw_street, read_frames
from colonnade.tools.bench.site_traces import trace_sites

ROOT = Path(__file__).parents[2]
TOLERANCE = 0.05  # of the table that we compare with


@pytest.fixture(scope="module")
def frames(data_folder: Path) -> tuple[EngineFrame, ...]:
    training = data_folder / "kitti_object" / "training"
    return read_frames(training / "velodyne", limit=6, crop=crop_to_camera(training / "calib"))


def test_the_frames_have_the_known_pillars(frames):
    """The first differs: its image is smaller than the one that we crop to."""
    known = (3384, 6815, 3103, 3032, 7515, 8569)
    for frame, count in zip(frames, known, strict=True):
        assert len(frame.coords) == pytest.approx(count, rel=0.025), frame.name


@pytest.mark.parametrize(
    ("variant", "least_saved", "most_speed"),
    [("dilating", 0.460, 4.31), ("submanifold", 0.790, 16.8), ("submanifold-2x2", 0.879, 23.2)],
)
def test_savings_and_first_order_speeds_are_those_of_the_known_table(
    frames, variant, least_saved, most_speed
):
    """Least saving and highest speed over ten frames; the frames with them are among these six."""
    traces = [trace_frame(frame, variant, None) for frame in frames]
    tables = [count_table(trace, 64) for trace in traces]
    assert min(1 - trace.macs / DENSE_MACS for trace in traces) == pytest.approx(least_saved, rel=TOLERANCE)
    assert max(table.speedup for table in tables) == pytest.approx(most_speed, rel=TOLERANCE)


def test_the_dense_network_takes_the_known_cycles(frames):
    trace = trace_frame(frames[0], "dilating", None)
    known = {16: 134.134e6, 32: 33.855e6, 64: 8.624e6, 128: 3.689e6}
    for size, cycles in known.items():
        assert count_table(trace, size).dense_cycles == pytest.approx(cycles, rel=1e-3)


def test_variants_come_in_the_known_order(frames):
    """SpConv, then SpConv-P with fewer pillars kept, then SpConv-S: each saves more and runs faster."""
    order = [("dilating", None), *(("pruned", keep) for keep in (2.0, 1.5, 1.25, 1.0))]
    order += [("submanifold", None), ("submanifold-2x2", None)]
    cycles = [
        sum(count_table(trace_frame(frame, variant, keep), 64).cycles for frame in frames)
        for variant, keep in order
    ]
    assert cycles == sorted(cycles, reverse=True)
    assert len(set(cycles)) == len(cycles)
    # Ratios of a table of ten frames: 3.610, 3.245, 2.478, 1.917, 1.491, 1.314, 0.802 M cycles.
    known = np.array([3.610, 3.245, 2.478, 1.917, 1.491, 1.314, 0.802]) / 3.610
    np.testing.assert_allclose(np.array(cycles) / cycles[0], known, rtol=TOLERANCE)


def test_sites_alone_prune_any_layer_that_has_a_share_but_know_no_importance():
    layers = (
        Layer("first", "dilating", ("pillars",), 4, 4, keep=0.5),
        Layer("entry", "strided", ("first",), 4, 4, stride=2, keep=0.8),
        Layer("head", "submanifold", ("entry",), 4, 4, relu=False),
    )
    sites = PillarGrid.full((7, 9), np.zeros((63, 4), np.uint8))
    first, entry, _ = trace_sites("drawn", Architecture(4, layers, 2), sites).layers
    assert (first.active_outputs, first.kept_outputs) == (63, 32)
    assert entry.kept_outputs == math.ceil(0.8 * entry.active_outputs)
    bound = (replace(layers[0], keep=None, threshold=1.0), *layers[1:])
    with pytest.raises(UsageError, match="'first': what passes its threshold is not known"):
        trace_sites("drawn", Architecture(4, bound, 2), sites)


def test_pruning_by_neighbours_keeps_its_share():
    frame = draw_street()
    layers = {layer.name: layer for layer in trace_frame(frame, "pruned", 1.25).layers}
    entered = layers["block2.0"].active_outputs
    for name in ("block2.1", "block2.4"):
        kept, computed = layers[name].kept_outputs, layers[name].active_outputs
        assert kept == min(-(-entered * 5 // 4), computed)
    crowded = layers["block2.1"]
    # What was active before ranks above all else, so none of it is lost while there is room.
    assert np.count_nonzero(crowded.in_sites.cells & ~crowded.kept_sites.cells) == 0


def test_a_report_is_complete_and_comes_back(tmp_path: Path):
    coords = draw_street().coords
    frame = EngineFrame("part", None, coords[coords[:, 0] < 120])
    calls: list[int] = []
    report = run_accelerator_bench([frame], "drawn", progress=lambda: calls.append(1))
    assert len(calls) == 7
    back = read_report(report.to_json())
    assert back.frame_names == ("part",)
    assert write_document(back).startswith("# What frames cost")
    for variant, keep, found in report.list_variants():
        cases = {a.off: a for a in report.ablations if (a.variant, a.keep) == (variant, keep)}
        assert set(cases) == {"none", "all", *SWITCHES}
        assert cases["all"].cycles > cases["none"].cycles
        assert cases["active_tiles"].megabytes >= cases["none"].megabytes
        assert cases["weight_grouping"].cycles > cases["none"].cycles
        (figures,) = found
        assert figures.conflicts.gather == figures.conflicts.scatter == 0
        assert figures.conflicts.scatter_naive > 0
        assert figures.conflicts.gather_naive > 0
        assert figures.widest_interval > 0
        assert compare_cycles(found, "pillaracc-64x64", "dense-64x64").of_means > 1
        assert compare_table(found, 64).of_means > 1
        for design in figures.designs:
            assert design.mj_low <= design.mj <= design.mj_high


def test_rules_hide_behind_the_array_on_real_frames(frames):
    for variant in ("dilating", "submanifold"):
        trace = trace_frame(frames[0], variant, None)
        specs = [load_spec("pillaracc-64x64")]
        figures = cost_frame(frames[0], variant, None, trace, specs)
        assert figures.exposed_rules == ()
        assert figures.widest_interval <= 3


def test_the_committed_page_is_that_of_the_committed_report():
    report = read_report((ROOT / "docs/results/accelerator.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs/accelerator/results.md").read_text(encoding="utf-8")
    assert page == write_document(report)


def test_the_readme_shows_the_committed_report():
    report = read_report((ROOT / "docs/results/accelerator.json").read_text(encoding="utf-8"))
    rows = list(list_headlines(report))
    assert len(rows) == 4
    assert "\n".join(rows) in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("variant", ["dilating", "submanifold"])
def test_the_committed_report_is_what_the_models_say_now(frames, variant):
    """Nothing is timed, so the figures of a frame come again to the last digit of the report."""
    report = json.loads((ROOT / "docs/results/accelerator.json").read_text(encoding="utf-8"))
    specs = [load_spec(name) for name in DESIGNS]
    figures = cost_frame(frames[3], variant, None, trace_frame(frames[3], variant, None), specs)
    committed = [
        entry for entry in report["frames"] if (entry["frame"], entry["variant"]) == (figures.frame, variant)
    ]
    assert committed == [json.loads(json.dumps(round_figures(asdict(figures))))]
