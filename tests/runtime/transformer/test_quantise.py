"""test_quantise.py: a small transformer as integers and tables stays what it was, on every path and thread count."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import graph_builder
import numpy as np
import onnx
import pytest
from conftest_models import build_small, draw_samples

from colonnade.runtime.errors import ModelError, UsageError
from colonnade.runtime.quant import QuantisedTensor, parse_scheme
from colonnade.runtime.transformer import custom_ops
from colonnade.runtime.transformer.function_writer import DOMAIN
from colonnade.runtime.transformer.onnx_files import write_model
from colonnade.runtime.transformer.packed_weights import write_decoder
from colonnade.runtime.transformer.quantise import count_steps, quantize, quantize_model
from colonnade.runtime.transformer.report import compare
from colonnade.runtime.transformer.samples import Samples, read_samples
from colonnade.runtime.transformer.session import load, make_session

SCHEMES = ("w8a8", "w4a8", "w4a8-dint4", "w4a8-dint4-rtn-aqas", None)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return build_small()


@pytest.fixture(scope="module")
def samples() -> Samples:
    return draw_samples()


def run(model: onnx.ModelProto, samples: Samples, threads: int = 1) -> np.ndarray:
    session = make_session(model, threads)
    return np.concatenate([session.run(None, sample)[0].reshape(-1, 40) for sample in samples])


def find_sqnr(exact: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10(np.square(exact).sum() / np.square(found - exact).sum()))


@pytest.mark.parametrize(("scheme", "least"), zip(SCHEMES, (28, 13, 13, 13, 40), strict=True))
def test_outputs_stay_close(model, samples, scheme, least) -> None:
    result = quantize_model(model, parse_scheme(scheme) if scheme else None, samples)
    onnx.checker.check_model(result.model)
    assert find_sqnr(run(model, samples), run(result.model, samples)) > least
    operators = [node.op_type for node in result.model.graph.node]
    assert operators.count("QuantisedLayerNormF32") == (3 if scheme else 4)
    assert not {"LayerNormalization", "Gelu", "Softmax"} & set(operators)
    if scheme:
        assert len(result.linears) == 13
        assert "MatMul" not in operators
        assert result.integer_attentions == 2
        assert operators.count("SoftmaxU8") == 2
        assert operators.count("QuantisedLayerNormU8") == 1  # only the head takes the last one
        # The table gives the bytes that the next product takes, unless a channel scale comes between.
        assert operators.count("QuantisedTableU8") == (2 if scheme == "w8a8" else 0)
        assert all(0 < item.relative_error < 0.1 for item in result.linears)
    else:
        assert operators.count("MatMul") == 17
        assert operators.count("SoftmaxU16") == 2


def test_without_tables(model, samples) -> None:
    result = quantize_model(model, parse_scheme("w8a8"), samples, None)
    assert not result.model.functions
    assert find_sqnr(run(model, samples), run(result.model, samples)) > 28
    assert {"LayerNormalization", "Gelu", "Softmax"} <= {node.op_type for node in result.model.graph.node}


def test_compiled_and_portable_operators_agree(model, samples, monkeypatch) -> None:
    result = quantize_model(model, parse_scheme("w8a8"), samples).model
    if not custom_ops.available():
        pytest.skip(custom_ops.find_verdict().reason)
    fast = run(result, samples)
    monkeypatch.setattr("colonnade.runtime.transformer.session.make_fast", lambda data, options: data)
    assert np.array_equal(fast, run(result, samples))
    assert len(np.unique(fast)) > 1000


ALONE = """
import sys
import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options)
with np.load(sys.argv[2]) as inputs:
    np.save(sys.argv[3], session.run(None, dict(inputs))[0])
