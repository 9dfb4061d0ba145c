"""people.py: human figures from joint positions: standing, walking, running, carrying, pushing, sitting; adults and children."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .actor import Actor
from .mesh import Material, Mesh, boxes_mesh, ellipsoid_mesh, loft_mesh, merge_meshes, tubes_mesh

Vector = NDArray[np.float64]

_ADULT = 1.75  # m; lengths below are of a person this tall
_THIGH, _SHIN, _ANKLE = 0.42, 0.41, 0.08
_UPPER_ARM, _FOREARM = 0.29, 0.32  # the forearm with the hand
_TORSO = 0.52  # hip joints to the base of the neck
_HIP, _SHOULDER = 0.09, 0.18  # half distances

# Torso sections: fraction of the way from hip to neck, half depth and half width [m].
_TORSO_SECTIONS = np.array(
    [(-0.13, 0.105, 0.155), (0.06, 0.125, 0.175), (0.32, 0.112, 0.155), (0.70, 0.128, 0.178),
     (0.92, 0.108, 0.200), (1.03, 0.075, 0.120), (1.16, 0.055, 0.060)]
)  # fmt: skip
_TORSO_ANGLE = (np.arange(8) + 0.5) * (np.pi / 4)


@dataclass(frozen=True)
class Build:
    """The proportions of one person.

    Attributes:
        scale: stature relative to 1.75 m.
        girth: thickness of trunk and limbs relative to a slim adult.
        clothes: thickness of the clothes [m].
        head: size of the head relative to an adult's.
    """

    scale: float
    girth: float
    clothes: float
    head: float


@dataclass(frozen=True)
class Posture:
    """Joint positions [m] of a figure facing +x; arrays are (2, 3), left (+y) first.

    Attributes:
        pelvis, neck: (3,) ends of the trunk.
        head: (3,) centre of the head.
    """

    pelvis: Vector
    neck: Vector
    head: Vector
    knees: Vector
    ankles: Vector
    elbows: Vector
    hands: Vector
    hips: Vector
    shoulders: Vector
    toes: float = 0.0  # pitch of the feet [rad]


def draw_build(rng: Generator, *, stature: float | None = None) -> Build:
    """Return the proportions of a random person; `stature` [m] is drawn when not given (12 % children)."""
    if stature is None:
        stature = (
            rng.uniform(0.95, 1.5)
            if rng.random() < 0.12
            else float(np.clip(rng.normal(1.71, 0.09), 1.45, 2.0))
        )
    scale = stature / _ADULT
    girth = float(np.clip(rng.normal(1.08, 0.12), 0.85, 1.45))
    clothes = rng.uniform(0.0, 0.03) * min(1.0, scale)
    return Build(scale, girth, clothes, min(1.0, 0.55 + 0.45 * scale))


def _direction(angle: NDArray[np.float64]) -> Vector:
    """Return (N, 3) unit vectors in the x-z plane, straight down at angle 0 and forward at pi/2."""
    return np.stack([np.sin(angle), np.zeros_like(angle), -np.cos(angle)], 1)


def upright_posture(
    build: Build, *, hip: tuple[float, float], knee: tuple[float, float], lean: float, swing: tuple[float, float],
    elbow: tuple[float, float], spread: float, stance: float,
) -> Posture:  # fmt: skip
    """Return a standing, walking or running posture with the pelvis above the origin.

    Args:
        build: whose lengths to use.
        hip: forward angle of the left and right thigh [rad].
        knee: bend of the knees [rad].
        lean: forward lean of the trunk [rad].
        swing: forward angle of the upper arms [rad].
        elbow: bend of the elbows [rad].
        spread: how far the elbows stand out sideways [rad].
        stance: half distance between the feet relative to that of the hips.
    """
    k = build.scale
    side = np.array([1.0, -1.0])
    hip_angle, knee_bend = np.asarray(hip), np.asarray(knee)
    hips = np.stack([np.zeros(2), side * _HIP * k, np.zeros(2)], 1)
    knees = hips + _THIGH * k * _direction(hip_angle)
    ankles = knees + _SHIN * k * _direction(hip_angle - knee_bend)
    ankles[:, 1] += side * _HIP * k * (stance - 1)
    knees[:, 1] += side * _HIP * k * (stance - 1) * 0.5
    trunk = _TORSO * k * np.array([np.sin(lean), 0.0, np.cos(lean)])
    neck = trunk
    shoulders = neck * 0.94 + np.stack([np.zeros(2), side * _SHOULDER * k * build.girth**0.5, np.zeros(2)], 1)
    upper = _direction(np.asarray(swing) + 0.3 * lean)
    upper[:, 1] += side * np.sin(spread)
    lower = _direction(np.asarray(swing) + np.asarray(elbow))
    lower[:, 1] += side * (0.25 * np.sin(spread) - 0.12)
    elbows = shoulders + _UPPER_ARM * k * upper
    hands = elbows + _FOREARM * k * lower
    head = neck + k * np.array([0.03 + 0.5 * lean * 0.2, 0.0, 0.20 * build.head / k**0.5])
    posture = Posture(hips.mean(0), neck, head, knees, ankles, elbows, hands, hips, shoulders)
    ground = float(ankles[:, 2].min()) - _ANKLE * k
    return _raised(posture, -ground)


def _raised(posture: Posture, height: float) -> Posture:
    """Return the posture moved up by `height` [m]."""
    up = np.array([0.0, 0.0, height])
    return Posture(
        posture.pelvis + up, posture.neck + up, posture.head + up, posture.knees + up, posture.ankles + up,
        posture.elbows + up, posture.hands + up, posture.hips + up, posture.shoulders + up, posture.toes,
    )  # fmt: skip


def build_figure(build: Build, posture: Posture, *, coat: float = 0.0, helmet: bool = False) -> Mesh:
    """Return the body: trunk, head, arms, legs and feet.

    Args:
        build, posture: whose body in which position.
        coat: how far a coat or skirt reaches down the thighs, 0 (none) to 1 (the knees) and beyond.
        helmet: a larger, smoother head.
    """
    k, girth, clothes = build.scale, build.girth, build.clothes
    limb = girth**0.7 * k
    starts = np.concatenate([posture.hips, posture.knees, posture.shoulders, posture.elbows])
    ends = np.concatenate([posture.knees, posture.ankles, posture.elbows, posture.hands])
    radii = np.repeat([0.088, 0.062, 0.056, 0.045], 2) * limb + clothes
    end_radii = np.repeat([0.062, 0.045, 0.046, 0.036], 2) * limb + clothes * 0.8
    limbs = tubes_mesh(starts, ends, radii, end_radii, Material.CLOTH)
    axis = posture.neck - posture.pelvis
    trunk = _trunk_mesh(posture.pelvis, axis, _TORSO_SECTIONS, k, girth, clothes)
    size = k**0.25 * build.head
    bulge = 1.22 if helmet else 1.0
    head = ellipsoid_mesh(
        np.array([0.10, 0.082, 0.125]) * size * bulge, posture.head, Material.SKIN, bands=5, sides=6
    )
    parts = [trunk, limbs, head, _feet(posture, k)]
    if coat > 0:
        parts.append(_skirt_mesh(build, posture, coat))
    return merge_meshes(parts)


def _trunk_mesh(
    pelvis: Vector, axis: Vector, sections: NDArray[np.float64], scale: float, girth: float, clothes: float
) -> Mesh:
    """Return a loft of ellipses across `axis`, which lies in the x-z plane or leans a little out of it."""
    along = axis / np.linalg.norm(axis)
    across = np.array([0.0, 1.0, 0.0])
    depth = np.array([along[2], 0.0, -along[0]])
    centres = pelvis + sections[:, :1] * axis
    half_depth = (sections[:, 1] * scale * girth + clothes)[:, None, None]
    half_width = (sections[:, 2] * scale * girth**0.6 + clothes)[:, None, None]
    circle_x, circle_y = np.cos(_TORSO_ANGLE)[:, None], np.sin(_TORSO_ANGLE)[:, None]
    rings = centres[:, None] + half_depth * (circle_x * depth) + half_width * (circle_y * across)
    return loft_mesh(rings, Material.CLOTH)


def _skirt_mesh(build: Build, posture: Posture, coat: float) -> Mesh:
    """Return a coat or skirt that hangs from the hips around both thighs."""
    k = build.scale
    knees = posture.knees.mean(0)
    stride = 0.5 * abs(float(posture.knees[0, 0] - posture.knees[1, 0]))
    top, low = posture.pelvis + [0, 0, 0.10 * k], posture.pelvis + coat * (knees - posture.pelvis)
    reach = np.array([0.0, 0.5, 1.0])[:, None]
    centres = top + reach * (low - top)
    circle = np.stack([np.cos(_TORSO_ANGLE), np.sin(_TORSO_ANGLE), np.zeros(8)], 1)
    flare = np.array([0.02, 0.05, 0.07 + 0.05 * coat])[:, None]
    radii = (np.array([0.115, 0.165, 0.0]) + flare) * k * build.girth**0.6 + build.clothes
    radii[:, 0] += stride * min(coat, 1.0) * reach[:, 0]
    radii[:, 2] = 0
    return loft_mesh(centres[:, None] + radii[:, None] * circle, Material.CLOTH)


def _feet(posture: Posture, scale: float) -> Mesh:
    """Return both shoes, pointing forward from under the ankles."""
    size = np.array([0.27, 0.10, 0.09]) * scale
    bottoms = posture.ankles + np.array([0.06 * scale, 0.0, -_ANKLE * scale])
    return boxes_mesh([size, size], bottoms, Material.RUBBER)


# --------------------------------------------------------------------------------------------------------- postures


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
        build, hip=(weight, rng.uniform(-0.1, 0.1)), knee=(weight * 1.2, 0.02), lean=rng.uniform(-0.03, 0.10),
        swing=(swing[0], swing[1]), elbow=(elbow[0], elbow[1]), spread=spread, stance=rng.uniform(0.8, 1.9),
    )  # fmt: skip


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
        build, hip=(hip[0], hip[1]), knee=(knee[0], knee[1]),
        lean=rng.uniform(0.1, 0.25) if running else rng.uniform(0.0, 0.12),
        swing=(swing[0], swing[1]), elbow=(elbow[0], elbow[1]), spread=rng.uniform(0.05, 0.25), stance=rng.uniform(0.6, 1.1),
    )  # fmt: skip


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
    hips = pelvis + np.stack([np.zeros(2), side * _HIP * k, np.zeros(2)], 1)
    apart = rng.uniform(1.0, 2.2)
    knees = pelvis + np.stack(
        [np.full(2, _THIGH * k), side * _HIP * k * apart, rng.uniform(-0.02, 0.08, 2)], 1
    )
    foot = np.maximum(_ANKLE * k, knees[:, 2] - _SHIN * k)
    ankles = np.stack([knees[:, 0] + rng.uniform(-0.15, 0.2, 2), knees[:, 1], foot], 1)
    lean = rng.uniform(-0.25, 0.45)
    neck = pelvis + _TORSO * k * np.array([np.sin(lean), 0, np.cos(lean)])
    shoulders = (
        pelvis + 0.94 * (neck - pelvis) + np.stack([np.zeros(2), side * _SHOULDER * k, np.zeros(2)], 1)
    )
    hands = 0.7 * knees + 0.3 * hips + np.array([0.0, 0.0, 0.13])
    elbows = 0.5 * (shoulders + hands) + np.stack([np.full(2, -0.08), side * 0.10, np.full(2, -0.06)], 1) * k
    head = neck + np.array([0.04 + 0.1 * lean, 0, 0.20]) * k
    return Posture(pelvis, neck, head, knees, ankles, elbows, hands, hips, shoulders)


# ------------------------------------------------------------------------------------------------ what people carry


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
                radii, posture.head + [-0.02, 0, 0.05 * build.head], Material.CLOTH, bands=4, sides=6
            )
        )
    return parts


def _umbrella(posture: Posture) -> Mesh:
    """Return an open umbrella over the head."""
    centre = posture.head + np.array([0.1, 0.05, 0.32])
    angle = np.arange(8) * (np.pi / 4)
    circle = np.stack([np.cos(angle), np.sin(angle), np.zeros(8)], 1)
    rings = np.stack([centre + r * circle + [0, 0, z] for r, z in ((0.52, -0.12), (0.36, 0.0), (0.05, 0.08))])
    stick = tubes_mesh([centre], [posture.hands[0]], [0.012], [0.012], Material.METAL, sides=4)
    return merge_meshes([loft_mesh(rings, Material.CLOTH), stick])


def _stroller(rng: Generator, posture: Posture) -> Mesh:
    """Return a pushchair in front of the hands."""
    x, z = float(posture.hands[0, 0]), float(posture.hands[0, 2])
    frame = tubes_mesh(
        [(x, 0.22, z), (x, -0.22, z), (x + 0.05, 0.22, 0.25)], [(x + 0.65, 0.2, 0.25), (x + 0.65, -0.2, 0.25), (x + 0.05, -0.22, 0.25)],
        [0.018] * 3, [0.018] * 3, Material.METAL, sides=4,
    )  # fmt: skip
    high = rng.uniform(0.95, 1.1)
    seat = boxes_mesh(
        [(0.62, 0.40, 0.30), (0.12, 0.40, high - 0.75)],
        [(x + 0.40, 0, 0.45), (x + 0.15, 0, 0.75)],
        Material.CLOTH,
    )
    hubs = np.array([(x + dx, dy, 0.12) for dx in (0.12, 0.66) for dy in (-0.22, 0.22)])
    wheels = tubes_mesh(
        hubs - [0, 0.02, 0], hubs + [0, 0.02, 0], [0.12] * 4, [0.12] * 4, Material.RUBBER, sides=8
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


# ------------------------------------------------------------------------------------------------------- the actors


def build_pedestrian(rng: Generator) -> Actor:
    """Return a person on foot with what he or she carries or pushes, label "pedestrian".

    The box holds the body and worn bags, not an umbrella, pushchair or trolley. As annotators' boxes do, it keeps a margin and
    the length of a stride even while the legs pass each other.
    """
    build = draw_build(rng)
    luck = rng.random(3)
    pushes = luck[0] > 0.965 and build.scale > 0.85
    if pushes:
        posture = _pushing(rng, build)
    elif luck[0] < 0.42:
        posture = _standing(rng, build)
    else:
        posture = _striding(rng, build, running=luck[0] < 0.46)
    coat = rng.uniform(0.35, 1.4) if luck[1] < 0.28 else 0.0
    parts = [build_figure(build, posture, coat=coat), *_luggage(rng, build, posture)]
    person = merge_meshes(parts)
    beside: list[Mesh] = []
    if pushes:
        beside.append(_stroller(rng, posture))
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
    moved = Mesh(mesh.vertices - [middle[0], middle[1], low[2]], mesh.faces, mesh.materials)
    return Actor(moved, (float(length), float(width), float(extent[2])), label)


def build_seated_person(rng: Generator) -> Actor:
    """Return a person on a chair, a step, a bench or in a wheelchair, label "sitting"."""
    build = draw_build(rng)
    seat = rng.uniform(0.38, 0.52) if rng.random() < 0.8 else rng.uniform(0.15, 0.3)
    posture = _seated(rng, build, seat)
    person = merge_meshes([build_figure(build, posture), *_luggage(rng, build, posture)])
    luck = rng.random()
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
    elif luck < 0.85:  # wheelchair
        hubs = np.array([(0.0, side, 0.30) for side in (-0.3, 0.3)])
        beside.append(
            tubes_mesh(
                hubs - [0, 0.02, 0], hubs + [0, 0.02, 0], [0.30] * 2, [0.30] * 2, Material.RUBBER, sides=10
            )
        )
    person_low = float(person.vertices[:, 2].min())
    grounded = Mesh(person.vertices - [0, 0, person_low], person.faces, person.materials)
    return _boxed(rng, grounded, beside, "sitting")
