"""traffic.py: vehicles: parked along kerbs, in bays, on lots and in yards, driving, queueing, turning."""

from __future__ import annotations

import numpy as np

from .actors import build_car, build_trailer, build_truck, build_van
from .stage import Stage
from .streets import REACH, Parking, Street

_BAY_LENGTH = 5.0  # [m]
_DRIVEWAY_WIDTH = 3.0


def furnish_vehicles(stage: Stage) -> None:
    """Park and drive vehicles on all streets, then put the odd ones where room is left."""
    if stage.kind == "lot":
        _fill_lot(stage)
    for street in stage.streets:
        for side in (-1, 1):
            _park_along(stage, street, side)
        _queue_at_crossings(stage, street)
        for side in (-1, 1):
            for lane in range(street.lanes):
                _drive_lane(stage, street, side, lane)
    _turn_at_crossings(stage)
    _double_park(stage)
    _park_in_yards(stage)
    _scatter_odd(stage)


def _park_along(stage: Stage, street: Street, side: int) -> None:
    parking = street.parking[side > 0]
    if parking.style in ("perpendicular", "angled"):
        centre = side * (street.half_width(side) - 0.5 * parking.depth)
        _park_bays(stage, street, side, centre, parking, (-REACH, REACH))
    elif parking.style in ("parallel", "pavement"):
        _park_parallel(stage, street, side, parking)


def _park_parallel(stage: Stage, street: Street, side: int, parking: Parking) -> None:
    """Park bumper to bumper; on tight streets 0.4 to 1.2 m apart."""
    dice = stage.dice
    inner = street.half_width(side) - parking.depth
    turned = dice.weighted((0.03, 0.12, 0.5), (0.4, 0.4, 0.2))  # share that faces against the traffic
    loosest = dice.uniform(0.8, 2.2)
    sloppiness = dice.uniform(0.02, 0.12)
    u = -REACH + dice.uniform(0, 5)
    while u < REACH:
        if not dice.chance(parking.occupancy):
            u += dice.uniform(4.8, 6.5)
            continue
        if not street.clear(u + 2.4, 4.5):
            u += 2.0
            continue
        vehicle = stage.draw_vehicle(*street.place(u, 0.0)[:2])
        length, width, _ = vehicle.size
        # At the kerb where the strip is wide enough, else from the lane's edge half onto the pavement.
        v = side * (
            max(street.half_width(side) - 0.5 * width - 0.25, inner + 0.5 * width)
            + dice.normal(0, sloppiness)
        )
        x, y, yaw = street.place(u + 0.5 * length, v)
        yaw += (0.0 if side < 0 else np.pi) + (np.pi if dice.chance(turned) else 0.0) + dice.normal(0, 0.025)
        stage.place_actor(vehicle, (x, y, yaw), margin=0.1)
        u += length + dice.uniform(0.4, loosest)


def _park_bays(
    stage: Stage, street: Street, side: int, centre: float, parking: Parking, stretch: tuple[float, float]
) -> None:
    """Park side by side at an angle; `centre` is v of the row."""
    dice = stage.dice
    spacing = dice.uniform(2.35, 2.9) / float(np.sin(parking.angle))
    inward = 0.95 if parking.inward else 0.3
    skew = dice.uniform(0.01, 0.05)
    u = stretch[0] + dice.uniform(0, spacing)
    while u < stretch[1]:
        if dice.chance(parking.occupancy) and street.clear(u, 4.0):
            x, y, yaw = street.place(u, centre + dice.normal(0, 0.2))
            yaw += -parking.angle if side < 0 else np.pi - parking.angle
            yaw += (0.0 if dice.chance(inward) else np.pi) + dice.normal(0, skew)
            if stage.fits((x, y, yaw), 3.6, 1.6):
                stage.place_actor(stage.draw_vehicle(x, y, longest=6.3), (x, y, yaw), margin=0.08)
        u += spacing


def _fill_lot(stage: Stage) -> None:
    """Fill the paved area beside the aisle with rows of bays, two back to back between aisles."""
    dice, main = stage.dice, stage.streets[0]
    angle = np.radians(dice.uniform(40, 75)) if dice.chance(0.35) else 0.5 * np.pi
    depth = _BAY_LENGTH * float(np.sin(angle)) + 1.9 * float(np.cos(angle))
    aisle = dice.uniform(5.0, 7.5)
    crowded = dice.uniform(*stage.recipe.occupancy)
    for side in (-1, 1):
        inner = main.lanes * main.lane_width
        edge = main.half_width(side)
        facing = side
        while inner + depth <= edge:
            occupancy = min(0.97, max(0.08, crowded + dice.normal(0, 0.2)))
            row = Parking("angled", angle, depth, occupancy, dice.chance(0.7))
            stretch = dice.uniform(-60, -20), dice.uniform(20, 60)
            _park_bays(stage, main, facing, side * (inner + 0.5 * depth), row, stretch)
            if dice.chance(0.8):
                inner += depth + (0.0 if facing == side else aisle)
                facing = -facing
            else:
                inner += depth + aisle


def _speed(stage: Stage) -> float:
    fastest = {"lot": 4.0, "residential": 9.0, "city": 12.0, "intersection": 12.0}.get(stage.kind, 22.0)
    return stage.dice.uniform(0.15, 1.0) * fastest


