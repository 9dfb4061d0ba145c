"""test_calibrate.py: ranges are those of their method, taken from samples of every part of the data."""

from __future__ import annotations

import graph_builder
import numpy as np
import onnx
import pytest
from conftest_models import build_small, draw_samples
from onnx import numpy_helper

from colonnade.runtime.errors import UsageError
from colonnade.runtime.quant import parse_scheme
from colonnade.runtime.transformer.calibrate import RANGE_METHODS, Seen, calibrate, find_range
from colonnade.runtime.transformer.graph import Graph
from colonnade.runtime.transformer.linear import rewrite_linears
from colonnade.runtime.transformer.patterns import find_patterns
from colonnade.runtime.transformer.quantise import quantize_model
from colonnade.runtime.transformer.samples import Samples
from colonnade.runtime.transformer.session import make_session


def see(values: np.ndarray) -> Seen:
    rows = np.zeros((0, 0), np.float32)
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    return Seen(low, high, 0, values.astype(np.float32), rows)


def measure_error(values: np.ndarray, low: float, high: float) -> float:
    """Return the mean square error of 8 bits over low..high, 0 being one of the levels."""
    step = (high - low) / 255
    zero = round(-low / step)
    return float(np.square((np.clip(np.rint(values / step) + zero, 0, 255) - zero) * step - values).mean())


def test_ranges_are_those_of_their_method() -> None:
    values = np.random.default_rng(0).normal(0, 1, 100_000)
    values[0] = 12.0  # alone, far out: clipping it a little costs less than coarse steps for all the others
    ranges = {method: find_range(see(values), method) for method in RANGE_METHODS}
    assert ranges["min-max"] == (pytest.approx(values.min()), 12.0)
    ends = np.percentile(values.astype(np.float32), (0.01, 99.99))
    assert ranges["percentile"] == pytest.approx(tuple(ends), rel=1e-6)
    errors = {method: measure_error(values, *ends) for method, ends in ranges.items()}
    assert errors["mse"] < min(errors["min-max"], errors["percentile"])
    assert ranges["mse"][1] < 11.0
    with pytest.raises(UsageError, match="min-max, percentile, mse"):
        find_range(see(values), "best")  # type: ignore[arg-type]


def test_ranges_hold_zero_and_are_never_empty() -> None:
    for method in RANGE_METHODS:
        low, high = find_range(see(np.array([3.0, 4.0])), method)
        assert low == 0.0 < high <= 4.0
        assert find_range(see(np.zeros(3)), method) == (0.0, 1.0)


def test_samples_are_taken_from_everywhere() -> None:
    samples = Samples({"x": np.arange(12)})
    assert samples.take(3).arrays["x"].tolist() == [0, 4, 8]
    assert samples.take(50).arrays["x"].tolist() == list(range(12))


def test_norms_are_never_clipped_and_others_are() -> None:
    model, samples = build_small(), draw_samples()
    result = quantize_model(model, parse_scheme("w8a8"), samples, None, "percentile").model
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.graph.initializer}
    scales = {
        node.input[0]: float(stored[node.input[1]])
        for node in result.graph.node
        if node.op_type == "QuantizeLinear"
    }
    graph = Graph(model)
    patterns = find_patterns(graph)
    norms = [norm.output for norm in patterns.norms]
    curves = [curve.output for curve in patterns.curves]
    seen = calibrate(graph, samples, [*norms, *curves])
    whole = {name: (seen.find(name).high - seen.find(name).low) / 255 for name in (*norms, *curves)}
    assert {name: scales[name] for name in norms} == pytest.approx({name: whole[name] for name in norms})
    assert all(scales[name] < 0.999 * whole[name] for name in curves)


def test_tables_reach_half_as_far_again_as_the_samples() -> None:
    model, samples = build_small(), draw_samples()
    result = quantize_model(model, None, samples).model
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.graph.initializer}
    rounding = {
        node.input[0]: float(stored[node.input[2]][0] / stored[node.input[1]][0])
        for node in result.graph.node
        if node.op_type.startswith("Quantised")
    }
    patterns = find_patterns(Graph(model))
    names = [part.input for part in (*patterns.norms, *patterns.curves)]
    seen = calibrate(Graph(model), samples, names)
    assert rounding == pytest.approx({name: 1.5 * seen.find(name).reach for name in names})


def test_four_bits_keep_the_mean_of_an_output() -> None:
    generator = np.random.default_rng(0)
    model = build_product(generator)
    x = generator.normal(1.0, 1.0, (256, 32)).astype(np.float32)
    exact, found = run(model, x), run(quantise_products(model, x), x)
    drift = np.abs((found - exact).mean(axis=0))
    assert drift.max() < 0.1 * np.sqrt(np.square(found - exact).mean())


def test_a_model_of_one_product() -> None:
    generator = np.random.default_rng(0)
    model = build_product(generator)
    x = generator.normal(1.0, 1.0, (16, 32)).astype(np.float32)
    found = run(quantize_model(model, parse_scheme("w8a8"), Samples({"x": x})).model, x)
    assert np.abs(found - run(model, x)).max() < 0.02 * np.abs(found).max()


def build_product(generator: np.random.Generator) -> onnx.ModelProto:
    builder = graph_builder.GraphBuilder()
    builder.linear("x", "y", generator.normal(0, 0.3, (32, 40)), generator.normal(0, 0.3, 40))
    ends = [
        graph_builder.describe_tensor(name, "float", ["batch", size]) for name, size in (("x", 32), ("y", 40))
    ]
    return builder.build("one", ends[:1], ends[1:])


def quantise_products(model: onnx.ModelProto, x: np.ndarray) -> onnx.ModelProto:
    graph = Graph(model)
    seen = calibrate(graph, Samples({"x": x}), (), ("x",)).find("x")
    linears = find_patterns(graph).linears
    assert len(list(rewrite_linears(graph, linears, seen, seen, parse_scheme("w4a8"), "min-max"))) == 1
    return graph.finish()


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return make_session(model, 1).run(None, {"x": x})[0]
