"""cycles.py: bicycles, scooters and motorcycles, with and without riders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .actor import Actor
from .figures import Build, Posture, build_figure, draw_build, upright_posture
from .mesh import (
    Material,
    Mesh,
    boxes_mesh,
    ellipsoid_mesh,
    grid_faces,
    merge_meshes,
    shifted_mesh,
    tubes_mesh,
)

_WHEEL_SIDES = 12
_ANGLE = np.arange(_WHEEL_SIDES) * (2 * np.pi / _WHEEL_SIDES)
_TYRE_FACES = grid_faces(4, _WHEEL_SIDES, closed=True)
_DISC_FACES = np.stack(
    [
        np.arange(_WHEEL_SIDES),
        (np.arange(_WHEEL_SIDES) + 1) % _WHEEL_SIDES,
        np.full(_WHEEL_SIDES, _WHEEL_SIDES),
    ],
    1,
)
# Every second sector, of a material that is itself see-through: spokes stop about a quarter of the beams.
_SPOKE_FACES = _DISC_FACES[::2]


@dataclass(frozen=True)
class Bicycle:
    """Lengths of one bicycle [m]; x is measured from the middle between the hubs.

    Attributes:
        wheelbase: distance of the hubs.
        wheel_radius: with tyre.
        saddle: x and height of the saddle.
        bar: x and height of the handle bar.
        bar_width: half width of the handle bar.
        crank: height of the bottom bracket, at x = -0.08 m.
    """

    wheelbase: float
    wheel_radius: float
    saddle: tuple[float, float]
    bar: tuple[float, float]
    bar_width: float
    crank: float


def wheel_mesh(x: float, radius: float, tyre: float, *, disc: bool) -> Mesh:
    """Return an upright wheel standing at `x` [m]; beams pass between the spokes but not through a `disc`."""
    cos, sin = np.cos(_ANGLE), np.sin(_ANGLE)

    def circle(r: float, y: float) -> NDArray[np.float64]:
        return np.stack([x + r * cos, np.full(_WHEEL_SIDES, y), radius + r * sin], 1)

    inner = radius - 1.4 * tyre
    rim, shoulder = circle(inner, 0.0), radius - 0.3 * tyre
    section = [rim, circle(shoulder, 0.5 * tyre), circle(radius, 0.0), circle(shoulder, -0.5 * tyre)]
    tyre_vertices = np.concatenate(section)
    vertices = np.concatenate([tyre_vertices, rim, [[x, 0.0, radius]]])
    filling = _DISC_FACES if disc else _SPOKE_FACES
    faces = np.concatenate([_TYRE_FACES, filling + len(tyre_vertices)])
    materials = np.full(len(faces), Material.RUBBER, np.int16)
    materials[len(_TYRE_FACES) :] = Material.METAL if disc else Material.FENCE
    return Mesh(vertices, faces, materials)


def _draw_bicycle(rng: Generator, *, scale: float, sporty: bool) -> Bicycle:
    radius = rng.uniform(0.32, 0.36) * (1.0 if scale > 0.85 else max(0.6, scale))
    wheelbase = rng.uniform(0.98, 1.14) * (1.0 if scale > 0.85 else max(0.7, scale))
    saddle = 0.95 * scale + rng.uniform(-0.05, 0.05)
    bar = saddle + (rng.uniform(-0.06, 0.03) if sporty else rng.uniform(0.06, 0.20))
    return Bicycle(
        wheelbase=wheelbase,
        wheel_radius=radius,
        saddle=(-0.24 * scale, saddle),
        bar=((0.42 if sporty else 0.34) * scale, bar),
        bar_width=rng.uniform(0.20, 0.24) if sporty else rng.uniform(0.25, 0.33),
        crank=0.28 * (radius / 0.34),
    )


def _bicycle_mesh(rng: Generator, bicycle: Bicycle) -> Mesh:
    """Return wheels, frame, handle bar, saddle and now and then panniers, a basket or a child seat."""
    half, r = 0.5 * bicycle.wheelbase, bicycle.wheel_radius
    saddle = np.array([bicycle.saddle[0], 0.0, bicycle.saddle[1]])
    bar = np.array([bicycle.bar[0], 0.0, bicycle.bar[1]])
    crank = np.array([-0.08, 0.0, bicycle.crank])
    front, rear = np.array([half, 0.0, r]), np.array([-half, 0.0, r])
    steering = bar + np.array([0.02, 0.0, -0.22])
    seat_post = crank + 0.75 * (saddle - crank)
    grip = np.array([0.0, bicycle.bar_width, 0.0])
    lines = [
        (rear, crank),
        (rear, seat_post),
        (crank, saddle),
        (crank, steering),
        (seat_post, steering),
        (bar, front),
        (bar - grip, bar + grip),
    ]
    thin = np.full(len(lines), 0.019)
    thin[3:5] = 0.024
    frame = tubes_mesh([p for p, _ in lines], [q for _, q in lines], thin, thin, Material.PAINT, sides=4)
    tyre = rng.uniform(0.03, 0.055)
    wheels = [wheel_mesh(half, r, tyre, disc=False), wheel_mesh(-half, r, tyre, disc=False)]
    boxes = [((0.26, 0.15, 0.06), (saddle[0], 0.0, saddle[2] - 0.02))]
    luck = rng.random(3)
    if luck[0] < 0.45:  # carrier
        boxes.append(((0.38, 0.12, 0.03), (-half - 0.02, 0.0, 2 * r + 0.05)))
    if luck[0] < 0.15:  # panniers
        boxes += [((0.32, 0.13, 0.34), (-half, side * 0.15, 2 * r - 0.30)) for side in (-1.0, 1.0)]
    elif luck[0] < 0.19:  # child seat
        boxes += [
            ((0.32, 0.32, 0.12), (-half + 0.08, 0.0, 2 * r + 0.12)),
            ((0.10, 0.32, 0.45), (-half - 0.1, 0.0, 2 * r + 0.2)),
        ]
    if luck[1] < 0.12:  # basket
        boxes.append(((0.28, 0.34, 0.22), (bar[0] + 0.18, 0.0, bar[2] - 0.24)))
    if luck[2] < 0.5:  # mudguards
        boxes.append(((0.34, 0.05, 0.02), (-half - 0.02, 0.0, 2 * r + 0.015)))
    luggage = boxes_mesh([size for size, _ in boxes], [bottom for _, bottom in boxes], Material.CLOTH)
    return merge_meshes([*wheels, frame, luggage])


def _riding_posture(
    rng: Generator,
    build: Build,
    seat: NDArray[np.float64],
    grips: NDArray[np.float64],
    feet: NDArray[np.float64],
) -> Posture:
    """Return somebody who sits at `seat` (3,), holds `grips` (2, 3), with the ankles at `feet` (2, 3) [m]."""
    k = build.scale
    side = np.array([1.0, -1.0])
    pelvis = seat + np.array([0.0, 0.0, 0.09 * k])
    hips = pelvis + np.stack([np.zeros(2), side * 0.09 * k, np.zeros(2)], 1)
    knees = _middle_joint(hips, feet, 0.42 * k, 0.41 * k, np.array([1.0, 0.0, 0.35]))
    knees[:, 1] += side * rng.uniform(0.0, 0.06)
    # The trunk leans so far that the hands reach the bar with slightly bent arms.
    arm = 0.57 * k
    leans = np.linspace(-0.05, 1.25, 27)
    necks = pelvis + 0.52 * k * np.stack([np.sin(leans), np.zeros(27), np.cos(leans)], 1)
    distance = np.linalg.norm(
        necks * [1, 0, 1] + [0, 0.18 * k, 0] - grips.mean(0) * [1, 0, 1] - [0, grips[0, 1], 0], axis=1
    )
    lean = float(leans[int(np.argmin(np.abs(distance - 0.96 * arm)))])
    neck = pelvis + 0.52 * k * np.array([np.sin(lean), 0.0, np.cos(lean)])
    shoulders = pelvis + 0.94 * (neck - pelvis) + np.stack([np.zeros(2), side * 0.18 * k, np.zeros(2)], 1)
    elbows = _middle_joint(shoulders, grips, 0.29 * k, 0.32 * k, np.array([-0.3, 0.0, -1.0]))
    elbows[:, 1] += side * rng.uniform(0.02, 0.08)
    head = neck + k * np.array([0.06 + 0.06 * np.sin(lean), 0.0, 0.19])
    return Posture(pelvis, neck, head, knees, feet, elbows, grips, hips, shoulders)


def _middle_joint(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    upper: float,
    lower: float,
    bend: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return (2, 3) knees or elbows between given ends, bent towards `bend` (two-link inverse kinematics)."""
    axis = end - start
    distance = np.linalg.norm(axis, axis=1, keepdims=True)
    axis = axis / distance
    reach = np.minimum(distance, 0.995 * (upper + lower))
    along = (upper**2 - lower**2 + reach**2) / (2 * reach)
    aside = bend - axis * (axis @ bend)[:, None]
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    return np.asarray(start + along * axis + np.sqrt(np.maximum(upper**2 - along**2, 0)) * aside)


