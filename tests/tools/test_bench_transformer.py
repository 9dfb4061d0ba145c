"""test_bench_transformer.py: `colonnade bench transformer`: a tiny transformer in all forms, and what is refused."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from dataclasses import replace
from math import erf
from pathlib import Path

import numpy as np
import pytest

from colonnade.runtime.errors import ModelError, UsageError
from colonnade.runtime.lut import NormTables, SoftmaxTables, reference
from colonnade.runtime.transformer import self_test
from colonnade.runtime.transformer.custom_ops import SWITCH, find_verdict
from colonnade.runtime.transformer.quantise import quantize
from colonnade.runtime.transformer.samples import read_samples
from colonnade.tools.bench import table_operators
from colonnade.tools.bench.rounds import Timing
from colonnade.tools.bench.transformer import TransformerBench, TransformerPlan
from colonnade.tools.bench.transformer_models import are_equal
from colonnade.tools.bench.transformer_report import ModelRun, measure_distance
from colonnade.tools.cli import terminal
from colonnade.tools.cli.bench_transformer import print_transformer

onnx = pytest.importorskip(
    "onnx", reason="transformers in ONNX need onnx: pip install 'colonnade[transformer]'"
)
WIDTH, HIDDEN, LENGTH, SAMPLES = 32, 64, 12, 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a float model, its quantised form, another model, and samples."""
    place = tmp_path_factory.mktemp("transformers")
    rng = np.random.default_rng(3)
    onnx.save(draw_model(WIDTH), place / "tiny.onnx")
    onnx.save(draw_model(WIDTH, output="z"), place / "other.onnx")
    np.savez(place / "data.npz", x=rng.normal(0, 1, (SAMPLES, LENGTH, WIDTH)).astype(np.float32))
    samples = read_samples(place / "data.npz", ("x",))
    quantize(place / "tiny.onnx", place / "tiny-w8a8.onnx", scheme="w8a8", calibration=samples, threads=1)
    return place


def draw_model(width: int, output: str = "y") -> onnx.ModelProto:
    """Return norm, product, GELU and product with random weights: float (batch, n, width) to the same."""
    rng = np.random.default_rng(8)
    arrays = {
        "gain": rng.normal(1, 0.1, width),
        "bias": rng.normal(0, 0.1, width),
        "widen": rng.normal(0, width**-0.5, (width, HIDDEN)),
        "narrow": rng.normal(0, HIDDEN**-0.5, (HIDDEN, width)),
    }
    node = onnx.helper.make_node
    nodes = [
        node("LayerNormalization", ["x", "gain", "bias"], ["normed"], name="norm"),
        node("MatMul", ["normed", "widen"], ["wide"], name="widening"),
        node("Gelu", ["wide"], ["curved"], name="curve"),
        node("MatMul", ["curved", "narrow"], [output], name="narrowing"),
    ]
    kind = onnx.TensorProto.FLOAT
    ends = [onnx.helper.make_tensor_value_info(name, kind, ["batch", "n", width]) for name in ("x", output)]
    stored = [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in arrays.items()]
    graph = onnx.helper.make_graph(nodes, "tiny", ends[:1], ends[1:], stored)
    opsets = [onnx.helper.make_opsetid("", 20)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)


def make_bench(folder: Path, *quantised: str, threads: tuple[int, ...] = (1,)) -> TransformerBench:
    plan = TransformerPlan(threads, rounds=1, operators=False)
    paths = [folder / f"{name}.onnx" for name in quantised]
    return TransformerBench(folder / "tiny.onnx", paths, folder / "data.npz", plan)


def test_every_form_is_measured_and_compared(folder: Path) -> None:
    bench = make_bench(folder, "tiny-w8a8")
    calls: list[None] = []
    report = bench.run(lambda: calls.append(None))
    assert len(calls) == bench.calls
    forms = [(run.name, run.form) for run in report.runs]
    expected = [("tiny", "float"), ("tiny", "dynamic"), ("tiny-w8a8", "portable"), ("tiny-w8a8", "fast")]
    assert forms == expected[: len(forms)]
    assert len(forms) + len(report.missing) == len(expected)
    exact, dynamic, *quantised = report.runs
    assert (exact.speedup, exact.distances, exact.same_as_portable) == (1.0, (), None)
    assert dynamic.over_dynamic == 1.0
    for run in (dynamic, *quantised):
        (distance,) = run.distances
        assert distance.output == "y"
        assert 0.0 < distance.relative < 0.05
        assert run.speedup == exact.timing.ms / run.timing.ms
    assert {run.bytes for run in quantised} == {(folder / "tiny-w8a8.onnx").stat().st_size}
    assert [run.same_as_portable for run in quantised] == [None, True][: len(quantised)]
    assert (report.samples, report.timed_shapes) == (SAMPLES, (("x", (1, LENGTH, WIDTH)),))


