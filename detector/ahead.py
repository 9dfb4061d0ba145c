"""ahead.py: the very first start on two processes, of which one compiles the network's kernels.

Numba compiles one kernel at a time in a process. What the second one has compiled, the first finds in the cache; what
both should begin at once is compiled twice, to the same bits.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from ..runtime.kernel_cache import STORE
from ..runtime.sparse import PillarGrid
from ..runtime.threads import available_threads, thread_budget
from .architecture import REGRESSION
from .checkpoints import Manifest, load_checkpoint
from .decoding import decode
from .ground import CELLS, GroundMap
from .network import Network

SWITCH = "COLONNADE_SECOND_PROCESS"  # "off" starts none
_PROGRAM = (  # imports nothing before its path is ours, lest it find another module in the working folder
    "import sys; sys.path[:] = sys.argv[2:]; "
    f"from {__name__} import compile_network; compile_network(sys.argv[1])"
)
_SIDE = 24  # rows and columns of the pillars that stand for a frame


def compile_ahead(folder: Path, manifest: Manifest) -> None:
    """Where no kernel is compiled yet, let a second process compile the network's, and compile the decoder's here.

    Before the first frame only its kernels in front of the network are left then. Nothing is done on one core, where
    the cache cannot be written to, where Python is part of another program, or with COLONNADE_SECOND_PROCESS=off. The
    second process reads no input, prints nothing, starts no other and ends by itself after seconds; if it fails,
    nothing but time is lost. Processes that load at once for the first time start one each.

    Args:
        folder: of the model.
        manifest: the model's.
    """
    if available_threads() > 1 and _may_start() and STORE.is_waiting() and _start(folder):
        _compile_decoder(manifest)


def _may_start() -> bool:
    is_off = os.environ.get(SWITCH, "").strip().lower() == "off"
    is_python = Path(sys.executable or "").name.startswith("python") and not getattr(sys, "frozen", False)
    return is_python and not is_off


def _start(folder: Path) -> bool:
    nowhere = subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            _make_command(folder),
            env={**os.environ, SWITCH: "off"},  # it starts no third one, whatever runs when its Python starts
            stdin=nowhere,
            stdout=nowhere,
            stderr=nowhere,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        threading.Thread(target=process.wait, daemon=True).start()  # leaves no zombie
    except (OSError, RuntimeError):  # no further process, or no further thread
        return False
    return True


def _make_command(folder: Path) -> list[str]:
    isolation = ["-I"] if sys.flags.isolated else []
    places = [path for path in sys.path if isinstance(path, str)]  # Python, too, passes over anything else
    return [sys.executable, *isolation, "-c", _PROGRAM, str(folder.resolve()), *places]


def compile_network(folder: str) -> None:
    """Run the network of the model in `folder` on a few pillars."""
    checkpoint = load_checkpoint(Path(folder))
    rows, columns = checkpoint.manifest.geometry.shape
    row_ptr = np.minimum(np.arange(rows + 1), _SIDE).astype(np.int32) * np.int32(_SIDE)
    cols = np.tile(np.arange(_SIDE, dtype=np.int32), _SIDE)
    kind = np.float32 if checkpoint.encoder_step is None else np.uint8
    features = np.ones((len(cols), len(checkpoint.encoder.bias)), kind)
    with thread_budget(1):
        network = Network(checkpoint.manifest.architecture, checkpoint.layers)
        network.run(PillarGrid(row_ptr, cols, features, (rows, columns)))


def _compile_decoder(manifest: Manifest) -> None:
    geometry, nothing = manifest.geometry, np.zeros(0, np.int32)
    features = np.empty((0, len(manifest.classes) + REGRESSION), np.float32)
    head = PillarGrid(np.zeros(2, np.int32), nothing, features, (1, 1))
    flat = GroundMap(np.zeros((CELLS, CELLS), np.float32), 0.0)
    decode(head, geometry, geometry.size, manifest.classes, flat, 0.5, manifest.score_exponents)
