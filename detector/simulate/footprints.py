"""footprints.py: turned rectangles on the ground, and a fast test whether one more still fits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...runtime.jit import kernel


@kernel
def _separated(
    dx: float,
    dy: float,
    al: float,
    aw: float,
    ac: float,
    as_: float,
    bl: float,
    bw: float,
    bc: float,
    bs: float,
) -> bool:
    """Tell whether an axis of rectangle a parts it from b (half sizes, cosine and sine of yaw)."""
    along = abs(ac * bc + as_ * bs)
    across = abs(ac * bs - as_ * bc)
    if abs(dx * ac + dy * as_) > al + bl * along + bw * across:
        return True
    return abs(dy * ac - dx * as_) > aw + bl * across + bw * along


@kernel
def _first_overlap(
    taken: NDArray[np.float64], count: int, x: float, y: float, length: float, width: float, yaw: float
) -> int:
    """Return the first of `count` rows (x, y, l/2, w/2, cos, sin, reach) that overlaps, or -1."""
    half_length, half_width = 0.5 * length, 0.5 * width
    c, s = np.cos(yaw), np.sin(yaw)
    reach = np.sqrt(half_length * half_length + half_width * half_width)
    for i in range(count):
        dx, dy = taken[i, 0] - x, taken[i, 1] - y
        near = reach + taken[i, 6]
        if dx * dx + dy * dy > near * near:
            continue
        bl, bw, bc, bs = taken[i, 2], taken[i, 3], taken[i, 4], taken[i, 5]
        if _separated(dx, dy, half_length, half_width, c, s, bl, bw, bc, bs):
            continue
        if _separated(-dx, -dy, bl, bw, bc, bs, half_length, half_width, c, s):
            continue
        return i
    return -1


def rectangles_overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    """Return whether two rectangles (x, y, length, width, yaw) overlap: the reference of the kernel.

    Separating axis theorem: two convex shapes are apart exactly if the normal of one of their sides parts them.
    """

    def corners(rectangle: Sequence[float]) -> NDArray[np.float64]:
        x, y, length, width, yaw = rectangle
        c, s = np.cos(yaw), np.sin(yaw)
        local = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * [length / 2, width / 2]
        return np.asarray(local @ np.array([[c, s], [-s, c]]) + [x, y])

    p, q = corners(a), corners(b)
    for yaw in (a[4], a[4] + np.pi / 2, b[4], b[4] + np.pi / 2):
        axis = np.array([np.cos(yaw), np.sin(yaw)])
        if (p @ axis).max() < (q @ axis).min() or (q @ axis).max() < (p @ axis).min():
            return False
    return True


class Footprints:
    """Rectangles on the ground that things stand on."""

    def __init__(self) -> None:
        self._taken = np.zeros((256, 7))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def free(self, x: float, y: float, length: float, width: float, yaw: float, margin: float = 0.0) -> bool:
        """Return whether the rectangle, grown by `margin` [m] on each side, overlaps nothing."""
        grow = 2.0 * margin
        return bool(_first_overlap(self._taken, self._count, x, y, length + grow, width + grow, yaw) < 0)

    def take(self, x: float, y: float, length: float, width: float, yaw: float) -> None:
        """Mark the rectangle as taken."""
        if self._count == len(self._taken):
            self._taken = np.concatenate([self._taken, np.zeros_like(self._taken)])
        half_length, half_width = 0.5 * length, 0.5 * width
        reach = float(np.hypot(half_length, half_width))
        self._taken[self._count] = x, y, half_length, half_width, np.cos(yaw), np.sin(yaw), reach
        self._count += 1

    def claim(self, x: float, y: float, length: float, width: float, yaw: float, margin: float = 0.0) -> bool:
        """Take the rectangle if it is free with `margin` [m] around it; return whether it was."""
        if not self.free(x, y, length, width, yaw, margin):
            return False
        self.take(x, y, length, width, yaw)
        return True
