"""timings.py: how long the stages of each frame took, and what that makes per recording."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class StageSummary:
    """Median and 95th percentile of one stage over the frames [ms]."""

    name: str
    p50_ms: float
    p95_ms: float


@dataclass
class FrameClock:
    """Collects the times of every frame.

    The first frame loads (or compiles) the kernels and finds cold caches; where there are others, it counts
    neither for the stages nor for the frames per second.
    """

    _names: tuple[str, ...] = ()
    _rows: list[tuple[float, ...]] = field(default_factory=list)
    _ends: list[float] = field(default_factory=list)

    def add(self, names: Sequence[str], seconds: Sequence[float]) -> None:
        """Note the stage times of a frame that has just been finished."""
        self._names = tuple(names)
        self._rows.append(tuple(seconds))
        self._ends.append(time.perf_counter())

    @property
    def frames(self) -> int:
        """Number of frames that count."""
        return len(self._rows) - 1 if len(self._rows) > 1 else len(self._rows)

    def frames_per_second(self) -> float | None:
        """Return finished frames per second of wall time, everything included; None for fewer than two frames."""
        if len(self._ends) < 2:
            return None
        return (len(self._ends) - 1) / max(self._ends[-1] - self._ends[0], 1e-9)

    def stages(self) -> tuple[StageSummary, ...]:
        """Return a summary of each stage, and of their sum as "all stages"."""
        if not self._rows:
            return ()
        rows = np.array(self._rows[1:] if len(self._rows) > 1 else self._rows)
        rows = np.column_stack([rows, rows.sum(axis=1)]) * 1e3
        middle, high = np.percentile(rows, [50, 95], axis=0)
        names = (*self._names, "all stages")
        return tuple(
            StageSummary(name, round(float(p50), 3), round(float(p95), 3))
            for name, p50, p95 in zip(names, middle, high, strict=True)
        )
