"""The very first start: who compiles what, and when one process is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from colonnade.detector import ahead
from colonnade.detector.checkpoints import find_model, find_twin, read_manifest
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


def test_no_process_is_started_where_the_switch_says_so(
    started: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ahead.SWITCH, "off")
    run_default()
    assert started == []


def test_no_process_is_started_from_a_frozen_program(
    started: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    run_default()
    assert started == []


def test_the_decoder_is_compiled_only_where_a_second_process_runs(
    started: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Any] = []
    monkeypatch.setattr(ahead, "_compile_decoder", compiled.append)
    folder = run_default()
    assert compiled == [read_manifest(folder)]
    monkeypatch.setattr(ahead, "_start", lambda folder: False)
    run_default()
    assert len(compiled) == 1


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


def test_the_second_process_is_silent_starts_no_other_and_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    waited, options = threading.Event(), {}

    class Process:
        def __init__(self, command: list[str], **given: Any) -> None:
            options.update(given)

        def wait(self) -> None:
            waited.set()

    monkeypatch.setattr(ahead.subprocess, "Popen", Process)
    monkeypatch.setenv("PYTHONPATH", "")
    assert ahead._start(tmp_path)
    assert waited.wait(60)
    assert [options[name] for name in ("stdin", "stdout", "stderr")] == [subprocess.DEVNULL] * 3
    assert options["env"] == {**os.environ, ahead.SWITCH: "off"}


@pytest.mark.parametrize("isolated", [False, True])
def test_the_second_process_finds_what_this_one_does_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, isolated: bool
) -> None:
    (tmp_path / "numba.py").write_text("raise SystemExit('taken from the working folder')")
    paths = [*(str(Path(path).absolute()) for path in sys.path), Path("ignored"), b"ignored"]
    flags = SimpleNamespace(isolated=int(isolated))
    own = SimpleNamespace(executable=sys.executable, path=paths, flags=flags)
    monkeypatch.setattr(ahead, "sys", own)
    command = ahead._make_command(tmp_path)
    assert ("-I" in command) is isolated
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert f"ModelError: {tmp_path.resolve()}" in result.stderr  # it came as far as the model, which is none


@pytest.mark.parametrize(("is_twin", "kind"), [(False, np.float32), (True, np.uint8)])
def test_the_network_is_compiled_for_what_its_encoder_gives(
    monkeypatch: pytest.MonkeyPatch, is_twin: bool, kind: type
) -> None:
    grids: list[Any] = []
    monkeypatch.setattr(ahead, "Network", lambda *_: SimpleNamespace(run=grids.append))
    folder = find_model("default")
    chosen = find_twin(folder) if is_twin else folder
    assert chosen is not None
    ahead.compile_network(str(chosen))
    assert [grid.features.dtype for grid in grids] == [kind]


def test_only_the_kernels_before_the_network_are_left(tmp_path: Path) -> None:
    environment = {**os.environ, "COLONNADE_CACHE_DIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", REST], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    assert set(result.stdout.split()) == FRONT
