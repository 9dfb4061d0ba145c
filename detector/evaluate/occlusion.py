"""occlusion.py: how much of an object nearer things hide from the sensor, measured on the points themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..boxes import box_corners

_FOOT = (
    0.3  # [m] of an object's lower end left out, where the ground in front would count as a thing in the way
)
_GAP = 0.3  # [m] in front of an object that a thing in the way must stand, so that mirrors and bumpers do not count


def measure_occlusion(
    points: NDArray[np.floating],
    boxes: NDArray[np.floating],
    sensor: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> NDArray[np.float64]:
    """Return which share of the returns towards each box comes from something nearer, (K,), NaN for no return.

    The returns towards a box are those in the sector of azimuth and elevation that the box fills as seen from the
    sensor. Beams that come back from nowhere (sky, glass, black paint) cannot be counted.

    Args:
        points: (N, >=3) x, y, z [m]; NaN rows count for nothing.
        boxes: (K, 7) x, y, z of the centre, length, width, height [m], yaw, in the same frame.
        sensor: where the sensor stands in that frame [m].
    """
    x, y, z = (np.asarray(points[:, axis], np.float64) - sensor[axis] for axis in range(3))
    boxes = np.array(boxes, np.float64).reshape(-1, 7)
    boxes[:, :3] -= sensor
    distance = np.hypot(x, y)
    azimuth = np.arctan2(y, x)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = z / distance
    shares = np.full(len(boxes), np.nan)
    for k, (box, corners) in enumerate(zip(boxes, box_corners(boxes), strict=True)):
        turn = _wrap(np.arctan2(corners[:, 1], corners[:, 0]) - np.arctan2(box[1], box[0]))
        near = float(np.hypot(corners[:, 0], corners[:, 1]).min())
        if near <= _GAP or np.ptp(turn) > np.pi:  # the sensor stands in it, or all but
            continue
        foot, top = box[2] - 0.5 * box[5] + _FOOT, box[2] + 0.5 * box[5]
        off = _wrap(azimuth - np.arctan2(box[1], box[0]))
        towards = (off >= turn.min()) & (off <= turn.max()) & (slope >= foot / near) & (slope <= top / near)
        count = int(towards.sum())
        if count:
            shares[k] = (distance[towards] < near - _GAP).sum() / count
    return shares


def _wrap(angle: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)
