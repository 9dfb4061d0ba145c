"""outcomes.py: every hit, miss and false alarm of an evaluation, with its likely cause."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .matching import ALARM, ClassFrame, FrameResult, Zone, footprint_overlaps, match_detections, select_class

HIT, MISS, FALSE_ALARM = "hit", "miss", "false alarm"
TOO_LOW = -3  # beside ALARM and EXCUSED: the detection's score is too low for it to be shown
MISPLACED_OVERLAP = 0.1  # bird's-eye IoU from which a detection is about an object, if badly placed


@dataclass(frozen=True)
class Outcome:
    """What became of one object or one detection.

    Attributes:
        frame_id: name of the frame.
        label: class.
        kind: HIT, MISS or FALSE_ALARM.
        cause: of a miss: "misplaced", "low score", both, "on a neighbour" (the detection that fits went to another
            object) or "not seen"; of a false alarm: "duplicate", "misplaced", "on a <kind>" or "background"; "" of
            a hit.
        box: of the object (hit, miss) or of the detection (false alarm): x, y, z, l, w, h, yaw.
        distance: from the sensor [m].
        score: of the detection; of a miss, that of the one that came closest, None for none.
        num_points: LiDAR points of the object; None for a false alarm.
        overlap: largest bird's-eye IoU of object and detection, of either with anything that counts.
        hidden: share of the object that nearer things hide (0..1); None where it cannot be told and for a false alarm.
    """

    frame_id: str
    label: str
    kind: str
    cause: str
    box: tuple[float, ...]
    distance: float
    score: float | None
    num_points: int | None
    overlap: float
    hidden: float | None


def list_outcomes(
    results: Sequence[FrameResult],
    label: str,
    ignored: tuple[str, ...],
    threshold: float,
    zone: Zone,
    score: float,
) -> list[Outcome]:
    """Return what became of every object of a class and of every detection that scores at least `score`.

    Args:
        results: detections and labels.
        label: the class.
        ignored: kinds of objects that may be taken for it.
        threshold: bird's-eye IoU of a hit.
        zone: which objects count.
        score: detections below it count only as the cause of a miss.
    """
    outcomes: list[Outcome] = []
    for result in results:
        frame = select_class(result, label, ignored, zone)
        overlaps = footprint_overlaps(frame)
        matches = match_detections(frame, overlaps, threshold, excuse_overlap=overlaps)
        matches = np.where(frame.scores >= score, matches, TOO_LOW)
        outcomes += _judge_objects(result, label, frame, overlaps, matches, threshold)
        outcomes += _judge_alarms(result, label, frame, overlaps, matches, threshold)
    return outcomes


def _judge_objects(
    result: FrameResult,
    label: str,
    frame: ClassFrame,
    overlaps: NDArray[np.float64],
    matches: NDArray[np.int64],
    threshold: float,
) -> Iterator[Outcome]:
    for k in np.flatnonzero(frame.counts):
        finder = np.flatnonzero(matches == k)
        if len(finder):
            kind, cause, i = HIT, "", int(finder[0])
        else:
            kind = MISS
            cause, i = _explain_miss(overlaps[:, k], matches > TOO_LOW, threshold)
        overlap = float(overlaps[i, k]) if i >= 0 else 0.0
        yield Outcome(
            frame_id=result.frame_id,
            label=label,
            kind=kind,
            cause=cause,
            box=tuple(float(value) for value in frame.truth[k]),
            distance=float(np.hypot(frame.truth[k, 0], frame.truth[k, 1])),
            score=float(frame.scores[i]) if overlap > 0 else None,
            num_points=int(result.objects.num_points[k]),
            overlap=overlap,
            hidden=None if result.hidden is None or np.isnan(result.hidden[k]) else float(result.hidden[k]),
        )


def _explain_miss(
    overlaps: NDArray[np.float64], shown: NDArray[np.bool_], threshold: float
) -> tuple[str, int]:
    """Return the cause of a miss, and the detection (index into `overlaps` (M,)) that came closest; -1 for none."""
    for candidates, misplaced in ((shown, "misplaced"), (~shown, "misplaced, low score")):
        rows = np.flatnonzero(candidates)
        closest = int(rows[np.argmax(overlaps[rows])]) if len(rows) else -1
        if closest >= 0 and overlaps[closest] >= MISPLACED_OVERLAP:
            fits = overlaps[closest] >= threshold
            if fits and not shown[closest]:
                return "low score", closest
            return "on a neighbour" if fits else misplaced, closest
    return "not seen", -1


def _judge_alarms(
    result: FrameResult,
    label: str,
    frame: ClassFrame,
    overlaps: NDArray[np.float64],
    matches: NDArray[np.int64],
    threshold: float,
) -> Iterator[Outcome]:
    for i in np.flatnonzero(matches == ALARM):
        k = int(np.argmax(overlaps[i])) if overlaps.shape[1] else -1
        most = float(overlaps[i, k]) if k >= 0 else 0.0
        if most < MISPLACED_OVERLAP:
            cause = "background"
        elif not frame.counts[k]:
            cause = f"on a {result.objects.labels[k]}"
        else:
            cause = "duplicate" if most >= threshold else "misplaced"
        yield Outcome(
            frame_id=result.frame_id,
            label=label,
            kind=FALSE_ALARM,
            cause=cause,
            box=tuple(float(value) for value in frame.boxes[i]),
            distance=float(np.hypot(frame.boxes[i, 0], frame.boxes[i, 1])),
            score=float(frame.scores[i]),
            num_points=None,
            overlap=most,
            hidden=None,
        )
