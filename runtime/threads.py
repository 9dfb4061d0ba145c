"""threads.py: one thread budget for Numba and onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import UsageError
from .jit import numba


def _pool_size() -> int:
    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def available_threads() -> int:
    """Return how many threads this process may use: its CPU affinity, capped by Numba's pool."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cores = os.cpu_count() or 1
    return max(1, min(cores, _pool_size()))


def resolve_threads(threads: int | None) -> int:
    """Return `threads`, or all available ones for None.

    Raises:
        UsageError: `threads` is below 1 or above what the pool holds.
    """
    if threads is None:
        return available_threads()
    limit = _pool_size()
    if not 1 <= threads <= limit:
        raise UsageError(f"threads must be between 1 and {limit} on this machine, got {threads}")
    return threads


@contextmanager
def thread_budget(threads: int | None) -> Iterator[int]:
    """Run the body with `threads` Numba threads (None: all available), then restore the former count."""
    count = resolve_threads(threads)
    before = numba.get_num_threads()
    numba.set_num_threads(count)
    try:
        yield count
    finally:
        numba.set_num_threads(before)
