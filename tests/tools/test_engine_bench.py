"""test_engine_bench.py: the engine's benchmark reports every layer, with and without spconv."""

import importlib.util
import json

import numpy as np
import pytest

from colonnade.tools.bench.engine import ENGINE_LAYERS, EngineLayer, draw_street_sites, run_engine_bench

SMALL = (48, 40)
FEW = (EngineLayer(1, "strided", 3, 2, 8, 8), EngineLayer(2, "submanifold", 3, 1, 8, 16))


def test_report_without_the_peer():
    sites = np.array([(1, 1), (1, 2), (20, 30)], np.int32)
    seen: list[EngineLayer] = []
    bench = run_engine_bench(
        threads=1, rounds=1, coords=sites, shape=SMALL, layers=FEW, peer=False, progress=seen.append
    )
    assert tuple(seen) == FEW == tuple(timing.layer for timing in bench.layers)
    assert bench.threads == bench.rounds == 1
    assert bench.pillars == 3
    assert bench.peer is None
    strided = bench.layers[0]
    assert (strided.pillars_in, strided.pillars_out, strided.rules) == (3, 5, 7)
    assert strided.total_ms > 0
    assert strided.kernel_ms > 0
    assert strided.peer_total_ms is strided.speedup is strided.peer_disagreements is None
    assert json.loads(bench.to_json())["layers"][1]["layer"]["kind"] == "submanifold"


@pytest.mark.skipif(importlib.util.find_spec("spconv") is None, reason="needs the extra [peers]")
def test_spconv_agrees_on_every_layer():
    """One thread: with several, transposed layers of spconv 2.3.8 on the CPU now and then lose a rule."""
    bench = run_engine_bench(threads=1, rounds=1, shape=(64, 72), clock="cpu")
    assert bench.clock == "cpu"
    assert bench.peer is not None
    for timing in bench.layers:
        assert timing.peer_disagreements == 0, timing.layer
        assert timing.speedup is not None


def test_street_is_as_dense_as_a_real_frame():
    sites = draw_street_sites((496, 432))
    assert 5_000 < len(sites) < 15_000
    assert np.array_equal(sites, draw_street_sites((496, 432)))
    assert {layer.kind for layer in ENGINE_LAYERS} == {"submanifold", "dilating", "strided", "transposed"}
