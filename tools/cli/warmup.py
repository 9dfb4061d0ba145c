"""warmup.py: `colonnade warmup`: compile every kernel now, so that the first frame later does not wait."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from . import options, terminal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...detector.detector import Detector


def warmup(model: options.ModelOption = "default", threads: options.ThreadsOption = None) -> None:
    """Fill the cache of compiled kernels, for example while a container image is built.

    Runs a small detection with the model in every precision that it has. COLONNADE_CACHE_DIR names another folder
    for the cache than the user's own.
    """
    from ...detector.checkpoints import PRECISIONS
    from ...detector.detector import load
    from ...runtime.errors import ColonnadeError

    facts, failures = [("model", model)], []
    for precision in PRECISIONS:
        before, start = _count_kernels(), time.perf_counter()
        try:
            detector = load(model, precision=precision, threads=threads)
        except ColonnadeError as error:
            failures.append(error)
            facts.append((precision, f"left out: {error}"))
        else:
            _warm(detector)
            added, seconds = _count_kernels() - before, time.perf_counter() - start
            facts.append(
                (precision, f"{terminal.count(added, 'kernel')} added to the cache in {seconds:.1f} s")
            )
    if len(failures) == len(PRECISIONS):
        raise failures[0]
    terminal.show_facts([*facts, ("cache", describe_cache())])


def describe_cache() -> str:
    """Return where the compiled kernels lie, and how many there are."""
    from ...runtime.kernel_cache import STORE

    report = STORE.report()
    if report.problem:
        return f"in memory only: {report.folder or 'no folder'}: {report.problem}"
    return f"{report.folder}: {terminal.count(report.kernels, 'kernel')}, {report.size / 1e6:.1f} MB"


def _count_kernels() -> int:
    from ...runtime.kernel_cache import STORE

    return STORE.report().kernels


def _warm(detector: Detector) -> None:
    """Run a full and an empty frame."""
    street = _draw_street()
    detector.detect(street, score=0.0)
    detector.detect(street[:0])


def _draw_street() -> NDArray[np.float32]:
    """Return points enough for boxes of every class to be found, where the score does not matter."""
    import numpy as np

    corners = (-40, -40, -1.8, 0), (40, 40, 0.5, 1)
    return np.random.default_rng(0).uniform(*corners, (20_000, 4)).astype(np.float32)
