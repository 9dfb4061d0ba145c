"""Memory: the heap's policy is set once and leaves the user's own settings alone; detection does not grow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

GROWTH = 3e6  # [B] over the 250 frames after the first 50; a leak of 12 kB a frame shows

TOLD = "from colonnade.runtime.memory import keep_heap_steady; print(keep_heap_steady(), keep_heap_steady())"

STEADY = """
import numpy as np
from colonnade import load
detector, rng = load("synthetic", threads=1), np.random.default_rng(0)
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
sizes = []
for k in range(300):
    cloud = rng.uniform(-20, 20, (4_000 if k < 3 else int(rng.integers(100, 4_000)), 4))
    cloud[:, 2] *= 0.02
    detector.detect(cloud)
    sizes.append(resident())
print(max(sizes[50:]) - max(sizes[:50]), sizes[-1] - sizes[49])
"""


def run(code: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | environment
    )
    return result.stdout.strip()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is on Linux")
def test_the_users_settings_win():
    assert run(TOLD, MALLOC_TRIM_THRESHOLD_="1000000") == "False False"
    assert run(TOLD) in ("True True", "False False")  # the latter with musl


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_detection_does_not_grow():
    for growth in run(STEADY).split():
        assert float(growth) < GROWTH
