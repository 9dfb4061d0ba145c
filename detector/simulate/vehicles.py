"""vehicles.py: cars, pickups and vans with wheels, mirrors and seats, in European and American sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from .actor import Actor
from .car_bodies import BodyShape, draw_body_shape, loft_body
from .mesh import (
    Material,
    Mesh,
    boxes_mesh,
    ellipsoid_mesh,
    merge_meshes,
    rotated_mesh,
    shifted_mesh,
    tubes_mesh,
)
from .silhouettes import SILHOUETTES, Silhouette


@dataclass(frozen=True)
class SizeClass:
    """Share of a silhouette on the street and its mean size [m]."""

    silhouette: str
    share: float
    length: float
    width: float
    height: float


# Means over makes sold about 1995-2020, weighted roughly by how often they stand in the street.
EUROPEAN_CARS = (
    SizeClass("hatch", 0.30, 4.06, 1.73, 1.47),
    SizeClass("city", 0.13, 3.55, 1.62, 1.49),
    SizeClass("sedan", 0.15, 4.55, 1.79, 1.44),
    SizeClass("wagon", 0.13, 4.58, 1.79, 1.48),
    SizeClass("suv", 0.15, 4.38, 1.81, 1.63),
    SizeClass("mpv", 0.08, 4.35, 1.79, 1.64),
    SizeClass("coupe", 0.04, 4.35, 1.79, 1.36),
    SizeClass("offroad", 0.02, 4.40, 1.83, 1.80),
)
AMERICAN_CARS = (
    SizeClass("sedan", 0.37, 4.76, 1.84, 1.46),
    SizeClass("suv", 0.33, 4.70, 1.89, 1.70),
    SizeClass("offroad", 0.08, 5.05, 2.00, 1.86),
    SizeClass("hatch", 0.09, 4.35, 1.79, 1.50),
    SizeClass("mpv", 0.06, 5.08, 1.98, 1.76),
    SizeClass("coupe", 0.05, 4.70, 1.88, 1.38),
    SizeClass("wagon", 0.02, 4.75, 1.85, 1.50),
)
_EUROPEAN_SHARE = 0.5
_CAR_LIMITS = ((2.7, 5.4), (1.48, 2.10), (1.25, 1.98))
_MICROCAR_SHARE = 0.012  # two-seaters of 2.7 m
# European cars of before about 2005 were shorter and, more so, narrower: share and factors on l, w, h.
_OLD_SHARE, _OLD_SIZE = 0.4, (0.965, 0.955, 0.995)


def build_car(rng: Generator) -> Actor:
    """Return a passenger car of a random silhouette and size, label "car"."""
    european = rng.random() < _EUROPEAN_SHARE
    market = EUROPEAN_CARS if european else AMERICAN_CARS
    shares = np.cumsum([size_class.share for size_class in market])
    size_class = market[min(int(np.searchsorted(shares, rng.random() * shares[-1])), len(market) - 1)]
    # Length and width go together (a large car is large in both); height is nearly independent.
    common, own_length, own_width, own_height = np.clip(rng.normal(size=4), -2.5, 2.5)
    (low_l, high_l), (low_w, high_w), (low_h, high_h) = _CAR_LIMITS
    if size_class.silhouette == "city" and rng.random() < _MICROCAR_SHARE / 0.065:
        size_class = SizeClass("city", 0.0, 2.75, 1.59, 1.54)
    age = _OLD_SIZE if european and rng.random() < _OLD_SHARE else (1.0, 1.0, 1.0)
    length = age[0] * size_class.length * (1 + 0.040 * common + 0.025 * own_length)
    width = age[1] * size_class.width * (1 + 0.025 * common + 0.018 * own_width)
    height = age[2] * size_class.height * (1 + 0.010 * common + 0.028 * own_height)
    length, width = float(np.clip(length, low_l, high_l)), float(np.clip(width, low_w, high_w))
    height = float(np.clip(height, low_h, high_h))
    return build_car_of(rng, size_class.silhouette, length, width, height)


def build_car_of(rng: Generator, silhouette: str, length: float, width: float, height: float) -> Actor:
    """Return a car of the named silhouette and size [m], label "car"."""
    outline = SILHOUETTES[silhouette]
    shape = draw_body_shape(rng, length, width, height)
    parts = [loft_body(rng, outline, shape), *_running_gear(rng, outline, shape)]
    parts.append(_cabin(rng, outline, shape))
    parts.append(_number_plates(rng, shape))
    parts.extend(_accessories(rng, outline, shape))
    if rng.random() < 0.02:
        load = _roof_load(rng, outline, shape)
        parts.append(load)
        height = float(load.vertices[:, 2].max())
    return Actor(merge_meshes(parts), (length, width, height), "car")


def _running_gear(rng: Generator, outline: Silhouette, shape: BodyShape) -> list[Mesh]:
    """Return four wheels and the dark underbody between them."""
    tread = rng.uniform(0.17, 0.24)
    outer = 0.5 * shape.width - rng.uniform(0.01, 0.05)
    axle_x = [(0.5 - axle) * shape.length for axle in outline.axles]
    hubs = np.array([(x, side, shape.wheel_radius) for x in axle_x for side in (-1.0, 1.0)])
    inner_ends, outer_ends = hubs * [1, outer - tread, 1], hubs * [1, outer, 1]
    radius = np.full(4, shape.wheel_radius)
    wheels = tubes_mesh(inner_ends, outer_ends, radius, radius, Material.RUBBER, sides=10)
    front, rear = axle_x[0] + 0.35, axle_x[-1] - 0.35
    underbody = boxes_mesh(
        [(front - rear, shape.width - 0.55, 0.45)],
        [(0.5 * (front + rear), 0.0, shape.clearance + 0.02)],
        Material.RUBBER,
    )
    return [wheels, underbody]


def _cabin(rng: Generator, outline: Silhouette, shape: BodyShape) -> Mesh:
    """Return seats and side mirrors: seats are what a beam meets behind the glass."""
    cowl = (0.5 - outline.profile[outline.cowl][0]) * shape.length
    belt = outline.belt * shape.height
    across = 0.21 * shape.width
    front_seat = cowl - 0.27 * shape.length
    rear_seat = front_seat - rng.uniform(0.75, 0.95)
    back = belt + rng.uniform(0.02, 0.14) - 0.45
    sizes = [(0.12, 0.45, 0.62), (0.12, 0.45, 0.62)]
    bottoms = [(front_seat, across, back), (front_seat, -across, back)]
    if outline.profile[outline.rear_header][0] > 0.6:
        sizes.append((0.12, 0.68 * shape.width, 0.50))
        bottoms.append((rear_seat, 0.0, back))
    seats = boxes_mesh(sizes, bottoms, Material.CLOTH)
    reach = rng.uniform(0.14, 0.22)
    folded = rng.random() < 0.15
    mirror = (0.20, 0.07, 0.15) if folded else (0.09, reach, 0.15)
    side = 0.5 * shape.width * 0.97 + 0.5 * mirror[1]
    mirror_x = cowl - rng.uniform(0.30, 0.50)
    mirrors = boxes_mesh([mirror, mirror], [(mirror_x, side, belt), (mirror_x, -side, belt)], Material.PAINT)
    return merge_meshes([seats, mirrors])


def _number_plates(rng: Generator, shape: BodyShape) -> Mesh:
    """Return the retro-reflecting plates, 1 cm proud of the bumpers; some cars show only the rear one."""
    wide = rng.random() < 0.6
    plate = (0.02, 0.52, 0.11) if wide else (0.02, 0.30, 0.15)
    ends = [-1.0] if rng.random() < 0.2 else [-1.0, 1.0]
    x = 0.5 * shape.length
    bottoms = [(end * x, 0.0, shape.height * (0.27 if end > 0 else rng.uniform(0.30, 0.42))) for end in ends]
    return boxes_mesh([plate] * len(ends), bottoms, Material.SIGN)


def _roof_load(rng: Generator, outline: Silhouette, shape: BodyShape) -> Mesh:
    """Return a roof box, a taxi sign or a flat load; it counts into the labelled height."""
    front = (0.5 - outline.profile[outline.header][0]) * shape.length
    rear = (0.5 - outline.profile[outline.rear_header][0]) * shape.length
    middle = 0.5 * (front + rear)
    kind = rng.random()
    if kind < 0.6:
        radii = np.array(
            [0.5 * min(front - rear + 0.4, rng.uniform(1.5, 2.1)), 0.40, rng.uniform(0.17, 0.22)]
        )
        place = (middle, rng.uniform(-0.25, 0.25), shape.height + 0.9 * radii[2])
        return ellipsoid_mesh(radii, place, Material.PAINT)
    if kind < 0.85:
        size = (0.20, rng.uniform(0.35, 0.8), rng.uniform(0.12, 0.18))
    else:
        size = (rng.uniform(1.0, 2.4), rng.uniform(0.3, 1.0), rng.uniform(0.08, 0.25))
    return boxes_mesh([size], [(middle, 0.0, shape.height - 0.01)], Material.PAINT)


def _accessories(rng: Generator, outline: Silhouette, shape: BodyShape) -> list[Mesh]:
    """Return what some cars carry: roof rails, a tow bar, an open tailgate or door."""
    parts: list[Mesh] = []
    luck = rng.random(4)
    roof_front = (0.5 - outline.profile[outline.header][0]) * shape.length - 0.25
    roof_rear = (0.5 - outline.profile[outline.rear_header][0]) * shape.length + 0.10
    if outline.name in ("wagon", "suv", "offroad", "mpv") and luck[0] < 0.5:
        y = 0.5 * shape.width * 0.68
        rail = (roof_front - roof_rear, 0.035, 0.03)
        x = 0.5 * (roof_front + roof_rear)
        z = shape.height * 0.985 - 0.035
        parts.append(boxes_mesh([rail, rail], [(x, y, z), (x, -y, z)], Material.METAL))
    if luck[1] < 0.06:
        parts.append(
            boxes_mesh([(0.12, 0.06, 0.06)], [(-0.5 * shape.length - 0.04, 0, 0.38)], Material.METAL)
        )
    if luck[2] < 0.01 and outline.name in ("hatch", "wagon", "suv", "mpv"):
        hinge = (roof_rear - 0.05, 0.0, shape.height - 0.06)
        lid = boxes_mesh([(0.95, 0.85 * shape.width, 0.05)], [(hinge[0] - 0.47, 0, hinge[2])], Material.PAINT)
        parts.append(rotated_mesh(lid, rng.uniform(0.0, 0.5), axis=1, pivot=hinge))
    if luck[3] < 0.01:
        hinge_x = (0.5 - outline.profile[outline.cowl][0]) * shape.length - 0.15
        side = rng.choice([-1.0, 1.0])
        y = side * 0.48 * shape.width
        door = boxes_mesh([(1.0, 0.06, 0.62)], [(hinge_x - 0.5, y, 0.32)], Material.PAINT)
        parts.append(rotated_mesh(door, -side * rng.uniform(0.5, 1.1), axis=2, pivot=(hinge_x, y, 0.0)))
    return parts


def build_pickup(rng: Generator) -> Actor:
    """Return a pickup, often with a covered or loaded bed, label "car", as most datasets count it."""
    length, width, height = rng.normal(5.5, 0.3), rng.normal(1.94, 0.07), rng.normal(1.84, 0.07)
    length, width, height = (
        float(np.clip(length, 4.9, 6.3)),
        float(np.clip(width, 1.75, 2.08)),
        float(np.clip(height, 1.65, 2.0)),
    )
    actor = build_car_of(rng, "pickup", length, width, height)
    load = rng.random()
    rail = 0.63 * height
    bed_x = -0.31 * length
    if load < 0.25:  # tonneau cover
        size, bottom = (0.36 * length, 0.88 * width, 0.04), (bed_x, 0.0, rail - 0.04)
    elif load < 0.40:  # canopy up to the roof
        size, bottom = (0.36 * length, 0.86 * width, 0.93 * height - rail), (bed_x, 0.0, rail)
    elif load < 0.65:  # loose load
        size = (rng.uniform(0.4, 1.4), rng.uniform(0.4, 1.3), rng.uniform(0.25, 0.9))
        bottom = (bed_x + rng.uniform(-0.2, 0.2), rng.uniform(-0.15, 0.15), 0.40 * height)
    else:
        return actor
    load_mesh = boxes_mesh([size], [bottom], Material.PAINT)
    return Actor(merge_meshes([actor.mesh, load_mesh]), actor.size, actor.label)


def build_van(rng: Generator) -> Actor:
    """Return a pickup (60 %, label "car"), a delivery van, a minibus or a box van (label "van")."""
    luck = rng.random()
    if luck < 0.60:
        return build_pickup(rng)
    if luck < 0.78:
        return _build_panel_van(rng, "delivery")
    if luck < 0.88:
        return _build_panel_van(rng, "minibus")
    return _build_box_van(rng)


def _build_panel_van(rng: Generator, silhouette: str) -> Actor:
    length = rng.uniform(4.6, 6.9)
    width = float(np.clip(1.85 + 0.10 * (length - 4.6) + rng.normal(0, 0.05), 1.75, 2.15))
    tall = 2.6 if silhouette == "delivery" else 2.3
    height = rng.uniform(1.85, 2.1) if length < 5.2 else rng.uniform(1.95, tall)
    return Actor(_van_mesh(rng, silhouette, length, width, height), (length, width, height), "van")


def _van_mesh(rng: Generator, silhouette: str, length: float, width: float, height: float) -> Mesh:
    outline = SILHOUETTES[silhouette]
    shape = draw_body_shape(rng, length, width, height)
    return merge_meshes(
        [loft_body(rng, outline, shape), *_running_gear(rng, outline, shape), _cabin(rng, outline, shape)]
    )


def _build_box_van(rng: Generator) -> Actor:
    """Return a van's cab with a separate box behind it."""
    length, width, height = rng.uniform(5.4, 7.0), rng.uniform(2.0, 2.3), rng.uniform(2.5, 3.1)
    cab_length, cab_width, cab_height = rng.uniform(2.1, 2.4), rng.uniform(1.9, 2.0), rng.uniform(1.95, 2.3)
    cab = build_cab(rng, "chassis_cab", cab_length, cab_width, min(cab_height, height), 0.5 * length)
    box_length = length - cab_length - rng.uniform(0.03, 0.15)
    floor = rng.uniform(0.6, 0.9)
    box = boxes_mesh(
        [(box_length, width, height - floor), (box_length, 0.8, floor - 0.35)],
        [(0.5 * (box_length - length), 0.0, floor), (0.5 * (box_length - length), 0.0, 0.35)],
        [Material.PAINT, Material.RUBBER],
    )
    return Actor(
        merge_meshes([cab, box, build_wheels([-0.27 * length], width, 0.36)]), (length, width, height), "van"
    )


