"""protocol.py: the protocol that detectors are compared by on recordings, and its run over a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import UsageError
from ..detections import Detections
from .curves import PrecisionRecall, average_precision, interpolated_precision, trace_curve
from .matching import (
    EXCUSED,
    ClassFrame,
    FrameResult,
    Zone,
    centre_nearness,
    find_twins,
    footprint_overlaps,
    match_detections,
    select_class,
    volume_overlaps,
)
from .occlusion import measure_occlusion
from .outcomes import list_outcomes
from .report import EvaluationReport, Figure, OperatingPoint
from .truth import LabelledFrame

BEV, VOLUME, CENTRE = "BEV AP|R40", "3D AP|R40", "centre AP"


@dataclass(frozen=True)
class ClassRule:
    """How one class is judged.

    Attributes:
        label: name of the class, the same in detector and labels.
        ignored: kinds of objects that may be taken for it: neither misses nor false alarms.
        overlaps: IoU from which a detection is a hit; the first one is used for precision and recall.
    """

    label: str
    ignored: tuple[str, ...] = ()
    overlaps: tuple[float, ...] = (0.5,)


CLASS_RULES = (
    ClassRule("car", ("van", "truck", "bus"), (0.5, 0.7)),
    ClassRule("pedestrian", ("sitting",), (0.25, 0.5)),
    ClassRule("cyclist", ("motorcyclist", "bicycle"), (0.25, 0.5)),
)


@dataclass(frozen=True)
class EvaluationProtocol:
    """Which objects count, and when one counts as found.

    Attributes:
        rules: classes to judge.
        max_range: objects whose centre lies farther from the sensor [m] are ignored.
        min_points: objects with fewer LiDAR points are ignored.
        bands: ranges [m] for which everything is given once more.
        distances: [m] of the centre-distance AP.
        score_floor: detections from this score on make up the curves.
        excuse_unlabelled: detections in KITTI's DontCare regions are no false alarms. Off, as in the benchmark's
            bird's-eye and 3D AP.
        ignore_twins: an object that is labelled twice needs to be found once. Off, so that every label counts.
    """

    rules: tuple[ClassRule, ...] = CLASS_RULES
    max_range: float = 50.0
    min_points: int = 5
    bands: tuple[tuple[float, float], ...] = ((0.0, 20.0), (20.0, 35.0), (35.0, 50.0))
    distances: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    score_floor: float = 0.05
    excuse_unlabelled: bool = False
    ignore_twins: bool = False

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UsageError: a range, threshold or count that cannot be.
        """
        if not 0 < self.max_range < np.inf or self.min_points < 0:
            raise UsageError(
                f"max_range must be above 0 and min_points 0 or more; got {self.max_range}, {self.min_points}"
            )
        if any(not rule.overlaps or not all(0 < t <= 1 for t in rule.overlaps) for rule in self.rules):
            raise UsageError("every class needs overlaps above 0 and up to 1")
        if any(not 0 <= near < far for near, far in self.bands) or any(d <= 0 for d in self.distances):
            raise UsageError(
                f"bands must be (near, far) and distances above 0: {self.bands}, {self.distances}"
            )
        if not 0 <= self.score_floor <= 1:
            raise UsageError(f"score_floor must lie in 0..1, got {self.score_floor}")

    def zone(self, near: float = 0.0, far: float = np.inf) -> Zone:
        """Return the zone from `near` to `far` [m], no farther than `max_range`."""
        return Zone(
            near, min(far, self.max_range), self.min_points, self.excuse_unlabelled, self.ignore_twins
        )


