"""test_jit.py: compiled kernels free the arrays that they make, and those that they are handed."""

import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys

from colonnade.runtime.jit import kernel, numba


@kernel
def make_steps(count):
    steps = np.empty(count, np.int64)
    for place in range(count):
        steps[place] = place
    return steps


@kernel
def add_steps(count):
    return make_steps(count).sum()


@kernel
def add_nested_steps(count):
    return add_steps(count) + 1


@kernel
def double(value):
    return 2 * value


@kernel
def double_twice(value):
    return double(double(np.int64(value)))


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="NUMBA_DISABLE_JIT is set: nothing is compiled")
@pytest.mark.parametrize(("caller", "expected"), [(add_steps, 10), (add_nested_steps, 11)])
def test_arrays_of_called_kernels_are_freed(caller, expected) -> None:
    assert caller(5) == expected
    _nrt_python.memsys_enable_stats()
    try:
        before = rtsys.get_allocation_stats()
        for _ in range(20):
            caller(5)
        after = rtsys.get_allocation_stats()
    finally:
        _nrt_python.memsys_disable_stats()
    assert after.alloc - before.alloc == 20
    assert after.free - before.free == 20


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="NUMBA_DISABLE_JIT is set: nothing is compiled")
def test_kernels_without_arrays_count_no_references() -> None:
    assert [double(3), double_twice(3)] == [6, 12]
    kernels = (double, double_twice, make_steps, add_steps)
    assert [item.targetoptions["_nrt"] for item in kernels] == [False, False, True, True]
