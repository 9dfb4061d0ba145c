"""errors.py: where a detector fails: misses by range, points and occlusion, false alarms by range and cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .outcomes import FALSE_ALARM, MISS, Outcome
from .report import EvaluationReport

RANGE_EDGES = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0)  # [m]
POINT_EDGES = (0, 5, 10, 20, 50, 100, 200)  # LiDAR points
OCCLUSION_EDGES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)  # share that is hidden


@dataclass(frozen=True)
class ErrorBin:
    """Objects and errors of one class in one interval low <= value < high (None: no upper end)."""

    label: str
    low: float
    high: float | None
    objects: int
    misses: int
    alarms: int


@dataclass(frozen=True)
class CauseCount:
    """How many misses or false alarms of one class have one cause."""

    label: str
    kind: str
    cause: str
    count: int


@dataclass(frozen=True)
class ErrorAnalysis:
    """Where and why a detector fails.

    Attributes:
        score: detections from this score on were judged.
        by_range: per class and distance from the sensor [m].
        by_points: per class and LiDAR points of the object; false alarms have none and are left out.
        by_occlusion: per class and share of the object that nearer things hide (0..1), where that can be told.
        causes: per class and kind, the most frequent first.
    """

    score: float
    by_range: tuple[ErrorBin, ...]
    by_points: tuple[ErrorBin, ...]
    by_occlusion: tuple[ErrorBin, ...]
    causes: tuple[CauseCount, ...]


def analyse_errors(
    report: EvaluationReport,
    *,
    range_edges: Sequence[float] = RANGE_EDGES,
    point_edges: Sequence[int] = POINT_EDGES,
    occlusion_edges: Sequence[float] = OCCLUSION_EDGES,
) -> ErrorAnalysis:
    """Sort the outcomes of an evaluation into intervals of range and points, and count the causes.

    Args:
        report: of `evaluate_detector`.
        range_edges: ascending [m]; the last interval has no upper end.
        point_edges: ascending; the last interval has no upper end.
        occlusion_edges: ascending; the last interval has no upper end.
    """
    by_range, by_points, by_occlusion, causes = [], [], [], []
    for label in report.labels:
        own = [outcome for outcome in report.outcomes if outcome.label == label]
        for low, high in _intervals(range_edges):
            by_range.append(_count(label, low, high, [o for o in own if _within(o.distance, low, high)]))
        for low, high in _intervals(point_edges):
            inside = [o for o in own if o.num_points is not None and _within(o.num_points, low, high)]
            by_points.append(_count(label, low, high, inside))
        for low, high in _intervals(occlusion_edges):
            inside = [o for o in own if o.hidden is not None and _within(o.hidden, low, high)]
            by_occlusion.append(_count(label, low, high, inside))
        for kind in (MISS, FALSE_ALARM):
            counted = Counter(outcome.cause for outcome in own if outcome.kind == kind)
            causes += [CauseCount(label, kind, cause, count) for cause, count in counted.most_common()]
    return ErrorAnalysis(
        report.default_score, tuple(by_range), tuple(by_points), tuple(by_occlusion), tuple(causes)
    )


def _intervals(edges: Sequence[float]) -> list[tuple[float, float | None]]:
    return list(zip(edges, [*edges[1:], None], strict=True))


def _within(value: float, low: float, high: float | None) -> bool:
    return value >= low and (high is None or value < high)


def _count(label: str, low: float, high: float | None, outcomes: Sequence[Outcome]) -> ErrorBin:
    kinds = Counter(outcome.kind for outcome in outcomes)
    alarms = kinds[FALSE_ALARM]
    return ErrorBin(label, low, high, len(outcomes) - alarms, kinds[MISS], alarms)
