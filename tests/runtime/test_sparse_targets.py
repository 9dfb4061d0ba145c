"""test_sparse_targets.py: the micro-kernel on other CPUs: run on restricted x86, compiled for ARM."""

import os
import platform
import subprocess
import sys

import llvmlite.binding as llvm
import pytest
from llvmlite import ir

from colonnade.runtime.sparse.kernels import Tile, _MicroKernelWriter, choose_tile

SCRIPT = """
import numpy as np
from colonnade.runtime.sparse import PillarGrid, conv2d, kernels
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
print(kernels.TILE)
"""

X86 = platform.machine().lower() in ("x86_64", "amd64")


@pytest.mark.skipif(not X86, reason="restricts an x86 CPU")
@pytest.mark.parametrize(
    ("cpu", "features", "tile"),
    [
        ("generic", "", Tile(lanes=4, vectors=2, rows=4, fused=False)),
        ("haswell", "+avx,+avx2,+fma,+sse4.2,+bmi,+bmi2", Tile(lanes=8, vectors=2, rows=6, fused=True)),
    ],
)
def test_lesser_x86_cpus_give_right_results(tmp_path, cpu, features, tile):
    if cpu == "haswell" and not llvm.get_host_cpu_features().get("avx2"):
        pytest.skip("this CPU has no AVX2")
    environment = {**os.environ, "NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features}
    environment["NUMBA_CACHE_DIR"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tile)


def compile_micro_kernel(triple: str, cpu: str, features: str, tile: Tile) -> str:
    """Return the assembly of the widest micro-kernel for another CPU."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = ir.Module("micro_kernel")
    module.triple = triple
    function = _MicroKernelWriter(module, tile, tile.vectors).write()
    function.linkage = "external"
    try:
        target = llvm.Target.from_triple(triple)
    except RuntimeError as error:
        pytest.skip(f"this llvmlite cannot compile for {triple}: {error}")
    machine = target.create_target_machine(cpu=cpu, features=features, opt=3)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    return machine.emit_assembly(parsed)


@pytest.mark.parametrize(
    ("triple", "cpu", "features", "multiply_add"),
    [
        ("aarch64-unknown-linux-gnu", "cortex-a72", "+neon", "fmla"),
        ("x86_64-unknown-linux-gnu", "znver4", "+avx512f,+avx512vl", "vfmadd"),
        ("x86_64-unknown-linux-gnu", "haswell", "+avx2,+fma", "vfmadd"),
        ("x86_64-unknown-linux-gnu", "x86-64", "", "mulps"),
    ],
)
def test_micro_kernel_uses_the_vector_unit_and_calls_nothing(triple, cpu, features, multiply_add):
    names = frozenset(name.lstrip("+") for name in features.split(","))
    tile = choose_tile(triple.split("-")[0], names)
    assembly = compile_micro_kernel(triple, cpu, features, tile)
    assert assembly.count(multiply_add) >= tile.rows * tile.vectors
    calls = [line for line in assembly.splitlines() if line.split()[:1] in (["call"], ["callq"], ["bl"])]
    assert not calls  # no library call for each multiply-add


def test_unknown_cpus_get_the_portable_tile():
    assert choose_tile("riscv64", frozenset({"v"})) == Tile(lanes=4, vectors=2, rows=4, fused=False)
    assert choose_tile("x86_64", frozenset({"avx"})) == Tile(lanes=4, vectors=2, rows=4, fused=False)
