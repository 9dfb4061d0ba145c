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

_PROGRAM = f"import sys; from {__name__} import compile_network; compile_network(sys.argv[1])"
_SIDE = 24  # rows and columns of the pillars that stand for a frame


def compile_ahead(folder: Path, manifest: Manifest) -> None:
    """Where no kernel is compiled yet, let a second process compile the network's, and compile the decoder's here.

    Before the first frame only its kernels in front of the network are left then. Nothing is done on one core, where
    the cache cannot be written to, or where Python is part of another program. The second process reads no input,
    prints nothing and ends by itself after seconds; if it fails, nothing but time is lost.

    Args:
        folder: of the model.
        manifest: the model's.
    """
    is_python = Path(sys.executable or "").name.startswith("python")
    if available_threads() > 1 and is_python and STORE.is_waiting() and _start(folder):
        _compile_decoder(manifest)


def _start(folder: Path) -> bool:
    command = [sys.executable, "-c", _PROGRAM, str(folder.resolve())]
    places = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    nowhere = subprocess.DEVNULL
    try:
        process = subprocess.Popen(command, env=places, stdin=nowhere, stdout=nowhere, stderr=nowhere)
    except OSError:
        return False
    threading.Thread(target=process.wait, daemon=True).start()  # leaves no zombie
    return True


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
