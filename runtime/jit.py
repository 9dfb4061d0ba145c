"""jit.py: the one place that decides how Numba compiles (cache, fast-math, parallel, error model)."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

from .errors import ConfigError

_pool = os.environ.get("NUMBA_NUM_THREADS", "").strip()
if _pool and not (_pool.isdecimal() and int(_pool) > 0):
    raise ConfigError(
        f"NUMBA_NUM_THREADS={_pool}: must be a whole number of threads above 0; change or unset it"
    )

import numba as numba  # noqa: E402

from .kernel_cache import STORE, KernelCache  # noqa: E402

F = TypeVar("F", bound=Callable[..., Any])

# No fast-math: results must be the same bits whatever the thread count or the vector width.
# No C wrapper: nobody calls kernels from C, and it costs compile time.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": False,
    "no_cfunc_wrapper": True,
}

_CALLBACK_OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": False}
_callbacks: list[Any] = []  # their code goes when they go

# A kernel that makes no arrays of its own needs no counting of references to them: it is compiled and called faster
# without. What makes arrays is known by these names; a kernel that did so by another one would not compile. Nor may one
# that calls such a kernel do without: it would never free the array that it is handed.
_ALLOCATING = frozenset(
    {
        "array",
        "arange",
        "carray",
        "copy",
        "empty",
        "empty_like",
        "full",
        "ones",
        "sort",
        "zeros",
        "zeros_like",
    }
)

# Only `prange` runs in parallel: each other loop that Numba would make parallel by itself is compiled twice.
_PARALLEL = {
    "prange": True,
    "comprehension": False,
    "reduction": False,
    "inplace_binop": False,
    "setitem": False,
    "numpy": False,
    "stencil": False,
    "fusion": False,
}


def kernel(function: F) -> F:
    """Compile `function` for one thread."""
    return _compile(function, parallel=False)


def parallel_kernel(function: F) -> F:
    """Compile `function` with `prange` loops; every iteration must write its own outputs only.

    Such a kernel takes about 0.7 s longer to compile than a plain one.
    """
    return _compile(function, parallel=_PARALLEL)


@cache
def compile_callback(function: Callable[..., int]) -> int:
    """Return the address of `function` compiled for callers in C: every argument an int64, and so the result.

    It stays valid to the end of the process. The function may call kernels.
    """
    from numba.core.ccallback import CFunc

    words = (numba.types.int64,) * len(signature(function).parameters)
    callback: Any = CFunc(function, (words, numba.types.int64), {}, dict(_CALLBACK_OPTIONS))
    if Path(function.__code__.co_filename).is_file():
        callback._cache = KernelCache(function, STORE)
    callback.compile()
    _callbacks.append(callback)
    return int(callback.address)


def _compile(function: F, *, parallel: Any) -> F:
    options = {
        **_OPTIONS,
        "parallel": parallel,
        "_nrt": _counts_references(function),
    }
    dispatcher: Any = numba.njit(**options)(function)
    # With NUMBA_DISABLE_JIT the function comes back; a function typed in has no file whose edits could be seen.
    if dispatcher is not function and Path(function.__code__.co_filename).is_file():
        dispatcher._cache = KernelCache(function, STORE)
    return dispatcher  # type: ignore[no-any-return]


def _counts_references(function: F) -> bool:
    names = function.__code__.co_names
    called = (function.__globals__.get(name) for name in names)
    options = (getattr(kernel, "targetoptions", None) or {} for kernel in called)
    return not _ALLOCATING.isdisjoint(names) or any(option.get("_nrt", False) for option in options)


prange = numba.prange
