"""realism.py: statistics of sweeps that must be alike for simulated and real ones, if training is to carry over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..evaluate.truth import LabelledFrame
from ..ground import estimate_ground_height
from .sensors import Sensor

F64 = NDArray[np.float64]

HALF_SIDE = 51.2  # [m] square in which points and pillars are counted
PILLAR = 0.32  # [m]
GROUND_BANDS = ((3, 5), (5, 7), (7, 10), (10, 15), (15, 20), (20, 30), (30, 40), (40, 50))  # [m]
CAR_BANDS = ((6, 10), (10, 15), (15, 20), (20, 30), (30, 40), (40, 50))  # [m]
OCCLUSION_LIMIT = 0.1  # cars with more of their rays stopped on the way are left out
FEWEST_RAYS = 8
SURFACE_MARGIN = 0.15  # [m] around a box, for its own inaccuracy and the noise of ranges
HEIGHT_RANGE = 25.0  # [m] up to which the heights of points on cars are counted


@dataclass(frozen=True)
class RayFate:
    """What became of the rays that cross the boxes of unoccluded cars in one band of range, as mean shares.

    Attributes:
        nearest, farthest: the band [m].
        cars: number of cars.
        inside: rays that returned from the box.
        behind: rays that passed the car's outline or its windows and returned from behind the box.
        lost: rays without a return.
    """

    nearest: int
    farthest: int
    cars: int
    inside: float
    behind: float
    lost: float


@dataclass(frozen=True)
class SweepStatistics:
    """Statistics of a set of sweeps.

    Attributes:
        frames: number of sweeps.
        points, pillars: mean number of points and occupied 0.32 m pillars within +-51.2 m.
        ground: mean number of points near the ground in each of `GROUND_BANDS`.
        rays: fate of the rays towards cars, for the bands that have any.
        heights: share of the points on near cars by tenth of the car's height, from below.
        height_cars: number of cars in `heights`.
    """

    frames: int
    points: float
    pillars: float
    ground: tuple[float, ...]
    rays: tuple[RayFate, ...]
    heights: tuple[float, ...]
    height_cars: int


def measure_sweeps(
    frames: Iterable[LabelledFrame], sensor: Sensor, *, origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> SweepStatistics:
    """Return the statistics of labelled sweeps of `sensor`.

    Args:
        frames: sweeps with boxes; only objects labelled "car" are looked at.
        sensor: its nominal table says how many rays cross a box.
        origin: x, y, z of the sensor in the frames' coordinates [m].
    """
    counts, ground, heights = [], [], []
    fates: dict[tuple[int, int], list[tuple[float, float, float]]] = {band: [] for band in CAR_BANDS}
    for labelled in frames:
        points = labelled.frame.points[:, :3].astype(np.float64)
        counts.append(_count_pillars(points))
        ground.append(_count_ground(points))
        from_sensor = points - np.asarray(origin)
        truth = labelled.objects
        for box, label in zip(truth.boxes, truth.labels, strict=True):
            if label != "car":
                continue
            moved = np.concatenate([box[:3] - np.asarray(origin), box[3:]])
            distance = float(np.hypot(moved[0], moved[1]))
            band = next((b for b in CAR_BANDS if b[0] <= distance < b[1]), None)
            fate = _follow_rays(from_sensor, moved, sensor) if band else None
            if band and fate:
                fates[band].append(fate)
            if band and distance < HEIGHT_RANGE:
                heights.append(_height_shares(from_sensor, moved))
    known = [shares for shares in heights if shares is not None]
    return SweepStatistics(
        frames=len(counts),
        points=float(np.mean([c[0] for c in counts])),
        pillars=float(np.mean([c[1] for c in counts])),
        ground=tuple(np.mean(ground, axis=0).tolist()),
        rays=tuple(
            RayFate(*band, len(rows), *np.mean(rows, axis=0).tolist()) for band, rows in fates.items() if rows
        ),
        heights=tuple(np.mean(known, axis=0).tolist()) if known else (),
        height_cars=len(known),
    )


def _count_pillars(points: F64) -> tuple[int, int]:
    near = points[np.all(np.abs(points[:, :2]) < HALF_SIDE, axis=1), :2]
    cells = np.floor(near / PILLAR).astype(np.int64)
    return len(near), len(np.unique(cells[:, 0] * 100_000 + cells[:, 1]))


def _count_ground(points: F64) -> list[int]:
    """Return the number of points in each band that lie within 0.3 m + 1 % of the distance of the ground."""
    distance = np.hypot(points[:, 0], points[:, 1])
    low = np.abs(points[:, 2] - estimate_ground_height(points.astype(np.float32))) < 0.3 + 0.01 * distance
    return [int(np.count_nonzero(low & (distance >= a) & (distance < b))) for a, b in GROUND_BANDS]


def _follow_rays(points: F64, box: F64, sensor: Sensor) -> tuple[float, float, float] | None:
    """Return the shares of the rays crossing `box` that end inside, behind or nowhere; None for a hidden car."""
    rays = _count_crossing_rays(box, sensor)
    if rays < FEWEST_RAYS:
        return None
    ranges = np.linalg.norm(points, axis=1)
    ahead = _near_azimuth(np.arctan2(points[:, 1], points[:, 0]), box) & (ranges > 0)
    ranges = ranges[ahead]
    entry, leave = _cross_box(np.zeros(3), points[ahead] / ranges[:, None], box)
    crossing = (leave > entry) & (entry > 0)
    front = np.count_nonzero(crossing & (ranges < entry - SURFACE_MARGIN))
    behind = np.count_nonzero(crossing & (ranges > leave + SURFACE_MARGIN))
    inside = np.count_nonzero(crossing) - front - behind
    if front > OCCLUSION_LIMIT * rays:
        return None
    return inside / rays, behind / rays, 1.0 - (inside + front + behind) / rays


def _count_crossing_rays(box: F64, sensor: Sensor) -> int:
    """Return how many rays of the nominal table of `sensor` cross `box`."""
    azimuth = np.arange(sensor.azimuth_steps, dtype=np.float64) * (2 * np.pi / sensor.azimuth_steps) - np.pi
    azimuth = azimuth[_near_azimuth(azimuth, box)]
    flat, up = np.cos(sensor.elevations)[:, None], np.sin(sensor.elevations)[:, None]
    rays = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), up + 0 * azimuth], axis=-1)
    origins = np.zeros((sensor.beams, 1, 3))
    origins[:, 0, 2] = sensor.origin_heights
    entry, leave = _cross_box(np.broadcast_to(origins, rays.shape).reshape(-1, 3), rays.reshape(-1, 3), box)
    return int(np.count_nonzero((leave > entry) & (entry > 0)))


def _near_azimuth(azimuth: F64, box: F64) -> NDArray[np.bool_]:
    """Return which azimuths can meet `box` at all."""
    half = np.arcsin(min(1.0, 0.5 * np.hypot(box[3], box[4]) / np.hypot(box[0], box[1])))
    away = (azimuth - np.arctan2(box[1], box[0]) + np.pi) % (2 * np.pi) - np.pi
    return np.asarray(np.abs(away) <= half)


def _cross_box(origins: F64, rays: F64, box: F64) -> tuple[F64, F64]:
    """Return the ranges at which each ray (N, 3) enters and leaves `box`; it misses where leave <= entry."""
    cos, sin = np.cos(box[6]), np.sin(box[6])
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    local, start = rays @ turn, (origins - box[:3]) @ turn
    half = 0.5 * box[3:6]
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = (-half - start) / local, (half - start) / local
    return np.max(np.minimum(one, other), axis=-1), np.min(np.maximum(one, other), axis=-1)


def _height_shares(points: F64, box: F64) -> F64 | None:
    """Return the share of the points in `box` by tenth of its height; None with fewer than 30."""
    cos, sin = np.cos(box[6]), np.sin(box[6])
    x, y, z = (points - box[:3]).T
    along, across = x * cos + y * sin, y * cos - x * sin
    inside = (np.abs(along) < 0.5 * box[3] + 0.05) & (np.abs(across) < 0.5 * box[4] + 0.05)
    inside &= np.abs(z) < 0.5 * box[5]
    if np.count_nonzero(inside) < 30:
        return None
    histogram, _ = np.histogram(z[inside] / box[5] + 0.5, 10, (0.0, 1.0))
    return np.asarray(histogram / histogram.sum())