def build_cab(
    rng: Generator, silhouette: str, length: float, width: float, height: float, front: float
) -> Mesh:
    """Return a driver's cab with its front wheels whose nose lies at x = `front` [m]."""
    outline = SILHOUETTES[silhouette]
    shape = draw_body_shape(rng, length, width, height)
    large = height > 2.45
    clearance, radius = (0.38, 0.48) if large else (0.25, 0.36)
    shape = BodyShape(
        length, width, height, clearance, radius,
        nose_depth=min(0.35, 0.3 * length), tail_depth=0.08,
        nose_width=0.7, tail_width=0.9, roof_rim=shape.roof_rim, bow=0.5 * shape.bow,
    )  # fmt: skip
    body = loft_body(rng, outline, shape)
    moved = shifted_mesh(body, front - 0.5 * length, 0.0, 0.0)
    belt = 1.1 * outline.belt * height
    mirror_x = front - 0.35 * length
    y = 0.5 * width + 0.14
    mirrors = boxes_mesh(
        [(0.12, 0.22, 0.45)] * 2, [(mirror_x, y, belt), (mirror_x, -y, belt)], Material.PAINT
    )
    wheels = build_wheels([front - outline.axles[0] * length], width, radius)
    return merge_meshes([moved, mirrors, wheels])


def build_wheels(axle_x: list[float], width: float, radius: float, *, tread: float = 0.26) -> Mesh:
    """Return a pair of wheels on each axle; their outer faces lie 3 cm inside `width` [m]."""
    hubs = np.array([(x, side, radius) for x in axle_x for side in (-1.0, 1.0)])
    outer = 0.5 * width - 0.03
    radii = np.full(len(hubs), radius)
    return tubes_mesh(
        hubs * [1, outer - tread, 1], hubs * [1, outer, 1], radii, radii, Material.RUBBER, sides=10
    )