def test_every_number_of_threads_has_its_own_ratios(folder: Path) -> None:
    report = make_bench(folder, "tiny-w8a8", threads=(2, 1)).run()
    first = report.runs[:2]
    assert [run.timing.threads for run in report.runs] == [2, 1] * (len(report.runs) // 2)
    for place, run in enumerate(report.runs):
        assert run.speedup == first[place % 2].timing.ms / run.timing.ms


def test_forms_that_cannot_be_had_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "portable")
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "onnxruntime.quantization", raising=False)
    for name in [name for name in sys.modules if name.startswith("onnxruntime.quantization.")]:
        monkeypatch.delitem(sys.modules, name)
    find_verdict.cache_clear()
    try:
        report = make_bench(folder, "tiny-w8a8").run()
    finally:
        find_verdict.cache_clear()
    assert [run.form for run in report.runs] == ["float", "portable"]
    assert all(run.over_dynamic is None for run in report.runs)
    assert ["colonnade[bench]" in report.missing[0], SWITCH in report.missing[1]] == [True, True]
    assert table_operators.open_pairs()[0] == ()


def test_a_file_without_tables_has_no_fast_form(folder: Path) -> None:
    report = make_bench(folder, "tiny").run()
    assert [run.form for run in report.runs] == ["float", "dynamic", "portable"]
    assert report.runs[-1].distances[0].relative == 0.0
    assert "no functions" in report.missing[0]


def test_what_is_not_a_form_of_the_model_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"other\.onnx: its outputs are z"):
        make_bench(folder, "other")
    onnx.save(draw_model(WIDTH), tmp_path / "broken.onnx")
    (tmp_path / "broken.onnx").write_bytes((tmp_path / "broken.onnx").read_bytes()[:-100])
    with pytest.raises(ModelError, match="broken"):
        make_bench(folder, str(tmp_path / "broken"))
    with pytest.raises(ModelError, match="nothing"):
        make_bench(folder, "nothing")
    for plan in ({"threads": ()}, {"threads": (1, 1)}, {"rounds": 0}):
        with pytest.raises(UsageError):
            TransformerPlan(**plan)


def test_distances_are_those_of_the_formula() -> None:
    exact = [np.array([[3.0, 4.0]], np.float32), np.array([[0.0, 0.0]], np.float32)]
    found = [np.array([[3.0, 4.5]], np.float32), np.array([[0.0, 1.2]], np.float32)]
    distance = measure_distance("y", exact, found)
    assert distance.relative == pytest.approx(1.3 / 5.0)
    assert distance.largest == pytest.approx(1.2)
    assert distance.same_choice == 0.5
    assert measure_distance("y", exact, exact).relative == 0.0
    endless = measure_distance("y", exact[:1], [np.array([[np.inf, 0.0]], np.float32)])
    assert (endless.relative, endless.largest) == (None, None)


def test_outputs_are_equal_when_all_bits_are() -> None:
    zero = {"y": np.zeros((2, 3), np.float32)}
    assert are_equal([zero], [{"y": np.zeros((2, 3), np.float32)}])
    assert not are_equal([zero], [{"y": -np.zeros((2, 3), np.float32)}])
    assert not are_equal([zero], [{"y": np.zeros((2, 3), np.float64)}])