assert not {"colonnade", "onnx", "numba"} & set(sys.modules)
"""


def test_onnxruntime_alone_gives_the_same(model, samples, tmp_path: Path) -> None:
    result = quantize_model(model, parse_scheme("w8a8"), samples).model
    write_model(result, tmp_path / "small.onnx")
    sample = next(iter(samples))
    np.savez(tmp_path / "inputs.npz", **sample)
    files = [tmp_path / name for name in ("small.onnx", "inputs.npz", "outputs.npy")]
    subprocess.run([sys.executable, "-I", "-c", ALONE, *map(str, files)], check=True)
    assert np.array_equal(np.load(files[2]), load(files[0], threads=1).run(sample)["out"])


def test_threads_change_nothing(model, samples) -> None:
    result = quantize_model(model, parse_scheme("w8a8"), samples).model
    assert np.array_equal(run(result, samples, 1), run(result, samples, 2))


def test_the_same_input_gives_the_same_file(model, samples) -> None:
    first, second = (quantize_model(model, parse_scheme("w4a8-dint4"), samples).model for _ in range(2))
    assert first.SerializeToString() == second.SerializeToString()


def test_unknown_operators_stay_and_are_told(samples) -> None:
    model = build_small(1, extra="HardSwish")
    result = quantize_model(model, parse_scheme("w8a8"), samples)
    assert ("HardSwish", 1) in result.patterns.others
    assert "HardSwish" in [node.op_type for node in result.model.graph.node]
    assert find_sqnr(run(model, samples), run(result.model, samples)) > 25


def test_what_runtime_does_not_know_is_an_error(samples) -> None:
    model = build_small(1, extra="Gelu")
    node = next(node for node in model.graph.node if node.output[0] == "extra")
    node.op_type, node.domain = "Strange", "elsewhere"
    model.opset_import.append(onnx.helper.make_opsetid("elsewhere", 1))
    with pytest.raises(ModelError, match=r"onnxruntime cannot load the model.*Strange"):
        quantize_model(model, parse_scheme("w8a8"), samples)


def test_groups_of_int4_go_to_the_block_kernel(model, samples) -> None:
    for scheme, least in (("w4a8-g16", 15), ("w4a8-g16-rtn-unscaled-unclipped", 14), ("w4a8-g64", 13)):
        result = quantize_model(model, parse_scheme(scheme), samples)
        assert [node.op_type for node in result.model.graph.node].count("MatMulNBits") == 12
        assert find_sqnr(run(model, samples), run(result.model, samples)) > least


@pytest.mark.parametrize(("scheme", "name"), [("w4a8-rtn", "DecodeInt4"), ("w4a8-dint4-rtn", "DecodeDint4")])
def test_four_bits_are_stored_as_four_bits(model, samples, scheme: str, name: str) -> None:
    """What onnxruntime makes of the codes are the integers that the format says."""
    rows = np.random.default_rng(0).normal(0, 1, (6, 10))
    numbers = parse_scheme(scheme).weights.numbers
    levels = numbers.fit(rows)
    tensor = QuantisedTensor(levels.encode(rows), (levels,), 10)
    helper, make = onnx.helper, onnx.numpy_helper.from_array
    graph = helper.make_graph(
        [helper.make_node(name, ["codes", "zeros"], ["y"], domain=DOMAIN)],
        "one",
        [],
        [helper.make_empty_tensor_value_info("y")],
        [make(tensor.pack(), "codes"), make(tensor.zeros().astype(np.int32), "zeros")],
    )
    for opset in (12, 13, 18):
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
        functions = [write_decoder(name, opset)]
        decoder = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8)
        found = make_session(decoder, 1).run(None, {})[0]
        assert found.dtype == np.int8
        assert np.array_equal(found, tensor.integers().values[0].T)
    result = quantize_model(model, parse_scheme(scheme), samples)
    assert [node.op_type for node in result.model.graph.node].count(name) == 12
    eight = quantize_model(model, parse_scheme("w8a8"), samples)
    weights = 2 * (4 * 32 * 32 + 2 * 32 * 64)
    assert result.model.ByteSize() < eight.model.ByteSize() - weights // 2 + 8000


def test_formats_without_an_integer_product(model, samples) -> None:
    with pytest.raises(UsageError, match="one scale per channel"):
        quantize_model(model, parse_scheme("w4a8-dint4-g16-rtn"), samples)


def test_files_and_comparison(model, samples, tmp_path: Path) -> None:
    source, output = tmp_path / "small.onnx", tmp_path / "out.onnx"
    write_model(model, source)
    seen: list[int] = []
    quantize(source, output, scheme="w8a8", calibration=samples, threads=1, progress=seen.append)
    assert seen == list(range(1, 13 + 9)) == list(range(1, count_steps(model, samples) + 1))
    comparison = compare(source, output, samples, threads=1)
    assert comparison.bytes == output.stat().st_size
    assert comparison.float_bytes == source.stat().st_size
    assert comparison.outputs[0].name == "out"
    assert comparison.outputs[0].sqnr_db > 28
    assert comparison.outputs[0].same_choice > 0.9
    assert comparison.seconds > 0
    assert comparison.speedup == comparison.float_seconds / comparison.seconds


def test_errors_are_those_of_the_formula(tmp_path: Path) -> None:
    files = []
    for name, last in (("float", 1.0), ("other", -1.0)):
        builder = graph_builder.GraphBuilder()
        builder.linear("x", "y", [[1.0, 0.0], [0.0, last]])
        ends = [graph_builder.describe_tensor(end, "float", [1, 2, 2]) for end in ("x", "y")]
        files.append(tmp_path / f"{name}.onnx")
        write_model(builder.build("one", ends[:1], ends[1:]), files[-1])
    (error,) = compare(*files, Samples({"x": np.eye(2, dtype=np.float32)[None]}), threads=1).outputs
    assert error.same_choice == 0.5  # (1, 0) and (0, 1) became (1, 0) and (0, -1)
    assert error.sqnr_db == pytest.approx(10 * np.log10(2.0 / 4.0))


def test_a_session_checks_its_inputs(model, tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    write_model(model, path)
    session = load(path, threads=1)
    assert (session.inputs, session.outputs) == (("ids", "mask"), ("out",))
    ids = np.zeros((1, 3), np.int64)
    assert session.run({"ids": ids, "mask": ids + 1})["out"].shape == (1, 3, 40)
    with pytest.raises(UsageError, match="missing or unknown: mask"):
        session.run({"ids": ids})
    with pytest.raises(UsageError, match="does not run on these inputs"):
        session.run({"ids": ids.astype(np.float32), "mask": ids})
    with pytest.raises(ModelError, match="there is no such file"):
        load(tmp_path / "none.onnx")
    path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"small\.onnx: "):
        load(path)


def test_samples(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(
        path,
        ids=np.arange(12).reshape(2, 6),
        attention_mask=np.array([[1] * 6, [1, 1, 1, 0, 0, 0]]),
        other=np.ones(3),
    )
    samples = read_samples(path, ("ids", "attention_mask"))
    assert [sample["ids"].tolist() for sample in samples] == [[[0, 1, 2, 3, 4, 5]], [[6, 7, 8]]]
    short = read_samples(path, ("ids",), 2)
    assert [sample["ids"].tolist() for sample in short] == [[[0, 1]], [[6, 7]]]
    with pytest.raises(
        UsageError, match="no array for the model's input x; it holds ids, attention_mask, other"
    ):
        read_samples(path, ("x",))
    with pytest.raises(UsageError, match="same number of samples of each input"):
        read_samples(path, ("ids", "other"))
    np.savez(path, x=np.array([np.nan]))
    with pytest.raises(UsageError, match="not finite"):
        read_samples(path, ("x",))
    path.write_bytes(b"PK no archive")
    with pytest.raises(UsageError, match="cannot be read as"):
        read_samples(path, ("x",))
    path.write_bytes(b"\x80 no pickle either")
    with pytest.raises(UsageError, match="File is not a zip file"):
        read_samples(path, ("x",))
    for name, what in (("x", "is no array"), ("other", "it holds other"), ("x.npy", "is no array")):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, "hello")
        with pytest.raises(UsageError, match=what):
            read_samples(path, ("x",))
    np.savez(path)
    with pytest.raises(UsageError, match="it holds none"):
        read_samples(path, ("x",))
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (99999999999999999999,), }\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(UsageError, match="cannot be read as"):
        read_samples(path, ("x",))
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(UsageError, match="a single array"):
        read_samples(tmp_path / "one.npy", ("x",))


def test_functions_are_listed_with_their_domain(model, samples) -> None:
    result = quantize_model(model, parse_scheme("w8a8"), samples).model
    names = {function.name for function in result.functions}
    used = {node.op_type for node in result.graph.node if node.domain == DOMAIN}
    assert used <= names
    assert {function.domain for function in result.functions} == {DOMAIN}


@pytest.mark.parametrize("scheme", ["w4a4", "w8a16"])
def test_activations_of_other_widths_are_refused_before_the_work(model, samples, scheme) -> None:
    with pytest.raises(UsageError, match="8-bit integers, and no others"):
        quantize_model(model, parse_scheme(scheme), samples)
