"""streets.py: the road frame: a curved centreline, and the streets that follow or cross it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .dice import Dice
from .recipes import Recipe

F64 = NDArray[np.float64]

REACH = 78.0  # [m] along and across the road that is laid out around the ego
_TABLE_REACH = 110
PARKING_STYLES = ("none", "parallel", "pavement", "perpendicular", "angled")


class Centreline:
    """The axis of the main road: station s [m] along it, offset t [m] to its left.

    Args:
        curvature: (221,) 1/m at stations -110..110, every metre.
        heading: direction of the axis at s = 0 [rad] in the scene frame.
        offset: t of the scene's origin.
    """

    def __init__(self, curvature: F64, heading: float, offset: float) -> None:
        turn = np.concatenate([[0.0], np.cumsum(0.5 * (curvature[1:] + curvature[:-1]))])
        angle = heading + turn - turn[_TABLE_REACH]
        middle = 0.5 * (angle[1:] + angle[:-1])
        x = np.concatenate([[0.0], np.cumsum(np.cos(middle))])
        y = np.concatenate([[0.0], np.cumsum(np.sin(middle))])
        x += np.sin(heading) * offset - x[_TABLE_REACH]
        y -= np.cos(heading) * offset + y[_TABLE_REACH]
        self._stations = np.arange(-_TABLE_REACH, _TABLE_REACH + 1.0)
        self._table = np.stack([x, y, angle], 1)
        self._rows = [tuple(row) for row in self._table.tolist()]
        self.offset = offset

    def place(self, s: float, t: float) -> tuple[float, float, float]:
        """Return x, y [m] of (s, t) and the direction [rad] of the road there."""
        s = min(max(s, -_TABLE_REACH), _TABLE_REACH - 1e-6)
        row = int(s + _TABLE_REACH)
        part = s + _TABLE_REACH - row
        (x0, y0, a0), (x1, y1, a1) = self._rows[row], self._rows[row + 1]
        angle = a0 + part * (a1 - a0)
        return (
            x0 + part * (x1 - x0) - float(np.sin(angle)) * t,
            y0 + part * (y1 - y0) + float(np.cos(angle)) * t,
            angle,
        )

    def places(self, s: F64, t: F64) -> tuple[F64, F64]:
        """Return x, y of many (s, t)."""
        x, y, angle = (np.interp(s, self._stations, column) for column in self._table.T)
        return x - np.sin(angle) * t, y + np.cos(angle) * t

    def locate(self, x: F64, y: F64) -> tuple[F64, F64]:
        """Return s, t of points given in the scene frame: the inverse of `places`."""
        distance = (self._table[:, 0] - x[:, None]) ** 2 + (self._table[:, 1] - y[:, None]) ** 2
        row = distance.argmin(1)
        s, t = self._stations[row], np.zeros(len(x))
        for _ in range(3):  # step along the tangent; the curve is gentle, so this settles at once
            px, py, angle = (np.interp(s, self._stations, column) for column in self._table.T)
            dx, dy = x - px, y - py
            s = s + dx * np.cos(angle) + dy * np.sin(angle)
            t = dy * np.cos(angle) - dx * np.sin(angle)
        return s, t


@dataclass(frozen=True)
class Parking:
    """Parking along one side of a street.

    Attributes:
        style: one of `PARKING_STYLES`.
        angle: of the parked cars to the street [rad]: 0 parallel, pi/2 perpendicular.
        depth: of the strip [m], inside the kerb.
        occupancy: share of the places that is taken.
        inward: whether most cars stand nose to the kerb.
    """

    style: str
    angle: float
    depth: float
    occupancy: float
    inward: bool


@dataclass(frozen=True)
class Street:
    """A straight run in the road frame: u along it, v to its left; side -1 is its right, +1 its left.

    Attributes:
        line: centreline of the main road.
        crossing: station of the main road that this street crosses, None for the main road itself.
        lanes: per direction.
        lane_width, median: [m].
        parking: right, left.
        sidewalks: widths right, left [m].
        gaps: stretches (from, to) of u that another street takes.
    """

    line: Centreline
    crossing: float | None
    lanes: int
    lane_width: float
    median: float
    parking: tuple[Parking, Parking]
    sidewalks: tuple[float, float]
    gaps: tuple[tuple[float, float], ...]

    def place(self, u: float, v: float) -> tuple[float, float, float]:
        """Return x, y and direction of (u, v) in the scene frame."""
        if self.crossing is None:
            return self.line.place(u, v)
        x, y, yaw = self.line.place(self.crossing - v, u)
        return x, y, yaw + 0.5 * np.pi

    @property
    def station(self) -> float:
        """Station of the main road at which this street's axis lies (0 for the main road)."""
        return 0.0 if self.crossing is None else self.crossing

    def half_width(self, side: int) -> float:
        """Return the distance from the axis to the kerb."""
        return 0.5 * self.median + self.lanes * self.lane_width + self.parking[side > 0].depth

    def lane_centre(self, side: int, lane: int) -> float:
        """Return v of a lane, counted from the axis outwards."""
        return side * (0.5 * self.median + (lane + 0.5) * self.lane_width)

    def sidewalk(self, side: int) -> float:
        """Return the width of the pavement."""
        return self.sidewalks[side > 0]

    def clear(self, u: float, margin: float = 0.0) -> bool:
        """Return whether u is at least `margin` away from every crossing street."""
        return all(u < low - margin or u > high + margin for low, high in self.gaps)


