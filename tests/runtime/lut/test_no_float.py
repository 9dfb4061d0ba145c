"""test_no_float.py: the compiled integer kernels hold no floating-point instruction, and the check can tell."""

import re

import numpy as np
import pytest

from colonnade.runtime.jit import numba
from colonnade.runtime.lut import build_norm, build_softmax, fit, kernels, quantise_affine

_ASM = re.compile(
    r"^\s*v?(?:add|sub|mul|div|sqrt|rsqrt|rcp|round|min|max|cmp|fn?m(?:add|sub)\d*|u?comi)(?:ss|sd|ps|pd)\b"
    r"|^\s*v?cvt\w+|^\s*f(?:add|sub|mul|div|sqrt|madd|msub|cvt\w*|cmp)\b|^\s*[su]cvtf\b",
    re.MULTILINE,
)
_LLVM = re.compile(
    r"= (?:fast |nnan |ninf |nsz |arcp |contract )*(?:f(?:add|sub|mul|div|rem|neg|cmp|ptosi|ptoui)|sitofp|uitofp)\b"
)
KERNELS = (
    kernels.look_up,
    kernels._look_up_vectors,
    kernels.look_up_one,
    kernels.softmax_rows,
    kernels.norm_rows,
)


def find_float(dispatcher) -> list[str]:
    """Compile a kernel afresh for its signatures and return its floating-point instructions."""
    fresh = numba.njit(nogil=True, error_model="numpy")(dispatcher.py_func)
    found = []
    for signature in dispatcher.signatures:
        fresh.compile(signature)
    assert fresh.signatures, "nothing was compiled"
    for signature in fresh.signatures:
        assembly, code = fresh.inspect_asm(signature), fresh.inspect_llvm(signature)
        assert dispatcher.py_func.__name__ in assembly
        found += _ASM.findall(assembly) + _LLVM.findall(code)
    return found


@pytest.fixture(scope="module", autouse=True)
def run_everything():
    """Give every kernel the signatures that it is used with."""
    x_q = np.arange(-80, 80, dtype=np.int32).reshape(2, 80)
    gamma_q, beta_q = quantise_affine(np.ones(80), np.zeros(80), 0.1)
    for entries in (16, 40):
        table = fit("gelu", entries=entries)
        for bits in (8, 16, 32):
            kernels.apply(x_q, table.to_integer(0.1, 0.1, input_bits=bits, output_bits=bits))
    for dtype in (np.int8, np.uint8, np.int32):
        values = x_q.astype(dtype)
        kernels.apply(values, table.to_integer(0.1, 0.1, input_bits=8, output_bits=8))
        for bits in (8, 16):
            kernels.softmax(values, build_softmax(0.1, output_bits=bits))
        for operator in (kernels.layer_norm, kernels.rms_norm):
            operator(values, build_norm(0.1, 1e-5), gamma_q, beta_q)
    numbers = kernels.unpack(table.to_integer(0.1, 0.1))
    kernels.look_up_one(5, *numbers)
    kernels._look_up_vectors(0, 0, 80, 0, x_q[0], *numbers, np.empty(80, np.int32))


@pytest.mark.parametrize("dispatcher", KERNELS, ids=lambda dispatcher: dispatcher.py_func.__name__)
def test_no_kernel_holds_a_float_instruction(dispatcher):
    assert find_float(dispatcher) == []


def _scale(x, out):
    for place in range(x.size):
        out[place] = x[place] * 0.37


def test_the_check_finds_floats_where_there_are_some():
    dispatcher = numba.njit(_scale)
    dispatcher(np.arange(40, dtype=np.int32), np.empty(40, np.int32))
    found = find_float(dispatcher)
    assert any("cvt" in text for text in found)
    assert any("mul" in text for text in found)
