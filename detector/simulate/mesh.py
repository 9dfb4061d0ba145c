"""mesh.py: triangle meshes with a material per face, and the primitives that actors and scenery are built from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


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
    length: float, width: float, height: float, material: Material, *, x: float = 0.0, y: float = 0.0, z: float = 0.0
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
    vertices = np.concatenate([p + radius * ring, q + (radius if end_radius is None else end_radius) * ring, [p, q]])
    i = np.arange(sides)
    j = (i + 1) % sides
    caps = [np.stack([i, j, np.full(sides, 2 * sides)], 1), np.stack([sides + i, sides + j, np.full(sides, 2 * sides + 1)], 1)]
    return build_mesh(vertices, np.concatenate([grid_faces(2, sides, closed=True), *caps]), material)


def ellipsoid_mesh(
    radii: Sequence[float], centre: Sequence[float], material: Material, *, bands: int = 6, sides: int = 8
) -> Mesh:
    """Return an ellipsoid with `radii` (x, y, z) about `centre` [m]."""
    u = np.linspace(0, np.pi, bands + 1)[:, None]
    v = np.arange(sides) * 2 * np.pi / sides
    unit = np.stack([np.sin(u) * np.cos(v), np.sin(u) * np.sin(v), np.cos(u) * np.ones(sides)], -1).reshape(-1, 3)
    return build_mesh(unit * np.asarray(radii) + np.asarray(centre), grid_faces(bands + 1, sides, closed=True), material)
