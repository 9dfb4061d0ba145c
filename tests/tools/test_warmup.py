"""test_warmup.py: `colonnade warmup` leaves nothing for the first detection to compile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from colonnade.detector.checkpoints import load_checkpoint, save_checkpoint
from colonnade.detector.quantise import quantise

WARMUP = "from colonnade.tools.cli import main; main()"

DETECT = """
import sys
import numpy as np
from numba.core import event
from colonnade import load
with event.install_recorder("numba:compile") as compiled:
    cloud = np.random.default_rng(5).normal((3, 1, -1, 0), (12, 12, 0.6, 0.1), (9000, 4))
    detector = load(sys.argv[1], precision=sys.argv[2])
    print(detector.precision, len(detector.detect(cloud, score=0.01).boxes) > 0, len(compiled.buffer))
"""


def run(code: str, *arguments: object, cache: Path) -> str:
    environment = {**os.environ, "COLONNADE_CACHE_DIR": str(cache)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


def count_added(line: str) -> tuple[str, int]:
    """Return the precision that a line of the command is about, and the kernels that it compiled for it."""
    name, added, *_ = line.split()
    return name, int(added)


def test_nothing_is_left_to_compile(tiny_model: Path, tmp_path: Path) -> None:
    """In either precision: int8 needs further kernels, and finds them compiled, too."""
    cache, folder = tmp_path / "cache", tmp_path / "tiny"
    shutil.copytree(tiny_model, folder)
    points = np.random.default_rng(5).normal((3, 1, -1, 0), (12, 12, 0.6, 0.1), (9000, 4))
    twin = quantise(load_checkpoint(folder), [points.astype(np.float32)], source="a cloud")
    save_checkpoint(twin, tmp_path / "tiny-int8")
    model, *lines, place = run(WARMUP, "warmup", "-m", folder, cache=cache).splitlines()
    assert model.split() == ["model", str(folder)]
    (first, floats), (second, integers) = map(count_added, lines)
    assert (first, second) == ("fp32", "int8")
    assert floats > 10
    assert integers > 0
    assert str(cache) in place
    for precision in ("fp32", "int8"):
        assert run(DETECT, folder, precision, cache=cache) == f"{precision} True 0\n"


def test_a_precision_that_there_is_not_is_left_out(colonnade, tiny_model: Path) -> None:
    outcome = colonnade("warmup", "-m", tiny_model)
    assert outcome.code == 0, outcome.err
    assert "int8" in outcome.out
    assert "left out" in outcome.out


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
