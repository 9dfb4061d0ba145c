"""test_custom_ops.py: compiled operators give the integers of the reference, and do no harm where there are none."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.runtime.errors import ModelError
from colonnade.runtime.kernel_cache import KernelStore
from colonnade.runtime.transformer import custom_ops, elf_shim, onnx_wire, self_test
from colonnade.runtime.transformer.operators import DOMAIN, OPERATORS, Operator

onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.skipif(
    bool(elf_shim.find_obstacle()), reason=f"no fast operators here: {elf_shim.find_obstacle()}"
)
NAMES = [operator.name for operator in OPERATORS]


def find_operator(name: str) -> Operator:
    return next(operator for operator in OPERATORS if operator.name == name)


@cache
def open_session(name: str) -> Any:
    return self_test.open_session(find_operator(name))


@pytest.fixture
def store(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[KernelStore]:
    """Give verdicts a store of their own, and forget those of this process."""
    fresh = KernelStore(tmp_path / "cache", "trial")
    monkeypatch.setattr(custom_ops, "STORE", fresh)
    custom_ops.find_verdict.cache_clear()
    yield fresh
    custom_ops.find_verdict.cache_clear()


@pytest.mark.parametrize("name", NAMES)
@given(
    shape=st.one_of(
        st.tuples(st.integers(0, 3), st.integers(1, 70)),
        st.tuples(st.integers(1, 3), st.integers(0, 3), st.integers(1, 40), st.integers(1, 20)),
        st.tuples(st.integers(1, 600)),
    ),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None)
def test_integers_are_those_of_the_reference(name: str, shape: tuple[int, ...], seed: int) -> None:
    case = self_test.draw_case(name, shape, np.random.default_rng(seed))
    self_test.compare(name, self_test.run(open_session(name), case.inputs), case.expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 12, 128, 128), (1, 128, 1536), (3, 0), (0,), (1, 16384)])
def test_large_and_empty_arrays(name: str, shape: tuple[int, ...]) -> None:
    case = self_test.draw_case(name, shape, np.random.default_rng(1))
    self_test.compare(name, self_test.run(open_session(name), case.inputs), case.expected)


def test_extreme_integers_and_wide_tables() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([[-(2**31), 2**31 - 1, 0, -1], rng.integers(-(2**31), 2**31, 5000)]).astype(
        np.int32
    )
    for entries in (2, 15, 16, 17, 256):
        slopes = rng.integers(-(2**30), 2**30, entries).astype(np.int32)
        points = np.sort(rng.integers(-(2**31), 2**31, entries - 1)).astype(np.int32)
        intercepts = rng.integers(-(2**61), 2**61, entries)
        limits = np.array([40, -(2**31), 2**31 - 1, -(2**31), 2**31 - 1], np.int64)
        found = self_test.run(open_session("TableI32"), (values, points, slopes, intercepts, limits))
        table = self_test.unpack((points, slopes, intercepts, limits))
        self_test.compare("TableI32", found, self_test.reference.apply(values, table).astype(np.int32))


def test_the_generic_form_gives_the_same_integers(tmp_path: Any) -> None:
    """Without the permutes of AVX-512, comparisons choose the segments."""
    names = ["TableU8", "SoftmaxU8"]
    program = f"from colonnade.runtime.transformer import self_test; self_test.check_operators({names})"
    environment = {**os.environ, "COLONNADE_KERNEL": "generic", "COLONNADE_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_sessions_and_threads_at_once() -> None:
    rng = np.random.default_rng(5)
    jobs = [
        (name, self_test.draw_case(name, (64, 77), rng)) for name in ("TableU8", "SoftmaxU8", "LayerNormU8")
    ]
    wrong: list[str] = []

    def work(offset: int) -> None:
        for turn in range(60):
            name, case = jobs[(turn + offset) % len(jobs)]
            if not np.array_equal(self_test.run(open_session(name), case.inputs), case.expected):
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_wrong_types_are_refused_by_onnxruntime() -> None:
    operator = find_operator("TableU8")
    inputs = [("x0", 1), *((f"x{place}", int(kind)) for place, kind in enumerate(operator.inputs) if place)]
    model = onnx_wire.write_model("TableU8", DOMAIN, inputs, [("y", 2)])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    assert custom_ops.register_untested(options, frozenset({"TableU8"}))
    with pytest.raises(Exception, match=r"INVALID_GRAPH|Type Error"):
        onnxruntime.InferenceSession(model, options)


@pytest.mark.parametrize(
    ("name", "place", "size", "message"),
    [
        ("TableU8", 2, 0, "one or more"),
        ("TableU8", 3, 5, "as many intercepts"),
        ("TableI32", 1, 0, "breakpoint between"),
        ("TableI32", 4, 4, "limits"),
        ("SoftmaxU8", 8, 1, "limits"),
        ("LayerNormU8", 6, 3, "as long as the rows"),
        ("RmsNormI32", 5, 2, "epsilon"),
        ("LookupU8", 1, 255, "256"),
        ("QuantisedTableU8", 1, 0, "one number"),
    ],
)
def test_wrong_sizes_are_told_and_do_no_harm(name: str, place: int, size: int, message: str) -> None:
    case = self_test.draw_case(name, (3, 40), np.random.default_rng(2))
    inputs = list(case.inputs)
    inputs[place] = np.resize(inputs[place], size)
    if name == "TableI32" and place == 1:
        inputs[2:4] = [np.resize(inputs[2], 9), np.resize(inputs[3], 9)]
    with pytest.raises(Exception, match=message):
        self_test.run(open_session(name), tuple(inputs))
    self_test.compare(name, self_test.run(open_session(name), case.inputs), case.expected)


def test_rows_beyond_the_arithmetic_are_refused() -> None:
    case = self_test.draw_case("SoftmaxU8", (1, 16384), np.random.default_rng(2))
    longer = np.zeros((1, 16385), np.int32)
    with pytest.raises(Exception, match="16384"):
        self_test.run(open_session("SoftmaxU8"), (longer, *case.inputs[1:]))


def test_ten_thousand_runs_keep_the_memory() -> None:
    case = self_test.draw_case("SoftmaxU8", (2, 500), np.random.default_rng(4))
    norm = self_test.draw_case("QuantisedLayerNormU8", (2, 500), np.random.default_rng(4))
    sizes = []
    for _ in range(5):
        for _ in range(2000):
            self_test.run(open_session("SoftmaxU8"), case.inputs)
            self_test.run(open_session("QuantisedLayerNormU8"), norm.inputs)
        with open("/proc/self/statm") as file:
            sizes.append(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    assert (
        sizes[-1] - sizes[0] < 2_000_000
    )  # the smallest leak, 8 bytes of each array of 500, were 160 kB a turn


def test_a_session_outlives_its_options() -> None:
    case = self_test.draw_case("LookupU8", (50,), np.random.default_rng(4))
    for _ in range(20):
        session = self_test.open_session(find_operator("LookupU8"))
        self_test.compare("LookupU8", self_test.run(session, case.inputs), case.expected)


def test_a_process_with_sessions_ends_in_peace() -> None:
    program = (
        "from colonnade.runtime.transformer import self_test, operators\n"
        "kept = [self_test.open_session(operators.OPERATORS[0]) for _ in range(3)]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_verdict_is_found_once_and_kept(store: KernelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert custom_ops.find_verdict() == custom_ops.Verdict(True)
    custom_ops.find_verdict.cache_clear()
    monkeypatch.setattr(custom_ops, "_TEST", "raise SystemExit('must not run again')")
    assert custom_ops.available()
    options = onnxruntime.SessionOptions()
    assert custom_ops.register(options, ["LookupU8", "NotAnOperator"])


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import os; os.abort()", "ended by signal 6"),
        ("raise ValueError('no such thing')", "no such thing"),
        ("import ctypes; ctypes.string_at(0)", "ended by signal 11"),
        ("import time; time.sleep(60)", "took longer"),
    ],
)
def test_whatever_the_test_dies_of_sessions_stay_portable(
    store: KernelStore, monkeypatch: pytest.MonkeyPatch, program: str, reason: str
) -> None:
    monkeypatch.setattr(custom_ops, "_TEST", program)
    monkeypatch.setattr(custom_ops, "_TEST_SECONDS", 5.0)
    options = onnxruntime.SessionOptions()
    assert not custom_ops.register(options, ["LookupU8"])
    assert reason in custom_ops.find_verdict(frozenset({"LookupU8"})).reason
    # Kept, and asked for again a day later.
    custom_ops.find_verdict.cache_clear()
    monkeypatch.setattr(custom_ops, "_TEST", "pass")
    assert not custom_ops.available()
    custom_ops.find_verdict.cache_clear()
    monkeypatch.setattr(custom_ops.time, "time", lambda: 2e12)
    assert custom_ops.available()


@pytest.mark.parametrize(
    "change",
    [
        "ort_abi.Api._value2member_map_; ort_calls._GET_INPUT = 8 * ort_abi.Api.GET_OUTPUT",
        "operator_kernels.LANES; table_lanes.Packed; ort_abi.API_VERSION; custom_ops.API_VERSION = 9999",
    ],
    ids=["a wrong place in the table of functions", "a version that onnxruntime does not have"],
)
def test_a_changed_interface_fails_the_test(
    store: KernelStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, change: str
) -> None:
    program = (
        "import sys; sys.path[:] = sys.argv[3:]\n"
        "from colonnade.runtime.transformer import ort_abi, ort_calls, operator_kernels, table_lanes, custom_ops\n"
        f"{change}\n"
        "from colonnade.runtime.transformer import self_test\n"
        "self_test.check_operators(sys.argv[2].split(','))\n"
    )
    monkeypatch.setenv("COLONNADE_CACHE_DIR", str(tmp_path / "kernels"))
    monkeypatch.setattr(custom_ops, "_TEST", program)
    verdict = custom_ops.find_verdict()
    assert not verdict.usable
    assert "fast operators" in verdict.reason


def test_the_switch_turns_them_off(store: KernelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(custom_ops.SWITCH, "portable")
    assert not custom_ops.available()
    assert custom_ops.SWITCH in custom_ops.find_verdict().reason


def test_other_systems_and_programs_are_told_why(store: KernelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(custom_ops.sys, "executable", "/opt/viewer/viewer")
    assert "not started by one" in custom_ops.find_verdict().reason
    monkeypatch.setattr(elf_shim.platform, "machine", lambda: "riscv64")
    assert "riscv64" in elf_shim.find_obstacle()
    monkeypatch.setattr(elf_shim.sys, "platform", "win32")
    assert "win32" in elf_shim.find_obstacle()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_shim_is_what_loaders_expect(machine: str) -> None:
    shim = elf_shim.write_shim(machine, 0x1122334455667788)
    assert shim[:4] == b"\x7fELF"
    assert len(shim) < 1024
    assert (0x1122334455667788).to_bytes(8, "little") in shim
    assert elf_shim.EXPORT + b"\0" in shim


def test_a_shim_jumps_and_asks_for_no_stack_that_can_be_run() -> None:
    import ctypes

    kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
    add = kind(lambda a, b: a + b)
    shim = elf_shim.load_shim(ctypes.cast(add, ctypes.c_void_p).value or 0)
    assert kind(("RegisterCustomOps", shim.library))(40, 2) == 42
    with open("/proc/self/maps") as file:
        assert not [line for line in file if line.rstrip().endswith("[stack]") and "x" in line.split()[1]]


def test_models_without_our_functions_come_back_as_they_are() -> None:
    model = onnx_wire.write_model("Relu", "", [("x", 1)], [("y", 1)])
    assert custom_ops.bind_fast_operators(model) == model
    assert custom_ops.find_functions(model) == frozenset()


@given(data=st.binary(max_size=200))
def test_bytes_that_are_no_model_end_in_an_error_or_unchanged(data: bytes) -> None:
    with suppress(ModelError):
        assert custom_ops.bind_fast_operators(data) == data


@cache
def open_portable(name: str) -> tuple[Any, Any]:
    """Return sessions of one file with functions: as it is, and with compiled operators."""
    onnx = pytest.importorskip("onnx")
    from colonnade.runtime.transformer import functions, fused_functions

    operator, opset = find_operator(name), 17
    inner = fused_functions.find_inner(name)
    written = [functions.write_function(inner, opset)]
    if name != inner:
        written.append(fused_functions.write_fused_function(name, opset))
    helper = onnx.helper
    inputs = [
        helper.make_tensor_value_info(f"x{k}", int(kind), None) for k, kind in enumerate(operator.inputs)
    ]
    node = helper.make_node(name, [value.name for value in inputs], ["y"], domain=DOMAIN)
    graph = helper.make_graph(
        [node], "g", inputs, [helper.make_tensor_value_info("y", int(operator.output), None)]
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(
        graph, functions=written, opset_imports=opsets, ir_version=8
    ).SerializeToString()
    options = onnxruntime.SessionOptions()
    fast = custom_ops.make_fast(model, options)
    assert fast != model
    assert custom_ops.find_functions(model) == {name, inner}
    assert custom_ops.find_functions(fast) == frozenset()
    return onnxruntime.InferenceSession(model), onnxruntime.InferenceSession(fast, options)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "LookupU8"])
@given(
    shape=st.one_of(
        st.tuples(st.integers(1, 3), st.integers(1, 70)),
        st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 30), st.integers(1, 20)),
    ),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=15, deadline=None)
def test_one_file_gives_the_same_portable_and_fast(name: str, shape: tuple[int, ...], seed: int) -> None:
    case = self_test.draw_case(name, shape, np.random.default_rng(seed))
    portable, fast = (self_test.run(session, case.inputs) for session in open_portable(name))
    self_test.compare(name, fast, portable)
    self_test.compare(name, fast, case.expected)


def test_a_file_stays_portable_where_the_switch_says_so(
    store: KernelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = onnx_wire.write_bytes(onnx_wire.Function.NAME, "TableU8")
    field += onnx_wire.write_bytes(onnx_wire.Function.DOMAIN, DOMAIN)
    model = onnx_wire.write_model("Relu", "", [("x", 1)], [("y", 1)])
    whole = model + onnx_wire.write_bytes(onnx_wire.Model.FUNCTIONS, field)
    assert custom_ops.bind_fast_operators(whole) == model
    monkeypatch.setenv(custom_ops.SWITCH, "portable")
    assert custom_ops.make_fast(whole, onnxruntime.SessionOptions()) == whole


def test_functions_without_a_compiled_form_stay_beside_those_with_one() -> None:
    onnx = pytest.importorskip("onnx")
    from colonnade.runtime.transformer import functions

    helper, opsets = onnx.helper, [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid(DOMAIN, 1)]
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    twice = helper.make_function(DOMAIN, "Twice", ["a"], ["b"], body, opsets[:1])
    written = [functions.write_function("TableI32", 17), twice]
    case = self_test.draw_case("TableI32", (3, 50), np.random.default_rng(6))
    names = [f"x{place}" for place in range(5)]
    kinds = find_operator("TableI32").inputs
    inputs = [
        helper.make_tensor_value_info(name, int(kind), None) for name, kind in zip(names, kinds, strict=True)
    ]
    nodes = [
        helper.make_node("TableI32", names, ["t"], domain=DOMAIN),
        helper.make_node("Twice", ["t"], ["y"], domain=DOMAIN),
    ]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", 6, None)])
    model = helper.make_model(
        graph, functions=written, opset_imports=opsets, ir_version=8
    ).SerializeToString()
    options = onnxruntime.SessionOptions()
    fast = custom_ops.make_fast(model, options)
    assert len(fast) < len(model)
    session = onnxruntime.InferenceSession(fast, options)
    self_test.compare("Twice", self_test.run(session, case.inputs), 2 * case.expected)