def draw_centreline(dice: Dice, kind: str, offset: float) -> Centreline:
    """Return a straight, bent or winding road with the origin at `offset` to the left of its axis."""
    stations = np.arange(-_TABLE_REACH, _TABLE_REACH + 1.0)
    curvature = np.zeros(len(stations))
    limit = {"arterial": 0.003, "lot": 0.0, "intersection": 0.0025, "city": 0.004}.get(kind, 0.0095)
    if dice.chance(0.6) and limit > 0:
        knots = np.arange(-_TABLE_REACH, _TABLE_REACH + 1, 44.0)
        steady = dice.chance(0.5)
        values = (
            [dice.normal(0.0, 0.5 * limit)] * len(knots)
            if steady
            else [dice.normal(0, 0.5 * limit) for _ in knots]
        )
        curvature = np.clip(np.interp(stations, knots, values), -limit, limit)
    heading = dice.normal(0.0, 0.05) if dice.chance(0.85) else dice.uniform(-0.6, 0.6)
    return Centreline(curvature, heading, offset)


def draw_parking(dice: Dice, recipe: Recipe) -> Parking:
    """Return the parking of one side of a street."""
    style = dice.weighted(PARKING_STYLES, recipe.parking)
    occupancy = dice.uniform(*recipe.occupancy)
    inward = dice.chance(0.7)
    if style == "none":
        return Parking(style, 0.0, 0.0, 0.0, inward)
    if style == "perpendicular":
        return Parking(style, 0.5 * np.pi, dice.uniform(4.6, 5.4), occupancy, inward)
    if style == "angled":
        angle = np.radians(dice.uniform(30, 62))
        return Parking(
            style, angle, 4.4 * float(np.sin(angle)) + 1.9 * float(np.cos(angle)), occupancy, inward
        )
    # Parallel cars sometimes share the lane with the traffic, so the strip may be narrower than a car.
    return Parking(
        style,
        0.0,
        dice.uniform(1.7, 2.4) if style == "parallel" else dice.uniform(0.7, 1.4),
        occupancy,
        inward,
    )


def draw_streets(dice: Dice, kind: str, recipe: Recipe) -> tuple[Street, ...]:
    """Return the main road, in a lane of which the ego stands, and the streets that cross it."""
    main_lanes = dice.integer(*recipe.lanes)
    lane_width = dice.uniform(*recipe.lane_width)
    median = dice.uniform(0.6, 5.0) if kind == "arterial" or (main_lanes > 1 and dice.chance(0.3)) else 0.0
    parking = (draw_parking(dice, recipe), draw_parking(dice, recipe))
    if kind == "lot":  # all bays lie on one paved area beside the aisle
        parking = (_draw_lot(dice), _draw_lot(dice))
    sidewalks = (dice.uniform(*recipe.sidewalk), dice.uniform(*recipe.sidewalk))
    if kind == "intersection" and dice.chance(0.4):  # a square on one side
        wide = dice.uniform(9.0, 22.0)
        sidewalks = (wide, sidewalks[1]) if dice.chance(0.5) else (sidewalks[0], wide)
    ego_lane = dice.integer(0, main_lanes - 1)
    # The sensor's own road axis: right-hand traffic, rarely left-hand or in the middle of a narrow street.
    side = -1 if dice.chance(0.92) else 1
    offset = side * (0.5 * median + (ego_lane + 0.5) * lane_width) + dice.normal(0, 0.2)
    if kind == "residential" and dice.chance(0.3):
        offset = dice.uniform(-0.8, 0.3)
    line = draw_centreline(dice, kind, offset)

    count = dice.weighted((0, 1, 2), recipe.crossings)
    near = (9.0, 32.0) if kind == "intersection" else (14.0, 62.0)
    first = dice.uniform(*near) * (1 if dice.chance(0.65) else -1)
    stations = [first, first - np.sign(first) * dice.uniform(35, 75)][:count]
    crossing_streets = []
    main_gap = (
        -_edge(main_lanes, lane_width, median, parking[0]),
        _edge(main_lanes, lane_width, median, parking[1]),
    )
    for station in stations:
        lanes = max(1, main_lanes - dice.integer(0, 1))
        crossing_streets.append(
            Street(
                line, station, lanes, dice.uniform(*recipe.lane_width), 0.0,
                (draw_parking(dice, recipe), draw_parking(dice, recipe)),
                (dice.uniform(*recipe.sidewalk), dice.uniform(*recipe.sidewalk)), (main_gap,),
            )
        )  # fmt: skip
    gaps = tuple(
        (street.crossing - street.half_width(1), street.crossing + street.half_width(-1))
        for street in crossing_streets
        if street.crossing is not None
    )
    main = Street(line, None, main_lanes, lane_width, median, parking, sidewalks, gaps)
    return (main, *crossing_streets)


def _draw_lot(dice: Dice) -> Parking:
    """Return a paved area without a layout of its own: none, one double row of bays, or several."""
    depth = dice.weighted((1.0, dice.uniform(5.2, 12.0), dice.uniform(12.0, 32.0)), (0.1, 0.35, 0.55))
    return Parking("none", 0.0, depth, 0.0, True)


def _edge(lanes: int, lane_width: float, median: float, parking: Parking) -> float:
    return 0.5 * median + lanes * lane_width + parking.depth
