"""work.py: how much a detector computes per frame, and how far that varies from frame to frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import UsageError
from .detector import Detector


@dataclass(frozen=True)
class WorkSpread:
    """Multiply-accumulates of the network's layers per frame.

    Attributes:
        frames: how many were counted.
        mean, deviation: over the frames; the latter is the standard deviation of these frames (divided by N).
        least, most: of a frame.
    """

    frames: int
    mean: float
    deviation: float
    least: int
    most: int


def measure_work(detector: Detector, frames: Iterable[NDArray[np.floating]]) -> WorkSpread:
    """Return the spread of a detector's work over frames of points (N, >=3).

    A layer counts rules x Cin x Cout before what follows it is pruned, as `LayerRecord.macs`.

    Raises:
        UsageError: there is no frame, or a frame is not (N, >=3).
    """
    macs = np.array([detector.trace(points)[1].macs for points in frames], np.int64)
    if not macs.size:
        raise UsageError("no frame to count the work of")
    return WorkSpread(macs.size, float(macs.mean()), float(macs.std()), int(macs.min()), int(macs.max()))