def _seat_on_ground(mesh: Mesh, label: str, *, margin: float = 0.0) -> Actor:
    """Return the actor whose box is the extent of `mesh` plus `margin` [m] in length and width."""
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    middle = 0.5 * (low + high)
    moved = Mesh(mesh.vertices - [middle[0], middle[1], low[2]], mesh.faces, mesh.materials)
    extent = high - low
    return Actor(moved, (float(extent[0]) + margin, float(extent[1]) + margin, float(extent[2])), label)


def build_cyclist(rng: Generator) -> Actor:
    """Return a bicycle with rider, label "cyclist"; one in twenty is an e-scooter rider, label "sitting"."""
    luck = rng.random()
    if luck < 0.05:
        return _build_scooter_rider(rng)
    stature = rng.uniform(1.2, 1.5) if luck > 0.95 else float(np.clip(rng.normal(1.75, 0.08), 1.52, 1.98))
    build = draw_build(rng, stature=stature)
    bicycle = _draw_bicycle(rng, scale=build.scale, sporty=rng.random() < 0.45)
    seat = np.array([bicycle.saddle[0], 0.0, bicycle.saddle[1]])
    grips = np.array(
        [
            (bicycle.bar[0] - 0.03, side * (bicycle.bar_width - 0.04), bicycle.bar[1] + 0.03)
            for side in (1.0, -1.0)
        ]
    )
    turn = rng.uniform(0, 2 * np.pi) + np.array([0.0, np.pi])
    crank = 0.17 * min(1.0, build.scale)
    feet = np.stack(
        [
            -0.08 + crank * np.cos(turn) - 0.05,
            np.array([0.11, -0.11]),
            bicycle.crank + crank * np.sin(turn) + 0.09,
        ],
        1,
    )
    posture = _riding_posture(rng, build, seat, grips, feet)
    coat = rng.uniform(0.3, 0.7) if rng.random() < 0.12 else 0.0
    parts = [_bicycle_mesh(rng, bicycle), build_figure(build, posture, coat=coat, helmet=rng.random() < 0.4)]
    if rng.random() < 0.18:  # backpack, along the back
        spine = posture.neck - posture.pelvis
        back = np.array([-spine[2], 0.0, spine[0]]) / np.linalg.norm(spine)
        centre = posture.pelvis + 0.6 * spine + (0.12 * build.girth + 0.09) * back
        parts.append(ellipsoid_mesh((0.15, 0.17, 0.24), centre, Material.CLOTH, bands=4, sides=6))
    return _seat_on_ground(merge_meshes(parts), "cyclist", margin=rng.uniform(0.0, 0.08))


