"""matching.py: which detections of a frame are hits, false alarms, or neither, and which objects were missed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...runtime.jit import kernel
from ..boxes import bev_iou, iou_3d, suppress_boxes
from ..detections import Detections
from .truth import CameraView, GroundTruth

ALARM, EXCUSED = -1, -2  # instead of an object's index

EXCUSE_OVERLAP = 0.3
"""Bird's-eye IoU with an ignored object above which a detection is no false alarm, whatever the threshold."""

TWIN_OVERLAP = 0.5
"""Bird's-eye IoU of two labelled objects of a class above which they are one object, labelled twice."""


@dataclass(frozen=True)
class FrameResult:
    """What a detector found in one labelled frame.

    Attributes:
        frame_id: name of the frame.
        found: its detections, down to a low score.
        objects: its labels.
        view: the part of the frame that was labelled; None for all of it.
        hidden: (K,) share of each object that nearer things hide, NaN where it cannot be told; None: not measured.
    """

    frame_id: str
    found: Detections
    objects: GroundTruth
    view: CameraView | None = None
    hidden: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Zone:
    """Which objects count, and which detections are excused.

    Attributes:
        near, far: horizontal distance of the centre from the sensor [m], near <= distance < far.
        min_points: LiDAR points that an object needs.
        excuse_unlabelled: a detection in a region that nobody labelled ("DontCare") is no false alarm.
        ignore_twins: of objects of the class that overlap by more than TWIN_OVERLAP only the one with the most
            points counts.
    """

    near: float
    far: float
    min_points: int
    excuse_unlabelled: bool = False
    ignore_twins: bool = False

    def holds(self, ranges: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which distances lie in the zone."""
        return np.asarray((ranges >= self.near) & (ranges < self.far))


@dataclass(frozen=True)
class ClassFrame:
    """One frame seen for one class and zone.

    Attributes:
        boxes: (M, 7) detections of the class, by descending score.
        scores: (M,).
        truth: (K, 7) all labelled boxes of the frame.
        counts: (K,) objects that must be found.
        ignored: (K,) objects that may be found or not: of the class but outside the zone, or of a kind that the
            class ignores.
        outside: (M,) detections outside the zone or in a part that was not labelled: no false alarms.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    truth: NDArray[np.float64]
    counts: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    outside: NDArray[np.bool_]


def find_twins(objects: GroundTruth, label: str) -> NDArray[np.bool_]:
    """Return which objects (K,) of class `label` are a second label of an object that has one with more points."""
    rows = np.flatnonzero(np.array(objects.labels, dtype=object) == label)
    twins = np.zeros(len(objects), bool)
    twins[rows] = True
    twins[rows[suppress_boxes(objects.boxes[rows], objects.num_points[rows], TWIN_OVERLAP)]] = False
    return twins


def select_class(result: FrameResult, label: str, ignored_labels: tuple[str, ...], zone: Zone) -> ClassFrame:
    """Return the frame as it looks for the class `label` in `zone`.

    Args:
        result: detections and labels.
        label: the class.
        ignored_labels: kinds of objects that may be taken for the class.
        zone: which objects count.
    """
    found, objects, view = result.found, result.objects, result.view
    index = found.classes.index(label) if label in found.classes else -1
    rows = np.flatnonzero(found.labels == index)
    rows = rows[np.argsort(-found.scores[rows], kind="stable")]
    boxes = found.boxes[rows].astype(np.float64)
    names = np.array(objects.labels, dtype=object)
    own, similar = names == label, np.isin(names, ignored_labels)
    counts = own & (objects.num_points >= zone.min_points) & zone.holds(objects.ranges)
    if zone.ignore_twins:
        counts &= ~find_twins(objects, label)
    outside = ~zone.holds(np.hypot(boxes[:, 0], boxes[:, 1]))
    if view is not None:
        counts &= view.contains_boxes(objects.boxes)
        outside |= ~view.contains_boxes(boxes)
        if zone.excuse_unlabelled:
            outside |= view.is_unlabelled(boxes)
    return ClassFrame(
        boxes,
        found.scores[rows].astype(np.float64),
        objects.boxes,
        counts.astype(bool),
        ((own & ~counts) | similar).astype(bool),
        outside,
    )


def footprint_overlaps(frame: ClassFrame) -> NDArray[np.float64]:
    """Return the bird's-eye IoU (M, K) of detections and objects."""
    return bev_iou(frame.boxes, frame.truth)


def volume_overlaps(frame: ClassFrame) -> NDArray[np.float64]:
    """Return the 3D IoU (M, K) of detections and objects."""
    return iou_3d(frame.boxes, frame.truth)


def centre_nearness(frame: ClassFrame) -> NDArray[np.float64]:
    """Return minus the horizontal distance of the centres (M, K) [m]: like an overlap, the larger the better."""
    gaps = frame.boxes[:, None, :2] - frame.truth[None, :, :2]
    return -np.asarray(np.hypot(gaps[..., 0], gaps[..., 1]))


def match_detections(
    frame: ClassFrame,
    closeness: NDArray[np.float64],
    threshold: float,
    *,
    excuse_overlap: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Give each detection the object that it found.

    By descending score, each detection takes the closest free object that counts and is at least `threshold` close.
    One that has none is excused where it is as close to an ignored object, overlaps one by more than
    EXCUSE_OVERLAP, or lies outside the zone; otherwise it is a false alarm.

    Args:
        frame: detections and objects.
        closeness: (M, K).
        threshold: least closeness of a hit.
        excuse_overlap: (M, K) bird's-eye IoU.

    Returns:
        (M,) index of the object found, ALARM or EXCUSED.
    """
    near_ignored = ((closeness >= threshold) | (excuse_overlap > EXCUSE_OVERLAP)) & frame.ignored
    excused = frame.outside | near_ignored.any(axis=1)
    return _match_greedily(closeness, threshold, frame.counts, excused)


@kernel
def _match_greedily(
    closeness: NDArray[np.float64], threshold: float, counts: NDArray[np.bool_], excused: NDArray[np.bool_]
) -> NDArray[np.int64]:
    matches = np.empty(len(closeness), np.int64)
    free = counts.copy()
    for i in range(len(closeness)):
        best = -1
        for j in range(len(free)):
            fits = free[j] and closeness[i, j] >= threshold
            if fits and (best < 0 or closeness[i, j] > closeness[i, best]):
                best = j
        if best >= 0:
            free[best] = False
            matches[i] = best
        else:
            matches[i] = EXCUSED if excused[i] else ALARM
    return matches
