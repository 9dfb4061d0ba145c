"""nuscenes.py: average precision by centre distance, as the nuScenes detection benchmark defines it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import UsageError
from .curves import interpolated_precision, trace_curve

DISTANCES = (0.5, 1.0, 2.0, 4.0)  # [m]


@dataclass(frozen=True)
class CentreFrame:
    """One frame of one class.

    Attributes:
        truth: (K, 2) centres x, y of the labelled objects [m].
        found: (M, 2) centres of the detections [m].
        scores: (M,) of the detections.
    """

    truth: NDArray[np.float64]
    found: NDArray[np.float64]
    scores: NDArray[np.float64]


def nuscenes_ap(frames: Sequence[CentreFrame], distances: Sequence[float] = DISTANCES) -> NDArray[np.float64]:
    """Return the average precision (0..1) at each of `distances` [m]; NaN where nothing is labelled.

    Detections are matched over the whole set by descending score, each to the nearest object of its frame that is
    still free, if that is nearer than the distance.
    Source: nuScenes (Caesar et al., CVPR 2020), section 3.1; nuscenes-devkit `algo.py`.

    Raises:
        UsageError: shapes do not fit, or scores are not finite.
    """
    for number, frame in enumerate(frames):
        if len(frame.found) != len(frame.scores) or not np.isfinite(frame.scores).all():
            raise UsageError(f"frame {number}: each detection needs one finite score")
    return np.array([_ap_at(frames, distance) for distance in distances])


def _ap_at(frames: Sequence[CentreFrame], distance: float) -> float:
    labelled = sum(len(frame.truth) for frame in frames)
    if not labelled:
        return float("nan")
    # Within a frame the order of the whole set applies, so each frame can be matched on its own. The reference
    # sorts ascending and turns round, so between equal scores the later detection goes first.
    scores = np.concatenate([frame.scores for frame in frames])[::-1]
    hits = np.concatenate([_match_centres(frame, distance) for frame in frames])[::-1]
    return interpolated_precision(trace_curve(scores, hits, labelled))


def _match_centres(frame: CentreFrame, distance: float) -> NDArray[np.bool_]:
    """Return which detections (M,) are hits."""
    hits = np.zeros(len(frame.found), bool)
    if not len(frame.truth):
        return hits
    gaps = np.hypot(
        frame.found[:, None, 0] - frame.truth[None, :, 0], frame.found[:, None, 1] - frame.truth[None, :, 1]
    )
    for i in np.argsort(frame.scores, kind="stable")[::-1]:
        nearest = int(np.argmin(gaps[i]))
        if gaps[i, nearest] < distance:
            hits[i] = True
            gaps[:, nearest] = np.inf
    return hits
