"""test_tracing.py: the operations of a graph are those that it computes, and cost what their dimensions cost."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import graph_builder
import minilm
import numpy as np
import pytest
import stories260k
import stories_generation
from conftest_models import HEADS, INNER, WIDTH, build_small, draw_samples

from colonnade.accel_model import load_spec, simulate
from colonnade.accel_model.transformer import SHAPES, TransformerShape, list_operations
from colonnade.runtime.errors import ModelError, UsageError
from colonnade.runtime.lut import Levels, fit
from colonnade.runtime.operations import OperationTrace, load_operations
from colonnade.runtime.quant import parse_scheme
from colonnade.runtime.transformer.onnx_files import write_model
from colonnade.runtime.transformer.quantise import quantize_model
from colonnade.runtime.transformer.table_curves import recognise_table
from colonnade.runtime.transformer.tracing import trace_operations

LENGTH = 20
SMALL = TransformerShape("small", 2, WIDTH, HEADS, INNER, HEADS, "gelu", "layer_norm", norm_first=False)


def draw_inputs() -> dict[str, np.ndarray]:
    return {name: array[:1] for name, array in draw_samples(length=LENGTH).arrays.items()}


def trace_model(model, folder: Path, inputs) -> OperationTrace:
    write_model(model, folder / "model.onnx")
    return trace_operations(folder / "model.onnx", inputs)


def count_kinds(trace: OperationTrace) -> Counter[str]:
    return Counter(operation.kind for operation in trace.operations)


def find(trace: OperationTrace, name: str):
    return next(operation for operation in trace.operations if operation.name == name)


def count_weights(trace: OperationTrace) -> int:
    return sum(o.elements for operation in trace.operations for o in operation.operands if o.weight)


def test_float(tmp_path: Path) -> None:
    """The head, (32, 40), is all that the dimensions do not have."""
    trace = trace_model(build_small(), tmp_path, draw_inputs())
    drawn = list_operations(SMALL, LENGTH)
    assert trace.name == "model"
    assert trace.macs == drawn.macs + LENGTH * WIDTH * 40
    assert count_weights(trace) == count_weights(drawn) + WIDTH * 40
    kinds, expected = count_kinds(trace), count_kinds(drawn)
    assert kinds.pop("matmul") == expected.pop("matmul") + 2 * 2 + 1  # queries, keys, values apart; the head
    assert kinds == expected
    assert {operand.bits for operation in trace.operations for operand in operation.operands} == {32}


def test_what_is_read(tmp_path: Path) -> None:
    trace = trace_model(build_small(), tmp_path, draw_inputs())
    scores, shares, mixed = (find(trace, f"l0_{name}") for name in ("scores", "map", "mixed"))
    assert (scores.batch, scores.rows, scores.inner, scores.columns) == (2, LENGTH, 16, LENGTH)
    assert [operand.source for operand in scores.operands] == ["l0q_product", "l0k_product"]
    assert [operand.source for operand in shares.operands] == ["l0_scores"]  # through scale and mask
    assert [operand.source for operand in mixed.operands] == ["l0_map", "l0v_product"]
    assert find(trace, "l0q_product").operands[0].source == "x"  # a table of vectors is no operation
    assert [operand.source for operand in find(trace, "l0_z").operands] == ["l0_norm1", "l0f2_product"]
    known: set[str] = set()
    names = {operation.name for operation in trace.operations}
    for operation in trace.operations:
        assert {operand.source for operand in operation.operands} & names <= known
        known.add(operation.name)


@pytest.mark.parametrize(
    ("scheme", "entries", "weight_bits", "input_bits"),
    [("w8a8", 16, 8, 8), ("w8a8", None, 8, 8), ("w4a8-dint4", 16, 4, 8), ("w4a8-g16", 16, 4, 32)],
)
def test_quantised(tmp_path: Path, scheme, entries, weight_bits, input_bits) -> None:
    model = build_small()
    exact = trace_model(model, tmp_path, draw_inputs())
    result = quantize_model(model, parse_scheme(scheme), draw_samples(), entries)
    trace = trace_model(result.model, tmp_path, draw_inputs())
    assert trace.macs == exact.macs
    assert [operation.kind for operation in trace.operations] == [o.kind for o in exact.operations]
    linears = [o for o in trace.operations if any(operand.weight for operand in o.operands)][:-1]  # no head
    assert len(linears) == 12
    assert {(o.operands[0].bits, o.operands[1].bits) for o in linears} == {(input_bits, weight_bits)}
    scores, shares = next(
        (before, o)
        for before, o in zip(trace.operations, trace.operations[1:], strict=False)
        if o.kind == "softmax"
    )
    if entries is not None:
        assert [operand.bits for operand in scores.operands] == [8, 8]
        assert (shares.operands[0].source, shares.out_bits) == (scores.name, 8)
        gelu = next(o for o in trace.operations if o.kind == "gelu")
        assert gelu.out_bits == (8 if scheme == "w8a8" else 32)


def test_dynamically_quantised(tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    exact = trace_model(build_small(), tmp_path, draw_inputs())
    quantization.quantize_dynamic(
        tmp_path / "model.onnx", tmp_path / "dynamic.onnx", weight_type=quantization.QuantType.QInt8
    )
    trace = trace_operations(tmp_path / "dynamic.onnx", draw_inputs())
    assert trace.macs == exact.macs
    assert [operation.kind for operation in trace.operations] == [o.kind for o in exact.operations]
    linears = [o for o in trace.operations if any(operand.weight for operand in o.operands)]
    assert len(linears) == 13
    assert {operand.bits for o in linears for operand in o.operands} == {8}


def test_accelerator_and_file(tmp_path: Path) -> None:
    spec = load_spec("transformer-int8")
    trace = trace_model(build_small(), tmp_path, draw_inputs())
    trace.save(tmp_path / "trace.jsonl")
    assert load_operations(tmp_path / "trace.jsonl") == trace
    report = simulate(trace, spec)
    assert sum(layer.macs for layer in report.layers) == trace.macs
    longer = {name: np.tile(array, (1, 4)) for name, array in draw_inputs().items()}
    slower = simulate(trace_operations(tmp_path / "model.onnx", longer), spec)
    assert slower.layers[-1].start > report.layers[-1].start


def test_wrong_inputs(tmp_path: Path) -> None:
    write_model(build_small(), tmp_path / "model.onnx")
    with pytest.raises(UsageError, match="missing or unknown: mask"):
        trace_operations(tmp_path / "model.onnx", {"ids": np.zeros((1, 4), np.int64)})
    with pytest.raises(ModelError, match="cannot be read"):
        trace_operations(tmp_path / "other.onnx", {})


def test_gemm_and_single_rows(tmp_path: Path) -> None:
    builder = graph_builder.GraphBuilder()
    weight = builder.constant("weight", np.ones((5, 3)))
    turned = builder.node("Gemm", ["x", weight], "turned", transA=1, transB=1)
    builder.node("Sigmoid", [turned], "y")
    describe = graph_builder.describe_tensor
    model = builder.build("gemm", [describe("x", "float", [3, 7])], [describe("y", "float", [7, 5])])
    product, curve = trace_model(model, tmp_path, {"x": np.ones((3, 7), np.float32)}).operations
    assert (product.batch, product.rows, product.inner, product.columns) == (1, 7, 3, 5)
    assert (curve.kind, curve.batch, curve.rows, curve.columns) == ("silu", 1, 7, 5)


@pytest.mark.parametrize("entries", [8, 16, 64])
@pytest.mark.parametrize("kind", ["gelu", "silu", "sigmoid", "tanh"])
@pytest.mark.parametrize(("reach", "low", "high", "zero"), [(9.0, -0.4, 6.0, 12), (40.0, -1.0, 30.0, 100)])
def test_tables_are_recognised(kind, entries, reach, low, high, zero) -> None:
    inputs = Levels(reach / 8191, -8191, 8191)
    outputs = Levels.unsigned((high - low) / 255, 8, zero)
    table = fit(kind, entries=entries).to_levels(inputs, outputs)
    limits = np.array([table.shift, table.input_low, table.input_high, table.low, table.high])
    arrays = [np.array([1 / inputs.scale], np.float32), np.array([8191], np.float32)]
    arrays += [table.breakpoints, table.slopes, table.intercepts, limits]
    assert recognise_table(arrays) == kind


def test_minilm(tmp_path: Path) -> None:
    """The real graph has the MACs of its dimensions; beyond these, only the norm of the embeddings."""
    folder = minilm.find_model_folder()
    if folder is None:
        pytest.skip(f"no package {minilm.PACKAGE}")
    ids = np.ones((1, 128), np.int64)
    inputs = {"input_ids": ids, "attention_mask": ids, "token_type_ids": 0 * ids}
    trace = trace_model(minilm.build_minilm(folder), tmp_path, inputs)
    drawn = list_operations(SHAPES["minilm"], 128)
    assert trace.macs == drawn.macs
    assert count_weights(trace) == count_weights(drawn)
    kinds, expected = count_kinds(trace), count_kinds(drawn)
    assert kinds - expected == Counter(matmul=12, layer_norm=1)
    assert not expected - kinds


@pytest.fixture(scope="module")
def weights(model_folder: Path) -> stories260k.Weights:
    path = model_folder / "stories260k" / "stories260K.bin"
    if not path.is_file():
        pytest.skip(f"no file {path}")
    return stories260k.read_weights(path)


def test_stories(weights, tmp_path: Path) -> None:
    """This graph turns pairs of queries and keys by products with an (8, 8) matrix; else its MACs are the same."""
    trace = trace_model(
        stories260k.build_stories(weights), tmp_path, {"input_ids": np.ones((1, 128), np.int64)}
    )
    turns = [o for o in trace.operations if o.name.endswith("_swapped")]
    assert sum(o.macs for o in turns) == 5 * 128 * (8 + 4) * 8 * 8
    assert trace.macs - sum(o.macs for o in turns) == list_operations(SHAPES["stories260k"], 128).macs
    assert find(trace, "layer0_scores").operands[1].elements == 128 * 4 * 8  # of keys, which heads share


def test_one_token_with_a_cache(weights, tmp_path: Path) -> None:
    past = np.zeros((1, 100, 4, 8), np.float32)
    inputs = {"input_ids": np.ones((1, 1), np.int64)} | {f"past_{number}": past for number in range(10)}
    trace = trace_model(stories_generation.build_cached_stories(weights), tmp_path, inputs)
    scores = find(trace, "layer0_scores")
    assert (scores.batch, scores.rows, scores.inner, scores.columns) == (8, 1, 8, 101)
    assert (scores.operands[1].source, scores.operands[1].elements) == ("present_0", 101 * 4 * 8)
