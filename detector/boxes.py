"""boxes.py: rotated boxes: corners, overlap by exact polygon clipping, suppression, points inside.

A box is a row x, y, z of its centre, length, width, height [m], yaw about +z from +x [rad]. A box that is not
finite or has a side of zero or less has no area: it overlaps nothing, not even itself.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..runtime.errors import UsageError
from ..runtime.jit import kernel, parallel_kernel, prange

_MOST_CORNERS = 8  # a rectangle cut by four half-planes has at most eight


def box_corners(boxes: ArrayLike) -> NDArray[np.float64]:
    """Return the corners (N, 4, 2) of the footprints: front left, rear left, rear right, front right.

    Raises:
        UsageError: `boxes` is not (N, 7).
    """
    rows = _check_boxes(boxes)
    cos, sin = np.cos(rows[:, 6, None]), np.sin(rows[:, 6, None])
    along = rows[:, 3, None] / 2 * np.array([1.0, -1.0, -1.0, 1.0])
    across = rows[:, 4, None] / 2 * np.array([1.0, 1.0, -1.0, -1.0])
    x = rows[:, 0, None] + along * cos - across * sin
    y = rows[:, 1, None] + along * sin + across * cos
    return np.stack([x, y], axis=-1)


def bev_iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return the intersection over union (N, M) of the footprints of boxes a (N, 7) and b (M, 7).

    Raises:
        UsageError: an array is not (N, 7).
    """
    return _overlaps(a, b, volume=False)


