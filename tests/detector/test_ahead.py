"""The very first start: who compiles what, and when one process is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from colonnade.detector import ahead
from colonnade.detector.checkpoints import find_model, read_manifest
from colonnade.runtime.kernel_cache import KernelStore

FRONT = {"detector.ground", "detector.pillars", "detector.encoder"}
REST = """
import sys
from pathlib import Path
import numpy as np
from numba.core import event
from colonnade.detector import ahead
from colonnade.detector.checkpoints import find_model, read_manifest
from colonnade.detector.detector import load

folder = find_model("default")
ahead.compile_network(str(folder))
ahead._compile_decoder(read_manifest(folder))
with event.install_recorder("numba:compile") as compiled:
    cloud = np.random.default_rng(5).normal((3, 1, -1, 0), (12, 12, 0.6, 0.1), (9000, 4)).astype(np.float32)
    load("default", precision="fp32").detect(cloud, score=0.01)
functions = {e.data["dispatcher"].py_func for _, e in compiled.buffer if e.is_start}
print(*sorted({f.__module__.removeprefix("colonnade.") for f in functions if "numba" not in f.__module__}))
"""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Return the list of the folders for which a second process would be started; the cache is empty."""
    folders: list[Path] = []
    monkeypatch.setattr(ahead, "STORE", KernelStore(tmp_path / "cache", "0"))
    monkeypatch.setattr(ahead, "available_threads", lambda: 2)
    monkeypatch.setattr(ahead, "_start", lambda folder: folders.append(folder) or True)
    return folders


def run_default() -> Path:
    folder = find_model("default")
    ahead.compile_ahead(folder, read_manifest(folder))
    return folder


def test_a_second_process_helps_where_nothing_is_compiled(started: list[Path]) -> None:
    assert started == [run_default()]


def test_no_process_is_started_where_kernels_are(started: list[Path]) -> None:
    ahead.STORE.write("kernel", b"code")
    run_default()
    assert started == []


def test_no_process_is_started_on_one_core(started: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "available_threads", lambda: 1)
    run_default()
    assert started == []


@pytest.mark.parametrize("program", ["", "/opt/robot/bin/robot"])
def test_no_process_is_started_from_another_program(
    started: list[Path], monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    run_default()
    assert started == []


def test_a_process_that_cannot_be_started_is_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python-absent"))
    assert not ahead._start(tmp_path)


def test_only_the_kernels_before_the_network_are_left(tmp_path: Path) -> None:
    environment = {**os.environ, "COLONNADE_CACHE_DIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", REST], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    assert set(result.stdout.split()) == FRONT