def _drive_lane(stage: Stage, street: Street, side: int, lane: int) -> None:
    dice = stage.dice
    if street.lanes == 1 and street.lane_width < 2.6 and dice.chance(0.5):
        return
    gap = dice.uniform(*stage.recipe.traffic)
    jam = dice.chance(0.08)
    u = -REACH + dice.exponential(gap)
    while u < REACH:
        x, y, yaw = street.place(u, street.lane_centre(side, lane) + dice.normal(0, 0.22))
        yaw += (0.0 if side < 0 else np.pi) + dice.normal(0, 0.025)
        length = 4.5
        if stage.fits((x, y, yaw), length, 1.8):
            vehicle = stage.draw_vehicle(x, y)
            length = vehicle.size[0]
            stage.place_actor(vehicle, (x, y, yaw), margin=0.5, speed=0.0 if jam else _speed(stage))
        u += length + (dice.uniform(1.2, 5.0) if jam else 4.0 + dice.exponential(gap))


def _queue_at_crossings(stage: Stage, street: Street) -> None:
    """Let vehicles wait one behind the other before the stop lines of a street."""
    dice = stage.dice
    busy = {"city": 0.4, "intersection": 0.65, "arterial": 0.4}.get(stage.kind, 0.12)
    for low, high in street.gaps:
        for side in (-1, 1):
            for lane in range(street.lanes):
                if not dice.chance(busy):
                    continue
                line = (low - dice.uniform(1.5, 5)) if side < 0 else (high + dice.uniform(1.5, 5))
                for _ in range(dice.integer(1, 6)):
                    vehicle = stage.draw_vehicle(*street.place(line, 0.0)[:2])
                    length = vehicle.size[0]
                    v = street.lane_centre(side, lane) + dice.normal(0, 0.2)
                    x, y, yaw = street.place(line + side * 0.5 * length, v)
                    yaw += (0.0 if side < 0 else np.pi) + dice.normal(0, 0.02)
                    if not stage.place_actor(vehicle, (x, y, yaw), margin=0.2):
                        break
                    line += side * (length + dice.uniform(0.8, 3.5))


def _turn_at_crossings(stage: Stage) -> None:
    """Put turning vehicles, with any yaw between the two streets, onto the crossings."""
    dice, main = stage.dice, stage.streets[0]
    for street in stage.streets[1:]:
        for _ in range(dice.count(1.0)):
            u = dice.uniform(-1, 1) * main.half_width(1)
            v = dice.uniform(-1, 1) * street.half_width(1)
            x, y, yaw = street.place(u, v)
            yaw += dice.integer(0, 3) * 0.5 * np.pi + dice.uniform(0.15, 1.4)
            stage.place_actor(stage.draw_vehicle(x, y), (x, y, yaw), margin=0.4, speed=dice.uniform(1, 5))


def _double_park(stage: Stage) -> None:
    dice = stage.dice
    if stage.kind not in ("city", "intersection") or not dice.chance(0.4):
        return
    for _ in range(dice.integer(1, 3)):
        street, side = dice.pick(stage.streets), dice.sign()
        inner = street.half_width(side) - street.parking[side > 0].depth
        x, y, yaw = street.place(dice.uniform(-55, 55), side * (inner - dice.uniform(0.9, 1.4)))
        yaw += (0.0 if side < 0 else np.pi) + dice.normal(0, 0.05)
        build = dice.weighted((build_van, build_truck, build_car), (0.4, 0.2, 0.4))
        stage.place_actor(build(dice.rng), (x, y, yaw), margin=0.15)


def _park_in_yards(stage: Stage) -> None:
    """Stand cars on driveways and in yards beside the road."""
    dice, main = stage.dice, stage.streets[0]
    for _ in range(dice.count({"residential": 4.0, "rural": 1.5, "arterial": 1.0}.get(stage.kind, 0.5))):
        side, station = dice.sign(), dice.uniform(-60, 60)
        if not main.clear(station, 6.0):
            continue
        stage.terrain.lower_kerb(side, station, _DRIVEWAY_WIDTH)
        out = main.half_width(side) + main.sidewalk(side) + dice.uniform(2.7, 5.0)
        for _ in range(dice.integer(1, 2)):
            x, y, yaw = main.place(station, side * out)
            yaw += dice.sign() * 0.5 * np.pi + dice.normal(0, 0.06)
            trailer = dice.chance(0.06)
            vehicle = build_trailer(dice.rng) if trailer else stage.draw_vehicle(x, y, longest=6.5)
            stage.place_actor(vehicle, (x, y, yaw), off_road=0.3)
            out += dice.uniform(5.2, 6.5)
    for _ in range(dice.count({"residential": 1.5, "rural": 1.5, "arterial": 1.5}.get(stage.kind, 0.3))):
        side = dice.sign()
        out = main.half_width(side) + main.sidewalk(side) + dice.uniform(3, 18)
        x, y, yaw = main.place(dice.uniform(-60, 60), side * out)
        pose = (x, y, yaw + dice.uniform(-np.pi, np.pi))
        stage.place_actor(stage.draw_vehicle(x, y, longest=8.0), pose, off_road=0.3)


def _scatter_odd(stage: Stage) -> None:
    """Leave a few vehicles anywhere at any yaw: no layout rule may hold without exception."""
    dice = stage.dice
    for _ in range(dice.count(2.0)):
        x, y, yaw = stage.streets[0].place(dice.uniform(-55, 55), dice.uniform(-30, 30))
        pose = (x, y, yaw + dice.uniform(-np.pi, np.pi))
        stage.place_actor(stage.draw_vehicle(x, y), pose, margin=0.4)
