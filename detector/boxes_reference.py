"""boxes_reference.py: the NumPy twin of boxes.py, plain and slow, that its kernels are tested against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .boxes import box_corners


def _cross(u: NDArray[np.float64], v: NDArray[np.float64]) -> float:
    return float(u[0] * v[1] - u[1] * v[0])


def polygon_area(corners: NDArray[np.float64]) -> float:
    """Return the area of a simple polygon (N, 2) by the shoelace formula."""
    if len(corners) < 3:
        return 0.0
    x, y = (corners - corners[0]).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def clip_polygon(subject: NDArray[np.float64], window: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part of polygon `subject` (N, 2) inside the convex, counter-clockwise `window` (M, 2).

    Source: Sutherland and Hodgman, Reentrant polygon clipping, CACM 17 (1974).
    """
    polygon = list(subject)
    for start, end in zip(window, np.roll(window, -1, axis=0), strict=True):
        kept = []
        for here, there in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            side, next_side = _cross(end - start, here - start), _cross(end - start, there - start)
            if side >= 0:
                kept.append(here)
            if side * next_side < 0:
                kept.append(here + side / (side - next_side) * (there - here))
        polygon = kept
    return np.array(polygon).reshape(-1, 2)


def overlap(a: NDArray[np.float64], b: NDArray[np.float64], *, volume: bool) -> float:
    """Return the IoU of two boxes (7,): of the footprints, or of the volumes."""
    if not (np.isfinite(a).all() and np.isfinite(b).all() and (a[3:6] > 0).all() and (b[3:6] > 0).all()):
        return 0.0
    first, second = box_corners(a[None])[0], box_corners(b[None])[0]
    shared, sizes = polygon_area(clip_polygon(first, second)), a[3] * a[4] + b[3] * b[4]
    if volume:
        top, bottom = min(a[2] + a[5] / 2, b[2] + b[5] / 2), max(a[2] - a[5] / 2, b[2] - b[5] / 2)
        shared, sizes = shared * max(0.0, top - bottom), a[3] * a[4] * a[5] + b[3] * b[4] * b[5]
    return float(shared / (sizes - shared))


def overlap_matrix(
    a: NDArray[np.float64], b: NDArray[np.float64], *, volume: bool = False
) -> NDArray[np.float64]:
    """Return the IoU (N, M) of boxes a (N, 7) and b (M, 7)."""
    return np.array([[overlap(first, second, volume=volume) for second in b] for first in a]).reshape(
        len(a), len(b)
    )


def suppress_boxes(
    boxes: NDArray[np.float64], scores: NDArray[np.float64], threshold: float
) -> NDArray[np.intp]:
    """Return the boxes that greedy suppression keeps, by descending score."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if all(overlap(boxes[k], boxes[i], volume=False) <= threshold for k in kept):
            kept.append(int(i))
    return np.array(kept, np.intp)


def points_inside(points: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return (N, K): does point n (N, >=3) lie in box k (K, 7)?"""
    offset = points[:, None, :3] - boxes[None, :, :3]
    cos, sin = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    along = offset[..., 0] * cos + offset[..., 1] * sin
    across = offset[..., 1] * cos - offset[..., 0] * sin
    own = np.stack([along, across, offset[..., 2]], axis=-1)
    return np.asarray((np.abs(own) <= boxes[None, :, 3:6] / 2).all(axis=-1))
