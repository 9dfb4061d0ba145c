"""test_warmup.py: `colonnade warmup` leaves nothing for the first detection to compile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

WARMUP = "from colonnade.tools.cli import main; main()"

DETECT = """
import sys
import numpy as np
from numba.core import event
from colonnade import load
with event.install_recorder("numba:compile") as compiled:
    cloud = np.random.default_rng(5).normal((3, 1, -1, 0), (12, 12, 0.6, 0.1), (9000, 4))
    print(len(load(sys.argv[1]).detect(cloud, score=0.01).boxes) > 0, len(compiled.buffer))
"""


def run(code: str, *arguments: object, cache: Path) -> str:
    environment = {**os.environ, "COLONNADE_CACHE_DIR": str(cache)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_nothing_is_left_to_compile(tiny_model: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    model, float32, *_, place = run(WARMUP, "warmup", "-m", tiny_model, cache=cache).splitlines()
    assert model.split() == ["model", str(tiny_model)]
    name, added, *_ = float32.split()
    assert name == "fp32"
    assert int(added) > 10  # kernels
    assert str(cache) in place
    assert run(DETECT, tiny_model, cache=cache) == "True 0\n"


def test_it_says_where_kernels_cannot_be_kept(colonnade, tiny_model: Path, monkeypatch) -> None:
    from colonnade.runtime import kernel_cache

    monkeypatch.setattr(kernel_cache, "STORE", kernel_cache.KernelStore(Path(__file__) / "below", "0"))
    outcome = colonnade("warmup", "-m", tiny_model)
    assert outcome.code == 0, outcome.err
    assert "in memory only" in outcome.out
    outcome = colonnade("doctor", "-m", tiny_model)
    assert outcome.code == 3
    assert "look  cache" in outcome.out


def test_an_unknown_model_is_named(colonnade) -> None:
    outcome = colonnade("warmup", "-m", "absent")
    assert outcome.code == 1
    assert "no model 'absent'" in outcome.err
