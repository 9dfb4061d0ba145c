"""mixing.py: lays two training scans over each other, so that objects meet other surroundings and densities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..boxes import bev_iou, points_in_boxes
from ..ground import estimate_ground
from .augment import LabelledScan, turn

LONGEST_SHIFT = 8.0  # [m] along the road
_AROUND = 0.2  # [m] about a box of the first scan that the second leaves free
_ABOVE = 4.0  # [m] above and below it, too


def mix_scans(first: LabelledScan, second: LabelledScan, rng: np.random.Generator) -> LabelledScan:
    """Return `first` with `second` laid over it, after a random turn about the sensor and a shift along the road.

    The road runs along the x axis of `first`. Points and boxes of `second` keep their height above its ground and
    are set on that of `first`; its rings are numbered on from those of `first`. What would stand in an object of
    `first` is left out: objects of `second` whose box overlaps one of `first`, and all points inside (widened)
    boxes of `first`.

    After Enhanced Mix3D of DDFE (arXiv 2312.12098; second-hand, and the lengths are ours). One thing differs: there
    the beam density D of a mixed point is safest taken from its own scan, in its sensor's frame. Here D is computed
    later, from the mixed points alone as in any frame: where both scans reach, it tells of the sum of both
    samplings, and of ranges from the origin of `first`. That is what a detector sees of such a cloud, so training
    and detection agree; but D then describes the cloud, and no one sensor.
    """
    angle, shift = rng.uniform(-np.pi, np.pi), rng.uniform(-LONGEST_SHIFT, LONGEST_SHIFT)
    laid = _drop_collisions(first, _set_on_ground(first, _place(second, angle, shift), second))
    owners = np.where(laid.owners >= 0, laid.owners + np.int32(len(first.boxes)), np.int32(-1))
    rings = laid.rings + np.int16(int(first.rings.max(initial=-1)) + 1)
    return LabelledScan(
        np.concatenate([first.points, laid.points]),
        np.concatenate([first.rings, rings]),
        np.concatenate([first.owners, owners]),
        np.concatenate([first.boxes, laid.boxes]),
        first.labels + laid.labels,
    )


def _place(scan: LabelledScan, angle: float, shift: float) -> LabelledScan:
    """Return the scan turned about the origin and shifted along x; heights stay."""
    points, boxes = scan.points.copy(), scan.boxes.copy()
    points[:, :2] = turn(points[:, :2], angle)
    boxes[:, :2] = turn(boxes[:, :2], angle)
    boxes[:, 6] = (boxes[:, 6] + angle + np.pi) % (2 * np.pi) - np.pi
    points[:, 0] += np.float32(shift)
    boxes[:, 0] += shift
    return replace(scan, points=points, boxes=boxes)


def _set_on_ground(first: LabelledScan, placed: LabelledScan, second: LabelledScan) -> LabelledScan:
    """Return `placed` (`second` where it goes) with its heights above its own ground put on the ground of `first`."""
    new, old = estimate_ground(first.points), estimate_ground(second.points)
    points, boxes = placed.points.copy(), placed.boxes.copy()
    points[:, 2] += new.at(points[:, :2]) - old.at(second.points[:, :2])
    boxes[:, 2] += new.at(boxes[:, :2]) - old.at(second.boxes[:, :2])
    return replace(placed, points=points, boxes=boxes)


def _drop_collisions(first: LabelledScan, laid: LabelledScan) -> LabelledScan:
    """Return `laid` without the objects that overlap those of `first`, and without points inside the latter."""
    if not len(first.boxes):
        return laid
    wide = first.boxes.copy()
    wide[:, 3:5] += 2 * _AROUND
    wide[:, 5] += 2 * _ABOVE
    stays = np.ones(len(laid.boxes), bool)
    if len(laid.boxes):
        stays = bev_iou(laid.boxes, wide).max(axis=1) <= 0
    mask = points_in_boxes(laid.points, wide) < 0
    mask &= (laid.owners < 0) | stays[np.maximum(laid.owners, 0)] if len(stays) else True
    return _select_objects(laid.keep(mask), stays)


def _select_objects(scan: LabelledScan, stays: NDArray[np.bool_]) -> LabelledScan:
    """Return the scan with the objects `stays` (K,) only, renumbered; the others have no points any more."""
    number = np.cumsum(stays, dtype=np.int32) - 1
    owners = scan.owners.copy()
    owners[owners >= 0] = number[owners[owners >= 0]]
    labels = tuple(label for label, stay in zip(scan.labels, stays, strict=True) if stay)
    return replace(scan, owners=owners, boxes=scan.boxes[stays], labels=labels)
