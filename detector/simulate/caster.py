"""caster.py: nearest hits of a spinning sensor's rays on a triangle mesh, by a spherical z-buffer.

Every ring of a spinning LiDAR has one elevation and one azimuth offset, so the rays form a (ring, column)
image. Instead of asking for every ray which triangle it meets, each triangle is scattered into the window of
rings and columns that it can cover, and the nearest hit of a pixel stays. There is no tree to build; the cost
is one pass over the triangles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import UsageError
from ...runtime.jit import kernel

F64 = NDArray[np.float64]

NEAREST_HIT = 0.05  # [m]; anything closer is inside the sensor's own housing
_WINDOW_MARGIN = 1e-9  # [rad], [tan]; rounding must not cut a triangle's border rays off its window


@dataclass(frozen=True)
class RangeImage:
    """What each ray met first.

    Attributes:
        ranges: (B, A) float64 distance along the ray [m]; inf where nothing was met.
        faces: (B, A) int32 index of the triangle met, -1 for none.
        cosines: (B, A) float64 cosine of the angle of incidence, 0..1; 0 for none.
    """

    ranges: F64
    faces: NDArray[np.int32]
    cosines: F64


def ray_directions(elevations: F64, azimuth_offsets: F64, azimuth_steps: int) -> F64:
    """Return the unit vectors of all rays, (B, A, 3) float64: column c of ring r looks to azimuth
    -pi + 2 pi c / A + offset[r], x forward, y left, z up."""
    azimuth = azimuth_offsets[:, None] - np.pi + 2 * np.pi / azimuth_steps * np.arange(azimuth_steps)
    flat = np.cos(elevations)[:, None]
    up = np.broadcast_to(np.sin(elevations)[:, None], azimuth.shape)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), up], axis=-1)


def cast_rays(
    vertices: F64,
    faces: NDArray[np.int64],
    elevations: F64,
    azimuth_offsets: F64,
    azimuth_steps: int,
    *,
    origin_heights: F64 | None = None,
    max_range: float = math.inf,
) -> RangeImage:
    """Return the nearest hit of each ray of one full turn. One thread; deterministic.

    Args:
        vertices: (V, 3) [m] in the sensor's frame (origin at the sensor, z its axis of rotation).
        faces: (F, 3) vertex indices; both sides of a face reflect.
        elevations: (B,) [rad], strictly between -pi/2 and pi/2, in any order.
        azimuth_offsets: (B,) [rad].
        azimuth_steps: columns per turn.
        origin_heights: (B,) [m] height of each ring's optical centre above the origin; None: all zero.
        max_range: hits farther away [m] count as misses.

    Raises:
        UsageError: an elevation of +-90 degrees or beyond, or arrays of different lengths.
    """
    beams = len(elevations)
    heights = np.zeros(beams) if origin_heights is None else origin_heights
    if len(azimuth_offsets) != beams or len(heights) != beams:
        raise UsageError(
            f"elevations, azimuth_offsets and origin_heights need one value per ring, got "
            f"{beams}, {len(azimuth_offsets)} and {len(heights)}"
        )
    if beams and np.max(np.abs(elevations)) >= np.pi / 2:
        raise UsageError("elevations must lie strictly between -90 and 90 degrees (given in radians)")
    ranges = np.full((beams, azimuth_steps), np.inf)
    hits = np.full((beams, azimuth_steps), -1, np.int32)
    cosines = np.zeros((beams, azimuth_steps))
    faces = np.ascontiguousarray(faces, np.int64)
    turn = -np.pi + 2 * np.pi / azimuth_steps * np.arange(azimuth_steps)
    for height in np.unique(heights):  # several origins only where units are stacked
        rings = np.flatnonzero(heights == height)
        rings = rings[np.argsort(elevations[rings], kind="stable")]  # ascending: a triangle's rings are a run
        relative = np.ascontiguousarray(vertices - np.array([0.0, 0.0, height]), np.float64)
        azimuth = np.arctan2(relative[:, 1], relative[:, 0])
        distance = np.hypot(relative[:, 0], relative[:, 1])
        _scatter_triangles(
            relative, azimuth, distance, faces, rings, elevations[rings], np.tan(elevations[rings]),
            azimuth_offsets[rings], np.cos(turn), np.sin(turn), max_range, ranges, hits,
        )  # fmt: skip
        _fill_cosines(
            relative, faces, rings, elevations[rings], azimuth_offsets[rings], np.cos(turn), np.sin(turn),
            hits, cosines,
        )  # fmt: skip
    return RangeImage(ranges, hits, cosines)


@kernel
def _wrap(angle: float) -> float:
    """Return `angle`, a difference of two angles within -pi..pi, folded into -pi..pi."""
    if angle > math.pi:
        return angle - 2 * math.pi
    if angle < -math.pi:
        return angle + 2 * math.pi
    return angle


@kernel
def _nearest_on_edge(px: float, py: float, qx: float, qy: float) -> float:
    """Return the distance from the origin to the segment p-q in the plane."""
    dx, dy = qx - px, qy - py
    square = dx * dx + dy * dy
    if square <= 1e-18:
        return math.hypot(px, py)
    t = min(1.0, max(0.0, -(px * dx + py * dy) / square))
    return math.hypot(px + t * dx, py + t * dy)


@kernel
def _first_at_least(sorted_values: F64, value: float) -> int:
    """Return the index of the first entry >= value (len when there is none)."""
    low, high = 0, len(sorted_values)
    while low < high:
        middle = (low + high) // 2
        if sorted_values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _scatter_triangles(
    vertices: F64,
    azimuth: F64,
    distance: F64,
    faces: NDArray[np.int64],
    rings: NDArray[np.int64],
    elevations: F64,
    tangents: F64,
    offsets: F64,
    turn_cos: F64,
    turn_sin: F64,
    max_range: float,
    ranges: F64,
    hits: NDArray[np.int32],
) -> None:
    """Write the nearest hit of each ray of `rings` (ascending elevation) into `ranges` and `hits`.

    A ray d meets triangle a, b, c where d.(b x c), d.(c x a) and d.(a x b) have one sign; their sum is d.n,
    so the range is a.(b x c) / sum. Neighbours compute a shared edge's product with the same bits and the
    opposite sign, so no ray slips between them.
    """
    columns = len(turn_cos)
    step = 2 * math.pi / columns
    for face in range(len(faces)):
        i, j, k = faces[face, 0], faces[face, 1], faces[face, 2]
        ax, ay, az = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        bx, by, bz = vertices[j, 0], vertices[j, 1], vertices[j, 2]
        cx, cy, cz = vertices[k, 0], vertices[k, 1], vertices[k, 2]
        nearest = min(
            _nearest_on_edge(ax, ay, bx, by),
            _nearest_on_edge(bx, by, cx, cy),
            _nearest_on_edge(cx, cy, ax, ay),
        )
        farthest = max(distance[i], distance[j], distance[k])

        # Window of azimuths. The turns from corner to corner add up to zero unless the axis runs through the
        # triangle: then, or when it touches a border, all columns are tried.
        to_b, to_c = _wrap(azimuth[j] - azimuth[i]), _wrap(azimuth[k] - azimuth[i])
        left = azimuth[i] + min(0.0, to_b, to_c)
        right = azimuth[i] + max(0.0, to_b, to_c)
        around = abs(to_b + _wrap(azimuth[k] - azimuth[j]) - to_c) > 1e-3
        if around or nearest < 1e-6 or right - left > math.pi - 1e-6:
            if around:
                nearest = 0.0
            left, right = -math.pi, math.pi
        if nearest > max_range:
            continue

        # Window of elevations, as tangents z / distance.
        bottom, top = min(az, bz, cz), max(az, bz, cz)
        reach_low = nearest if bottom < 0.0 else farthest
        reach_high = farthest if top < 0.0 else nearest
        lowest = bottom / reach_low if reach_low > 0.0 else (-math.inf if bottom < 0.0 else 0.0)
        highest = top / reach_high if reach_high > 0.0 else (math.inf if top > 0.0 else 0.0)
        first = _first_at_least(tangents, lowest - _WINDOW_MARGIN)
        last = _first_at_least(tangents, highest + _WINDOW_MARGIN)
        if first >= last:
            continue

        ux, uy, uz = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx  # b x c
        vx, vy, vz = cy * az - cz * ay, cz * ax - cx * az, cx * ay - cy * ax  # c x a
        wx, wy, wz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx  # a x b
        volume = ax * ux + ay * uy + az * uz
        if volume == 0.0:
            continue
        if volume < 0.0:  # seen from behind: turn the signs so that a hit has three products >= 0
            volume = -volume
            ux, uy, uz, vx, vy, vz, wx, wy, wz = -ux, -uy, -uz, -vx, -vy, -vz, -wx, -wy, -wz

        for place in range(first, last):
            offset = offsets[place]
            start = math.ceil((left - offset + math.pi - _WINDOW_MARGIN) / step)
            count = math.floor((right - offset + math.pi + _WINDOW_MARGIN) / step) - start + 1
            if count <= 0:
                continue
            count = min(count, columns)
            column = int(start) % columns
            ring = rings[place]
            flat, up = math.cos(elevations[place]), math.sin(elevations[place])
            oc, os = math.cos(offset) * flat, math.sin(offset) * flat
            # d.u = cos(turn) u_cos + sin(turn) u_sin + u_up, and so on
            u_cos, u_sin, u_up = ux * oc + uy * os, uy * oc - ux * os, uz * up
            v_cos, v_sin, v_up = vx * oc + vy * os, vy * oc - vx * os, vz * up
            w_cos, w_sin, w_up = wx * oc + wy * os, wy * oc - wx * os, wz * up
            for _ in range(count):
                c, s = turn_cos[column], turn_sin[column]
                u = c * u_cos + s * u_sin + u_up
                v = c * v_cos + s * v_sin + v_up
                w = c * w_cos + s * w_sin + w_up
                if u >= 0.0 and v >= 0.0 and w >= 0.0:
                    total = u + v + w
                    if total > 0.0:
                        hit = volume / total
                        if NEAREST_HIT < hit <= max_range and hit < ranges[ring, column]:
                            ranges[ring, column] = hit
                            hits[ring, column] = face
                column += 1
                if column == columns:
                    column = 0


@kernel
def _fill_cosines(
    vertices: F64,
    faces: NDArray[np.int64],
    rings: NDArray[np.int64],
    elevations: F64,
    offsets: F64,
    turn_cos: F64,
    turn_sin: F64,
    hits: NDArray[np.int32],
    cosines: F64,
) -> None:
    """Write |ray . normal| of every hit of `rings`."""
    for place in range(len(rings)):
        ring = rings[place]
        flat, up = math.cos(elevations[place]), math.sin(elevations[place])
        oc, os = math.cos(offsets[place]) * flat, math.sin(offsets[place]) * flat
        for column in range(len(turn_cos)):
            face = hits[ring, column]
            if face < 0:
                continue
            i, j, k = faces[face, 0], faces[face, 1], faces[face, 2]
            ax, ay, az = vertices[i, 0], vertices[i, 1], vertices[i, 2]
            px, py, pz = vertices[j, 0] - ax, vertices[j, 1] - ay, vertices[j, 2] - az
            qx, qy, qz = vertices[k, 0] - ax, vertices[k, 1] - ay, vertices[k, 2] - az
            nx, ny, nz = py * qz - pz * qy, pz * qx - px * qz, px * qy - py * qx
            dx = turn_cos[column] * oc - turn_sin[column] * os
            dy = turn_sin[column] * oc + turn_cos[column] * os
            length = math.sqrt(nx * nx + ny * ny + nz * nz)
            if length > 0.0:
                cosines[ring, column] = min(1.0, abs(dx * nx + dy * ny + up * nz) / length)


def cast_rays_reference(
    vertices: F64,
    faces: NDArray[np.int64],
    elevations: F64,
    azimuth_offsets: F64,
    azimuth_steps: int,
    *,
    max_range: float = math.inf,
) -> RangeImage:
    """Return what `cast_rays` returns, testing each ray against each triangle (Moller and Trumbore, 1997).

    Only for tests: time and memory grow with rays x triangles.
    """
    rays = ray_directions(elevations, azimuth_offsets, azimuth_steps).reshape(-1, 3)
    corner = vertices[faces[:, 0]]
    edge_b, edge_c = vertices[faces[:, 1]] - corner, vertices[faces[:, 2]] - corner
    nearest = np.full(len(rays), np.inf)
    hit = np.full(len(rays), -1, np.int32)
    cosine = np.zeros(len(rays))
    for face in range(len(faces)):
        p = np.cross(rays, edge_c[face])
        determinant = p @ edge_b[face]
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = 1.0 / determinant
            u = (p @ -corner[face]) * inverse
            q = np.cross(-corner[face], edge_b[face])
            v = (rays @ q) * inverse
            distance = (edge_c[face] @ q) * inverse
            inside = (determinant != 0) & (u >= 0) & (v >= 0) & (u + v <= 1)
            better = inside & (distance > NEAREST_HIT) & (distance <= max_range) & (distance < nearest)
        normal = np.cross(edge_b[face], edge_c[face])
        nearest[better] = distance[better]
        hit[better] = face
        cosine[better] = np.abs(rays[better] @ normal) / max(float(np.linalg.norm(normal)), 1e-300)
    shape = (len(elevations), azimuth_steps)
    return RangeImage(nearest.reshape(shape), hit.reshape(shape), cosine.reshape(shape))
