"""curves.py: precision over recall from scored hits and false alarms, and the average precision under it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import UsageError

RECALL_POSITIONS = 40
_MIN_RECALL = _MIN_PRECISION = 0.1  # of the nuScenes definition
_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class PrecisionRecall:
    """What is found, and how much of it is right, as the score falls.

    Attributes:
        scores: (M,) descending.
        precision: (M,) hits over detections down to each score.
        recall: (M,) hits over objects.
        objects: labelled objects that count.
    """

    scores: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    objects: int


def trace_curve(scores: NDArray[np.floating], hits: NDArray[np.bool_], objects: int) -> PrecisionRecall:
    """Return the curve of detections with `scores` (M,), of which `hits` (M,) found one of `objects` objects.

    Equal scores keep their order.

    Raises:
        UsageError: shapes do not fit, a score is not finite, or there are more hits than objects.
    """
    values, right = np.asarray(scores, np.float64), np.asarray(hits, bool)
    if values.ndim != 1 or values.shape != right.shape or not np.isfinite(values).all():
        raise UsageError(
            f"each detection needs one finite score and one hit; got {values.shape}, {right.shape}"
        )
    if right.sum() > objects:
        raise UsageError(f"{right.sum()} hits but only {objects} objects")
    order = np.argsort(-values, kind="stable")
    true = np.cumsum(right[order])
    recall = true / objects if objects else np.zeros(len(true))
    return PrecisionRecall(values[order], true / np.arange(1, len(true) + 1), recall, objects)


def average_precision(curve: PrecisionRecall, positions: int = RECALL_POSITIONS) -> float:
    """Return AP|R40 (0..1): the mean over recall 1/40 .. 40/40 of the best precision at that recall or beyond.

    NaN where there are no objects. Unlike the KITTI benchmark it uses every score, not 41 samples of them.
    """
    if not curve.objects:
        return float("nan")
    if not len(curve.recall):
        return 0.0
    best = np.append(np.maximum.accumulate(curve.precision[::-1])[::-1], 0.0)
    wanted = np.arange(1, positions + 1) / positions
    return float(np.mean(best[np.searchsorted(curve.recall, wanted - 1e-9)]))


def interpolated_precision(curve: PrecisionRecall) -> float:
    """Return nuScenes' AP (0..1): precision interpolated at 101 recalls, the part below 0.1 of either cut off.

    NaN where there are no objects.
    """
    if not curve.objects:
        return float("nan")
    if not len(curve.recall) or not curve.recall[-1]:
        return 0.0
    precision = np.interp(_RECALLS, curve.recall, curve.precision, right=0.0)
    counted = precision[round(100 * _MIN_RECALL) + 1 :] - _MIN_PRECISION
    return min(1.0, float(np.mean(np.maximum(counted, 0.0)) / (1.0 - _MIN_PRECISION)))
