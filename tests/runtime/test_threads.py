"""The thread budget: within its limits, right in every threading layer, the same for onnxruntime."""

import os
import subprocess
import sys

import pytest

from colonnade.runtime.errors import UsageError
from colonnade.runtime.jit import numba
from colonnade.runtime.threads import (
    available_threads,
    find_threading_layer,
    make_session_options,
    resolve_threads,
    thread_budget,
)

LAYER = "from colonnade.runtime.threads import find_threading_layer; print(find_threading_layer())"

TOGETHER = """
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from colonnade import load
detector = load("synthetic")
cloud = np.random.default_rng(0).uniform((-30, -30, -2, 0), (30, 30, 0, 1), (3000, 4)).astype(np.float32)
expected = detector.detect(cloud, score=0.01)
with ThreadPoolExecutor(4) as pool:
    for found in pool.map(lambda _: detector.detect(cloud, score=0.01), range(24)):
        assert np.array_equal(found.boxes, expected.boxes)
print(len(expected.boxes) > 0)
"""


def run(code: str, **environment: str) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_THREADING")}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=clean | environment
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_the_budget_holds_in_the_body_only() -> None:
    before = numba.get_num_threads()
    with thread_budget(1) as outer:
        assert outer == numba.get_num_threads() == 1
        with thread_budget(None) as inner:
            assert inner == numba.get_num_threads() == available_threads()
        assert numba.get_num_threads() == 1
    assert numba.get_num_threads() == before


def test_a_budget_beyond_the_pool_is_refused() -> None:
    limit = numba.config.NUMBA_NUM_THREADS
    assert resolve_threads(limit) == limit
    for threads in (0, -1, limit + 1):
        with pytest.raises(UsageError, match=f"between 1 and {limit}"):
            resolve_threads(threads)
        with pytest.raises(UsageError):
            make_session_options(threads)


def test_onnxruntime_keeps_to_the_same_budget() -> None:
    for threads in (1, None):
        options = make_session_options(threads)
        assert options.intra_op_num_threads == resolve_threads(threads)
        assert options.inter_op_num_threads == 1
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere Numba may lack OpenMP")
def test_openmp_comes_first() -> None:
    assert run(LAYER) == "omp"


def test_the_user_chooses_the_layer() -> None:
    assert run(LAYER, NUMBA_THREADING_LAYER="workqueue") == "workqueue"
    assert run(LAYER, NUMBA_THREADING_LAYER_PRIORITY="workqueue omp tbb") == "workqueue"
    assert find_threading_layer() in ("omp", "tbb", "workqueue")


@pytest.mark.parametrize("layer", ["workqueue", "omp"])
def test_python_threads_may_detect_at_once(layer: str) -> None:
    if layer == "omp" and not sys.platform.startswith("linux"):
        pytest.skip("elsewhere Numba may lack OpenMP")
    assert run(TOGETHER, NUMBA_THREADING_LAYER=layer) == "True"
