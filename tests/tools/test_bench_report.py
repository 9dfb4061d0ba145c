"""test_bench_report.py: figures follow from times as they should, and become JSON, charts and tables."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colonnade.detector.standard import DENSE_MACS
from colonnade.runtime.errors import MissingExtraError, UsageError
from colonnade.tools.bench.charts import draw_roofline, draw_time_chart, is_chart
from colonnade.tools.bench.engine_report import (
    Choice,
    EngineReport,
    FrameReport,
    LayerRun,
    NetworkRun,
    PeerRun,
    compare_with_peers,
    compute_fraction,
    compute_rate,
    compute_saving,
    find_peak,
    round_figures,
)
from colonnade.tools.bench.hardware import describe_hardware
from colonnade.tools.bench.layers import CoreLimits
from colonnade.tools.bench.peak import TILE_UNIT, VECTOR_UNIT, Bandwidth, Peak
from colonnade.tools.bench.rounds import Timing
from colonnade.tools.cli.bench_tables import print_engine

PEAKS = (
    Peak("fp32", VECTOR_UNIT, "fma", 1, 100.0),
    Peak("int8", VECTOR_UNIT, "vpdpbusd", 1, 400.0),
    Peak("int8", TILE_UNIT, "tdpbusd", 1, 3000.0),
)
BAND = Bandwidth((1000, 1_000_000), (80.0, 20.0))


def make_timing(ms: float, threads: int = 1) -> Timing:
    return Timing(threads, ms, ms, ms, ms)


def make_run(variant="submanifold", precision="fp32", ms=80.0, macs=DENSE_MACS // 8, threads=1) -> NetworkRun:
    gops = compute_rate(macs, ms)
    return NetworkRun(
        choice=Choice(variant),
        precision=precision,
        timing=make_timing(ms, threads),
        rules=make_timing(1.0, threads),
        macs=macs,
        saving=compute_saving(macs),
        gops=gops,
        peak_fraction=compute_fraction(gops, find_peak(PEAKS, precision, threads)),
        tile_fraction=compute_fraction(gops, find_peak(PEAKS, precision, threads, TILE_UNIT)),
        rules_share=1.0 / ms,
        speedups=(),
        ideal_share=None,
        rules_speedup=None,
    )


def make_peer(name="onnxruntime", precision="fp32", computes="dense", ms=640.0, threads=1) -> PeerRun:
    indices = make_timing(4.0, threads) if name == "spconv" else None
    return PeerRun(
        name, "1.0", precision, computes, make_timing(ms, threads), indices, DENSE_MACS, 1.0, 0.5, None
    )


def make_layer(precision: str) -> LayerRun:
    fields = ("block1.1", "submanifold", 3, 1, 64, 64, precision, 500)
    return LayerRun(*fields, make_timing(0.5), 10**7, 40.0, 0.4, None, 10_000, 2000.0, 100.0, 0.4)


def make_report(**changes) -> EngineReport:
    peers = (make_peer(), make_peer("spconv", computes="submanifold", ms=120.0))
    runs = tuple(
        compare_with_peers(run, peers) for run in (make_run(), make_run("dilating", macs=DENSE_MACS // 2))
    )
    report = EngineReport(
        hardware=describe_hardware(),
        forms=("fp32: fma", "int8: vpdpbusd"),
        rounds=3,
        peaks=PEAKS,
        bandwidth=BAND,
        frames=(FrameReport("000000", 1000, 500, runs, peers),),
        layers_of="submanifold, frame 000000",
        layers=(make_layer("fp32"), make_layer("int8")),
        disturbances=("the load average was 3.0",),
        missing=(),
    )
    return replace(report, **changes)


def test_rates_savings_and_fractions() -> None:
    assert compute_rate(10**9, 20.0) == pytest.approx(100.0)  # 2 · 10⁹ operations in 20 ms
    assert compute_saving(DENSE_MACS // 4) == pytest.approx(0.75)
    assert find_peak(PEAKS, "int8", 1) == 400.0
    assert find_peak(PEAKS, "int8", 1, TILE_UNIT) == 3000.0
    assert find_peak(PEAKS, "fp32", 1, TILE_UNIT) is find_peak(PEAKS, "fp32", 2) is None
    assert compute_fraction(50.0, None) is None
    run = make_run()
    assert run.peak_fraction == pytest.approx(2 * DENSE_MACS / 8 / 0.08 / 1e9 / 100)


def test_an_eighth_of_the_work_in_an_eighth_of_the_time_is_ideal() -> None:
    peers = (make_peer(ms=640.0), make_peer(precision="int8", ms=160.0), make_peer("openvino", ms=320.0))
    run = compare_with_peers(make_run(ms=80.0), peers)
    assert run.ideal_share == pytest.approx(1.0)
    assert [(s.peer, s.precision, s.factor) for s in run.speedups] == [
        ("onnxruntime", "fp32", 8.0),
        ("onnxruntime", "int8", 2.0),
        ("openvino", "fp32", 4.0),
    ]
    assert compare_with_peers(make_run(ms=160.0), peers).ideal_share == pytest.approx(0.5)
    assert compare_with_peers(make_run(), ()).ideal_share is None


def test_peers_are_compared_on_equal_threads_and_equal_networks() -> None:
    spconv = make_peer("spconv", computes="submanifold", ms=120.0)
    run = compare_with_peers(make_run(ms=80.0), (spconv, make_peer(threads=2)))
    assert [(s.peer, s.factor) for s in run.speedups] == [("spconv", 1.5)]
    assert run.rules_speedup == pytest.approx(4.0)
    other = compare_with_peers(make_run("dilating"), (spconv,))
    assert other.speedups == ()
    assert other.rules_speedup is None


def test_the_roof_is_the_lower_of_peak_and_memory() -> None:
    vector = CoreLimits(400.0, 3000.0, False, BAND)
    assert vector.find_roof(10.0, 10_000) == 200.0  # 10 op/B · 20 GB/s
    assert vector.find_roof(10.0, 500) == 400.0
    assert CoreLimits(400.0, 3000.0, True, BAND).find_roof(100.0, 500) == 3000.0


def test_json_has_a_version_and_five_digits() -> None:
    report = json.loads(make_report().to_json())
    assert (report["schema"], report["version"]) == ("colonnade-bench-engine", 2)
    assert report["hardware"]["cpu"]
    run = report["frames"][0]["networks"][0]
    assert run["choice"] == {"variant": "submanifold", "keep": None}
    assert run["ideal_share"] == 1.0
    assert report["bandwidth"]["sizes"] == [1000, 1_000_000]
    assert round_figures({"a": (1.23456789, 12345678, True, None)}) == {"a": [1.2346, 12345678, True, None]}


@pytest.mark.parametrize("peers", [True, False])
def test_charts_are_pictures(peers: bool, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra [bench]")
    report = make_report()
    if not peers:
        report = replace(report, frames=(replace(report.frames[0], peers=()),))
    for draw in (draw_time_chart, draw_roofline):
        (tmp_path / "chart.png").write_bytes(draw(report))
        assert is_chart(tmp_path / "chart.png")
        with Image.open(io.BytesIO(draw(report))) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 400
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20


def test_a_roofline_needs_layers() -> None:
    with pytest.raises(UsageError, match="layers"):
        draw_roofline(make_report(layers=()))


def test_a_chart_without_matplotlib_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    with pytest.raises(MissingExtraError, match=r"colonnade\[bench\]"):
        draw_time_chart(make_report())


def test_the_table_shows_every_figure(capfd: pytest.CaptureFixture[str]) -> None:
    print_engine(make_report(missing=("the comparison with OpenVINO needs the package 'openvino'",)))
    shown = capfd.readouterr()
    for text in (
        "frame 000000",
        "submanifold fp32 x1",
        "87.5 %",
        "onnxruntime dense fp32 x1",
        "block1.1",
        "40 %",
    ):
        assert text in shown.out
    assert "too busy to measure on: the load average was 3.0" in shown.err
    assert "not measured: the comparison with OpenVINO" in shown.err
