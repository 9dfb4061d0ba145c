"""jit.py: the one place that decides how Numba compiles (cache, fast-math, parallel, error model)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from .errors import ConfigError

_cache_dir = os.environ.get("COLONNADE_CACHE_DIR")
if _cache_dir and "NUMBA_CACHE_DIR" not in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = _cache_dir  # Numba reads it when it is first imported

_pool = os.environ.get("NUMBA_NUM_THREADS", "").strip()
if _pool and not (_pool.isdecimal() and int(_pool) > 0):
    raise ConfigError(
        f"NUMBA_NUM_THREADS={_pool}: must be a whole number of threads above 0; change or unset it"
    )

import numba as numba  # noqa: E402

F = TypeVar("F", bound=Callable[..., Any])

# No fast-math: results must be the same bits whatever the thread count or the vector width.
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": False}


def kernel(function: F) -> F:
    """Compile `function` for one thread."""
    return numba.njit(**_OPTIONS)(function)  # type: ignore[no-any-return]


def parallel_kernel(function: F) -> F:
    """Compile `function` with `prange` loops; every iteration must write its own outputs only."""
    return numba.njit(parallel=True, **_OPTIONS)(function)  # type: ignore[no-any-return]


prange = numba.prange
