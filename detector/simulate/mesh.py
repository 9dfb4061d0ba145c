"""mesh.py: triangle meshes with a material per face, and the primitives that scenes are built from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Material(IntEnum):
    """Surface of a face; the scanner's reflectivity, transmission and depth jitter depend on it."""

    GROUND = 0  # asphalt, concrete
    GRASS = 1
    WALL = 2
    VEGETATION = 3
    METAL = 4  # poles, rails
    SIGN = 5  # retro-reflective
    PAINT = 6  # car body; reflectivity drawn per object
    GLASS = 7
    RUBBER = 8
    CLOTH = 9  # people; reflectivity drawn per object
    FENCE = 10  # semi-transparent
    SKIN = 11


@dataclass(frozen=True)
class Mesh:
    """Triangles.

    Attributes:
        vertices: (V, 3) float64 [m].
        faces: (F, 3) int64 vertex indices.
        materials: (F,) int16 `Material` of each face.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    materials: NDArray[np.int16]

    def placed(self, x: float, y: float, z: float, yaw: float) -> Mesh:
        """Return the mesh turned by `yaw` [rad] about +z and moved to (x, y, z) [m]."""
        c, s = np.cos(yaw), np.sin(yaw)
        v = self.vertices
        moved = np.stack([v[:, 0] * c - v[:, 1] * s + x, v[:, 0] * s + v[:, 1] * c + y, v[:, 2] + z], axis=1)
        return Mesh(moved, self.faces, self.materials)


def build_mesh(vertices: NDArray[np.float64], faces: NDArray[np.int64], material: Material) -> Mesh:
    """Return a mesh whose faces all have `material`."""
    return Mesh(vertices, faces, np.full(len(faces), material, np.int16))


def merge_meshes(parts: Sequence[Mesh]) -> Mesh:
    """Return one mesh of all `parts`, in order."""
    if not parts:
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64), np.zeros(0, np.int16))
    offsets = np.cumsum([0] + [len(p.vertices) for p in parts[:-1]])
    return Mesh(
        np.concatenate([p.vertices for p in parts]),
        np.concatenate([p.faces + o for p, o in zip(parts, offsets, strict=True)]),
        np.concatenate([p.materials for p in parts]),
    )


def grid_faces(rows: int, columns: int, *, closed: bool = False) -> NDArray[np.int64]:
    """Return the triangles of a (rows, columns) vertex grid; `closed` joins the last column to the first."""
    i = np.arange(rows - 1)[:, None] * columns
    j = np.arange(columns if closed else columns - 1)[None]
    right = (j + 1) % columns
    a, b, c, d = i + j, i + right, i + columns + j, i + columns + right
    return np.stack([np.stack([a, b, c], -1), np.stack([b, d, c], -1)], 2).reshape(-1, 3)


_BOX_VERTICES = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0.0, 1.0)])
_BOX_FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
     [2, 3, 7], [2, 7, 6], [1, 5, 7], [1, 7, 3], [0, 2, 6], [0, 6, 4]],
    np.int64,
)  # fmt: skip


def box_mesh(
    length: float,
    width: float,
    height: float,
    material: Material,
    *,
    x: float = 0.0,
    y: float = 0.0,
    z: float = 0.0,
) -> Mesh:
    """Return a box whose footprint is centred on (x, y) and whose bottom lies at z [m]."""
    return build_mesh(_BOX_VERTICES * [length, width, height] + [x, y, z], _BOX_FACES, material)


def tube_mesh(
    start: Sequence[float],
    end: Sequence[float],
    radius: float,
    material: Material,
    *,
    end_radius: float | None = None,
    sides: int = 8,
) -> Mesh:
    """Return a capped cylinder or cone from `start` to `end` [m]."""
    p, q = np.asarray(start, float), np.asarray(end, float)
    axis = q - p
    length = float(np.linalg.norm(axis)) + 1e-9
    z = axis / length
    helper = np.array([1.0, 0, 0]) if abs(z[0]) < 0.9 else np.array([0, 1.0, 0])
    x = np.cross(helper, z)
    x /= np.linalg.norm(x)
    y = np.cross(z, x)
    angle = np.arange(sides) * 2 * np.pi / sides
    ring = np.cos(angle)[:, None] * x + np.sin(angle)[:, None] * y
    vertices = np.concatenate(
        [p + radius * ring, q + (radius if end_radius is None else end_radius) * ring, [p, q]]
    )
    i = np.arange(sides)
    j = (i + 1) % sides
    caps = [
        np.stack([i, j, np.full(sides, 2 * sides)], 1),
        np.stack([sides + i, sides + j, np.full(sides, 2 * sides + 1)], 1),
    ]
    return build_mesh(vertices, np.concatenate([grid_faces(2, sides, closed=True), *caps]), material)


def ellipsoid_mesh(
    radii: ArrayLike, centre: ArrayLike, material: Material, *, bands: int = 6, sides: int = 8
) -> Mesh:
    """Return an ellipsoid with `radii` (x, y, z) about `centre` [m]."""
    u = np.linspace(0, np.pi, bands + 1)[:, None]
    v = np.arange(sides) * 2 * np.pi / sides
    unit = np.stack([np.sin(u) * np.cos(v), np.sin(u) * np.sin(v), np.cos(u) * np.ones(sides)], -1).reshape(
        -1, 3
    )
    return build_mesh(
        unit * np.asarray(radii) + np.asarray(centre), grid_faces(bands + 1, sides, closed=True), material
    )


@lru_cache(maxsize=64)
def _loft_faces(rows: int, columns: int) -> NDArray[np.int64]:
    """Return the faces of a loft of (rows, columns) vertices: the skin row by row, then both end caps."""
    fan = np.arange(1, columns - 1)
    front = np.stack([np.zeros_like(fan), fan, fan + 1], 1)
    caps = [front[:, ::-1], front + (rows - 1) * columns]
    return np.concatenate([grid_faces(rows, columns, closed=True), *caps])


def loft_mesh(rings: NDArray[np.float64], material: Material | NDArray[np.int16]) -> Mesh:
    """Return the skin over a row of closed rings, with flat caps on the first and the last.

    Args:
        rings: (R, S, 3) vertices [m]; each ring is roughly convex.
        material: one for all faces, or (F,) with F = 2 (R - 1) S + 2 (S - 2): skin row by row, then the caps.
    """
    rows, columns = rings.shape[:2]
    faces = _loft_faces(rows, columns)
    materials = (
        np.full(len(faces), material, np.int16) if np.ndim(material) == 0 else np.asarray(material, np.int16)
    )
    return Mesh(rings.reshape(-1, 3), faces, materials)


def tubes_mesh(
    starts: ArrayLike,
    ends: ArrayLike,
    radii: ArrayLike,
    end_radii: ArrayLike,
    materials: Material | Sequence[int],
    *,
    sides: int = 6,
) -> Mesh:
    """Return many capped tubes at once, far faster than one `tube_mesh` each.

    Args:
        starts, ends: (T, 3) axis end points [m].
        radii, end_radii: (T,) radius at the start and at the end [m].
        materials: one for all, or (T,).
        sides: corners of the cross-section.
    """
    p, q = np.asarray(starts, float), np.asarray(ends, float)
    axis = q - p
    axis /= np.sqrt((axis * axis).sum(1, keepdims=True)) + 1e-9
    # Any two unit vectors across the axis: start from the world axis that is least aligned with it.
    x, y, z = axis.T
    upright = np.abs(z) > 0.7
    zero = np.zeros_like(x)
    across = np.where(upright[:, None], np.stack([z, zero, -x], 1), np.stack([-y, x, zero], 1))
    across /= np.sqrt((across * across).sum(1, keepdims=True)) + 1e-9
    other = np.stack(
        [
            y * across[:, 2] - z * across[:, 1],
            z * across[:, 0] - x * across[:, 2],
            x * across[:, 1] - y * across[:, 0],
        ],
        1,
    )
    angle = (np.arange(sides) + 0.5) * (2 * np.pi / sides)
    circle = np.cos(angle)[:, None] * across[:, None] + np.sin(angle)[:, None] * other[:, None]  # (T, S, 3)
    start_ring = p[:, None] + np.asarray(radii, float).reshape(-1, 1, 1) * circle
    end_ring = q[:, None] + np.asarray(end_radii, float).reshape(-1, 1, 1) * circle
    vertices = np.stack([start_ring, end_ring], 1).reshape(-1, 3)
    return _repeated_mesh(vertices, _loft_faces(2, sides), 2 * sides, len(p), materials)


def boxes_mesh(sizes: ArrayLike, bottoms: ArrayLike, materials: Material | Sequence[int]) -> Mesh:
    """Return many axis-aligned boxes at once.

    Args:
        sizes: (B, 3) length, width, height [m].
        bottoms: (B, 3) centre of the bottom face [m].
        materials: one for all, or (B,).
    """
    size, bottom = np.asarray(sizes, float), np.asarray(bottoms, float)
    vertices = (_BOX_VERTICES * size[:, None] + bottom[:, None]).reshape(-1, 3)
    return _repeated_mesh(vertices, _BOX_FACES, 8, len(size), materials)


def _repeated_mesh(
    vertices: NDArray[np.float64],
    faces: NDArray[np.int64],
    stride: int,
    count: int,
    materials: Material | Sequence[int],
) -> Mesh:
    """Return `count` copies of one topology over consecutive blocks of `stride` vertices."""
    all_faces = (faces + np.arange(count)[:, None, None] * stride).reshape(-1, 3)
    each = np.broadcast_to(np.asarray(materials, np.int16), (count,))
    return Mesh(vertices, all_faces, np.repeat(each, len(faces)))


def rotated_mesh(mesh: Mesh, angle: float, *, axis: int, pivot: Sequence[float] = (0.0, 0.0, 0.0)) -> Mesh:
    """Return the mesh turned right-handed by `angle` [rad] about axis 0, 1 or 2 through `pivot` [m]."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    c, s = np.cos(angle), np.sin(angle)
    moved = mesh.vertices - np.asarray(pivot, float)
    turned = moved.copy()
    turned[:, i] = moved[:, i] * c - moved[:, j] * s
    turned[:, j] = moved[:, i] * s + moved[:, j] * c
    return Mesh(turned + np.asarray(pivot, float), mesh.faces, mesh.materials)


def shifted_mesh(mesh: Mesh, x: float, y: float, z: float) -> Mesh:
    """Return the mesh moved by (x, y, z) [m]."""
    return Mesh(mesh.vertices + np.array([x, y, z]), mesh.faces, mesh.materials)
