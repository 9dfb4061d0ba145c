"""test_sparse_targets.py: the micro-kernel on other CPUs: run on restricted x86, compiled for ARM."""

import os
import platform
import subprocess
import sys

import llvmlite.binding as llvm
import pytest
from llvmlite import ir

from colonnade.runtime.cpu import restrict_features
from colonnade.runtime.errors import ConfigError
from colonnade.runtime.sparse.forms import Form, choose_float_form, choose_integer_form
from colonnade.runtime.sparse.microkernel import MicroKernelWriter

SCRIPT = """
import numpy as np
from colonnade.runtime.sparse import PillarGrid, conv2d, forms
from colonnade.runtime.sparse.reference import conv2d_reference
rng = np.random.default_rng(0)
sites = np.argwhere(rng.random((9, 13)) < 0.5).astype(np.int32)
for channels, outputs in ((3, 5), (16, 37), (20, 72)):
    features = rng.standard_normal((len(sites), channels)).astype(np.float32)
    grid = PillarGrid.from_coords(sites, features, (9, 13))
    weight = rng.standard_normal((outputs, channels, 3, 3)).astype(np.float32)
    bias = rng.standard_normal(outputs).astype(np.float32)
    result = conv2d(grid, weight, bias, activation="relu").features
    expected = conv2d_reference(grid, weight, bias, activation="relu").features
    assert np.abs(result - expected).max() < 3e-5 * expected.max()
    steps = grid.with_features(rng.integers(0, 256, features.shape).astype(np.uint8))
    integers = rng.integers(-128, 128, weight.shape).astype(np.int8)
    assert np.array_equal(conv2d(steps, integers).features, conv2d_reference(steps, integers).features)
print(forms.FLOAT_FORM.name, forms.INTEGER_FORM.name)
"""

X86 = platform.machine().lower() in ("x86_64", "amd64")


@pytest.mark.skipif(not X86, reason="restricts an x86 CPU")
@pytest.mark.parametrize(
    ("cpu", "features", "forms"),
    [("generic", "", "generic generic"), ("haswell", "+avx,+avx2,+fma,+sse4.2,+bmi,+bmi2", "avx2 avx2")],
)
def test_lesser_x86_cpus_give_right_results(tmp_path, cpu, features, forms):
    if cpu == "haswell" and not llvm.get_host_cpu_features().get("avx2"):
        pytest.skip("this CPU has no AVX2")
    environment = {**os.environ, "NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features}
    environment["NUMBA_CACHE_DIR"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == forms


def compile_micro_kernel(triple: str, cpu: str, features: str, form: Form) -> str:
    """Return the assembly of the widest micro-kernel for another CPU."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = ir.Module("micro_kernel")
    module.triple = triple
    function = MicroKernelWriter(module, form, form.vectors).write()
    function.linkage = "external"
    try:
        target = llvm.Target.from_triple(triple)
    except RuntimeError as error:
        pytest.skip(f"this llvmlite cannot compile for {triple}: {error}")
    machine = target.create_target_machine(cpu=cpu, features=features, opt=3)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    return machine.emit_assembly(parsed)


ARM, X86_LINUX = "aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"


@pytest.mark.parametrize(
    ("choose", "triple", "cpu", "features", "instruction"),
    [
        (choose_float_form, ARM, "cortex-a72", "+neon", "fmla"),
        (choose_float_form, X86_LINUX, "znver4", "+avx512f,+avx512vl", "vfmadd"),
        (choose_float_form, X86_LINUX, "haswell", "+avx2,+fma", "vfmadd"),
        (choose_float_form, X86_LINUX, "x86-64", "", "mulps"),
        (choose_integer_form, ARM, "neoverse-v1", "+neon,+i8mm", "usdot"),
        (choose_integer_form, ARM, "cortex-a72", "+neon", "smull"),
        (choose_integer_form, X86_LINUX, "znver4", "+avx512f,+avx512bw,+avx512vnni", "vpdpbusd"),
        (choose_integer_form, X86_LINUX, "skylake-avx512", "+avx512f,+avx512bw", "vpmaddwd"),
        (choose_integer_form, X86_LINUX, "alderlake", "+avx2,+avxvnni", "vpdpbusd"),
        (choose_integer_form, X86_LINUX, "haswell", "+avx2", "vpmaddwd"),
        (choose_integer_form, X86_LINUX, "x86-64", "", "pmaddwd"),
    ],
)
def test_micro_kernel_uses_the_vector_unit_and_calls_nothing(choose, triple, cpu, features, instruction):
    names = frozenset(name.lstrip("+") for name in features.split(","))
    form = choose(triple.split("-")[0], names)
    assembly = compile_micro_kernel(triple, cpu, features, form)
    assert assembly.count(instruction) >= form.rows * form.vectors
    calls = [line for line in assembly.splitlines() if line.split()[:1] in (["call"], ["callq"], ["bl"])]
    assert not calls  # no library call for each multiply-add


def test_unknown_cpus_get_the_portable_form():
    for architecture, features in (("riscv64", frozenset({"v"})), ("x86_64", frozenset({"avx"}))):
        floats, integers = (
            choose_float_form(architecture, features),
            choose_integer_form(architecture, features),
        )
        assert (floats.name, floats.dot, floats.lanes) == ("generic", "multiply-add", 4)
        assert (integers.name, integers.dot, integers.lanes) == ("generic", "pairs", 4)


def test_a_form_may_be_forced_only_where_the_cpu_has_it():
    everything = frozenset({"avx2", "fma", "avx512f", "avx512bw", "avx512vnni"})
    assert restrict_features(everything, None) == everything
    assert choose_integer_form("x86_64", restrict_features(everything, "avx512")).name == "avx512"
    assert choose_integer_form("x86_64", restrict_features(everything, "generic")).name == "generic"
    with pytest.raises(ConfigError, match="no avx512vnni"):
        restrict_features(frozenset({"avx2"}), "vnni")
    with pytest.raises(ConfigError, match="choose one of amx, vnni, avx512, avx2, generic"):
        restrict_features(everything, "sse")