def _build_scooter_rider(rng: Generator) -> Actor:
    """Return somebody standing on an e-scooter, label "sitting" (ignored: neither walker nor cyclist)."""
    build = draw_build(rng, stature=float(np.clip(rng.normal(1.74, 0.08), 1.5, 1.95)))
    standing = upright_posture(
        build,
        hip=(0.12, -0.05),
        knee=(0.15, 0.1),
        lean=0.08,
        swing=(0.55, 0.55),
        elbow=(0.7, 0.7),
        spread=0.15,
        stance=0.6,
    )
    person = build_figure(build, standing, helmet=rng.random() < 0.2)
    lifted = shifted_mesh(person, -0.15, 0.0, 0.14)
    grip = float(standing.hands[0, 0]) - 0.15, float(standing.hands[0, 2]) + 0.14
    frame = tubes_mesh(
        [(-0.40, 0, 0.13), (0.45, 0, 0.13), (grip[0], -0.24, grip[1])],
        [(0.45, 0, 0.13), (grip[0], 0, grip[1]), (grip[0], 0.24, grip[1])],
        [0.07, 0.03, 0.02],
        [0.07, 0.03, 0.02],
        Material.METAL,
        sides=4,
    )
    wheels = [wheel_mesh(x, 0.11, 0.05, disc=True) for x in (-0.45, 0.50)]
    return _seat_on_ground(merge_meshes([lifted, frame, *wheels]), "sitting", margin=0.03)