def iou_3d(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return the intersection over union (N, M) of the volumes of boxes a (N, 7) and b (M, 7).

    Raises:
        UsageError: an array is not (N, 7).
    """
    return _overlaps(a, b, volume=True)


def suppress_boxes(boxes: ArrayLike, scores: ArrayLike, threshold: float) -> NDArray[np.intp]:
    """Rotated non-maximum suppression: drop a box whose footprint overlaps a kept box of higher score.

    Greedy by descending score; between equal scores the earlier box goes first.

    Args:
        boxes: (N, 7).
        scores: (N,).
        threshold: boxes whose IoU is above it suppress each other.

    Returns:
        Indices of the kept boxes, by descending score.

    Raises:
        UsageError: shapes do not fit.
    """
    rows, order = _check_boxes(boxes), np.argsort(-_check_scores(scores), kind="stable")
    if len(rows) != len(order):
        raise UsageError(f"{len(rows)} boxes but {len(order)} scores; give one score per box")
    return order[find_survivors(rows[order], np.zeros(len(rows), np.int32), threshold)]


def find_survivors(
    boxes: NDArray[np.float64], labels: NDArray[np.int32], threshold: float
) -> NDArray[np.bool_]:
    """Return which boxes (N, 7), given by descending score, no kept box of their label before them suppresses."""
    kept, solid = np.ones(len(boxes), np.bool_), _find_solid(boxes)
    length, width = np.where(solid, boxes[:, 3:5].T, np.nan)
    with np.errstate(over="ignore"):
        sizes = length * width
        # Half a diagonal, and a little more than rounding can take from it.
        reach = 0.500001 * np.sqrt(length * length + width * width)
    _suppress(boxes, sizes, reach, labels, float(threshold), _clipping_space(), kept)
    return kept


def points_in_boxes(points: ArrayLike, boxes: ArrayLike) -> NDArray[np.int32]:
    """Return, for each point (N, >=3), the index of the first box (K, 7) that holds it, or -1.

    A point on a face is inside.

    Raises:
        UsageError: shapes do not fit.
    """
    cloud, rows = _check_points(points), _check_boxes(boxes)
    owners = np.full(len(cloud), -1, np.int32)
    _own_points(cloud, rows, *_headings(rows), owners)
    return owners


def count_points(points: ArrayLike, boxes: ArrayLike) -> NDArray[np.int32]:
    """Return how many points (N, >=3) lie in each box (K, 7); a point in two boxes counts for both.

    Raises:
        UsageError: shapes do not fit.
    """
    cloud, rows = _check_points(points), _check_boxes(boxes)
    counts = np.zeros(len(rows), np.int32)
    _count_points(cloud, rows, *_headings(rows), counts)
    return counts


def _overlaps(a: ArrayLike, b: ArrayLike, *, volume: bool) -> NDArray[np.float64]:
    first, second = _check_boxes(a), _check_boxes(b)
    result, of_a, of_b = np.zeros((len(first), len(second))), _find_solid(first), _find_solid(second)
    solid_a, solid_b = first[of_a], second[of_b]
    shared = np.empty((len(solid_a), len(solid_b)))
    _intersect_all(solid_a, solid_b, _clipping_space(), shared)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        (_, _, z, length, width, height, _), others = solid_a.T[:, :, None], solid_b.T
        sizes, other_sizes = length * width, others[3] * others[4]
        shared = np.minimum(np.minimum(shared, sizes), other_sizes)
        if volume:
            top = np.minimum(z + height / 2, others[2] + others[5] / 2)
            bottom = np.maximum(z - height / 2, others[2] - others[5] / 2)
            shared *= np.maximum(0.0, np.minimum(np.minimum(top - bottom, height), others[5]))
            sizes, other_sizes = sizes * height, other_sizes * others[5]
        result[np.ix_(of_a, of_b)] = _divide(shared, sizes + other_sizes - shared)
    return result


def _divide(shared: NDArray[np.float64], union: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share, at most 1; 0 where sides were so small or large that a product left the range of a double."""
    good = (union > 0.0) & (union < np.inf)
    return np.minimum(1.0, np.divide(shared, union, out=np.zeros_like(shared), where=good))


def _find_solid(rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(rows).all(axis=1) & (rows[:, 3:6] > 0.0).all(axis=1))


def _clipping_space() -> NDArray[np.float64]:
    """Return room for two polygons, which clipping writes in turn."""
    return np.empty((2, _MOST_CORNERS + 1, 2))


def _check_boxes(boxes: ArrayLike) -> NDArray[np.float64]:
    rows = np.ascontiguousarray(boxes, dtype=np.float64)
    if rows.size == 0:
        return rows.reshape(0, 7)
    if rows.ndim != 2 or rows.shape[1] != 7:
        raise UsageError(f"boxes must have shape (N, 7): x, y, z, l, w, h, yaw; got {rows.shape}")
    return rows


def _headings(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    with np.errstate(invalid="ignore"):  # an infinite yaw gives NaN, which holds no point
        return np.cos(rows[:, 6]), np.sin(rows[:, 6])


def _check_scores(scores: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise UsageError(f"scores must have shape (N,), got {values.shape}")
    return values


def _check_points(points: ArrayLike) -> NDArray[np.floating]:
    cloud = np.asarray(points)
    if cloud.dtype not in (np.float32, np.float64):
        cloud = cloud.astype(np.float64)
    if cloud.ndim != 2 or cloud.shape[1] < 3:
        raise UsageError(f"points must have shape (N, >=3): x, y, z in columns; got {cloud.shape}")
    return np.ascontiguousarray(cloud[:, :3])


@kernel
def _intersection_area(a: NDArray[np.float64], b: NDArray[np.float64], space: NDArray[np.float64]) -> float:
    """Area shared by two footprints, which may be a little more than one of them has.

    Worked out in b's own frame, where b's edges are parallel to the axes: a is cut at each of them in turn
    (Sutherland-Hodgman). One kernel, since several take longer to compile. `space`: see `_clipping_space`.
    """
    x, y, length, width = a[0] - b[0], a[1] - b[1], a[3], a[4]
    if math.hypot(x, y) > (math.hypot(length, width) + math.hypot(b[3], b[4])) / 2:
        return 0.0
    cos, sin = math.cos(b[6]), math.sin(b[6])
    centre_x, centre_y = x * cos + y * sin, y * cos - x * sin
    cos, sin = math.cos(a[6] - b[6]), math.sin(a[6] - b[6])
    for k in range(4):  # counter-clockwise, as box_corners
        along = length / 2 if k == 0 or k == 3 else -length / 2
        across = width / 2 if k < 2 else -width / 2
        space[0, k, 0] = centre_x + along * cos - across * sin
        space[0, k, 1] = centre_y + along * sin + across * cos
    count, sign = 4, 1.0
    for cut in range(4):  # right and left of b, then beside it
        axis, other, limit, kept = cut // 2, 1 - cut // 2, b[3 + cut // 2] / 2, 0
        polygon, clipped = space[cut % 2], space[1 - cut % 2]
        for i in range(count):
            p, q = polygon[i], polygon[i + 1 if i + 1 < count else 0]
            here, there = sign * p[axis] - limit, sign * q[axis] - limit
            if here <= 0.0:
                clipped[kept, 0], clipped[kept, 1] = p[0], p[1]
                kept += 1
            if (here < 0.0 and there > 0.0) or (here > 0.0 and there < 0.0):
                clipped[kept, axis] = sign * limit  # exactly on the edge, whatever the share rounds to
                clipped[kept, other] = p[other] + here / (here - there) * (q[other] - p[other])
                kept += 1
        count, sign = kept, -sign
    twice, first = 0.0, space[0, 0]
    for k in range(1, count - 1):  # a fan from the first corner keeps the terms small
        p, q = space[0, k], space[0, k + 1]
        twice += (p[0] - first[0]) * (q[1] - first[1]) - (p[1] - first[1]) * (q[0] - first[0])
    return twice / 2 if twice > 0.0 else 0.0


@kernel
def _intersect_all(
    a: NDArray[np.float64], b: NDArray[np.float64], space: NDArray[np.float64], areas: NDArray[np.float64]
) -> None:
    for i in range(len(a)):
        for j in range(len(b)):
            areas[i, j] = _intersection_area(a[i], b[j], space)


@kernel
def _suppress(
    boxes: NDArray[np.float64],
    sizes: NDArray[np.float64],
    reach: NDArray[np.float64],
    labels: NDArray[np.int32],
    threshold: float,
    space: NDArray[np.float64],
    kept: NDArray[np.bool_],
) -> None:
    """Write which of the boxes, given by descending score, no kept box of their label before them suppresses.

    Boxes farther from each other than the sum of their `reach`, or whose reach is NaN, do not overlap.
    """
    for i in range(len(boxes)):
        if not kept[i]:
            continue
        for j in range(i + 1, len(boxes)):
            x, y, near = boxes[j, 0] - boxes[i, 0], boxes[j, 1] - boxes[i, 1], reach[i] + reach[j]
            if x * x + y * y <= near * near and kept[j] and labels[j] == labels[i]:  # true of few pairs
                shared = min(min(_intersection_area(boxes[i], boxes[j], space), sizes[i]), sizes[j])
                union = sizes[i] + sizes[j] - shared
                if 0.0 < union < np.inf and shared / union > threshold:  # see `_divide`
                    kept[j] = False


@kernel
def _holds(box: NDArray[np.float64], cos: float, sin: float, x: float, y: float, z: float) -> bool:
    if not abs(z - box[2]) <= box[5] / 2:
        return False
    dx, dy = x - box[0], y - box[1]
    return bool(abs(dx * cos + dy * sin) <= box[3] / 2 and abs(dy * cos - dx * sin) <= box[4] / 2)


@parallel_kernel
def _own_points(
    points: NDArray[np.floating],
    boxes: NDArray[np.float64],
    cos: NDArray[np.float64],
    sin: NDArray[np.float64],
    owners: NDArray[np.int32],
) -> None:
    for n in prange(len(points)):
        for k in range(len(boxes)):
            if _holds(boxes[k], cos[k], sin[k], points[n, 0], points[n, 1], points[n, 2]):
                owners[n] = k
                break


@parallel_kernel
def _count_points(
    points: NDArray[np.floating],
    boxes: NDArray[np.float64],
    cos: NDArray[np.float64],
    sin: NDArray[np.float64],
    counts: NDArray[np.int32],
) -> None:
    for k in prange(len(boxes)):
        count = 0
        for n in range(len(points)):
            if _holds(boxes[k], cos[k], sin[k], points[n, 0], points[n, 1], points[n, 2]):
                count += 1
        counts[k] = count
