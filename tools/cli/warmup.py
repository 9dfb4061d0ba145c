"""warmup.py: `colonnade warmup`: compile every kernel now, so that the first frame later does not wait."""

from __future__ import annotations

import time

from . import options, terminal


def warmup(model: options.ModelOption = "default", threads: options.ThreadsOption = None) -> None:
    """Fill the cache of compiled kernels, for example while a container image is built.

    The cache lies beside the modules, or in the folder that COLONNADE_CACHE_DIR names.
    """
    import numpy as np

    from ...detector.detector import load
    from .doctor import find_cache_folder

    start = time.perf_counter()
    detector = load(model, threads=threads)
    street = (
        np.random.default_rng(0)
        .uniform((-40, -40, -1.8, 0), (40, 40, 0.5, 1), (20_000, 4))
        .astype(np.float32)
    )
    detector.detect(street, score=0.0)
    detector.detect(street[:0])
    terminal.show_facts(
        [
            ("compiled", f"in {time.perf_counter() - start:.1f} s"),
            ("cache", str(find_cache_folder())),
            ("model", detector.manifest.name),
        ]
    )