def build_bicycle(rng: Generator) -> Actor:
    """Return a parked bicycle without a rider, label "other"."""
    bicycle = _draw_bicycle(rng, scale=1.0 if rng.random() < 0.9 else 0.7, sporty=rng.random() < 0.4)
    return _seat_on_ground(_bicycle_mesh(rng, bicycle), "other")


def build_motorcycle(rng: Generator) -> Actor:
    """Return a motorcycle or motor scooter: parked (55 %, label "other") or ridden (label "motorcyclist")."""
    small = rng.random() < 0.4
    radius = rng.uniform(0.22, 0.26) if small else rng.uniform(0.29, 0.33)
    half = 0.5 * (rng.uniform(1.20, 1.35) if small else rng.uniform(1.38, 1.58))
    tyre = 0.11 if small else 0.14
    seat = np.array([-0.28, 0.0, rng.uniform(0.74, 0.84)])
    bar = np.array([half - 0.38, 0.0, rng.uniform(0.95, 1.12)])
    body = tubes_mesh(
        [(-half - 0.15, 0, 0.70), (-0.35, 0, 0.42), (half, 0, radius), (bar[0], -0.36, bar[2])],
        [(0.30, 0, 0.74), (0.30, 0, 0.45), (bar[0], 0, bar[2]), (bar[0], 0.36, bar[2])],
        [0.11, 0.19, 0.06, 0.02],
        [0.16, 0.20, 0.06, 0.02],
        Material.PAINT,
    )
    fairing = boxes_mesh([(0.16, 0.34, 0.36)], [(bar[0] + 0.18, 0, bar[2] - 0.30)], Material.PAINT)
    wheels = [wheel_mesh(half, radius, tyre, disc=True), wheel_mesh(-half, radius, tyre, disc=True)]
    parts = [*wheels, body, fairing]
    if small:
        parts.append(
            boxes_mesh(
                [(0.14, 0.42, 0.55), (0.5, 0.30, 0.10)],
                [(half - 0.28, 0, 0.30), (0.1, 0, 0.24)],
                Material.PAINT,
            )
        )
    if rng.random() < 0.3:  # top case
        parts.append(boxes_mesh([(0.38, 0.42, 0.32)], [(-half - 0.15, 0, 0.85)], Material.PAINT))
    if rng.random() < 0.55:
        return _seat_on_ground(merge_meshes(parts), "other")
    build = draw_build(rng, stature=float(np.clip(rng.normal(1.76, 0.07), 1.55, 1.95)))
    grips = np.array([(bar[0] - 0.03, side * 0.33, bar[2] + 0.03) for side in (1.0, -1.0)])
    feet = np.array([(0.05, side * 0.20, 0.34) for side in (1.0, -1.0)])
    posture = _riding_posture(rng, build, seat, grips, feet)
    parts.append(build_figure(build, posture, helmet=True))
    return _seat_on_ground(merge_meshes(parts), "motorcyclist")
