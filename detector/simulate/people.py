"""people.py: people on foot and sitting, adults and children, with what they carry or push."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from .actor import Actor
from .cycles import build_bicycle
from .figures import (
    ANKLE,
    HIP,
    SHIN,
    SHOULDER,
    THIGH,
    TORSO,
    Build,
    Posture,
    build_figure,
    draw_build,
    upright_posture,
)
from .mesh import (
    Material,
    Mesh,
    boxes_mesh,
    ellipsoid_mesh,
    loft_mesh,
    merge_meshes,
    rotated_mesh,
    shifted_mesh,
    tubes_mesh,
)

_HALF_TYRE = np.array([0.0, 0.02, 0.0])  # m


def _standing(rng: Generator, build: Build) -> Posture:
    weight = rng.uniform(0, 0.12)
    arms = rng.random()
    if arms < 0.45:  # hanging
        swing, elbow, spread = rng.uniform(-0.1, 0.15, 2), rng.uniform(0.05, 0.4, 2), rng.uniform(0.05, 0.25)
    elif arms < 0.65:  # hands in the pockets or on the hips
        swing, elbow, spread = rng.uniform(-0.5, -0.2, 2), rng.uniform(0.6, 1.1, 2), rng.uniform(0.3, 0.6)
    elif arms < 0.85:  # a telephone in one or both hands
        swing, elbow, spread = rng.uniform(0.0, 0.4, 2), rng.uniform(1.4, 2.3, 2), rng.uniform(0.05, 0.25)
        if rng.random() < 0.6:
            elbow[1], swing[1] = 0.2, 0.0
    else:  # folded
        swing, elbow, spread = np.full(2, 0.25), np.full(2, 1.45), 0.2
    return upright_posture(
        build,
        hip=(weight, rng.uniform(-0.1, 0.1)),
        knee=(weight * 1.2, 0.02),
        lean=rng.uniform(-0.03, 0.10),
        swing=(swing[0], swing[1]),
        elbow=(elbow[0], elbow[1]),
        spread=spread,
        stance=rng.uniform(0.8, 1.9),
    )


def _striding(rng: Generator, build: Build, *, running: bool) -> Posture:
    """Return an instant of a gait: thighs swing in opposition, the rear leg bends when it comes forward."""
    phase = rng.uniform(0, 2 * np.pi)
    reach = rng.uniform(0.55, 0.8) if running else rng.uniform(0.25, 0.48)
    hip = reach * np.sin(phase + np.array([0.0, np.pi]))
    forward = np.maximum(np.cos(phase + np.array([0.0, np.pi])), 0)  # this leg is in the air
    knee = forward * (rng.uniform(1.0, 1.7) if running else rng.uniform(0.5, 1.0)) + (
        0.25 if running else 0.06
    )
    swing = -hip * (rng.uniform(0.7, 1.1) if running else rng.uniform(0.3, 1.0))
    elbow = np.full(2, 1.4) if running else np.maximum(swing, 0) * 0.6 + rng.uniform(0.1, 0.4)
    if not running and rng.random() < 0.25:  # one arm holds a bag strap, a telephone, an umbrella
        elbow[rng.integers(2)] = rng.uniform(1.3, 2.3)
    return upright_posture(
        build,
        hip=(hip[0], hip[1]),
        knee=(knee[0], knee[1]),
        lean=rng.uniform(0.1, 0.25) if running else rng.uniform(0.0, 0.12),
        swing=(swing[0], swing[1]),
        elbow=(elbow[0], elbow[1]),
        spread=rng.uniform(0.05, 0.25),
        stance=rng.uniform(0.6, 1.1),
    )


def _pushing(rng: Generator, build: Build) -> Posture:
    """Return a walker whose hands hold a handle bar in front."""
    walk = _striding(rng, build, running=False)
    k = build.scale
    hands = walk.pelvis + np.array([[0.48, 0.18, 0.12], [0.48, -0.18, 0.12]]) * k
    elbows = 0.5 * (walk.shoulders + hands) + np.array([-0.10, 0.0, -0.10]) * k
    return replace(walk, hands=hands, elbows=elbows)


def _seated(rng: Generator, build: Build, seat: float) -> Posture:
    """Return somebody sitting on a seat `seat` [m] high."""
    k = build.scale
    side = np.array([1.0, -1.0])
    pelvis = np.array([0.0, 0.0, seat + 0.10 * k])
    hips = pelvis + np.stack([np.zeros(2), side * HIP * k, np.zeros(2)], 1)
    apart = rng.uniform(1.0, 2.2)
    knees = pelvis + np.stack([np.full(2, THIGH * k), side * HIP * k * apart, rng.uniform(-0.02, 0.08, 2)], 1)
    foot = np.maximum(ANKLE * k, knees[:, 2] - SHIN * k)
    ankles = np.stack([knees[:, 0] + rng.uniform(-0.15, 0.2, 2), knees[:, 1], foot], 1)
    lean = rng.uniform(-0.25, 0.45)
    neck = pelvis + TORSO * k * np.array([np.sin(lean), 0, np.cos(lean)])
    shoulders = pelvis + 0.94 * (neck - pelvis) + np.stack([np.zeros(2), side * SHOULDER * k, np.zeros(2)], 1)
    hands = 0.7 * knees + 0.3 * hips + np.array([0.0, 0.0, 0.13])
    elbows = 0.5 * (shoulders + hands) + np.stack([np.full(2, -0.08), side * 0.10, np.full(2, -0.06)], 1) * k
    head = neck + np.array([0.04 + 0.1 * lean, 0, 0.20]) * k
    return Posture(pelvis, neck, head, knees, ankles, elbows, hands, hips, shoulders)


def _luggage(rng: Generator, build: Build, posture: Posture) -> list[Mesh]:
    """Return worn or carried things that an annotator boxes together with the person."""
    k = build.scale
    luck = rng.random(3)
    parts: list[Mesh] = []
    if luck[0] < 0.20:  # backpack
        depth, width, height = rng.uniform(0.12, 0.26), rng.uniform(0.24, 0.36), rng.uniform(0.32, 0.60)
        back = 0.55 * posture.neck + 0.45 * posture.pelvis
        x = back[0] - (0.11 * build.girth + 0.02) * k - 0.5 * depth
        parts.append(
            boxes_mesh([(depth, width, height * k)], [(x, 0, back[2] - 0.45 * height * k)], Material.CLOTH)
        )
    elif luck[0] < 0.32:  # shoulder bag at the hip
        side = rng.choice([-1.0, 1.0])
        place = (posture.pelvis[0] - 0.03, side * (0.22 * k + 0.05), posture.pelvis[2] - 0.16)
        parts.append(
            boxes_mesh([(rng.uniform(0.2, 0.36), 0.12, rng.uniform(0.2, 0.34))], [place], Material.CLOTH)
        )
    if luck[1] < 0.14 and build.scale > 0.75:  # shopping bag in a hanging hand
        hand = posture.hands[int(luck[1] < 0.07)]
        height = min(rng.uniform(0.28, 0.42), hand[2] - 0.05)
        bag = (rng.uniform(0.25, 0.4), rng.uniform(0.10, 0.18), height)
        parts.append(boxes_mesh([bag], [(hand[0], hand[1], hand[2] - height)], Material.CLOTH))
    if luck[2] < 0.22:  # hat, cap, hood or long hair
        wide = rng.uniform(1.05, 1.5)
        radii = np.array([0.105 * wide, 0.09 * wide, 0.08]) * build.head
        parts.append(
            ellipsoid_mesh(
                radii,
                posture.head + np.array([-0.02, 0.0, 0.05 * build.head]),
                Material.CLOTH,
                bands=4,
                sides=6,
            )
        )
    return parts


def _umbrella(posture: Posture) -> Mesh:
    """Return an open umbrella over the head."""
    centre = posture.head + np.array([0.1, 0.05, 0.32])
    angle = np.arange(8) * (np.pi / 4)
    circle = np.stack([np.cos(angle), np.sin(angle), np.zeros(8)], 1)
    rings = np.stack(
        [centre + r * circle + np.array([0, 0, z]) for r, z in ((0.52, -0.12), (0.36, 0.0), (0.05, 0.08))]
    )
    stick = tubes_mesh([centre], [posture.hands[0]], [0.012], [0.012], Material.METAL, sides=4)
    return merge_meshes([loft_mesh(rings, Material.CLOTH), stick])


def _stroller(rng: Generator, posture: Posture) -> Mesh:
    """Return a pushchair in front of the hands."""
    x, z = float(posture.hands[0, 0]), float(posture.hands[0, 2])
    frame = tubes_mesh(
        [(x, 0.22, z), (x, -0.22, z), (x + 0.05, 0.22, 0.25)],
        [(x + 0.65, 0.2, 0.25), (x + 0.65, -0.2, 0.25), (x + 0.05, -0.22, 0.25)],
        [0.018] * 3,
        [0.018] * 3,
        Material.METAL,
        sides=4,
    )
    high = rng.uniform(0.95, 1.1)
    seat = boxes_mesh(
        [(0.62, 0.40, 0.30), (0.12, 0.40, high - 0.75)],
        [(x + 0.40, 0, 0.45), (x + 0.15, 0, 0.75)],
        Material.CLOTH,
    )
    hubs = np.array([(x + dx, dy, 0.12) for dx in (0.12, 0.66) for dy in (-0.22, 0.22)])
    wheels = tubes_mesh(
        hubs - _HALF_TYRE, hubs + _HALF_TYRE, [0.12] * 4, [0.12] * 4, Material.RUBBER, sides=8
    )
    return merge_meshes([frame, seat, wheels])


def _trolley(rng: Generator, posture: Posture) -> Mesh:
    """Return a wheeled suitcase or shopping trolley behind one hand."""
    hand = posture.hands[1]
    height = rng.uniform(0.5, 0.75)
    x = float(hand[0]) - rng.uniform(0.25, 0.5)
    case = boxes_mesh([(0.26, 0.40, height)], [(x, hand[1], 0.06)], Material.CLOTH)
    handle = tubes_mesh([hand], [(x, hand[1], height)], [0.015], [0.015], Material.METAL, sides=4)
    return merge_meshes([case, handle])


def build_pedestrian(rng: Generator) -> Actor:
    """Return a person on foot with what he or she carries or pushes, label "pedestrian".

    The box holds the body and worn bags, not an umbrella, pushchair or trolley. As annotators' boxes do,
    it keeps a margin and the length of a stride even while the legs pass each other.
    """
    build = draw_build(rng)
    luck = rng.random(3)
    pushes = luck[0] > 0.95 and build.scale > 0.85
    if pushes:
        posture = _pushing(rng, build)
    elif luck[0] < 0.42:
        posture = _standing(rng, build)
    else:
        posture = _striding(rng, build, running=luck[0] < 0.46)
    coat = rng.uniform(0.35, 1.4) if luck[1] < 0.28 else 0.0
    parts = [build_figure(build, posture, coat=coat), *_luggage(rng, build, posture)]
    # Nobody stands exactly along the box that an annotator turned by eye.
    person = rotated_mesh(merge_meshes(parts), float(np.clip(rng.normal(0, 0.10), -0.3, 0.3)), axis=2)
    beside: list[Mesh] = []
    if pushes and luck[0] < 0.982:
        beside.append(_stroller(rng, posture))
    elif pushes:  # walks a bicycle
        beside.append(shifted_mesh(build_bicycle(rng).mesh, 0.25, rng.choice([-0.45, 0.45]), 0.0))
    elif luck[2] < 0.02:
        beside.append(_umbrella(posture))
    elif luck[2] < 0.05 and build.scale > 0.8:
        beside.append(_trolley(rng, posture))
    return _boxed(rng, person, beside, "pedestrian")


def _boxed(rng: Generator, person: Mesh, beside: list[Mesh], label: str) -> Actor:
    """Return the actor whose box is the person's extent with an annotator's margin, centred on the origin."""
    low, high = person.vertices.min(0), person.vertices.max(0)
    extent = high - low
    habit = np.clip(rng.normal([0.62, 0.60], [0.09, 0.06]), 0.45, 0.85) * min(1.0, float(extent[2]) / 1.6)
    margin = rng.uniform([0.02, 0.01], [0.10, 0.08])
    length, width = np.maximum(np.maximum(extent[:2] + margin, habit), 0.45)
    mesh = merge_meshes([person, *beside]) if beside else person
    middle = 0.5 * (low + high)
    ground = float(mesh.vertices[:, 2].min())
    moved = shifted_mesh(mesh, -float(middle[0]), -float(middle[1]), -ground)
    return Actor(moved, (float(length), float(width), float(high[2]) - ground), label)


def build_seated_person(rng: Generator) -> Actor:
    """Return a person on a chair, a step, a bench or in a wheelchair, label "sitting"."""
    build = draw_build(rng)
    luck = rng.random()
    wheelchair = 0.75 < luck < 0.85
    low = rng.random() < 0.2 and not wheelchair
    seat = rng.uniform(0.15, 0.3) if low else rng.uniform(0.38, 0.52) + 0.1 * wheelchair
    posture = _seated(rng, build, seat)
    person = merge_meshes([build_figure(build, posture), *_luggage(rng, build, posture)])
    beside: list[Mesh] = []
    if luck < 0.45:  # chair
        beside.append(
            boxes_mesh(
                [(0.45, 0.45, 0.04), (0.05, 0.45, 0.45)],
                [(0.08, 0, seat - 0.04), (-0.2, 0, seat)],
                Material.METAL,
            )
        )
    elif luck < 0.75:  # bench
        beside.append(
            boxes_mesh(
                [(0.45, rng.uniform(1.2, 2.2), 0.06)],
                [(0.05, rng.uniform(-0.5, 0.5), seat - 0.06)],
                Material.WALL,
            )
        )
    elif wheelchair:
        hubs = np.array([(0.0, side, 0.30) for side in (-0.3, 0.3)])
        beside.append(
            tubes_mesh(
                hubs - _HALF_TYRE, hubs + _HALF_TYRE, [0.30] * 2, [0.30] * 2, Material.RUBBER, sides=10
            )
        )
    return _boxed(rng, person, beside, "sitting")
