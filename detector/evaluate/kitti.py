"""kitti.py: the KITTI object benchmark's average precision: 2D, bird's-eye and 3D overlap, with its ignore rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import UsageError
from ...runtime.jit import kernel
from ..boxes import bev_iou, iou_3d
from .kitti_labels import KittiObjects

Overlap = Literal["2d", "bev", "3d"]
DIFFICULTIES = ("easy", "moderate", "hard")
MIN_IMAGE_HEIGHT = (40.0, 25.0, 25.0)  # [px] a label must be taller; a smaller detection counts neither way
MAX_OCCLUSION = (0, 1, 2)
MAX_TRUNCATION = (0.15, 0.30, 0.50)
SIMILAR = {"car": "van", "pedestrian": "person_sitting"}  # counts neither way for the class
_SAMPLES = 41  # score thresholds at which precision is taken

# Part that a label or a detection plays for one class and difficulty.
_COUNTS, _IGNORED, _ABSENT = 0, 1, -1


@dataclass(frozen=True)
class KittiAp:
    """Average precision of one class in points (0..100), each for easy, moderate and hard.

    Attributes:
        r40: mean over recall 1/40 .. 40/40 (the benchmark since 2019).
        r11: mean over recall 0, 0.1 .. 1 (the benchmark before).
        objects: labels that count.
    """

    kind: str
    overlap: Overlap
    min_overlap: float
    r40: tuple[float, float, float]
    r11: tuple[float, float, float]
    objects: tuple[int, int, int]


class _Flat(NamedTuple):
    """All frames of a set after one another, for one class and overlap.

    `overlaps` holds frame f's matrix (detections, labels), row by row, from `cells[f]` on; `dontcare` the largest
    share of each detection's image box that a DontCare region covers.
    """

    truth_starts: NDArray[np.int64]  # (F + 1,)
    found_starts: NDArray[np.int64]  # (F + 1,)
    cells: NDArray[np.int64]  # (F + 1,)
    overlaps: NDArray[np.float64]
    scores: NDArray[np.float64]  # (all detections,)
    dontcare: NDArray[np.float64]  # (all detections,)


def kitti_ap(
    truth: Sequence[KittiObjects],
    found: Sequence[KittiObjects],
    kind: str,
    *,
    overlap: Overlap = "bev",
    min_overlap: float = 0.7,
) -> KittiAp:
    """Score detections of one class as the KITTI benchmark does.

    Args:
        truth: labels of each frame, DontCare regions included.
        found: detections of each frame, with image boxes and scores.
        kind: class name as in the labels ("Car"); upper and lower case are the same.
        overlap: of the image boxes, of the footprints, or of the volumes.
        min_overlap: intersection over union above which a detection is a hit.

    Raises:
        UsageError: the number of frames differs, a detection has no score, or `overlap` is unknown.
    """
    if len(truth) != len(found):
        raise UsageError(f"{len(truth)} frames of labels but {len(found)} of detections")
    if overlap not in ("2d", "bev", "3d"):
        raise UsageError(f"overlap must be 2d, bev or 3d, got {overlap!r}")
    if any(np.isnan(frame.scores).any() for frame in found):
        raise UsageError("a detection has no score; KITTI detections need a 16th column")
    flat = _flatten(truth, found, overlap)
    precisions, objects = np.zeros((3, _SAMPLES)), [0, 0, 0]
    for level in range(3):
        labels = np.concatenate([_label_roles(frame, kind, level) for frame in truth] or [np.zeros(0, int)])
        detections = np.concatenate(
            [_detection_roles(frame, kind, level) for frame in found] or [np.zeros(0, int)]
        )
        objects[level] = int(np.sum(labels == _COUNTS))
        hits = _match_by_score(flat, labels, detections, min_overlap)
        thresholds = _sample_thresholds(np.sort(hits[~np.isnan(hits)])[::-1], objects[level])
        for k, threshold in enumerate(thresholds):
            true, false = _count_at(flat, labels, detections, min_overlap, threshold, overlap == "2d")
            precisions[level, k] = true / (true + false) if true + false else 0.0
    envelope = np.maximum.accumulate(precisions[:, ::-1], axis=1)[:, ::-1] * 100
    r40, r11 = envelope[:, 1:].mean(axis=1), envelope[:, ::4].mean(axis=1)
    return KittiAp(
        kind, overlap, min_overlap, _triple(r40), _triple(r11), (objects[0], objects[1], objects[2])
    )


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _label_roles(frame: KittiObjects, kind: str, level: int) -> NDArray[np.int64]:
    heights = frame.image_boxes[:, 3] - frame.image_boxes[:, 1]
    too_hard = (
        (frame.occlusion > MAX_OCCLUSION[level])
        | (frame.truncation > MAX_TRUNCATION[level])
        | (heights <= MIN_IMAGE_HEIGHT[level])
    )
    names = np.array([name.lower() for name in frame.names], dtype=object)
    own, similar = names == kind.lower(), names == SIMILAR.get(kind.lower(), "")
    roles = np.full(len(frame), _ABSENT)
    roles[(own & too_hard) | similar] = _IGNORED
    roles[own & ~too_hard] = _COUNTS
    return roles


def _detection_roles(frame: KittiObjects, kind: str, level: int) -> NDArray[np.int64]:
    own = np.array([name.lower() == kind.lower() for name in frame.names], bool)
    roles = np.where(own, _COUNTS, _ABSENT)
    # Whatever the class: so does the benchmark, and a small detection may then use up an ignored label.
    roles[np.abs(frame.image_boxes[:, 3] - frame.image_boxes[:, 1]) < MIN_IMAGE_HEIGHT[level]] = _IGNORED
    return roles


def image_overlap(
    a: NDArray[np.float64], b: NDArray[np.float64], *, of_first: bool = False
) -> NDArray[np.float64]:
    """Return the overlap (N, M) of image boxes a (N, 4) and b (M, 4) left, top, right, bottom.

    Intersection over union, or over the area of a's box with `of_first`. Boxes without area overlap nothing.
    """
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=2)
    size_a, size_b = np.prod(a[:, 2:] - a[:, :2], axis=1), np.prod(b[:, 2:] - b[:, :2], axis=1)
    whole = size_a[:, None] + (0.0 if of_first else size_b[None] - shared)
    return np.asarray(np.divide(shared, whole, out=np.zeros_like(shared), where=shared > 0))


def _flatten(truth: Sequence[KittiObjects], found: Sequence[KittiObjects], overlap: Overlap) -> _Flat:
    matrices, dontcare = [], []
    for labels, detections in zip(truth, found, strict=True):
        if overlap == "2d":
            matrices.append(image_overlap(detections.image_boxes, labels.image_boxes).ravel())
        else:
            measure = bev_iou if overlap == "bev" else iou_3d
            matrices.append(measure(detections.upright_boxes(), labels.upright_boxes()).ravel())
        regions = labels.image_boxes[[name == "DontCare" for name in labels.names]]
        shares = image_overlap(detections.image_boxes, regions, of_first=True)
        dontcare.append(shares.max(axis=1, initial=0.0))
    none = [np.zeros(0)]
    return _Flat(
        truth_starts=np.cumsum([0, *(len(frame) for frame in truth)]),
        found_starts=np.cumsum([0, *(len(frame) for frame in found)]),
        cells=np.cumsum([0, *(len(matrix) for matrix in matrices)]),
        overlaps=np.concatenate(matrices or none),
        scores=np.concatenate([frame.scores for frame in found] or none),
        dontcare=np.concatenate(dontcare or none),
    )


@kernel
def _match_by_score(
    flat: _Flat, labels: NDArray[np.int64], detections: NDArray[np.int64], min_overlap: float
) -> NDArray[np.float64]:
    """Return the score of each label's hit, NaN where it has none or does not count.

    Each label takes the free detection of the highest score.
    """
    hits = np.full(len(labels), np.nan)
    used = np.zeros(len(detections), np.bool_)
    for f in range(len(flat.cells) - 1):
        first, width = flat.truth_starts[f], flat.truth_starts[f + 1] - flat.truth_starts[f]
        for i in range(first, first + width):
            if labels[i] == _ABSENT:
                continue
            best = -1
            cell = flat.cells[f] + i - first
            for j in range(flat.found_starts[f], flat.found_starts[f + 1]):
                fits = detections[j] != _ABSENT and not used[j] and flat.overlaps[cell] > min_overlap
                if fits and (best < 0 or flat.scores[j] > flat.scores[best]):
                    best = j
                cell += width
            if best >= 0:
                used[best] = True
                if labels[i] == _COUNTS and detections[best] == _COUNTS:
                    hits[i] = flat.scores[best]
    return hits


def _sample_thresholds(hits: NDArray[np.float64], objects: int) -> list[float]:
    """Return the scores, of those in `hits` (descending), nearest to where recall reaches 0, 1/40 .. 40/40."""
    thresholds: list[float] = []
    recall = 0.0
    for i, score in enumerate(hits):
        here = (i + 1) / objects
        following = (i + 2) / objects if i + 1 < len(hits) else here
        if following - recall < recall - here and i + 1 < len(hits):
            continue
        thresholds.append(float(score))
        recall += 1 / (_SAMPLES - 1)
    return thresholds


@kernel
def _count_at(
    flat: _Flat,
    labels: NDArray[np.int64],
    detections: NDArray[np.int64],
    min_overlap: float,
    threshold: float,
    excuse_dontcare: bool,
) -> tuple[int, int]:
    """Return hits and false alarms of the detections that score at least `threshold`.

    Each label takes the free detection of the largest overlap; an ignored detection only where no other fits.
    """
    used = np.zeros(len(detections), np.bool_)
    true, false = 0, 0
    for f in range(len(flat.cells) - 1):
        first, width = flat.truth_starts[f], flat.truth_starts[f + 1] - flat.truth_starts[f]
        for i in range(first, first + width):
            if labels[i] == _ABSENT:
                continue
            best, most, role = -1, 0.0, _IGNORED
            cell = flat.cells[f] + i - first
            for j in range(flat.found_starts[f], flat.found_starts[f + 1]):
                overlap = flat.overlaps[cell]
                cell += width
                if (
                    detections[j] == _ABSENT
                    or used[j]
                    or flat.scores[j] < threshold
                    or overlap <= min_overlap
                ):
                    continue
                better = detections[j] == _COUNTS and (role == _IGNORED or overlap > most)
                if best < 0 or better:
                    best, most, role = j, overlap, detections[j]
            if best >= 0:
                used[best] = True
                true += labels[i] == _COUNTS and role == _COUNTS
    for j in range(len(detections)):
        excused = excuse_dontcare and flat.dontcare[j] > min_overlap
        false += detections[j] == _COUNTS and not used[j] and not excused and flat.scores[j] >= threshold
    return true, false
