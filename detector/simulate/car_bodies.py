"""car_bodies.py: lofts the painted and glazed body of a car, van or bus from a silhouette seen from the side.

A body is a row of closed cross-sections ("stations") from nose to tail. The silhouette gives the roof line,
an ellipse in plan rounds the bumpers, arches lift the sill, and the greenhouse leans inwards above the belt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .mesh import Material, Mesh, loft_mesh
from .silhouettes import Silhouette

# Corners of a cross-section: half of them from the underside up, then the crown, then the mirror image.
_HALF = 6  # underside, sill, waist, belt, roof edge, roof shoulder
_CORNERS = 2 * _HALF + 1  # and the crown in the middle
_SIDE_WINDOW = (3, 8)  # segment from belt to roof edge, left and right
_ROOF_EDGE = (4, 7)
_TOP = (5, 6)  # between the roof edges: bonnet, windscreen, roof, rear window
_UNDERSIDE = _CORNERS - 1


@dataclass(frozen=True)
class BodyShape:
    """What one body of a silhouette looks like; lengths in metres.

    Attributes:
        length, width, height: of the body without mirrors.
        clearance: height of the underside.
        wheel_radius: of the tyres; the arch is a little larger.
        nose_depth, tail_depth: length over which the bumpers curve round to the sides.
        nose_width, tail_width: width of the flat middle of the bumpers as a fraction of the width.
        roof_rim: height of the rounding between side window and roof.
        bow: how far windscreen and bonnet edges fall back at the sides; the tail is flatter (0.4 of it).
    """

    length: float
    width: float
    height: float
    clearance: float
    wheel_radius: float
    nose_depth: float
    tail_depth: float
    nose_width: float
    tail_width: float
    roof_rim: float
    bow: float


def draw_body_shape(rng: Generator, length: float, width: float, height: float) -> BodyShape:
    """Return a random body shape of the given size [m]."""
    u = rng.random(8)
    return BodyShape(
        length, width, height,
        clearance=0.15 + 0.08 * u[0] + 0.05 * max(0.0, (height - 1.5) / 0.3),
        wheel_radius=0.285 + 0.05 * u[1] + 0.06 * max(0.0, min(1.0, (height - 1.5) / 0.35)),
        nose_depth=0.28 + 0.30 * u[2], tail_depth=0.15 + 0.25 * u[3],
        nose_width=0.45 + 0.25 * u[4], tail_width=0.60 + 0.25 * u[5],
        roof_rim=0.035 + 0.035 * u[6], bow=0.05 + 0.09 * u[7],
    )  # fmt: skip


def loft_body(rng: Generator, silhouette: Silhouette, shape: BodyShape) -> Mesh:
    """Return the body as a closed loft: nose at +length/2, the roof at `height`, windows of glass."""
    profile = _perturbed_profile(rng, silhouette)
    belt = silhouette.belt + 0.018 * float(np.clip(rng.normal(), -2, 2))
    tumblehome = silhouette.tumblehome * rng.uniform(0.75, 1.25)
    pillar = _pillar_span(profile, silhouette, rng)
    station = _stations(profile, silhouette, shape, pillar)
    rings = _cross_sections(station, profile, silhouette, shape, belt, tumblehome)
    materials = _materials(station, profile, silhouette, belt, pillar)
    return loft_mesh(rings, materials)


def _perturbed_profile(rng: Generator, silhouette: Silhouette) -> NDArray[np.float64]:
    """Return (K, 2) control points, each moved a little; ends stay at 0 and 1, the highest point at 1."""
    points = np.array(silhouette.profile)
    noise = np.clip(rng.normal(size=(len(points), 2)), -2, 2)
    # The short bumper segments move together with their neighbours, else they would fold over.
    gaps = np.diff(points[:, 0])
    points[1:-1, 0] += noise[1:-1, 0] * np.minimum(0.014, 0.2 * np.minimum(gaps[1:], gaps[:-1]))
    points[:, 1] += noise[:, 1] * 0.010 + rng.normal() * 0.012 * (points[:, 1] < 0.8)
    points[:, 1] /= points[:, 1].max()
    return points


def _pillar_span(profile: NDArray[np.float64], silhouette: Silhouette, rng: Generator) -> tuple[float, float]:
    """Return where the B-pillar begins and ends, as fractions of the length."""
    middle = 0.5 * (profile[silhouette.header, 0] + profile[silhouette.rear_header, 0]) + rng.uniform(
        -0.03, 0.05
    )
    half = rng.uniform(0.008, 0.016)
    return middle - half, middle + half


def _stations(
    profile: NDArray[np.float64], silhouette: Silhouette, shape: BodyShape, pillar: tuple[float, float]
) -> NDArray[np.float64]:
    """Return (R,) ascending fractions of the length at which cross-sections are taken."""
    arch = (shape.wheel_radius + 0.045) / shape.length
    around = np.array([-1.0, -0.74, 0.0, 0.74, 1.0]) * arch
    axles = sorted(set(silhouette.axles))
    extra = [axle + around for axle in axles]
    ends = [0.55 * shape.nose_depth / shape.length, 1 - 0.5 * shape.tail_depth / shape.length]
    station = np.sort(np.concatenate([profile[:, 0], *extra, ends, pillar]))
    # Stations closer than 2 mm would make slivers: push them apart, then stretch back to 0..1.
    step = np.arange(len(station)) * (0.002 / shape.length)
    station = np.maximum.accumulate(station - step) + step
    return np.asarray(np.clip(station, 0.0, None) / station[-1])


def _half_width(station: NDArray[np.float64], shape: BodyShape) -> NDArray[np.float64]:
    """Return (R,) half widths [m]: full along the doors, an ellipse in plan towards each bumper."""
    along = station * shape.length
    width = np.full(len(station), 0.5 * shape.width)
    for distance, depth, flat in (
        (along, shape.nose_depth, shape.nose_width),
        (shape.length - along, shape.tail_depth, shape.tail_width),
    ):
        inwards = 1 - np.minimum(distance / depth, 1.0)
        width *= flat + (1 - flat) * np.sqrt(1 - inwards * inwards)
    # Doors bulge a little: the widest place is in the middle.
    return np.asarray(width * (1 - 0.03 * np.abs(2 * station - 1) ** 3))


def _cross_sections(
    station: NDArray[np.float64],
    profile: NDArray[np.float64],
    silhouette: Silhouette,
    shape: BodyShape,
    belt: float,
    tumblehome: float,
) -> NDArray[np.float64]:
    """Return (R, 13, 3) rings [m]."""
    height, length = shape.height, shape.length
    half = _half_width(station, shape)
    half *= 0.5 * shape.width / half.max()
    # Bed walls are straight in plan: only a trace of the bow.
    setback = shape.bow / length * (1.0 if silhouette.bed is None else 0.2)

    def roof_line(offset: float) -> NDArray[np.float64]:
        ahead = np.interp(station - offset, profile[:, 0], profile[:, 1])
        behind = np.interp(station + 0.4 * offset, profile[:, 0], profile[:, 1])
        return np.asarray(np.minimum(ahead, behind) * height)

    crown = np.interp(station, profile[:, 0], profile[:, 1]) * height
    shoulder = np.minimum(roof_line(0.5 * setback), crown - 0.008)
    roof_edge = np.minimum(roof_line(setback), shoulder) - shape.roof_rim * np.minimum(1, crown / height)

    # Underside and sill, lifted at the ends and over the wheels.
    overhang = np.maximum(np.maximum(1 - station / 0.07, 1 - (1 - station) / 0.07), 0)
    underside = shape.clearance + 0.09 * overhang
    arch_radius = shape.wheel_radius + 0.045
    reach = np.min([np.abs(station - axle) for axle in silhouette.axles], axis=0) * length
    arch = np.where(
        reach < 0.98 * arch_radius,
        shape.wheel_radius + np.sqrt(np.maximum(arch_radius**2 - reach**2, 0)),
        0.0,
    )
    rise = belt * height + 0.02 * height * (station - 0.5)
    belt_line = np.minimum(rise, roof_edge - 0.03)
    waist = np.minimum(shape.clearance + 0.48 * (rise - shape.clearance), belt_line - 0.03)
    sill = np.minimum(underside + 0.06, waist - 0.02)
    underside = np.minimum(underside, sill - 0.01)
    z = np.stack([np.maximum(underside, arch), sill, waist, belt_line, roof_edge, shoulder])
    z[:4] = (
        np.maximum.accumulate(z[:4] + 0.006 * np.arange(4)[:, None], axis=0) - 0.006 * np.arange(4)[:, None]
    )
    z[4] = np.maximum(z[4], z[3] + 0.01)
    z[5] = np.maximum(z[5], z[4])

    lean = tumblehome * np.clip((z[4] - z[3]) / ((1 - belt) * height), 0, 1)
    roof_half = half * (0.955 - lean)
    y = np.stack([0.84 * half, 0.97 * half, half, 0.985 * half, roof_half, 0.86 * roof_half])
    if silhouette.bed is not None:
        in_bed = (station > profile[silhouette.bed, 0] + 0.012) & (station < profile[-2, 0] - 0.004)
        y[4], y[5] = np.where(in_bed, 0.95 * half, y[4]), np.where(in_bed, 0.90 * half, y[5])
        z[5] = np.where(in_bed, 0.40 * height, z[5])
        crown = np.where(in_bed, 0.40 * height, crown)

    x = (0.5 - station) * length
    rings = np.empty((len(station), _CORNERS, 3))
    rings[:, :, 0] = x[:, None]
    rings[:, :_HALF, 1], rings[:, _HALF, 1], rings[:, _HALF + 1 :, 1] = y.T, 0.0, -y.T[:, ::-1]
    rings[:, :_HALF, 2], rings[:, _HALF, 2], rings[:, _HALF + 1 :, 2] = z.T, crown, z.T[:, ::-1]
    return rings


def _materials(
    station: NDArray[np.float64],
    profile: NDArray[np.float64],
    silhouette: Silhouette,
    belt: float,
    pillar: tuple[float, float],
) -> NDArray[np.int16]:
    """Return (F,) materials of the loft: glass between the pillars, dark underneath, paint elsewhere."""
    middle = 0.5 * (station[1:] + station[:-1])
    roof = np.interp(middle, profile[:, 0], profile[:, 1])
    skin = np.full((len(station) - 1, _CORNERS, 2), Material.PAINT, np.int16)

    def between(first: float, last: float) -> NDArray[np.bool_]:
        return np.asarray((middle > first) & (middle < last))

    x = profile[:, 0]
    windscreen = between(x[silhouette.cowl] + 0.01, x[silhouette.header])
    rear_window = between(x[silhouette.rear_header], x[silhouette.rear_deck])
    tall = (roof - belt) / (1 - belt) > 0.3
    end = min(silhouette.glazing, x[silhouette.rear_deck] - 0.02)
    side = between(x[silhouette.cowl], end) & tall & ~between(*pillar)
    for segment in _SIDE_WINDOW:
        skin[side, segment] = Material.GLASS
    for segment in _TOP:
        skin[windscreen | rear_window, segment] = Material.GLASS
    skin[:, _UNDERSIDE] = Material.RUBBER
    caps = np.full(2 * (_CORNERS - 2), Material.PAINT, np.int16)
    return np.concatenate([skin.reshape(-1), caps])
