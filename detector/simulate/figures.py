"""figures.py: the human body as a mesh, from joint positions and proportions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .mesh import Material, Mesh, boxes_mesh, ellipsoid_mesh, loft_mesh, merge_meshes, tubes_mesh

Vector = NDArray[np.float64]

_ADULT = 1.75  # m; lengths below are of a person this tall
THIGH, SHIN, ANKLE = 0.42, 0.41, 0.08
UPPER_ARM, FOREARM = 0.29, 0.32  # the forearm with the hand
TORSO = 0.52  # hip joints to the base of the neck
HIP, SHOULDER = 0.09, 0.18  # half distances

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
    build: Build,
    *,
    hip: tuple[float, float],
    knee: tuple[float, float],
    lean: float,
    swing: tuple[float, float],
    elbow: tuple[float, float],
    spread: float,
    stance: float,
) -> Posture:
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
    hips = np.stack([np.zeros(2), side * HIP * k, np.zeros(2)], 1)
    knees = hips + THIGH * k * _direction(hip_angle)
    ankles = knees + SHIN * k * _direction(hip_angle - knee_bend)
    ankles[:, 1] += side * HIP * k * (stance - 1)
    knees[:, 1] += side * HIP * k * (stance - 1) * 0.5
    trunk = TORSO * k * np.array([np.sin(lean), 0.0, np.cos(lean)])
    neck = trunk
    shoulders = neck * 0.94 + np.stack([np.zeros(2), side * SHOULDER * k * build.girth**0.5, np.zeros(2)], 1)
    upper = _direction(np.asarray(swing) + 0.3 * lean)
    upper[:, 1] += side * np.sin(spread)
    lower = _direction(np.asarray(swing) + np.asarray(elbow))
    lower[:, 1] += side * (0.25 * np.sin(spread) - 0.12)
    elbows = shoulders + UPPER_ARM * k * upper
    hands = elbows + FOREARM * k * lower
    head = neck + k * np.array([0.03 + 0.5 * lean * 0.2, 0.0, 0.20 * build.head / k**0.5])
    posture = Posture(hips.mean(0), neck, head, knees, ankles, elbows, hands, hips, shoulders)
    ground = float(ankles[:, 2].min()) - ANKLE * k
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
    top = posture.pelvis + np.array([0.0, 0.0, 0.10 * k])
    low = posture.pelvis + coat * (knees - posture.pelvis)
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
    bottoms = posture.ankles + np.array([0.06 * scale, 0.0, -ANKLE * scale])
    return boxes_mesh([size, size], bottoms, Material.RUBBER)