class FindsObjects(Protocol):
    """What can be evaluated; `Detector` is one."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""

    @property
    def default_score(self) -> float:
        """Score below which detections are left out by default."""

    def detect(self, points: NDArray[np.float32], *, score: float) -> Detections:
        """Return what is found in (N, 4) points with at least `score`."""


def evaluate_detector(
    detector: FindsObjects,
    dataset: Iterable[LabelledFrame],
    *,
    protocol: EvaluationProtocol | None = None,
    progress: Callable[[int], None] | None = None,
) -> EvaluationReport:
    """Run a detector over labelled frames and score it.

    Args:
        detector: a loaded model.
        dataset: labelled frames, such as `open_dataset` gives.
        protocol: None for the standard one.
        progress: called with the number of frames done after each.

    Raises:
        CorruptFrameError, DatasetError: a frame or its labels cannot be read.
        UsageError: there is no frame, or no class that both detector and protocol know.
    """
    protocol = protocol or EvaluationProtocol()
    return score_results(
        run_detector(detector, dataset, protocol=protocol, progress=progress),
        protocol,
        detector.default_score,
        dataset=str(getattr(dataset, "name", "frames")),
        notes=tuple(getattr(dataset, "notes", ())),
    )


def run_detector(
    detector: FindsObjects,
    dataset: Iterable[LabelledFrame],
    *,
    protocol: EvaluationProtocol,
    progress: Callable[[int], None] | None = None,
) -> list[FrameResult]:
    """Run a detector over labelled frames and keep, without the points, what `score_results` needs.

    Args:
        detector: a loaded model.
        dataset: labelled frames, such as `open_dataset` gives.
        protocol: tells down to which score detections are kept.
        progress: called with the number of frames done after each.

    Raises:
        CorruptFrameError, DatasetError: a frame or its labels cannot be read.
    """
    floor = min(protocol.score_floor, detector.default_score)
    results: list[FrameResult] = []
    for labelled in dataset:
        found = detector.detect(labelled.frame.points, score=floor)
        points, boxes = labelled.frame.points, labelled.objects.boxes
        hidden = measure_occlusion(points, boxes, labelled.sensor) if labelled.sensor else None
        results.append(FrameResult(labelled.frame.frame_id, found, labelled.objects, labelled.view, hidden))
        if progress:
            progress(len(results))
    return results


def score_results(
    results: Sequence[FrameResult],
    protocol: EvaluationProtocol,
    default_score: float,
    *,
    dataset: str = "frames",
    notes: tuple[str, ...] = (),
) -> EvaluationReport:
    """Score detections that were already made.

    Raises:
        UsageError: there is no frame, or no class that both detections and protocol know.
    """
    if not results:
        raise UsageError(f"{dataset}: no labelled frame to evaluate on")
    classes = results[0].found.classes
    rules = [rule for rule in protocol.rules if rule.label in classes]
    if not rules:
        known = ", ".join(rule.label for rule in protocol.rules)
        raise UsageError(
            f"the detector's classes ({', '.join(classes)}) are none of the protocol's ({known})"
        )
    figures: list[Figure] = []
    points: list[OperatingPoint] = []
    for rule in rules:
        scored = _ScoredClass(results, rule, protocol)
        for near, far in ((0.0, protocol.max_range), *protocol.bands):
            zone = protocol.zone(near, far)
            figures += scored.figures(zone)
            points.append(scored.operating_point(zone, default_score))
    outcomes = [
        outcome
        for rule in rules
        for outcome in list_outcomes(
            results, rule.label, rule.ignored, rule.overlaps[0], protocol.zone(), default_score
        )
    ]
    return EvaluationReport(
        dataset=dataset,
        frames=len(results),
        max_range=protocol.max_range,
        min_points=protocol.min_points,
        score_floor=protocol.score_floor,
        default_score=default_score,
        ignored=tuple((rule.label, rule.ignored) for rule in rules),
        figures=tuple(figures),
        operating_points=tuple(points),
        outcomes=tuple(outcomes),
        notes=(*notes, *_view_notes(results, protocol), *_twin_notes(results, rules, protocol)),
    )


def _view_notes(results: Sequence[FrameResult], protocol: EvaluationProtocol) -> tuple[str, ...]:
    if all(result.view is None for result in results):
        return ()
    excused = "are excused" if protocol.excuse_unlabelled else "count as false alarms"
    return (f"detections in DontCare regions {excused}",)


def _twin_notes(
    results: Sequence[FrameResult], rules: Sequence[ClassRule], protocol: EvaluationProtocol
) -> tuple[str, ...]:
    zone = replace(protocol.zone(), ignore_twins=False)
    notes = []
    for rule in rules:
        twins = sum(
            int(
                np.sum(
                    select_class(result, rule.label, (), zone).counts & find_twins(result.objects, rule.label)
                )
            )
            for result in results
        )
        if twins:
            fate = "ignored" if protocol.ignore_twins else "counted: one box per object cannot find them"
            notes.append(f"{twins:,} {rule.label} labels are second labels of an object, {fate}")
    return tuple(notes)


class _ScoredClass:
    """One class over all frames; the overlaps are worked out once and used for every zone and threshold."""

    def __init__(self, results: Sequence[FrameResult], rule: ClassRule, protocol: EvaluationProtocol) -> None:
        self._results, self._rule, self._protocol = results, rule, protocol
        frames = self._select(protocol.zone())
        self._footprints = [footprint_overlaps(frame) for frame in frames]
        self._volumes = [volume_overlaps(frame) for frame in frames]
        self._nearness = [centre_nearness(frame) for frame in frames]

    def figures(self, zone: Zone) -> list[Figure]:
        """Return every AP of the class in `zone`."""
        frames, rule = self._select(zone), self._rule
        rows = []
        for metric, closeness in ((BEV, self._footprints), (VOLUME, self._volumes)):
            for threshold in rule.overlaps:
                curve = self._trace(frames, closeness, threshold)
                rows.append(self._figure(metric, threshold, zone, average_precision(curve), curve))
        for distance in self._protocol.distances:
            curve = self._trace(frames, self._nearness, -distance)
            rows.append(self._figure(CENTRE, distance, zone, interpolated_precision(curve), curve))
        return rows

    def operating_point(self, zone: Zone, score: float) -> OperatingPoint:
        """Return precision and recall of the detections that score at least `score`."""
        frames, threshold = self._select(zone), self._rule.overlaps[0]
        hits = alarms = 0
        for frame, overlaps in zip(frames, self._footprints, strict=True):
            # Matching is greedy by score, so what lies below the score changes nothing above it.
            matches = match_detections(frame, overlaps, threshold, excuse_overlap=overlaps)
            matches = matches[frame.scores >= score]
            hits += int(np.sum(matches >= 0))
            alarms += int(np.sum(matches < 0) - np.sum(matches == EXCUSED))
        objects = int(sum(frame.counts.sum() for frame in frames))
        return OperatingPoint(
            label=self._rule.label,
            score=score,
            overlap=threshold,
            near=zone.near,
            far=zone.far,
            min_points=zone.min_points,
            hits=hits,
            alarms=alarms,
            misses=objects - hits,
        )

    def _select(self, zone: Zone) -> list[ClassFrame]:
        rule = self._rule
        return [select_class(result, rule.label, rule.ignored, zone) for result in self._results]

    def _trace(
        self, frames: Sequence[ClassFrame], closeness: Sequence[NDArray[np.float64]], threshold: float
    ) -> PrecisionRecall:
        scores, hits = [], []
        for frame, close, overlaps in zip(frames, closeness, self._footprints, strict=True):
            matches = match_detections(frame, close, threshold, excuse_overlap=overlaps)
            counted = matches != EXCUSED
            scores.append(frame.scores[counted])
            hits.append(matches[counted] >= 0)
        objects = int(sum(frame.counts.sum() for frame in frames))
        return trace_curve(np.concatenate(scores), np.concatenate(hits), objects)

    def _figure(
        self, metric: str, threshold: float, zone: Zone, value: float, curve: PrecisionRecall
    ) -> Figure:
        return Figure(
            label=self._rule.label,
            metric=metric,
            threshold=threshold,
            unit="m" if metric == CENTRE else "IoU",
            near=zone.near,
            far=zone.far,
            min_points=zone.min_points,
            value=value * 100,
            objects=curve.objects,
        )