def test_operators_are_timed_on_what_they_stand_for() -> None:
    """What they give, by the reference, is what the float operators beside them give."""
    pairs = {fast.name: (fast, exact.value) for fast, exact in table_operators.draw_cases()}
    assert all(fast.value.shape == x.shape for fast, x in pairs.values())
    fast, x = pairs["TableU8"]
    table = self_test.unpack(fast.constants)
    assert table.narrow  # or it would be looked up number by number
    found = reference.apply(fast.value, table).astype(float) - table_operators.CURVE_ZERO
    exact = x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2.0)))
    np.testing.assert_allclose(found * table_operators.CURVE_STEP, exact, atol=0.05)
    fast, x = pairs["SoftmaxU8"]
    tables = SoftmaxTables(*map(self_test.unpack, (fast.constants[:4], fast.constants[4:])), 8)
    powers = np.exp(x.astype(float))
    exact = powers / powers.sum(-1, keepdims=True)
    np.testing.assert_allclose(reference.softmax(fast.value, tables) / 255.0, exact, atol=0.02)
    fast, x = pairs["LayerNormU8"]
    levels, gamma, beta = fast.constants[4:]
    norm = NormTables(self_test.unpack(fast.constants[:4]), *map(int, levels))
    found = reference.layer_norm(fast.value, norm, gamma, beta).astype(float) - table_operators.NORM_ZERO
    gain, bias = next(exact.constants for _, exact in table_operators.draw_cases() if exact.constants)
    wide = x.astype(float)
    exact = (wide - wide.mean(-1, keepdims=True)) / wide.std(-1, keepdims=True) * gain + bias
    close = np.abs(found * table_operators.NORM_STEP - exact) < 0.1
    assert close[np.abs(exact) < 4.9].all()  # beyond, bytes saturate


def test_operators_by_themselves(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not find_verdict().usable:
        pytest.skip(find_verdict().reason)
    for name in ("CURVE_SHAPE", "SOFTMAX_SHAPE", "NORM_SHAPE"):
        monkeypatch.setattr(table_operators, name, (2, 16))
    plan = TransformerPlan((1,), rounds=1)
    bench = TransformerBench(folder / "tiny.onnx", [], folder / "data.npz", plan)
    report = bench.run()
    assert [(run.against, run.shape) for run in report.operators] == [
        (name, (2, 16)) for name in ["Gelu"] * 2 + ["Softmax"] + ["LayerNormalization"] * 3
    ]
    assert all(run.ratio == run.microseconds / run.float_microseconds for run in report.operators)


def test_the_command_prints_and_writes(colonnade, folder: Path) -> None:
    call = ("bench", "transformer", folder / "tiny.onnx", folder / "tiny-w8a8.onnx", "--no-operators", "-q")
    outcome = colonnade(*call, "--inputs", folder / "data.npz", "--rounds", 1, "--json", "speed.json")
    assert outcome.code == 0, outcome.err
    for word in ("x 1x12x32", "dynamic", "portable", "5 samples of data.npz"):
        assert word in outcome.out
    content = json.loads(Path("speed.json").read_text(encoding="utf-8"))
    assert content["schema"] == "colonnade-bench-transformer"
    assert content["timed_shapes"] == {"x": [1, LENGTH, WIDTH]}
    slower = [run for run in content["runs"] if run["speedup"] < 1.0]
    assert outcome.err.count("slower than the float model") == len(slower)
    outcome = colonnade(*call, "--calibrate", folder / "data.npz", "--rounds", 1, "--json", "speed.json")
    assert outcome.code == 0, outcome.err


def test_the_command_says_what_is_slower_and_what_differs(
    capfd: pytest.CaptureFixture[str], folder: Path
) -> None:
    report = make_bench(folder).run()
    slow = ModelRun("lame", "fast", 1, Timing(1, 8.0, 8.0, 8.0, 8.0), 0.5, None, (), False)
    print_transformer(replace(report, runs=(report.runs[0], slow)))
    shown = " ".join(capfd.readouterr().err.split())
    assert "lame, fast is slower than the float model on 1 thread: it takes 2.00 times as long" in shown
    assert "lame, fast: the outputs are not those of the portable form" in shown


def test_the_command_refuses_to_overwrite_its_inputs(colonnade, folder: Path) -> None:
    call = ("bench", "transformer", folder / "tiny.onnx", "--inputs", folder / "data.npz", "-q", "--json")
    assert colonnade(*call, folder / "tiny.onnx").code == 2
    Path("notes.json").write_text("{}")
    assert colonnade(*call, "notes.json").code == 2
    assert Path("notes.json").read_text() == "{}"


def test_every_step_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(terminal, "progress_bar", lambda *given, **options: nullcontext(seen.append))
    with terminal.step_bar("measuring", 3) as advance:
        for _ in range(3):
            advance()
    assert seen == [1, 2, 3]
