"""trucks.py: rigid and articulated trucks, tippers, tankers, buses, trailers and construction machines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from .actor import Actor
from .car_bodies import BodyShape, loft_body
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
from .silhouettes import SILHOUETTES
from .vehicles import build_cab, build_wheels


def build_truck(rng: Generator) -> Actor:
    """Return a rigid or articulated truck or a construction machine, label "truck"."""
    luck = rng.random()
    if luck < 0.58:
        return _build_rigid_truck(rng)
    if luck < 0.84:
        return _build_articulated_truck(rng)
    return _build_machine(rng)


def _build_rigid_truck(rng: Generator) -> Actor:
    heavy = rng.random() < 0.55
    width = rng.uniform(2.35, 2.55) if heavy else rng.uniform(2.0, 2.35)
    length = rng.uniform(7.5, 11.5) if heavy else rng.uniform(5.8, 8.0)
    height = rng.uniform(3.0, 4.0) if heavy else rng.uniform(2.6, 3.4)
    cab_height = float(np.clip(height * rng.uniform(0.72, 0.98), 2.2, 3.4))
    cab_length = rng.uniform(1.7, 2.3)
    cab = build_cab(rng, "cab_over", cab_length, 0.97 * width, cab_height, 0.5 * length)
    rear, front = -0.5 * length, 0.5 * length - cab_length - rng.uniform(0.08, 0.5)
    radius = 0.50 if heavy else 0.40
    axles = [rear + 0.24 * length] + ([rear + 0.24 * length + 1.3] if heavy and length > 9 else [])
    floor = 2 * radius + rng.uniform(0.0, 0.15)
    parts = [cab, _chassis(rear, front + 0.5, width, radius), build_wheels(axles, width, radius, tread=0.5)]
    parts.append(_superstructure(rng, _RIGID_BODIES, _Bed(rear, front, width, floor, height)))
    mesh = merge_meshes(parts)
    return _boxed(mesh, length, width, "truck")


def _chassis(rear: float, front: float, width: float, radius: float) -> Mesh:
    """Return frame rails, a tank and an under-run bar between the axles."""
    middle, reach = 0.5 * (rear + front), front - rear
    return boxes_mesh(
        [(reach, 0.85, 0.28), (0.18 * reach, 0.5, 0.5), (0.08, 0.9 * width, 0.16)],
        [(middle, 0, radius + 0.25), (front - 0.25 * reach, 0.30 * width, 0.42), (rear + 0.05, 0, 0.45)],
        [Material.RUBBER, Material.METAL, Material.METAL],
    )


@dataclass(frozen=True)
class _Bed:
    """Where a superstructure may stand on the frame [m]."""

    rear: float
    front: float
    width: float
    floor: float
    height: float

    @property
    def middle(self) -> float:
        return 0.5 * (self.rear + self.front)

    @property
    def length(self) -> float:
        return self.front - self.rear


def _box_body(rng: Generator, bed: _Bed) -> Mesh:
    """Return a closed box or curtain side, some with a cooler on the front wall."""
    cooler = 0.35 if rng.random() < 0.25 else 0.0
    sizes = [(bed.length - cooler, bed.width, bed.height - bed.floor)]
    bottoms = [(bed.middle - 0.5 * cooler, 0.0, bed.floor)]
    if cooler:
        sizes.append((cooler, 0.8 * bed.width, 0.8))
        bottoms.append((bed.front - 0.5 * cooler, 0.0, bed.height - 0.9))
    return boxes_mesh(sizes, bottoms, Material.PAINT)


def _tipper_body(rng: Generator, bed: _Bed) -> Mesh:
    """Return an open tipper, empty or with a heap."""
    side, wall = rng.uniform(0.6, 1.5), 0.08
    edge = 0.5 * (bed.width - wall)
    along, across = (bed.length, wall, side), (wall, bed.width, side)
    body = boxes_mesh(
        [(bed.length, bed.width, 0.2), along, along, across, (wall, bed.width, side + 0.3)],
        [
            (bed.middle, 0, bed.floor),
            (bed.middle, edge, bed.floor),
            (bed.middle, -edge, bed.floor),
            (bed.rear + 0.5 * wall, 0, bed.floor),
            (bed.front - 0.5 * wall, 0, bed.floor),
        ],
        Material.PAINT,
    )
    if rng.random() < 0.4:
        return body
    radii = (0.45 * bed.length, 0.46 * bed.width, side * rng.uniform(0.5, 1.2))
    heap = ellipsoid_mesh(radii, (bed.middle, 0, bed.floor + 0.2), Material.GROUND)
    return merge_meshes([body, _above(heap, bed.floor + 0.1)])


def _flatbed_body(rng: Generator, bed: _Bed) -> Mesh:
    """Return a platform with a head board and up to three pieces of load."""
    sizes = [(bed.length, bed.width, 0.15), (0.1, bed.width, 1.1)]
    bottoms = [(bed.middle, 0.0, bed.floor), (bed.front - 0.05, 0.0, bed.floor)]
    for _ in range(int(rng.integers(0, 4))):
        length = rng.uniform(0.5, 0.4 * bed.length)
        sizes.append((length, rng.uniform(0.6, 0.95 * bed.width), rng.uniform(0.3, 1.5)))
        x = rng.uniform(bed.rear + 0.5 * length, bed.front - 0.5 * length)
        bottoms.append((x, 0.0, bed.floor + 0.15))
    return boxes_mesh(sizes, bottoms, Material.PAINT)


def _tank_body(rng: Generator, bed: _Bed) -> Mesh:
    """Return a lying cylinder."""
    radius = min(0.5 * bed.width, 0.5 * (bed.height - bed.floor)) * rng.uniform(0.85, 1.0)
    z = bed.floor + radius
    return tubes_mesh([(bed.rear, 0, z)], [(bed.front, 0, z)], [radius], [radius], Material.PAINT, sides=14)


def _mixer_body(rng: Generator, bed: _Bed) -> Mesh:
    """Return a concrete drum that rises to the rear, with its chute."""
    fat = rng.uniform(0.42, 0.48) * bed.width
    waist = (bed.front - 0.45 * bed.length, 0.0, bed.floor + fat)
    mouth = (bed.rear + 0.5, 0.0, bed.floor + 1.7)
    return tubes_mesh(
        [(bed.front, 0, bed.floor + 0.9), waist, mouth],
        [waist, mouth, (bed.rear + 0.2, 0, bed.floor + 0.2)],
        [0.5 * fat, fat, 0.3],
        [fat, 0.5 * fat, 0.15],
        Material.PAINT,
        sides=12,
    )


def _refuse_body(rng: Generator, bed: _Bed) -> Mesh:
    """Return a compactor with a lower hopper behind it."""
    hopper = rng.uniform(1.2, 1.8)
    tall = bed.height - bed.floor
    return boxes_mesh(
        [(bed.length - hopper, bed.width, tall), (hopper, 0.95 * bed.width, 0.85 * tall + 0.5)],
        [(bed.middle + 0.5 * hopper, 0, bed.floor), (bed.rear + 0.5 * hopper, 0, bed.floor - 0.5)],
        Material.PAINT,
    )


_Body = Callable[[Generator, _Bed], Mesh]
_RIGID_BODIES: tuple[tuple[float, _Body], ...] = (
    (0.50, _box_body),
    (0.68, _tipper_body),
    (0.82, _flatbed_body),
    (0.88, _tank_body),
    (0.94, _mixer_body),
    (1.00, _refuse_body),
)  # cumulative shares
_SEMITRAILER_BODIES: tuple[tuple[float, _Body], ...] = (
    (0.72, _box_body),
    (0.85, _flatbed_body),
    (0.94, _tank_body),
    (1.00, _tipper_body),
)


def _superstructure(rng: Generator, bodies: tuple[tuple[float, _Body], ...], bed: _Bed) -> Mesh:
    """Return one of `bodies`, drawn by their cumulative shares."""
    luck = rng.random()
    build = next(build for share, build in bodies if luck <= share)
    return build(rng, bed)


def _above(mesh: Mesh, height: float) -> Mesh:
    """Return the mesh with everything below `height` [m] pressed up to it (the visible half of a heap)."""
    vertices = mesh.vertices.copy()
    vertices[:, 2] = np.maximum(vertices[:, 2], height)
    return Mesh(vertices, mesh.faces, mesh.materials)


def _build_articulated_truck(rng: Generator) -> Actor:
    """Return tractor and semi-trailer in line: cab-over (Europe) or with a bonnet (America)."""
    bonnet = rng.random() < 0.45
    width = rng.uniform(2.45, 2.60)
    cab_length = rng.uniform(2.0, 2.4)
    nose = rng.uniform(1.3, 1.9) if bonnet else 0.0
    trailer = rng.uniform(10.5, 14.6)
    gap = rng.uniform(0.5, 1.3)
    length = nose + cab_length + gap + trailer
    front = 0.5 * length
    cab_height = rng.uniform(2.9, 3.8)
    parts = [build_cab(rng, "cab_over", cab_length, 0.97 * width, cab_height, front - nose)]
    if bonnet:
        parts.append(
            boxes_mesh([(nose, 0.72 * width, 1.25)], [(front - 0.5 * nose, 0, 0.55)], Material.PAINT)
        )
        parts.append(build_wheels([front - 0.5 * nose], width, 0.50))
    drive = front - nose - cab_length - gap - 0.6
    parts.append(_chassis(drive - 1.2, front - nose - 0.8, width, 0.5))
    parts.append(build_wheels([drive, drive - 1.3], width, 0.50, tread=0.5))
    parts.append(_semitrailer_mesh(rng, -0.5 * length, trailer, width))
    return _boxed(merge_meshes(parts), length, width, "truck")


def _semitrailer_mesh(rng: Generator, rear: float, length: float, width: float) -> Mesh:
    """Return a semi-trailer whose tail is at x = `rear` [m], with its axles, legs and side skirts."""
    floor = rng.uniform(1.0, 1.25)
    front = rear + length
    bed = _Bed(rear, front, width, floor, rng.uniform(3.5, 4.05))
    body = _superstructure(rng, _SEMITRAILER_BODIES, bed)
    first = rear + rng.uniform(1.2, 3.0)
    wheels = build_wheels(
        [first, first + 1.3] + ([first + 2.6] if rng.random() < 0.6 else []), width, 0.50, tread=0.5
    )
    beam = boxes_mesh(
        [(length - 1.5, 0.8, 0.3), (0.12, 1.6, floor - 0.1)],
        [(rear + 0.5 * length, 0, floor - 0.3), (front - 2.6, 0, 0.1)],
        Material.METAL,
    )
    parts = [body, wheels, beam]
    if rng.random() < 0.4:
        skirt = (0.40 * length, 0.05, 0.6)
        x, y = rear + 0.58 * length, 0.5 * width - 0.05
        parts.append(boxes_mesh([skirt, skirt], [(x, y, floor - 0.6), (x, -y, floor - 0.6)], Material.PAINT))
    return merge_meshes(parts)


def _boxed(mesh: Mesh, length: float, width: float, label: str) -> Actor:
    """Return the actor whose box has the given footprint [m] and the height of its mesh."""
    low = float(mesh.vertices[:, 2].min())
    grounded = shifted_mesh(mesh, 0.0, 0.0, -low)
    return Actor(grounded, (length, width, float(grounded.vertices[:, 2].max())), label)


def _build_machine(rng: Generator) -> Actor:
    """Return an excavator, a wheel loader or a roller, label "truck"."""
    luck = rng.random()
    if luck < 0.45:
        mesh = _excavator_mesh(rng)
    elif luck < 0.8:
        mesh = _loader_mesh(rng)
    else:
        width = rng.uniform(1.2, 2.1)
        left, right = np.array([(x, 0.5 * width, 0.6) for x in (-1.4, 1.4)]), np.array([1.0, -1.0, 1.0])
        drums = tubes_mesh(left * right, left, [0.6, 0.6], [0.6, 0.6], Material.METAL, sides=14)
        body = boxes_mesh(
            [(2.2, 0.8 * width, 0.8), (1.3, 0.7 * width, 0.1), (0.9, 0.6 * width, 1.0)],
            [(0, 0, 0.7), (0, 0, 2.5), (0, 0, 1.5)],
            [Material.PAINT, Material.PAINT, Material.GLASS],
        )
        mesh = merge_meshes([drums, body])
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    middle = 0.5 * (low + high)
    centred = shifted_mesh(mesh, -float(middle[0]), -float(middle[1]), 0.0)
    return _boxed(centred, float(high[0] - low[0]), float(high[1] - low[1]), "truck")


def _excavator_mesh(rng: Generator) -> Mesh:
    size = rng.uniform(0.55, 1.15)
    gauge = 1.0 * size
    lower = boxes_mesh(
        [(3.6 * size, 0.5 * size, 0.9 * size)] * 2 + [(1.2 * size, 1.6 * size, 0.5 * size)],
        [(0, gauge, 0), (0, -gauge, 0), (0, 0, 0.4 * size)],
        Material.RUBBER,
    )
    upper = boxes_mesh(
        [(2.8 * size, 2.4 * size, 1.0 * size), (1.3 * size, 0.95 * size, 1.5 * size)],
        [(-0.5 * size, 0, 1.0 * size), (0.4 * size, 0.7 * size, 1.25 * size)],
        [Material.PAINT, Material.GLASS],
    )
    elbow, wrist = (
        np.array([2.8, 0, rng.uniform(2.8, 4.0)]) * size,
        np.array([rng.uniform(3.5, 4.8), 0, rng.uniform(0.8, 1.6)]) * size,
    )
    boom = tubes_mesh(
        [np.array([0.6, 0, 1.5]) * size, elbow],
        [elbow, wrist],
        [0.26 * size, 0.2 * size],
        [0.2 * size, 0.15 * size],
        Material.PAINT,
    )
    bucket = boxes_mesh(
        [(0.7 * size, 1.1 * size, 0.7 * size)], [wrist - [0.2 * size, 0, 0.6 * size]], Material.METAL
    )
    turned = rotated_mesh(merge_meshes([upper, boom, bucket]), rng.uniform(-0.5, 0.5), axis=2)
    return merge_meshes([lower, turned])


def _loader_mesh(rng: Generator) -> Mesh:
    size = rng.uniform(0.65, 1.1)
    body = boxes_mesh(
        [
            (2.6 * size, 1.5 * size, 1.1 * size),
            (1.3 * size, 1.3 * size, 1.5 * size),
            (1.6 * size, 1.1 * size, 0.7 * size),
        ],
        [(-1.6 * size, 0, 0.8 * size), (-0.4 * size, 0, 1.4 * size), (1.0 * size, 0, 0.7 * size)],
        [Material.PAINT, Material.GLASS, Material.PAINT],
    )
    wheels = build_wheels([1.4 * size, -1.5 * size], 2.5 * size, 0.75 * size, tread=0.55 * size)
    lift = rng.uniform(0.2, 2.0) * size
    arms = tubes_mesh(
        [(0.6 * size, y, 1.6 * size) for y in (-0.4, 0.4)],
        [(2.8 * size, y, lift + 0.3) for y in (-0.4, 0.4)],
        [0.14] * 2,
        [0.14] * 2,
        Material.PAINT,
    )
    bucket = boxes_mesh(
        [(0.1, 2.5 * size, 1.0 * size), (1.0 * size, 2.5 * size, 0.1)],
        [(2.8 * size, 0, lift), (3.2 * size, 0, lift)],
        Material.METAL,
    )
    return merge_meshes([body, wheels, arms, bucket])


def build_bus(rng: Generator) -> Actor:
    """Return a city bus or coach, sometimes articulated or with two decks, label "bus"."""
    length, width = rng.uniform(9.0, 13.5), rng.uniform(2.45, 2.58)
    luck = rng.random()
    height = rng.uniform(4.0, 4.35) if luck < 0.08 else rng.uniform(2.85, 3.6)
    outline = SILHOUETTES["coach"]
    shape = BodyShape(length, width, height, 0.30, 0.48, 0.35, 0.25, 0.75, 0.85, 0.10, 0.10)
    parts = [
        loft_body(rng, outline, shape),
        build_wheels([(0.5 - axle) * length for axle in outline.axles], width, 0.48),
    ]
    y, x = 0.5 * width + 0.15, 0.5 * length - 0.1
    parts.append(boxes_mesh([(0.15, 0.2, 0.4)] * 2, [(x, y, 1.9), (x, -y, 1.9)], Material.PAINT))
    if rng.random() < 0.6:  # air conditioning on the roof
        parts.append(
            boxes_mesh(
                [(rng.uniform(1.5, 3.5), 1.7, 0.25)], [(rng.uniform(-2, 2), 0, height - 0.05)], Material.PAINT
            )
        )
    if luck > 0.90:  # a second, articulated section
        rear = rng.uniform(5.5, 7.0)
        section = boxes_mesh(
            [(rear, width, height - 0.30), (rear - 0.6, width + 0.01, 0.9), (0.9, 0.9 * width, height - 0.5)],
            [
                (-0.5 * length - 0.9 - 0.5 * rear, 0, 0.30),
                (-0.5 * length - 0.9 - 0.5 * rear, 0, 1.35),
                (-0.5 * length - 0.45, 0, 0.4),
            ],
            [Material.PAINT, Material.GLASS, Material.RUBBER],
        )
        parts += [section, build_wheels([-0.5 * length - 0.9 - 0.35 * rear], width, 0.48)]
        moved = shifted_mesh(merge_meshes(parts), 0.5 * (rear + 0.9), 0.0, 0.0)
        return _boxed(moved, length + rear + 0.9, width, "bus")
    return _boxed(merge_meshes(parts), length, width, "bus")


def build_trailer(rng: Generator) -> Actor:
    """Return a trailer standing by itself: car trailer, caravan, boat or semi-trailer, label "truck"."""
    luck = rng.random()
    if luck < 0.2:
        length, width = rng.uniform(10.5, 14.0), rng.uniform(2.45, 2.6)
        return _boxed(_semitrailer_mesh(rng, -0.5 * length, length, width), length, width, "truck")
    if luck < 0.55:  # caravan
        length, width, height = rng.uniform(4.5, 7.5), rng.uniform(2.0, 2.5), rng.uniform(2.4, 2.75)
        body = [(length - 1.1, width, height - 0.45)], [(-0.55, 0, 0.45)]
        windows = [(0.45 * length, width + 0.01, 0.5)], [(-0.6, 0, 1.35)]
        parts = [boxes_mesh(*body, Material.PAINT), boxes_mesh(*windows, Material.GLASS)]
    else:  # open or covered car trailer, or a boat on one
        length, width = rng.uniform(2.6, 5.0), rng.uniform(1.3, 2.0)
        height = rng.uniform(0.8, 2.2)
        bed = length - 1.1
        if luck < 0.9:
            wall = rng.uniform(0.25, 0.5)
            parts = [boxes_mesh([(bed, width, 0.1)], [(-0.55, 0, 0.5)], Material.METAL)]
            walls = [(bed, 0.04, wall), (bed, 0.04, wall), (0.04, width, wall), (0.04, width, wall)]
            places = [
                (-0.55, 0.5 * width - 0.02, 0.5),
                (-0.55, 0.02 - 0.5 * width, 0.5),
                (-0.55 - 0.5 * bed, 0, 0.5),
                (-0.55 + 0.5 * bed, 0, 0.5),
            ]
            parts.append(boxes_mesh(walls, places, Material.PAINT))
            if rng.random() < 0.5:
                parts.append(
                    boxes_mesh(
                        [(0.96 * bed, 0.94 * width, height - 0.55)], [(-0.55, 0, 0.55)], Material.PAINT
                    )
                )
        else:
            hull = ellipsoid_mesh((0.5 * length, 0.5 * width, 0.7), (0, 0, 1.2), Material.PAINT)
            parts = [hull, boxes_mesh([(bed, 0.2, 0.1)], [(-0.3, 0, 0.5)], Material.METAL)]
    radius = 0.31
    drawbar = tubes_mesh(
        [(0.5 * length - 1.2, 0, 0.5)], [(0.5 * length, 0, 0.42)], [0.05], [0.04], Material.METAL, sides=4
    )
    jockey = tubes_mesh(
        [(0.5 * length - 0.35, 0, 0.0)],
        [(0.5 * length - 0.35, 0, 0.7)],
        [0.06],
        [0.03],
        Material.METAL,
        sides=4,
    )
    parts += [drawbar, jockey, build_wheels([-0.62], width, radius, tread=0.18)]
    return _boxed(merge_meshes(parts), length, width, "truck")
