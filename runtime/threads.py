"""threads.py: one thread budget for Numba and onnxruntime."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from .checks import check_whole
from .errors import UsageError
from .jit import numba

# OpenMP wakes its threads fastest; it and TBB take calls from several Python threads at once, workqueue does not.
if not {"NUMBA_THREADING_LAYER", "NUMBA_THREADING_LAYER_PRIORITY"} & set(os.environ):
    numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]  # type: ignore[attr-defined]

_one_at_a_time = threading.RLock()


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
        UsageError: `threads` is no whole number, below 1, or above what the pool holds.
    """
    if threads is None:
        return available_threads()
    count, limit = check_whole("threads", threads), _pool_size()
    if not 1 <= count <= limit:
        raise UsageError(f"threads must be between 1 and {limit} on this machine, got {count}")
    return count


def find_threading_layer() -> str:
    """Return what runs Numba's threads, "omp", "tbb" or "workqueue"; starts them if need be."""
    numba.get_num_threads()  # the layer is chosen when the threads start
    return str(numba.threading_layer())  # type: ignore[attr-defined]


@contextmanager
def thread_budget(threads: int | None) -> Iterator[int]:
    """Run the body with `threads` Numba threads (None: all available), then restore the former count.

    Several Python threads may be in such a body at once. Where Numba has only its "workqueue" layer, which ends
    the process when two of them start a parallel kernel together, they take turns.
    """
    count = resolve_threads(threads)
    turn: Any = _one_at_a_time if find_threading_layer() == "workqueue" else nullcontext()
    with turn:
        before = numba.get_num_threads()
        numba.set_num_threads(count)
        try:
            yield count
        finally:
            numba.set_num_threads(before)


def make_session_options(threads: int | None) -> Any:
    """Return an `onnxruntime.SessionOptions` that keeps to `threads` threads (None: all available).

    One operator runs at a time, on all the threads, and threads that wait sleep: spinning ones would take the
    cores from Numba's kernels that run between two calls of a session.

    Raises:
        UsageError: as `resolve_threads`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = resolve_threads(threads)
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
